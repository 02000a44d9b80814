"""Whose addresses stand where."""

from __future__ import annotations

import socket
import threading
import time
from ipaddress import ip_address, ip_network

from .. import peer
from ..bulk import both_ways, move
from ..capture import HEADERS, SYN, read
from ..chain import CORE, LINK1, LINK2, Chain
from ..chainconfig import V4, V6, WIRE, Ends, Link, Setup
from ..frames import frames
from ..verdicts import foreign_sources
from .rows import PLAIN, row

def sources(file, *, of=lambda frame: True) -> set[str]:  # noqa: ANN001
    """Source addresses of the IP packets of a capture; link-local ones are the neighbors' own business."""
    return {frame.src for frame in frames(file) if of(frame) and not ip_address(frame.src).is_link_local and not ip_address(frame.src).is_unspecified}


def _talk(made: Chain, ends: Ends) -> None:
    """TCP, UDP and ICMP from H to S, over one family."""
    family = socket.AF_INET6 if ":" in ends.server else socket.AF_INET
    made.host.run("ping", "-c", "2", "-i", "0.2", ends.server)
    with made.server.entered():
        sink = socket.socket(family, socket.SOCK_DGRAM)
    with made.host.entered():
        source = socket.socket(family, socket.SOCK_DGRAM)
    with sink, source:
        sink.bind((ends.server, 7000))
        sink.settimeout(5)
        source.sendto(b"question", (ends.server, 7000))
        said, whence = sink.recvfrom(100)
        assert said == b"question" and whence[0] == ends.host, f"the server saw UDP from {whence[0]}"
        sink.sendto(b"answer", whence)
        source.settimeout(5)
        assert source.recv(100) == b"answer"
    assert all(moved.exact for moved in both_ways(made, 0.6, six=family == socket.AF_INET6).values())


@row("R3", "source addresses beside H's own that S sees in TCP, UDP and ICMP of both families", goal="0", unit="addresses")
def the_server_sees_one_address(made: Chain) -> int:
    joined = made.hag.counters().get("joins", 0)
    with made.capture("s0", "w2", snap=HEADERS, at_once=False) as files:
        for ends in (V4, V6):
            _talk(made, ends)
    own = {V4.server, V6.server, V4.core, V6.core}
    seen = sources(files["s0"]) - own
    assert {V4.host, V6.host} <= seen, f"S saw {sorted(seen)}"
    assert any(packet.payload for packet in read(files["w2"])), "nothing went over X: what S sees proves nothing"
    strange = seen - {V4.host, V6.host}
    assert not strange, f"S saw {sorted(strange)} too (joins before: {joined})"
    return len(strange)


@row("P9", "packets of the primary access with other addresses than H's and S's, while both families are bonded", goal="0", unit="packets")
def the_primary_carries_the_ends_addresses(made: Chain) -> int:
    with made.capture("h0", "w1", "s0", only="tcp", snap=HEADERS, at_once=False) as files:
        for six in (False, True):
            assert all(moved.exact for moved in both_ways(made, 0.5, six=six).values())
    allowed = ({V4.host, V4.server}, {V6.host, V6.server})
    strange = [packet for file in files.values() for packet in read(file) if {packet.src, packet.dst} not in allowed]
    assert not strange, f"{len(strange)} packets, first {strange[0].src} > {strange[0].dst}"
    return len(strange)


CONNECTIONS = 600


@row("S2-4", "packets with a foreign source: H's address on X, the HCPE's secondary address on P, over hundreds of connections and two failures of X", goal="0", unit="packets", limit=100)
def no_foreign_sources(made: Chain) -> int:
    data = peer.payload(6_000, 3)
    failed: list[str] = []

    def some(count: int) -> None:
        for _ in range(count):
            try:
                with peer.connect(made.host, V4.server, mptcp=False, port=80) as conn:
                    if peer.read_all(conn) != data:
                        failed.append("other octets")
            except OSError as wrong:
                failed.append(str(wrong))

    with made.capture("w1", "w2", "a1", "a2", at_once=False, snap=HEADERS) as files, peer.listening(made.server, peer.sends(data)):
        threads = [threading.Thread(target=some, args=(CONNECTIONS // 4,), daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        for way in ("down", "up"):
            fault = threading.Timer(0.7, lambda: made.cut(LINK2, dead=True))
            fault.start()
            assert move(made, way, 2.0).exact
            fault.join()
            made.cut(LINK2, dead=False)
        for thread in threads:
            thread.join(60)
    assert not failed, f"{len(failed)} connections failed: {failed[0]}"
    bad = foreign_sources(files["w1"], files["w2"]) + foreign_sources(files["a1"], files["a2"])
    assert not bad, f"{len(bad)} packets, first {bad[0]}"
    joins = sum(bool(packet.flags & SYN) for packet in read(files["w2"]))
    assert joins > 2, f"only {joins} SYNs on X: nothing was put to the test"
    return len(bad)


# A narrow primary, so that X is needed.
NARROW = Link(20, 10)
NEEDED = Setup(links=(NARROW, WIRE))
SHARED = Setup(
    links=(NARROW, WIRE),
    hcpe={
        "ports": {"wan2": {"addresses": ["100.64.2.2/24"]}},
        "routes": [{"to": "0.0.0.0/0", "via": "10.1.0.1"}, {"to": "::/0", "via": "fd00:1::1"}, {"to": "100.64.99.2/32", "via": "100.64.2.1"}],
        "hag": {"addresses": ["100.64.99.2"], "prefixes": ["100.64.99.0/24"]},
    },
    hag={"ports": {"access2": {"addresses": ["100.64.2.1/24"]}}, "mptcp": {"announce": ["100.64.99.2"]}},
)


@row("R4", "X numbered from 100.64.0.0/10 (RFC 6598): share of a transfer that it carries, and none of it shows at S", goal=">= 0.4", unit="of the octets", on=SHARED)
def a_secondary_of_shared_addresses(made: Chain) -> float:
    with made.capture("w1", "w2", "s0", only="tcp", snap=HEADERS, at_once=False) as files:
        moved = move(made, "down", 1.5)
    assert moved.exact and moved.seen == [V4.host]
    return _share_on_x(files)


@row("R4", "X numbered from RFC 1918 and ULA: share of a transfer that it carries in each family, the lesser", goal=">= 0.4", unit="of the octets", on=NEEDED)
def a_secondary_of_private_addresses(made: Chain) -> float:
    shares = []
    for six in (False, True):
        with made.capture("w1", "w2", "s0", only="tcp", snap=HEADERS, at_once=False) as files:
            assert move(made, "down", 1.5, six=six).exact
        shares.append(_share_on_x(files))
    return min(shares)


def _share_on_x(files: dict) -> float:
    assert sources(files["s0"]) <= {V4.host, V6.host, V4.server, V6.server}, f"S saw {sources(files['s0'])}"
    octets = [sum(packet.payload for packet in read(files[name])) for name in ("w1", "w2")]
    share = octets[1] / max(1, sum(octets))
    assert share >= 0.4, f"octets on P and X: {octets}"
    return round(share, 2)


ROUTED = Setup(
    links=(NARROW, WIRE),
    hag={
        "ports": {"access2": {"addresses": ["10.22.0.2/24", "fd00:22::2/64"]}},
        "routes": [
            {"to": "0.0.0.0/0", "via": V4.server}, {"to": "::/0", "via": V6.server},
            {"to": "10.10.0.0/24", "via": V4.hcpe1}, {"to": "fd00:10::/64", "via": V6.hcpe1},
            {"to": "10.2.0.0/24", "via": "10.22.0.1"}, {"to": "fd00:2::/64", "via": "fd00:22::1"},
        ],
    },
)  # fmt: skip


def isolate(made: Chain) -> None:
    """Makes X a router of another operator that knows the HCPE's network and one route to each of the HAG's addresses, nothing else."""
    made.once("isolated", lambda: made.become_router(
        LINK2, ("10.2.0.1/24", "fd00:2::1/64"), ("10.22.0.1/24", "fd00:22::1/64"),
        f"{V4.announced}/32 via 10.22.0.2", f"{V6.announced}/128 via fd00:22::2",
    ))  # fmt: skip


@row("S2-5", "X is a router with one /32 and one /128 to the HAG: share of a transfer that it carries in each family, the lesser", goal=">= 0.4", unit="of the octets", on=ROUTED)
def a_secondary_of_another_operator(made: Chain) -> float:
    isolate(made)
    shares = []
    for six in (False, True):
        with made.capture("w1", "w2", "a2", "s0", only="tcp", snap=HEADERS, at_once=False) as files:
            assert move(made, "down", 1.5, six=six).exact
        shares.append(_share_on_x(files))
    return min(shares)


@row("P4c", "packets between others than the two secondary addresses that X was asked to carry", goal="0", unit="packets", on=ROUTED)
def a_secondary_without_internet(made: Chain) -> int:
    isolate(made)
    with made.capture("w2", "a2", snap=HEADERS, at_once=False) as files:
        for six in (False, True):
            assert all(moved.exact for moved in both_ways(made, 1.0, six=six).values())
        made.host.run("ping", "-c", "2", "-i", "0.2", V4.server)
    pairs = ({V4.hcpe2, V4.announced}, {V6.hcpe2, V6.announced})
    # What neighbors tell each other does not leave the link.
    local = [ip_network(text) for text in ("fe80::/10", "ff00::/8", "::/128", "224.0.0.0/24")]
    near = [
        frame for frame in frames(files["w2"])
        if {frame.src, frame.dst} not in pairs and frame.protocol != 58
        and not any(ip_address(each) in network for each in (frame.src, frame.dst) for network in local)
    ]  # fmt: skip
    assert not near, f"{len(near)} packets, first {near[0].src} > {near[0].dst}"
    assert any(packet.payload for packet in read(files["w2"])), "X carried nothing"
    return len(near)


@row("S2-6", "P dies in mid-transfer: established connections with a living X end whole, and a SYN that waited is answered when P is back", goal="both", unit="")
def the_primary_dies(made: Chain) -> str:
    for way in ("down", "up"):
        fault = threading.Timer(0.8, lambda: made.cut(LINK1, dead=True))
        fault.start()
        try:
            assert move(made, way, 2.5).exact, f"{way}: other octets"
        finally:
            fault.join()
            made.cut(LINK1, dead=False)
    made.cut(LINK1, dead=True)
    mend = threading.Timer(1.5, lambda: made.cut(LINK1, dead=False))
    mend.start()
    with peer.listening(made.server, peer.sends(b"late"), port=82):
        begin = time.monotonic()
        with peer.connect(made.host, V4.server, mptcp=False, port=82) as conn:
            assert peer.read_all(conn) == b"late"
    mend.join()
    return f"both; the SYN waited {time.monotonic() - begin:.1f} s"


@row("R9", "without the HAG (the network routes around it) H keeps its address and its service: TCP, UDP, ICMP of both families", goal="works", unit="", on=Setup(links=(WIRE, WIRE), boxes=("hcpe",)))
def the_hag_is_taken_away(made: Chain) -> str:
    with made.capture("s0", "w1", snap=HEADERS, at_once=False) as files:
        for ends in (V4, V6):
            _talk(made, ends)
    seen = sources(files["s0"]) - {V4.server, V6.server, V4.core, V6.core}
    assert seen == {V4.host, V6.host}, f"S saw {sorted(seen)}"
    return "works"
