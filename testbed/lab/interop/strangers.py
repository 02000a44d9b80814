"""What those can do who are not on the primary path."""

from __future__ import annotations

import random
import socket
import struct

from .. import peer
from ..chain import Chain
from ..chainconfig import V4
from ..shell import LabError, wait_until
from .rows import row, rust_test


@row("X3", "forged announcements, announcements of strangers' addresses, floods of joins, mappings out of the window", goal="all pass")
def weaknesses_are_closed() -> str:
    names = (
        ("mptcp", "m19_a_forged_announcement_is_ignored"),
        ("apps", "an_announced_address_outside_the_prefixes_is_not_joined"),
        ("apps", "joins_beyond_the_limits_are_dropped"),
        ("apps", "bug15_a_join_whose_third_ack_never_comes_is_forgotten"),
        ("apps", "guessed_tokens_find_nothing"),
    )
    return ", ".join(f"{name}: {rust_test(package, name)}" for package, name in names)


@row("X4", "wrong tokens and HMACs, replayed joins, blind resets, SYNs and data, in virtual time", goal="all pass")
def strangers_in_virtual_time() -> str:
    return f"{rust_test('apps', 'strangers')}, {rust_test('mptcp', 'm9_')}"


def _frame(src: str, dst: str, sport: int, dport: int, seq: int, ack: int, flags: int, payload: bytes = b"") -> bytes:
    """An IPv4 packet with a TCP segment without options."""

    def checksum(data: bytes) -> int:
        data += b"\0" * (len(data) % 2)
        total = sum(struct.unpack(f"!{len(data) // 2}H", data))
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        return ~total & 0xFFFF

    ends = bytes(int(part) for part in (*src.split("."), *dst.split(".")))
    tcp = struct.pack("!HHIIBBHHH", sport, dport, seq, ack, 5 << 4, flags, 1024, 0, 0)
    pseudo = ends + struct.pack("!BBH", 0, 6, len(tcp) + len(payload))
    tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp + payload)) + tcp[18:]
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp) + len(payload), 1, 0, 64, 6, 0) + ends
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + tcp + payload


@row("X4", "blind resets, SYNs and data from the Internet at an established connection: segments refused, its transfer exact", goal="= 600", unit="segments")
def blind_segments_over_the_chain(made: Chain) -> int:
    rng = random.Random(4)
    data = peer.payload(200_000, 4)
    with peer.listening(made.server, peer.exchanges(data), port=8000), peer.connect(made.host, V4.server, mptcp=False, port=8000) as conn:
        local = conn.getsockname()[1]
        wait_until("the relay", lambda: made.hag.counters()["relays"] == 1, timeout=5)
        before = made.hag.counters()
        with made.server.entered():
            raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        count = 0
        with raw:
            for number in range(600):
                flags = (4, 2, 16)[number % 3]
                payload = b"forged" if flags == 16 else b""
                segment = _frame(V4.server, V4.host, 8000, local, rng.getrandbits(32), rng.getrandbits(32), flags, payload)
                raw.sendto(segment, (V4.host, 0))
                count += 1
        names = ("tcp_drop_window", "tcp_drop_ack", "tcp_drop_no_timestamp", "tcp_challenge_ack", "tcp_challenge_ack_limited", "tcp_drop_paws")
        refused = lambda: sum(made.hag.counters().get(name, 0) - before.get(name, 0) for name in names)  # noqa: E731
        wait_until("600 refusals", lambda: refused() >= 600, timeout=10)
        conn.sendall(data)
        conn.shutdown(socket.SHUT_WR)
        if peer.read_all(conn) != data + peer.digest(data).encode():
            raise LabError("the transfer has suffered")
    assert made.hag.counters()["tcp_reset_received"] == before["tcp_reset_received"], "a blind reset counted"
    return count
