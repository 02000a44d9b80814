"""Each of our boxes opposite the kernel: a transparent relay on the kernel's own Multipath TCP in the other box's place.

Such a relay answers a SYN before anybody behind it has, so nothing is said here of the set-up: only of the data and of
what the two stacks tell each other.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

from ..capture import ACK, SYN, read
from ..chain import Chain
from ..chainconfig import V4, V6, Ends
from ..judge import judge
from ..kernelrelay import announcing, joining, relaying
from ..netns import Namespace
from ..turns import take_turns
from .clients import NARROW
from .rows import at_least, row

SIZE = 3_000_000
LEAST = 200_000
"""Octets of the connection that each path must carry each way, of `2 * SIZE`."""

KERNEL_HAG = replace(NARROW, boxes=("hcpe",), hcpe={"hag": {"addresses": []}})
"""The announced address is joined, on the port that is announced with it: the kernel takes a join to no other."""
KERNEL_HCPE = replace(NARROW, boxes=("hag",))

CUSTOMER = [ip_network(text) for text in ("10.10.0.0/24", "10.2.0.0/24", "fd00:10::/64", "fd00:2::/64")]
PROVEN = ("capable_answer", "capable_keys", "join_token", "join_hmac_a", "join_hmac_b", "data_is_mapped", "no_gap")
TROUBLE = ("Fallback", "Rst", "Csum", "Corruption", "InfiniteMap", "MPFail", "Failure", "NoTokenFound", "NotMatching", "Mismatch", "AddAddrDrop", "EchoAddTXDrop")


def troubles(space: Namespace) -> dict[str, int]:
    """The kernel's counters of what must not happen between stacks that understand each other, where they are not 0."""
    return {name: count for name, count in space.nstat("MPTcpExt").items() if count and any(word in name for word in TROUBLE)}


def carried(file: Path) -> dict[str, int]:
    """Octets of payload that a path carried, `up` from the customer's addresses and `down` to them."""
    octets = {"up": 0, "down": 0}
    for packet in read(file):
        up = any(ip_address(packet.src) in network for network in CUSTOMER)
        octets["up" if up else "down"] += packet.payload
    return octets


def _bonded(made: Chain, ends: Ends, port: int) -> float:
    """A connection of H with data both ways, exact, negotiated and joined as the judge says; the least share of either
    direction that X carried."""
    with made.capture("w1", "w2", "s0", only="tcp") as files:
        take_turns(made, port, SIZE, address=ends.server, pauses=(0.7, 0.0))
    opening = [packet for packet in read(files["w1"]) if packet.flags & SYN and 0 in packet.mptcp and ends.host in (packet.src, packet.dst)]
    assert {packet.flags & ACK for packet in opening} == {0, ACK}, "MP_CAPABLE was not asked for and agreed on"
    shares = []
    for way in ("up", "down"):
        octets = [carried(files[name])[way] for name in ("w1", "w2")]
        assert min(octets) >= LEAST, f"{way}: P and X carried {octets} octets"
        shares.append(octets[1] / sum(octets))
    verdict = judge([files["w1"], files["w2"]], require=PROVEN)
    assert verdict.ok, verdict.text
    at_server = list(read(files["s0"]))
    strange = {packet.src for packet in at_server} - {ends.host, ends.server}
    assert at_server and not strange and not any(packet.mptcp for packet in at_server), f"S saw {sorted(strange)}, or MPTCP"
    return min(shares)


def _both_families(made: Chain, kernel: Namespace, port: int) -> float:
    shares = [_bonded(made, ends, port + number) for number, ends in enumerate((V4, V6))]
    assert not troubles(kernel), f"the kernel counted {troubles(kernel)}"
    counted = kernel.nstat("MPTcpExt")
    asked = sum(counted.get(f"MPTcpExt{name}", 0) for name in ("MPCapableACKRX", "MPCapableSYNACKRX"))
    joined = sum(counted.get(f"MPTcpExt{name}", 0) for name in ("MPJoinAckRx", "MPJoinSynAckRx"))
    assert asked == 2 and joined >= 2, f"the kernel counted {asked} connections and {joined} joins"
    return round(min(at_least(share, 0.1, "X's share") for share in shares), 2)


@row("P10b", "our HCPE and a kernel in the HAG's place: exact in both families and ways, tokens and HMACs recomputed, no fallback, reset or wrong checksum counted; X's least share", goal=">= 0.1", unit="of the octets", on=KERNEL_HAG, fresh=True)
def a_kernel_for_the_hag(made: Chain) -> float:
    kernel = made.spaces["hag"]
    announcing(kernel, V4.announced, V6.announced)
    with relaying(kernel, "hag", "a1", made.work / "relay.log"):
        return _both_families(made, kernel, 8800)


@row("P10b", "our HAG and a kernel in the HCPE's place: the same", goal=">= 0.1", unit="of the octets", on=KERNEL_HCPE, fresh=True)
def a_kernel_for_the_hcpe(made: Chain) -> float:
    kernel = made.spaces["hcpe"]
    for ends, via in ((V4, "10.2.0.1"), (V6, "fd00:2::1")):
        kernel.ip(f"route add {ends.announced} via {via} dev w2", six=":" in via)
    joining(kernel)
    with relaying(kernel, "hcpe", "l0", made.work / "relay.log"):
        share = _both_families(made, kernel, 8810)
    assert made.hag.relays_left() == 0, "the HAG keeps relays"
    return share
