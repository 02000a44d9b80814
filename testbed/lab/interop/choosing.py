"""Which connections are bonded: by the operator's rules, by what is on the path, and by what the ends speak themselves."""

from __future__ import annotations

import time

from .. import peer
from ..bulk import move
from ..capture import ACK, SYN, read
from ..chain import Chain
from ..chainconfig import V4, V6, WIRE, Setup
from .opening import MPTCP, openers
from .rows import row, rust_test

LINKS = (WIRE, WIRE)
BONDED, BY_PORT, BY_DSCP = 5200, 5201, 5202
EF = 46
RULES = Setup(links=LINKS, hcpe={"select": {"exclude": [{"port": f"{BY_PORT}-{BY_PORT}"}, {"dscp": EF}, {"prefix": f"{V6.server}/128"}]}})
INCLUDED = Setup(links=LINKS, hcpe={"select": {"include": [{"port": BONDED, "prefix": "10.9.0.0/24"}]}})
HAG_RULES = Setup(links=LINKS, hag={"select": {"exclude": [{"port": BY_PORT}]}})


def _offers(made: Chain, cases: list[tuple[int, int, bool]], at: str = "w1") -> list[bool]:
    """For connections with (port, TOS, IPv6): whether their SYNs carried MP_CAPABLE there. All must work."""
    offered = []
    for port, tos, six in cases:
        with made.capture(at, only="tcp", snap=160) as files:
            assert move(made, "down", 0.2, port=port, tos=tos, six=six).exact
        syns = [each for each in openers(files[at], SYN) if each.ports[1] == port]
        assert syns, f"no SYN to {port} at {at}"
        offered.append(any(MPTCP in each.kinds for each in syns))
    return offered


def _rules(made: Chain) -> list[int]:
    return [rule["flows"] for rule in made.hcpe.show("rules")["rules"]]


@row("P7-1", "connections that rules by port, prefix and DSCP chose or left, as the rules say", goal="4", unit="connections", on=RULES)
def rules_choose_what_is_bonded(made: Chain) -> int:
    cases = [(BONDED, 0, False), (BY_PORT, 0, False), (BY_DSCP, EF << 2, False), (BONDED + 7, 0, True)]
    before = _rules(made)
    offered = _offers(made, cases)
    assert offered == [True, False, False, False], f"offered: {offered}"
    moved = [now - then for now, then in zip(_rules(made), before, strict=True)]
    assert moved == [1, 1, 1], f"flows by rule: {moved}"
    return len(cases)


@row("P7-1", "the same where only what a rule names is bonded", goal="3", unit="connections", on=INCLUDED)
def only_what_is_included_is_bonded(made: Chain) -> int:
    offered = _offers(made, [(BONDED, 0, False), (BY_PORT, 0, False), (BONDED, 0, True)])
    assert offered == [True, False, False], f"offered: {offered}"
    return 3


@row("I-FLOW", "packets of excluded connections with an MPTCP option on P, or anything on X; each counts by its rule", goal="0", unit="packets", on=RULES)
def excluded_connections_never_carry_it(made: Chain) -> int:
    before = _rules(made)
    time.sleep(0.5)
    with made.capture("w1", "w2", only="tcp", snap=160) as files:
        for way in ("down", "up"):
            assert move(made, way, 0.3, port=BY_PORT).exact
    strange = [packet for packet in read(files["w1"]) if BY_PORT in (packet.sport, packet.dport) and packet.mptcp]
    strange += [packet for packet in read(files["w2"]) if packet.payload]
    assert not strange, f"{len(strange)} packets, first {strange[0]}"
    assert _rules(made)[0] - before[0] == 2
    return 0


@row("I-FLOW", "packets towards S or P's SYN+ACKs with an MPTCP option, of connections that the HAG excludes", goal="0", unit="packets", on=HAG_RULES)
def the_hag_excludes_too(made: Chain) -> int:
    with made.capture("w1", "c1", only="tcp", snap=160) as files:
        assert move(made, "down", 0.3, port=BY_PORT).exact
    strange = [packet for packet in read(files["c1"]) if packet.mptcp]
    strange += [packet for packet in read(files["w1"]) if packet.mptcp and packet.flags & ACK]
    assert not strange, f"{len(strange)} packets, first {strange[0]}"
    assert made.hag.counters()["bypass_excluded"] >= 1
    assert made.hag.show("rules")["rules"][0]["flows"] >= 1
    return 0


def _dark(made: Chain, port: int) -> None:
    """S drops what comes to `port` without a word."""
    rules = f"table inet dark {{ chain in {{ type filter hook input priority 0; tcp dport {port} drop; }}; }}"
    made.server.run("nft", "-f", "-", stdin=rules)


@row("P7-4", "SYNs that S sees beyond H's own: a port that is closed, one that is silent; H is refused as without us", goal="0", unit="segments")
def nobody_answers_in_the_servers_place(made: Chain) -> int:
    extra = 0
    with made.capture("h0", "s0", only="tcp", snap=160) as files:
        begun = time.monotonic()
        try:
            peer.connect(made.host, V4.server, mptcp=False, port=5210).close()
            raise AssertionError("a closed port answered")
        except ConnectionRefusedError:
            assert time.monotonic() - begun < 1.0, "refused late"
        _dark(made, 5211)
        try:
            peer.connect(made.host, V4.server, mptcp=False, port=5211, timeout=3.6).close()
            raise AssertionError("a silent port answered")
        except TimeoutError:
            pass
        finally:
            made.server.run("nft", "delete", "table", "inet", "dark")
    for port in (5210, 5211):
        at = {name: [each for each in openers(files[name], SYN) if each.ports[1] == port] for name in files}
        assert at["h0"] and len(at["s0"]) <= len(at["h0"]), f"{port}: H sent {len(at['h0'])}, S saw {len(at['s0'])}"
        extra += max(0, len(at["s0"]) - len(at["h0"]))
        assert not [each for each in openers(files["h0"], SYN | ACK) if each.ports[0] == port], "H was answered"
    return extra


@row("I-CUT", "where SYNs with the option are not answered, connections soon go without it; an access that was down for seconds is not such a place", goal="all pass", unit="")
def eaten_options_are_remembered() -> str:
    return rust_test("apps", "m27_")


def _native(made: Chain, count: str) -> dict[str, int]:
    """A host with MPTCP downloads; how its own counters moved."""
    made.host.sysctl(net__mptcp__enabled=1)
    data = peer.payload(1_000_000, 9)
    before, counted = made.host.nstat("MPTcpExt"), made.hcpe.counters()[count]
    try:
        with peer.listening(made.server, peer.sends(data), port=5230):
            for _ in range(3):
                with peer.connect(made.host, V4.server, mptcp=True, port=5230) as conn:
                    assert peer.read_all(conn) == data
    finally:
        made.host.sysctl(net__mptcp__enabled=0)
    assert made.hcpe.counters()[count] - counted == 3, f"{count} did not count"
    after = made.host.nstat("MPTcpExt")
    moved = {name: after[name] - before.get(name, 0) for name in after}
    assert moved.get("MPTcpExtMPCapableSYNTX", 0) >= 3, "the host did not ask for it"
    return moved


@row("I-NATIVE-H", "connections of a host with MPTCP that the HCPE terminates: the host falls back, X carries data", goal="3", unit="connections")
def a_native_host_is_terminated(made: Chain) -> int:
    with made.capture("w2", only="tcp", snap=160) as files:
        moved = _native(made, "native_terminated")
    assert moved.get("MPTcpExtMPCapableSYNACKRX", 0) == 0, "the host was answered with MP_CAPABLE"
    assert any(packet.payload for packet in read(files["w2"])), "X carried nothing"
    return 3


@row("I-NATIVE-H", "the same stripped: plain TCP", goal="3", unit="connections", on=Setup(links=LINKS, hcpe={"select": {"native": "strip"}}))
def a_native_host_is_stripped(made: Chain) -> int:
    with made.capture("w1", only="tcp", snap=160) as files:
        moved = _native(made, "native_stripped")
    assert moved.get("MPTcpExtMPCapableSYNACKRX", 0) == 0
    assert not any(packet.mptcp for packet in read(files["w1"])), "the option was not stripped"
    return 3


@row("I-NATIVE-H", "the same passed: the HAG answers the host itself", goal="3", unit="connections", on=Setup(links=LINKS, hcpe={"select": {"native": "pass"}}))
def a_native_host_is_passed(made: Chain) -> int:
    moved = _native(made, "native_passed")
    assert moved.get("MPTcpExtMPCapableSYNACKRX", 0) == 3, f"answered: {moved}"
    assert made.hcpe.counters()["relay_opened"] == 0, "two owners"
    return 3


@row("I-CUT", "a server that speaks Multipath TCP where no HAG is on the path is not taken for one", goal="all pass", unit="")
def servers_are_not_taken_for_hags() -> str:
    return rust_test("apps", "a_server_that_speaks_multipath_tcp_itself_is_not_taken_for_a_hag")


@row("X5", "joins from the Internet's side, joins without a connection, and other ways in: refused and counted", goal="all pass", unit="")
def joins_come_by_access_networks_alone() -> str:
    names = ("joins_go_to_announced_addresses_alone", "m9_a_join_by_a_wrong_port_or_with_an_unknown_token_is_reset_with_a_reason")
    return ", ".join(rust_test("apps", name) for name in names)
