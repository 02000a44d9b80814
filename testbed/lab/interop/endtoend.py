"""A server that speaks Multipath TCP as a HAG does, and no HAG on the path: the HCPE's peer is then the server itself.

A kernel does so with `allow_join_initial_addr_port=0`: it denies joins to its own address (RFC 8684 3.1, C). One that does
not is cut through (see `boundaries`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from ..capture import SYN, Packet, read
from ..chain import Chain
from ..chainconfig import V4, V6
from ..kernelrelay import announcing
from ..turns import take_turns
from .boundaries import NO_HAG
from .rows import row
from .standins import carried, troubles

SIZE = 2_000_000
SECOND = "10.9.0.3"
"""One more address of the server's, which it announces."""

STRANGE = replace(NO_HAG, hcpe={"hag": {"addresses": []}})
NAMED = replace(NO_HAG, hcpe={
    "hag": {"addresses": [], "prefixes": [f"{SECOND}/32"]},
    "routes": [{"to": "0.0.0.0/0", "via": "10.1.0.1"}, {"to": "::/0", "via": "fd00:1::1"}, {"to": f"{SECOND}/32", "via": "10.2.0.1"}],
    # So that X carries half of what H sends, whatever the links and the machine are like.
    "policy": {"scheduler": "weighted"},
})  # fmt: skip


@contextmanager
def _speaking(made: Chain, second: str = "") -> Iterator[None]:
    """S speaks Multipath TCP while the block runs, denies joins to its address, and announces its `second` one."""
    made.once("speaks", lambda: announcing(made.server, second))
    made.server.sysctl(net__mptcp__enabled=1)
    try:
        yield
    finally:
        made.server.sysctl(net__mptcp__enabled=0)


def _joins(packets: list[Packet], *servers: str) -> list[Packet]:
    return [packet for packet in packets if packet.flags & SYN and 1 in packet.mptcp and {packet.src, packet.dst} & set(servers)]


@row("I-CUT", "joins from or to a server that speaks Multipath TCP with the HCPE, of a connection in each family, exact both ways over P; S sees one address", goal="0", unit="joins", on=NO_HAG, fresh=True)
def a_server_in_the_hags_place(made: Chain) -> int:
    joins, before = [], troubles(made.server)
    with _speaking(made):
        for number, ends in enumerate((V4, V6)):
            with made.capture("s0", "w2", only="tcp") as files:
                kept = take_turns(made, 8430 + number, SIZE, address=ends.server, mptcp=True, look=made.hcpe.connections)
            assert len(kept) == 1 and len(kept[0]["subflows"]) == 1, f"the HCPE shows {kept}"
            # The router in the HAG's place sends what is for the HAG's address that way too: it is not S's.
            packets = [packet for packet in read(files["s0"]) if ends.server in (packet.src, packet.dst)]
            strange = {packet.src for packet in packets} - {ends.host, ends.server}
            assert packets and not strange, f"S saw {sorted(strange)}"
            assert any(2 in packet.mptcp for packet in packets if packet.payload), "no data was mapped: this proves nothing"
            joins += _joins([*packets, *read(files["w2"])], ends.server)
    assert not joins, f"{len(joins)} joins, first {joins[0].src} > {joins[0].dst}"
    assert troubles(made.server) == before, f"S counted {troubles(made.server)}, before {before}"
    return len(joins)


def _announced(made: Chain, port: int) -> tuple[int, dict[str, int]]:
    """Joins to the second address that S announces, and what X carried."""
    with _speaking(made, SECOND), made.capture("s0", "w2", only="tcp") as files:
        take_turns(made, port, SIZE, mptcp=True)
    packets = list(read(files["s0"]))
    assert any(3 in packet.mptcp for packet in packets if packet.src == V4.server), "S announced nothing: this proves nothing"
    assert not troubles(made.server), f"S counted {troubles(made.server)}"
    return len(_joins([packet for packet in packets if packet.dst == SECOND], SECOND)), carried(files["w2"])


@row("X3", "joins to an address that a server announces where no HAG is on the path, outside of the prefixes that the operator named", goal="0", unit="joins", on=STRANGE, fresh=True)
def what_a_server_announces_is_not_joined(made: Chain) -> int:
    joins, octets = _announced(made, 8440)
    assert not joins and not sum(octets.values()), f"{joins} joins, X carried {octets}"
    return joins


@row("X3", "the same where the operator named it: joined, and each direction by both paths, between our HCPE and a kernel server", goal="1", unit="joins", on=NAMED, fresh=True)
def a_server_that_the_operator_named_is_joined(made: Chain) -> int:
    joins, octets = _announced(made, 8441)
    assert joins == 1 and min(octets.values()) > SIZE // 20, f"{joins} joins, X carried {octets}"
    return joins
