"""Routes that lead past the HAG in one direction: it sees half of a connection, steps out of the way and keeps nothing."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .. import peer
from ..beside import BY_ROUTER, lead
from ..capture import HEADERS, read
from ..chain import Chain
from ..chainconfig import V4, V6
from ..netns import Namespace
from .rows import row, rust_test

PORT = 8700
SIZE = 300_000


@contextmanager
def _led(made: Chain, *, up: str, down: str) -> Iterator[dict[str, Path]]:
    """Captures while routes lead so; afterwards the HAG must hold nothing, and in a moment: nobody waits for a timeout."""
    lead(made, up=up, down=down)
    try:
        with made.capture("c1", "a1", "s0", "w1", "w2", only="tcp", snap=HEADERS) as files:
            yield files
    finally:
        lead(made, up="by", down="by")


def _plainly(made: Chain, opener: Namespace, answerer: Namespace, address: str, *, native: bool = False) -> None:
    """One connection, exact both ways, of which the HAG keeps nothing while it goes on."""
    with peer.listening(answerer, peer.echoes, family=socket.AF_INET6, port=PORT, mptcp=native) as server:
        with peer.connect(opener, address, mptcp=False, port=PORT) as conn:
            assert peer.echoed(conn, SIZE, 30), f"{address}: what arrived is not what was sent"
            time.sleep(0.3)
            kept = {name: made.hag.counters()[name] for name in ("relays", "pending")}
            assert not any(kept.values()), f"{address}: the HAG keeps {kept}"
            assert peer.echoed(conn, SIZE, 31), f"{address}: what arrived is not what was sent"
        seen = {each.removeprefix("::ffff:") for each in server.peers}
        own = {V4.host, V6.host} if opener is made.host else {V4.server, V6.server}
        assert seen <= own and seen, f"the one called saw {seen}"


def _passed(files: dict[str, Path]) -> None:
    """The HAG was on the path of one direction alone."""
    ways = {packet.src in (V4.host, V6.host) for packet in read(files["c1"]) if packet.payload and PORT in (packet.sport, packet.dport)}
    assert len(ways) == 1, "the HAG saw data of both directions" if ways else "the HAG saw no data"


@row("I-CUT", "connections of which the HAG sees only what H sends, opened by H and by S, in both families: exact, plain, nothing towards S or H has an MPTCP option, and nothing is kept", goal="4", unit="connections", on=BY_ROUTER)
def the_answers_miss_the_hag(made: Chain) -> int:
    before = made.hag.counters()["cut_through_one_way"]
    with _led(made, up="by", down="past") as files:
        for opener, answerer, ends in ((made.host, made.server, "server"), (made.server, made.host, "host")):
            for family in (V4, V6):
                _plainly(made, opener, answerer, getattr(family, ends))
    _passed(files)
    strange = [packet for name in ("c1", "s0") for packet in read(files[name]) if packet.mptcp]
    strange += [packet for packet in read(files["w1"]) if packet.mptcp and packet.src not in (V4.host, V6.host)]
    assert not strange, f"{len(strange)} packets, first {strange[0]}"
    offers = {packet.src for packet in read(files["a1"]) if packet.mptcp}
    assert offers == {V4.host, V6.host}, f"the HAG was asked by {offers}"
    cut = made.hag.counters()["cut_through_one_way"] - before
    assert cut == 2, f"{cut} cut through"
    assert not any(packet.payload for packet in read(files["w2"])), "data on X"
    return 4


@row("I-CUT", "connections of which the HAG sees only what S sends, likewise, and opened by H to a server that speaks Multipath TCP", goal="6", unit="connections", on=BY_ROUTER)
def what_the_host_sends_misses_the_hag(made: Chain) -> int:
    before = made.hag.counters()
    with _led(made, up="past", down="by") as files:
        for opener, answerer, ends in ((made.host, made.server, "server"), (made.server, made.host, "host")):
            for family in (V4, V6):
                _plainly(made, opener, answerer, getattr(family, ends))
        made.server.sysctl(net__mptcp__enabled=1)
        try:
            for family in (V4, V6):
                _plainly(made, made.host, made.server, family.server, native=True)
        finally:
            made.server.sysctl(net__mptcp__enabled=0)
    _passed(files)
    moved = {name: made.hag.counters()[name] - before[name] for name in ("cut_through_one_way", "stripped_answer", "relay_opened")}
    assert moved == {"cut_through_one_way": 2, "stripped_answer": 2, "relay_opened": 0}, f"{moved}"
    assert not any(packet.payload for packet in read(files["w2"])), "data on X"
    return 6


@row("I-CUT", "half a flow in virtual time: when it is freed, what passes then, and what never does", goal="all pass")
def half_a_flow_in_virtual_time() -> str:
    return rust_test("apps", "odd_routes")
