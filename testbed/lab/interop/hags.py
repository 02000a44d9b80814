"""Customers of two HAGs and of one: whose joins arrive where, what becomes of one that goes astray, and what two customers
have of each other."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from .. import peer
from ..beside import HAG, ONE_HAG, OTHER4, OTHER6, OTHER_HAG, TWO_HAGS, other_customer, other_hag
from ..capture import ACK, HEADERS, RST, SYN, Packet, read, tcp_options
from ..chain import Chain
from ..chainconfig import V4, V6, Ends
from ..netns import Namespace
from .rows import row

PORT = 8600
SIZE = 300_000
CONNECTIONS = 20
MP_JOIN = 1


def _join(packet: Packet) -> bool:
    return packet.flags & (SYN | ACK) == SYN and MP_JOIN in packet.mptcp


def _exchange(opener: Namespace, address: str) -> socket.socket:
    """Data both ways, a pause in which joins have their time, and the same again; the connection, which is still open."""
    conn = peer.connect(opener, address, mptcp=False, port=PORT)
    for seed in (20, 21):
        assert peer.echoed(conn, SIZE, seed), f"{address}: what arrived is not what was sent"
        time.sleep(0.2)
    return conn


def _several(opener: Namespace) -> None:
    for turn in range(CONNECTIONS // 4):
        _exchange(opener, (V4, V6)[turn % 2].server).close()


def _carrying(file: Path, ends: tuple[Ends, Ends]) -> int:
    """Subflows of a capture between a customer's secondary address and its HAG's that have carried data to the HAG."""
    ways = {(each.hcpe2, each.announced) for each in ends}
    return len({(packet.src, packet.sport, packet.dport) for packet in read(file) if packet.payload and (packet.src, packet.dst) in ways})


@row("P4b", f"joins that arrive at another HAG than their customer's, of {CONNECTIONS} connections of each of two customers; all are exact, joined and carry data on X", goal="0", unit="joins", on=TWO_HAGS)
def each_join_at_its_own_hag(made: Chain) -> int:
    other_hag(made)
    other = other_customer(made, OTHER_HAG)
    boxes = (made.hag, made.boxes["other-hag"])
    before = [box.counters() for box in boxes]
    with made.capture("a1", "a2", "other-a1", "other-a2", only="tcp", snap=HEADERS, at_once=False) as files:
        with peer.listening(made.server, peer.echoes, family=socket.AF_INET6, port=PORT), ThreadPoolExecutor(8) as pool:
            list(pool.map(_several, [made.host, other] * 4))
    wrong = 0
    for box, then, ends, name in zip(boxes, before, ((V4, V6), (OTHER4, OTHER6)), ("a", "other-a"), strict=True):
        own = {(each.hcpe2, each.announced) for each in ends}
        joins = {(packet.src, packet.dst) for packet in read(files[f"{name}2"]) if _join(packet)}
        assert joins >= own, f"{box.name}: joins only of {joins}"
        wrong += len(joins - own) + sum(_join(packet) for packet in read(files[f"{name}1"]))
        carrying = _carrying(files[f"{name}2"], ends)
        moved = {what: count - then[what] for what, count in box.counters().items() if what in ("join_accepted", "join_no_token", "relay_opened")}
        assert moved == {"join_accepted": CONNECTIONS, "join_no_token": 0, "relay_opened": CONNECTIONS}, f"{box.name}: {moved}"
        assert carrying == CONNECTIONS, f"{box.name}: {carrying} of {CONNECTIONS} connections had data on X"
    assert not wrong, f"{wrong} joins at the wrong box"
    return wrong


@row("P4b", "customers of two HAGs talk to each other: both boxes bond, each with its own customer; both directions of opening, both families", goal="4", unit="connections", on=TWO_HAGS)
def customers_of_two_hags(made: Chain) -> int:
    other_hag(made)
    other = other_customer(made, OTHER_HAG)
    done = 0
    for opener, answerer, ends, seen in ((made.host, other, (OTHER4, OTHER6), (V4, V6)), (other, made.host, (V4, V6), (OTHER4, OTHER6))):
        for to, whence in zip(ends, seen, strict=True):
            with made.capture("c1", "a2", "other-a2", only="tcp", snap=HEADERS) as files:
                with peer.listening(answerer, peer.echoes, family=socket.AF_INET6, port=PORT) as server, _exchange(opener, to.host):
                    subflows = [len(box.connections()[0]["subflows"]) for box in (made.hag, made.boxes["other-hag"])]
                    peers = {address.removeprefix("::ffff:") for address in server.peers}
            assert peers == {whence.host}, f"{to.host} saw {peers}"
            assert subflows == [2, 2], f"subflows at the HAGs: {subflows}"
            carried = [sum(packet.payload for packet in read(files[name])) for name in ("a2", "other-a2")]
            assert all(carried), f"octets on X: {carried}"
            between = [packet for packet in read(files["c1"]) if packet.mptcp]
            assert not between, f"{len(between)} packets with MPTCP between the HAGs"
            done += 1
    return done


@row("I-CUT", "customers of one HAG talk to each other: connections that are exact and plain, with nothing on X and nothing kept by a box", goal="4", unit="connections", on=ONE_HAG)
def customers_of_one_hag(made: Chain) -> int:
    other = other_customer(made, HAG)
    before = made.hag.counters()
    done = 0
    for opener, answerer, ends, seen in ((made.host, other, (OTHER4, OTHER6), (V4, V6)), (other, made.host, (V4, V6), (OTHER4, OTHER6))):
        for to, whence in zip(ends, seen, strict=True):
            with made.capture("w1", "w2", "other-w1", "other-w2", only="tcp", snap=HEADERS) as files:
                with peer.listening(answerer, peer.echoes, family=socket.AF_INET6, port=PORT) as server, _exchange(opener, to.host):
                    kept = {name: box.connections() for name, box in made.boxes.items()}
                    peers = {address.removeprefix("::ffff:") for address in server.peers}
            assert peers == {whence.host}, f"{to.host} saw {peers}"
            assert not any(kept.values()), f"kept: {kept}"
            near, far = ("w1", "other-w1") if opener is made.host else ("other-w1", "w1")
            offers = [packet for packet in read(files[near]) if packet.mptcp]
            assert offers and all(packet.flags & (SYN | ACK) == SYN for packet in offers), f"{len(offers)} packets with MPTCP at {near}"
            reached = [packet for packet in read(files[far]) if packet.mptcp]
            assert not reached, f"{len(reached)} packets with MPTCP reached {far}"
            assert not any(packet.payload for name in ("w2", "other-w2") for packet in read(files[name])), "data on X"
            done += 1
    after = made.hag.counters()
    moved = {name: after[name] - before[name] for name in ("bypass_subscriber_to_subscriber", "pending_opened")}
    assert moved == {"bypass_subscriber_to_subscriber": done, "pending_opened": 0}, f"{moved}"
    # Each is bonded with the Internet all the same.
    with peer.listening(made.server, peer.echoes, port=PORT):
        for host in (made.host, other):
            with _exchange(host, V4.server):
                assert len(made.hag.connections()[0]["subflows"]) == 2
            assert made.hag.relays_left() == 0
    return done


ASTRAY = replace(TWO_HAGS, hcpe={
    "routes": [
        {"to": "0.0.0.0/0", "via": "10.1.0.1"}, {"to": "::/0", "via": "fd00:1::1"},
        {"to": f"{V4.announced}/32", "via": f"10.2.0.{OTHER_HAG}"}, {"to": f"{V6.announced}/128", "via": f"fd00:2::{OTHER_HAG}"},
    ],
})  # fmt: skip
"""The customer's route to its HAG's secondary address leads to the other HAG."""


@row("P4b", "two HAGs were given one secondary address, and joins reach the wrong one: SYNs of them until it is left alone; each was reset with MP_TCPRST, and the connection goes on exactly by P", goal="1", unit="SYN a connection", on=ASTRAY, fresh=True)
def a_join_goes_astray(made: Chain) -> float:
    other_hag(made, (V4.announced, V6.announced))
    stray = made.boxes["other-hag"]
    count = 0
    with made.capture("a2", "other-a2", only="tcp") as files:
        with peer.listening(made.server, peer.echoes, family=socket.AF_INET6, port=PORT):
            for ends in (V4, V6):
                with _exchange(made.host, ends.server) as conn:
                    # A second try would come after a second.
                    time.sleep(2.0)
                    assert len(made.hag.connections()[0]["subflows"]) == 1, "joined"
                    assert peer.echoed(conn, SIZE, 22), "what arrived is not what was sent"
                count += 1
    assert not any(_join(packet) for packet in read(files["a2"])), "a join found its way to its own HAG"
    asked = [packet for packet in read(files["other-a2"]) if _join(packet)]
    answers = [packet for packet in read(files["other-a2"]) if packet.src in (V4.announced, V6.announced)]
    assert answers and all(packet.flags & RST for packet in answers), f"flags {[packet.flags for packet in answers]}"
    # RFC 8684 3.2 and 3.6: an error of MPTCP, and no transient one.
    said = [[data for kind, data in tcp_options(packet.options) if kind == 30] for packet in answers]
    assert all(options == [b"\x80\x01"] for options in said), f"{said}"
    assert stray.counters()["join_no_token"] == len(asked) == len(answers), f"{len(asked)} asked, {len(answers)} answered"
    assert made.hcpe.counters()["join_stopped"] == count
    return len(asked) / count
