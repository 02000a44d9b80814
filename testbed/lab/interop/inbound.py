"""Connections from the Internet to the customer's host."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack

from .. import peer
from ..bulk import carries, move
from ..capture import ACK, SYN, Packet, read
from ..chain import LINK1, LINK2, Chain
from ..chainconfig import PRIMARY, SECONDARY, V4, V6, WIRE, Setup
from ..shell import LabError
from .rows import at_least, punctual, row, rust_test

BULK = Setup(links=(PRIMARY, SECONDARY))
NO_HYBRID = Setup(links=(WIRE, WIRE), boxes=("hag",))
SECONDS = 8.0


@row("I-IN1", "H's upload by a connection that the Internet opened, of the sum of both links; H sees the client's own address", goal=">= 0.90", unit="of the sum", on=BULK)
def upload_of_an_inbound_connection(made: Chain) -> float:
    before = {line.name: made.carried(line)["up"]["sent_octets"] for line in (LINK1, LINK2)}
    with punctual(made):
        moved = move(made, "up", SECONDS, inbound=True)
    assert moved.exact, "what arrived is not what was sent"
    assert moved.seen == [V4.server], f"H saw {moved.seen}"
    by = {line.name: made.carried(line)["up"]["sent_octets"] - before[line.name] for line in (LINK1, LINK2)}
    assert all(octets > moved.octets // 10 for octets in by.values()), f"octets by link: {by}"
    return round(at_least(moved.mbps / carries(20, 40), 0.90, "goodput"), 3)


@row("I-IN1", "H's download by such a connection, over IPv6, of what the links carry of that", goal=">= 0.90", unit="of the sum", on=BULK)
def download_of_an_inbound_connection(made: Chain) -> float:
    with punctual(made):
        moved = move(made, "down", SECONDS, inbound=True, six=True)
    assert moved.exact and moved.seen == [V6.server], f"exact: {moved.exact}, H saw {moved.seen}"
    return round(at_least(moved.mbps / carries(20, 40, six=True), 0.90, "goodput"), 3)


def _first(packets: list[Packet], flags: int) -> Packet:
    found = [packet for packet in packets if packet.flags & (SYN | ACK) == flags]
    if not found:
        raise LabError("the handshake was not captured")
    return found[0]


CONNECTIONS = 50


@row("I-IN1", "connections whose SYN+ACK left for the client after H's and the HCPE's, in mirrored order, SYNs verbatim, no MPTCP towards Internet or H", goal=f"= {2 * CONNECTIONS}", unit="connections")
def the_order_is_mirrored(made: Chain) -> int:
    with made.capture("s0", "a1", "h0", only="tcp") as files:
        for family, ends in ((socket.AF_INET, V4), (socket.AF_INET6, V6)):
            with peer.listening(made.host, peer.sends(b"hello"), family=family, port=8000):
                for _ in range(CONNECTIONS):
                    with made.server.socket(family) as conn:
                        conn.settimeout(peer.PATIENCE_S)
                        conn.connect((ends.host, 8000))
                        assert peer.read_all(conn) == b"hello"
    flows: dict[str, dict[tuple[str, int], list[Packet]]] = {}
    for name, path in files.items():
        flows[name] = {}
        for packet in read(path):
            port = packet.sport if packet.dport == 8000 else packet.dport if packet.sport == 8000 else 0
            client = packet.src if packet.dport == 8000 else packet.dst
            if port and client in (V4.server, V6.server):
                flows[name].setdefault((client, port), []).append(packet)
    right = 0
    for flow, at_client in flows["s0"].items():
        at_hag, at_host = flows["a1"][flow], flows["h0"][flow]
        asked, offered, reached = (_first(packets, SYN) for packets in (at_client, at_hag, at_host))
        answered, between, told = (_first(packets, SYN | ACK) for packets in (at_host, at_hag, at_client))
        assert asked.at <= offered.at <= reached.at <= answered.at <= between.at <= told.at, f"{flow}: out of order"
        assert asked.seq == offered.seq == reached.seq, f"{flow}: the SYN's number changed"
        assert offered.mptcp == [0] and between.mptcp == [0], f"{flow}: no MP_CAPABLE between the boxes"
        leaks = [packet for packet in (*at_client, *at_host) if packet.mptcp]
        assert not leaks, f"{flow}: MPTCP options reached an end"
        syns = sum(packet.flags & (SYN | ACK) == SYN for packet in at_host)
        assert syns == 1, f"{flow}: H got {syns} SYNs"
        right += 1
    assert right == 2 * CONNECTIONS, f"{right} connections"
    return right


@row("I-IN1", "a closed port of H's refuses the client at once: time to the refusal", goal="<= 100", unit="ms")
def a_closed_port_refuses(made: Chain) -> float:
    times = []
    for family, ends in ((socket.AF_INET, V4), (socket.AF_INET6, V6)):
        with made.server.socket(family) as conn:
            conn.settimeout(5)
            begin = time.monotonic()
            try:
                conn.connect((ends.host, 81))
                raise AssertionError("a closed port accepted")
            except ConnectionRefusedError:
                times.append((time.monotonic() - begin) * 1e3)
    assert max(times) <= 100, f"{max(times):.0f} ms"
    return round(max(times), 1)


@row("I-IN1", "virtual time: both accesses, IPv4 and IPv6, half-close, refusal, silence, resets, options", goal="all pass")
def inbound_in_virtual_time() -> str:
    return rust_test("apps", "inbound")


@row("I-IN2", "connections from the Internet to a customer without an HCPE: exact, plain, and nothing left of them", goal="= 40", unit="connections", on=NO_HYBRID)
def a_plain_customer(made: Chain) -> int:
    data = peer.payload(300_000, 3)
    done = 0
    before = made.hag.counters()
    for family, ends in ((socket.AF_INET, V4), (socket.AF_INET6, V6)):
        with ExitStack() as stack:
            stack.enter_context(peer.listening(made.host, peer.sends(data), family=family, port=8000))
            for _ in range(20):
                with made.server.socket(family) as conn:
                    conn.settimeout(peer.PATIENCE_S)
                    conn.connect((ends.host, 8000))
                    assert peer.read_all(conn) == data, "what arrived is not what was sent"
                done += 1
    after = made.hag.counters()
    moved = {name: after[name] - before[name] for name in ("cut_through", "bypass_plain_peer", "relay_opened")}
    assert moved == {"cut_through": 2, "bypass_plain_peer": 38, "relay_opened": 0}, f"{moved}"
    assert after["pending"] == after["relays"] == 0, f"left: {after['pending']} pending, {after['relays']} relays"
    return done
