"""Where bonding ends: no HAG on the path, options from elsewhere."""

from __future__ import annotations

import socket
import time
from dataclasses import replace

from .. import peer
from ..capture import SYN, read
from ..chain import Chain
from ..chainconfig import V4, V6
from .rows import PLAIN, row

SIZE = 500_000

NO_HAG = replace(PLAIN, boxes=("hcpe",))
NOT_INBOUND = replace(PLAIN, hag={"inbound": False})


def _echoed(made: Chain, port: int, address: str, *, mptcp: bool) -> list[dict]:
    """A connection of H to a server that echoes, with Multipath TCP at the server or not; what the HCPE shows meanwhile."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with peer.listening(made.server, peer.echoes, family=family, port=port, mptcp=mptcp), peer.connect(made.host, address, mptcp=False, port=port) as conn:
        assert peer.echoed(conn, SIZE, 9), "what arrived is not what was sent"
        time.sleep(1.0)
        return made.boxes["hcpe"].connections()


@row("I-CUT", "connections that the HCPE keeps where no HAG is on the path, in both families", goal="0", unit="connections", on=NO_HAG)
def no_hag_on_the_path(made: Chain) -> int:
    with made.capture("s0", only="tcp") as files:
        kept = [*_echoed(made, 8400, V4.server, mptcp=False), *_echoed(made, 8401, V6.server, mptcp=False)]
    seen = {packet.src for packet in read(files["s0"])} - {V4.server, V6.server}
    assert seen == {V4.host, V6.host}, f"S saw {sorted(seen)}"
    assert not kept, f"the HCPE keeps {kept}"
    assert made.boxes["hcpe"].counters()["cut_through"] >= 2
    return len(kept)


@row("I-CUT", "joins that reach a server that speaks Multipath TCP where no HAG is on the path; it sees one address", goal="0", unit="joins", on=NO_HAG)
def no_hag_and_a_server_that_speaks_it(made: Chain) -> int:
    made.server.sysctl(net__mptcp__enabled=1)
    try:
        with made.capture("s0", "w2", only="tcp") as files:
            _echoed(made, 8402, V4.server, mptcp=True)
    finally:
        made.server.sysctl(net__mptcp__enabled=0)
    # The router in the HAG's place sends what is for the HAG's address that way too: it is not S's.
    packets = [packet for packet in read(files["s0"]) if packet.dst == V4.server]
    seen = {packet.src for packet in packets}
    assert seen == {V4.host}, f"S saw {sorted(seen)}"
    joins = [packet for packet in packets if packet.flags & SYN and 1 in packet.mptcp]
    assert not joins
    return len(joins)


@row("X5", "packets with MPTCP that reach H, or that come back to a server that opens connections with MP_CAPABLE; they go on as plain TCP", goal="0", unit="packets")
def options_from_the_internet_are_stripped(made: Chain) -> int:
    return _opened_by_the_server(made, "h0")


@row("X5", "the same where the HAG does not bond connections from the Internet: packets with MPTCP on the primary access", goal="0", unit="packets", on=NOT_INBOUND)
def options_from_the_internet_are_stripped_at_once(made: Chain) -> int:
    return _opened_by_the_server(made, "w1")


def _opened_by_the_server(made: Chain, where: str) -> int:
    """Packets with MPTCP at `where`, or on their way back to a server that speaks it and opens connections to H."""
    made.server.sysctl(net__mptcp__enabled=1)
    try:
        with made.capture("s0", where, only="tcp") as files:
            for address, family, port in ((V4.host, socket.AF_INET, 8410), (V6.host, socket.AF_INET6, 8411)):
                with peer.listening(made.host, peer.echoes, family=family, port=port), peer.connect(made.server, address, mptcp=True, port=port) as conn:
                    assert peer.echoed(conn, SIZE, 10), "what arrived is not what was sent"
            # A join from the Internet names no connection there, whatever it says.
            try:
                peer.connect(made.server, V4.announced, mptcp=True, port=8412, timeout=3.0).close()
                raise AssertionError("the announced address answered the Internet")
            except ConnectionRefusedError:
                pass
    finally:
        made.server.sysctl(net__mptcp__enabled=0)
    server = {V4.server, V6.server}
    assert any(0 in packet.mptcp for packet in read(files["s0"]) if packet.src in server), "the server offered nothing: this proves nothing"
    passed = [packet for packet in read(files[where]) if packet.mptcp]
    passed += [packet for packet in read(files["s0"]) if packet.mptcp and packet.src not in server]
    assert not passed, f"{len(passed)} packets, first {passed[0].src} > {passed[0].dst}"
    return len(passed)

