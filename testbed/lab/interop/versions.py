"""Versions 0 and 1 of Multipath TCP between our boxes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..capture import tshark
from ..chain import LINK2, Chain
from ..judge import judge
from ..shell import run
from ..shim import shim
from ..turns import take_turns
from .rows import PLAIN, row, rust_test

SIZE = 2_000_000

VERSION_0 = replace(PLAIN, hcpe={"mptcp": {"versions": [0], "checksum": True}}, hag={"mptcp": {"versions": [0]}})
NO_CHECKSUM = replace(PLAIN, hcpe={"mptcp": {"versions": [0]}}, hag={"mptcp": {"versions": [1, 0]}})
LEARNS = replace(PLAIN, hcpe={"mptcp": {"versions": [1, 0]}}, hag={"mptcp": {"versions": [0]}})
NOTHING_IN_COMMON = replace(PLAIN, hcpe={"mptcp": {"versions": [0]}}, hag={"mptcp": {"versions": [1]}})


def _both_ways(made: Chain, port: int) -> int | None:
    """A connection with data both ways, byte for byte; the version that the HAG shows for it, if it relays it at all."""

    def version() -> int | None:
        shown = made.hag.connections()
        return shown[0]["version"] if shown else None

    return take_turns(made, port, SIZE, look=version)


def _dissected(made: Chain, files: list[Path]) -> tuple[set[str], set[str], set[str], int]:
    """What tshark says of both paths together: the versions in MP_CAPABLE, the tokens that it computes from the keys,
    those that joins name, and the subflows that it finds to be of one connection."""
    whole = made.work / "both.pcap"
    run(["mergecap", "-w", str(whole), *map(str, files)])
    versions = {field for line in tshark(whole, "tcp.options.mptcp.subtype==0", "tcp.options.mptcp.version") for field in line[0].split(",")}
    computed = {field for line in tshark(whole, "mptcp.expected_token", "mptcp.expected_token") for field in line[0].split(",")}
    named = {line[0] for line in tshark(whole, "tcp.flags.syn==1 && tcp.flags.ack==0 && tcp.options.mptcp.subtype==1", "tcp.options.mptcp.recvtok")}
    subflows = {line[0] for line in tshark(whole, "mptcp.stream==0", "tcp.stream")}
    return versions, computed, named, len(subflows)


def _judged(made: Chain, port: int, *extra: str) -> None:
    """One connection of version 0, captured on both paths and at the server, is what RFC 6824 says."""
    with made.capture("w1", "w2", "s0", only="tcp") as files:
        version = _both_ways(made, port)
    assert version == 0, f"the HAG shows version {version}"
    paths = [files["w1"], files["w2"]]
    required = ("capable_answer", "capable_keys", "capable_flags", "join_token", "join_hmac_a", "join_hmac_b", "data_is_mapped", "no_gap", "data_fin_fixed", "no_option_30", "syn_ack_after_server", *extra)
    verdict = judge(paths, [files["s0"]], required)
    assert verdict.ok, verdict.text
    versions, computed, named, subflows = _dissected(made, paths)
    assert versions == {"0"}, f"versions in MP_CAPABLE: {versions}"
    assert named and named <= computed, f"joins name {named}, tshark computes {computed}"
    assert subflows >= 2, f"tshark finds {subflows} subflows of the connection"


@row("I-VER", "version 0 from box to box with checksums: tokens, HMACs and DSS checksums as an independent judge and tshark compute them", goal="all hold", on=VERSION_0)
def version_0_with_checksums(made: Chain) -> str:
    _judged(made, 8200, "checksum_form", "dss_checksum")
    return "all hold"


@row("I-VER", "joins of version 0 with an HMAC of which one bit was turned on the way: each refused, the judge notices, and the data comes by the primary", goal=">= 1", unit="joins", on=VERSION_0, fresh=True)
def a_wrong_hmac_of_version_0(made: Chain) -> int:
    with shim(made, LINK2, "wrong-hmac"), made.capture("w1", "w2", only="tcp") as files:
        assert _both_ways(made, 8203) == 0
    refused = made.boxes["hcpe"].counters()["mpjoin_syn_ack_hmac_failure"]
    assert refused, "the HCPE refused none"
    verdict = judge([files["w1"], files["w2"]])
    assert not verdict.ok and "join_hmac_b" in verdict.text, f"the judge says: {verdict.text or 'all is well'}"
    return refused


@row("I-VER", "version 0 without checksums, asked of a HAG that prefers version 1", goal="all hold", on=NO_CHECKSUM)
def version_0_of_a_hag_with_both(made: Chain) -> str:
    _judged(made, 8201)
    return "all hold"


@row("I-VER", "an HCPE that prefers version 1 and a HAG of version 0: each connection works, from the second on bonded", goal="plain, 0, 0", on=LEARNS, fresh=True)
def mixed_boxes_settle_on_version_0(made: Chain) -> str:
    found = [_both_ways(made, port) for port in (8210, 8211, 8212)]
    assert found == [None, 0, 0], f"versions of three connections: {found}"
    assert made.boxes["hcpe"].counters()["version_changed"] == 1
    return "plain, 0, 0"


@row("I-VER", "boxes without a version in common: plain TCP, nothing kept", goal="plain", on=NOTHING_IN_COMMON)
def no_version_in_common(made: Chain) -> str:
    assert _both_ways(made, 8220) is None
    assert made.boxes["hag"].counters()["bypass_version"] >= 1
    assert made.boxes["hcpe"].relays_left() == 0
    return "plain"


@row("I-VER", "all mixtures of versions and checksums in virtual time, and loss of each packet of version 0's handshake", goal="all pass")
def every_mixture_in_virtual_time() -> str:
    return rust_test("apps", "versions")


@row("I-VER", "both halves of a recorded connection of version 0 played at our engine: tokens, HMACs, mappings and checksums equal the recording's", goal="all pass")
def recorded_version_0() -> str:
    return rust_test("mptcp", "replay")
