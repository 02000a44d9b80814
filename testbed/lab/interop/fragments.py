"""Packets in pieces: whoever cut them, and whatever else is wrong with them."""

from __future__ import annotations

import socket
import struct
from collections import Counter

from .. import peer
from ..chain import Chain
from ..chainconfig import V6
from ..frames import frames
from .nat import hears, udp
from .rows import row, rust_test

FRAGMENT, TCP, UDP = 44, 6, 17


def fragment(inner: int, offset: int, more: bool, number: int, data: bytes) -> bytes:
    """An IPv6 fragment header (RFC 8200 4.5) and what follows it."""
    return struct.pack("!BBHI", inner, 0, offset | more, number) + data


def send_fragments(made: Chain, *parts: bytes) -> None:
    """Raw fragments from H to S over IPv6."""
    with made.host.entered():
        raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, FRAGMENT)
    with raw:
        for part in parts:
            raw.sendto(part, (V6.server, 0))


@row("I-FRAG", "fragments of datagrams through both boxes, each way, that changed in more than their hop limit or got lost", goal="0", unit="fragments")
def fragments_pass_untouched(made: Chain) -> int:
    with made.capture("h0", "s0") as files, udp(made.server, V6.server, 7100) as sink, udp(made.host, V6.host) as source:
        for size in (1_900, 4_000, 20_000):
            words = bytes(range(256)) * (size // 256)
            source.sendto(words, (V6.server, 7100))
            heard = hears(sink)
            assert heard and heard[0] == words, f"{size} octets did not arrive"
            sink.sendto(words, heard[1][:2])
            back = hears(source)
            assert back and back[0] == words, f"{size} octets did not come back"
    at_h, at_s = (Counter(frame.without_hops() for frame in frames(file) if frame.protocol == FRAGMENT) for file in files.values())
    assert sum(at_h.values()) >= 30, f"only {sum(at_h.values())} fragments: nothing was put to the test"
    changed = (at_h - at_s) + (at_s - at_h)
    assert not changed, f"{sum(changed.values())} of {sum(at_h.values())} fragments differ"
    return sum(changed.values())


@row("I-FRAG", "fragments of a bonded flow's segments that reach S behind the boxes' backs, while the flow goes on", goal="0", unit="fragments")
def a_bonded_flow_takes_no_fragments(made: Chain) -> int:
    def echo(conn: socket.socket) -> None:
        while said := conn.recv(100):
            conn.sendall(said)

    before = made.hcpe.counters()["drop_unread"]
    with made.capture("s0") as files, peer.listening(made.server, echo, family=socket.AF_INET6), peer.connect(made.host, V6.server, mptcp=False) as conn:
        conn.sendall(b"before")
        assert peer.read_exactly(conn, 6) == b"before"
        segment = struct.pack("!HHIIBBHHH", conn.getsockname()[1], 80, 1, 1, 0x50, 0x18, 1_000, 0, 0) + b"injected"
        parts = fragment(TCP, 0, True, 7, segment[:24]), fragment(TCP, 24, False, 7, segment[24:])
        # The first in front, and the other way round.
        send_fragments(made, *parts, *reversed(parts))
        conn.sendall(b"after!")
        assert peer.read_exactly(conn, 6) == b"after!"
    dropped = made.hcpe.counters()["drop_unread"] - before
    assert dropped >= 2, f"{dropped} were dropped"
    # The rest of a packet has no ports, so it passes: without its first fragment it is nothing.
    firsts = [frame for frame in frames(files["s0"]) if frame.protocol == FRAGMENT and struct.unpack_from("!H", frame.packet, 42)[0] & 0xFFF8 == 0]
    assert not firsts, f"{len(firsts)} reached S"
    return len(firsts)


@row("I-FRAG", "datagrams that S makes of fragments that overlap (RFC 5722), come twice, or lack their first, with both boxes alive", goal="0", unit="datagrams")
def overlaps_are_nobodys_data(made: Chain) -> int:
    datagram = struct.pack("!HHHH", 7200, 7200, 8 + 32, 0) + bytes(32)
    heard = 0
    with udp(made.server, V6.server, 7200) as sink:
        send_fragments(
            made,
            fragment(UDP, 0, True, 21, datagram[:24]), fragment(UDP, 16, False, 21, datagram[16:]),
            fragment(UDP, 8, False, 22, datagram[8:]),
            fragment(UDP, 0xFFF8, True, 23, datagram),
            *(fragment(UDP, 8, False, number, datagram[8:]) for number in range(100, 500)),
        )
        while hears(sink, 0.5):
            heard += 1
    assert not heard, f"S heard {heard}"
    made.host.run("ping", "-6", "-c", "1", V6.server)
    return heard


@row("I-FRAG", "fragments through NAT in either order, and what of them is bounded")
def fragments_through_nat() -> str:
    return rust_test("apps", "nat")
