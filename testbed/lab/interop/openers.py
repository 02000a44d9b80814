"""Who opens further subflows: the HCPE, the HAG, both at once or nobody, by what each knows of the other."""

from __future__ import annotations

from dataclasses import replace

from ..capture import ACK, SYN, read
from ..chain import LINK2, Chain
from ..chainconfig import V4
from ..turns import take_turns
from .addresses import ROUTED, isolate
from .rows import PLAIN, row, rust_test

SIZE = 400_000

BLIND = {"hag": {"addresses": [], "prefixes": []}}
"""An HCPE that knows no address of the HAG's, and takes no announced one."""
KNOWS = {"join": {"subscribers": [{"prefix": "10.10.0.0/24", "addresses": [V4.hcpe2]}]}}
"""A HAG that knows the HCPE's secondary address."""

HAG_ALONE = replace(PLAIN, hcpe=BLIND, hag=KNOWS)
BOTH = replace(PLAIN, hag=KNOWS)
NOBODY = replace(PLAIN, hcpe=BLIND)
TOLD = replace(PLAIN, hcpe={"hag": BLIND["hag"] | {"announce": True}}, hag={"join": {"announced": True}})
TOLD_0 = replace(TOLD, hcpe=TOLD.hcpe | {"mptcp": {"versions": [0]}}, hag=TOLD.hag | {"mptcp": {"versions": [0]}})
IGNORES = replace(PLAIN, hcpe={"hag": {"prefixes": []}})


def _opened(made: Chain, port: int) -> tuple[str, int]:
    """Who sent MP_JOIN SYNs, and the subflows of the connection a while later; data crosses before and after."""
    with made.capture("w1", "w2", only="tcp") as files:
        subflows = take_turns(made, port, SIZE, pauses=(2.0, 0.0), look=lambda: len(made.hag.connections()[0]["subflows"]))
    joins = {packet.src for packet in read(files["w2"]) if packet.flags & (SYN | ACK) == SYN and 1 in packet.mptcp}
    assert not any(1 in packet.mptcp for packet in read(files["w1"])), "a join on the primary"
    carried = sum(packet.payload for packet in read(files["w2"]))
    assert bool(carried) == (subflows > 1), f"{subflows} subflows, {carried} octets on X"
    names = {V4.hcpe2: "HCPE", V4.announced: "HAG"}
    return " and ".join(sorted(names.get(address, address) for address in joins)) or "nobody", subflows


def _opener(made: Chain, port: int, expected: str) -> str:
    """Who joined, if it is who should have, and once."""
    by, subflows = _opened(made, port)
    assert (by, subflows) == (expected, 1 if expected == "nobody" else 2), f"{by}, {subflows} subflows"
    return by


@row("P12", "who joins where only the HAG knows the other's secondary address", goal="HAG", on=HAG_ALONE)
def the_hag_joins(made: Chain) -> str:
    return _opener(made, 8500, "HAG")


@row("P12", "who joins where the HCPE announces its secondary address", goal="HAG", on=TOLD)
def the_hag_joins_what_is_announced(made: Chain) -> str:
    return _opener(made, 8501, "HAG")


@row("P12", "who joins where the HCPE announces its secondary address, in version 0", goal="HAG", on=TOLD_0)
def the_hag_joins_in_version_0(made: Chain) -> str:
    return _opener(made, 8502, "HAG")


@row("P12", "subflows where each knows the other's secondary address", goal="2", unit="subflows", on=BOTH)
def both_know(made: Chain) -> int:
    by, subflows = _opened(made, 8503)
    assert by != "nobody" and subflows == 2, f"{by}, {subflows} subflows"
    return subflows


@row("P12", "who joins where neither knows the other's secondary address: the connection stays on P", goal="nobody", on=NOBODY)
def neither_knows(made: Chain) -> str:
    return _opener(made, 8504, "nobody")


@row("P10c", "who joins where the HCPE is configured with the HAG's address, and takes no other from announcements", goal="HCPE", on=IGNORES)
def the_hcpe_joins_as_configured(made: Chain) -> str:
    return _opener(made, 8505, "HCPE")


NAT = """table ip nat {
  chain out { type nat hook postrouting priority 100; oifname "right" masquerade; }
  chain through { type filter hook forward priority 0; iifname "right" ct state new drop; }
}
"""
BEHIND_NAT = replace(ROUTED, links=PLAIN.links, hag=ROUTED.hag | KNOWS)


@row("I-CGN", "who joins where a kernel's NAT on X lets nothing in unasked, though the HAG knows the address behind it; data comes from the NAT's", goal="HCPE", on=BEHIND_NAT, fresh=True)
def behind_a_nat(made: Chain) -> str:
    isolate(made)
    made.line(LINK2).run("nft", "-f", "-", stdin=NAT)
    with made.capture("a2", only="tcp") as files:
        by, subflows = _opened(made, 8506)
    assert subflows == 2, f"{by}, {subflows} subflows"
    senders = {packet.src for packet in read(files["a2"]) if packet.payload} - {V4.announced}
    assert senders == {"10.22.0.1"}, f"on the far side of the NAT data came from {sorted(senders)}"
    assert "HCPE" in by
    return "HCPE"


@row("P10c", "joins without any announcement, in virtual time: both directions by both accesses, opened by the host and by the Internet, in both versions", goal="all pass")
def without_any_announcement() -> str:
    return rust_test("apps", "as_configured_without_an_announcement")
