"""A kernel router with a narrower MTU than its neighbors', on each leg: one that says so by ICMP, and one that does not."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from ..capture import Packet, read
from ..chain import CORE, LINK1, LINK2, Chain
from ..chainconfig import V4, V6, Ends
from ..topology import Line
from ..turns import take_turns
from .addresses import ROUTED
from .rows import PLAIN, at_most, row

MTU = 1400
WHOLE = 8
"""Octets that a data sequence number and a DATA_ACK are longer by than their lower halves."""

SIZE = 3_000_000
JOINED_S = 0.7
"""How long the ends are silent after a turn, so that X is joined when the next begins."""

INNER = [{"to": "0.0.0.0/0", "via": V4.server}, {"to": "::/0", "via": V6.server}]
OUTER = [{"to": "10.10.0.0/24", "via": V4.hcpe1}, {"to": "fd00:10::/64", "via": V6.hcpe1}]
ON_P = replace(PLAIN, hag={
    "ports": {"access1": {"addresses": ["10.11.0.1/24", "fd00:11::1/64"]}},
    "routes": [*INNER, {"to": "10.10.0.0/24", "via": "10.11.0.2"}, {"to": "fd00:10::/64", "via": "fd00:11::2"}],
    "subscribers": ["10.10.0.0/24", "fd00:10::/64"],
})  # fmt: skip
ON_X = ROUTED
ON_CORE = replace(PLAIN, hag={
    "ports": {"core": {"addresses": ["10.8.0.1/24", "fd00:8::1/64"]}},
    "routes": [{"to": "0.0.0.0/0", "via": "10.8.0.2"}, {"to": "::/0", "via": "fd00:8::2"}, *OUTER],
})  # fmt: skip

SWALLOWS = """table inet quiet {
  chain out { type filter hook output priority 0; icmp type destination-unreachable drop; icmpv6 type packet-too-big drop; }
}
"""


def _router(made: Chain, line: Line, *, tells: bool) -> None:
    """Puts the router into a line. What it passes on must fit `MTU`, but for what S sends: that is S's own affair."""
    ends = {
        LINK1: (("10.1.0.1/24", "fd00:1::1/64"), ("10.11.0.2/24", "fd00:11::2/64")),
        LINK2: (("10.2.0.1/24", "fd00:2::1/64"), ("10.22.0.1/24", "fd00:22::1/64")),
        CORE: (("10.8.0.2/24", "fd00:8::2/64"), (f"{V4.core}/24", f"{V6.core}/64")),
    }[line]
    narrow = {
        LINK1: ("10.10.0.0/24 via 10.1.0.2", "10.9.0.0/24 via 10.11.0.1", "fd00:10::/64 via fd00:1::2", "fd00:9::/64 via fd00:11::1"),
        LINK2: (f"{V4.hcpe2}/32 dev left", f"{V4.announced}/32 via 10.22.0.2", f"{V6.hcpe2}/128 dev left", f"{V6.announced}/128 via fd00:22::2"),
        CORE: (f"{V4.server}/32 dev right", f"{V6.server}/128 dev right"),
    }[line]
    wide = ("10.10.0.0/24 via 10.8.0.1", "fd00:10::/64 via fd00:8::1") if line is CORE else ()
    space = made.become_router(line, *ends, *(f"{way} mtu {MTU}" for way in narrow), *wide)
    if not tells:
        space.run("nft", "-f", "-", stdin=SWALLOWS)


def _lengths(file: Path, source: str) -> list[int]:
    """Octets of the IP packets with payload that somebody sent."""

    def length(packet: Packet) -> int:
        return (40 if ":" in packet.src else 20) + 20 + len(packet.options) + packet.payload

    return [length(packet) for packet in read(file) if packet.src == source and packet.payload]


def _slowest(made: Chain, line: Line, *, tells: bool) -> float:
    """The seconds that a connection of a family took at most, exact both ways; whatever our boxes send into the router fits
    in the second half of what they send, and is no smaller than need be where they are told: but for the octets of whole numbers, which may come to stand in the place of
    their lower halves while a segment waits to be sent again."""
    _router(made, line, tells=tells)
    slowest = 0.0
    for number, ends in enumerate((V4, V6)):
        with made.capture(line.left, line.right, only="tcp", snap=134) as files:
            begin = time.monotonic()
            take_turns(made, 8820 + number, SIZE, address=ends.server, pauses=(JOINED_S, 0.0))
            slowest = max(slowest, time.monotonic() - begin - JOINED_S)
        for name, source in _senders(line, ends):
            lengths = _lengths(files[name], source)
            assert lengths and max(lengths) > MTU, f"{name}: of {len(lengths)} packets none was too large: this proves nothing"
            largest = max(lengths[len(lengths) // 2 :])
            assert largest <= MTU, f"{name}: at last packets of {largest} octets still left, of {len(lengths)}"
            assert not tells or largest > MTU - WHOLE - 4, f"{name}: told of {MTU} octets, packets have {largest} at most"
    return round(slowest, 2)


def _senders(line: Line, ends: Ends) -> list[tuple[str, str]]:
    """Where our boxes send into the router, and from which address."""
    if line is CORE:
        return [(line.left, ends.host)]
    if line is LINK2:
        return [(line.left, ends.hcpe2), (line.right, ends.announced)]
    return [(line.left, ends.host), (line.right, ends.server)]


@row("I-ICMP1", "seconds for 6 MB each way, the slower family: P has a router with an MTU of 1400 that says so", goal="<= 5", unit="s", on=ON_P, fresh=True)
def a_narrow_primary_that_tells(made: Chain) -> float:
    return at_most(_slowest(made, LINK1, tells=True), 5.0, "seconds")


@row("I-ICMP1", "the same, and nothing that it says arrives", goal="<= 5", unit="s", on=ON_P, fresh=True)
def a_narrow_primary_that_is_silent(made: Chain) -> float:
    return at_most(_slowest(made, LINK1, tells=False), 5.0, "seconds")


@row("I-ICMP1", "seconds for 6 MB each way, the slower family: X has a router with an MTU of 1400 that says so", goal="<= 5", unit="s", on=ON_X, fresh=True)
def a_narrow_secondary_that_tells(made: Chain) -> float:
    return at_most(_slowest(made, LINK2, tells=True), 5.0, "seconds")


@row("I-ICMP1", "the same, and nothing that it says arrives", goal="<= 5", unit="s", on=ON_X, fresh=True)
def a_narrow_secondary_that_is_silent(made: Chain) -> float:
    return at_most(_slowest(made, LINK2, tells=False), 5.0, "seconds")


@row("I-ICMP1", "seconds for 6 MB each way, the slower family: a router with an MTU of 1400 stands before S and says so", goal="<= 5", unit="s", on=ON_CORE, fresh=True)
def a_narrow_core_that_tells(made: Chain) -> float:
    return at_most(_slowest(made, CORE, tells=True), 5.0, "seconds")


@row("I-ICMP1", "the same, and nothing that it says arrives", goal="<= 5", unit="s", on=ON_CORE, fresh=True)
def a_narrow_core_that_is_silent(made: Chain) -> float:
    return at_most(_slowest(made, CORE, tells=False), 5.0, "seconds")
