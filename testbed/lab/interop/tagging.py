"""Virtual networks (802.1Q, QinQ) on every port, and the HAG as a bump in the wire, between kernels.

This kernel may have no VLAN devices: shims on the lines of H and S put the tags on and take them off (see `mangle.Tagged`).
"""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from ..capture import SYN, caught, read
from ..chain import CORE, LAN, LINK1, LINK2, Chain
from ..chainconfig import V4, V6, Ends, over
from ..netns import Namespace
from ..shim import shim
from ..tags import tags_of, tagged, written
from ..topology import CONGESTION, Line
from ..turns import take_turns
from .opening import openers
from .protocols import WHOLE
from .rows import PLAIN, row

SIZE = 1_500_000
ROOM = 1508
"""Octets that lines must take beside the Ethernet header: an MTU of 1500, and two tags."""

NETWORKS = {LAN: (10,), LINK1: (100,), LINK2: (200, 7), CORE: (300, 30)}
HALVES = {"policy": {"scheduler": "weighted"}}
"""So that X carries half of the data, whatever the links and the machine are like."""

TAGGED = replace(
    PLAIN,
    hcpe=HALVES | {"ports": {"lan": {"vlan": [*NETWORKS[LAN]]}, "wan1": {"vlan": [*NETWORKS[LINK1]]}, "wan2": {"vlan": [*NETWORKS[LINK2]]}}},
    hag=HALVES | {"ports": {"access1": {"vlan": [*NETWORKS[LINK1]]}, "access2": {"vlan": [*NETWORKS[LINK2]]}, "core": {"vlan": [*NETWORKS[CORE]]}}},
)
"""Each line another network, one or two tags."""

BUMP = HALVES | {
    "bridge": ["access1", "core"],
    "ports": {"access1": {"addresses": ["192.0.2.1/32"]}, "core": {"addresses": ["192.0.2.2/32"]}},
    "routes": [],
}
BARE = replace(PLAIN, hcpe=HALVES, hag=BUMP)
THROUGH = replace(PLAIN, hag=over(WHOLE.hag, BUMP), hcpe=HALVES | {"ports": {"wan1": {"vlan": [200, 7]}}})
"""The tags are the HCPE's and the next router's: the HAG between them knows nothing of them. With AF_XDP: DPDK's AF_PACKET
ports write every outer tag that the kernel has put beside a frame as a customer's."""


def _widen(made: Chain, *lines: Line) -> None:
    """Lines that carry tags take so much more, as switches do, and keep them in the frame, where a port on AF_XDP looks for
    them; the boxes' own ports are the boxes' affair."""
    for line in lines:
        for end in ("left", "right"):
            made.line(line).ip(f"link set {end} mtu {ROOM}")
            made.line(line).run("ethtool", "-K", end, "tx-vlan-hw-insert", "off", "tx-vlan-stag-hw-insert", "off")


def _bonded(made: Chain, ends: Ends, port: int) -> int:
    """A connection with data both ways, exact; what X carried of it."""
    with made.capture("w2", only="") as files:
        take_turns(made, port, SIZE, address=ends.server, pauses=(0.7, 0.0))
    octets = sum(packet.payload for packet in read(files["w2"]))
    assert octets > SIZE // 10, f"X carried {octets} octets"
    return octets


def _full_packets_pass(made: Chain) -> None:
    for ends in (V4, V6):
        # Neighbors look for each other first.
        made.host.run("ping", "-c", "1", "-W", "2", ends.server, check=False)
        full = 1500 - (48 if ends is V6 else 28)
        said = made.host.run("ping", "-M", "do", "-c", "3", "-i", "0.2", "-W", "2", "-s", str(full), ends.server, check=False)
        assert " 0% packet loss" in said, f"packets of 1500 octets do not pass: {said}"


def _wrong(file: Path, ids: tuple[int, ...]) -> tuple[int, int]:
    """Frames with other tags than these, and all of them. The priority is a sender's own affair, as is the kind of tag that
    a port on a packet socket sees of the outer one."""
    numbers = [tags_of(frame) for _, frame in caught(file)]
    return sum(tags != written(ids) for tags in numbers), len(numbers)


@row("I-ENC", "frames without just their network's tags, where 802.1Q and QinQ are on all ports and data is bonded, exact, in both families; full packets pass", goal="0", unit="frames", on=TAGGED, fresh=True)
def tags_on_every_frame(made: Chain) -> int:
    _widen(made, *made.lines)
    wrong = 0
    with ExitStack() as stack:
        stack.enter_context(shim(made, LAN, f"tags:right:{NETWORKS[LAN][0]}"))
        stack.enter_context(shim(made, CORE, "tags:left:" + ".".join(map(str, NETWORKS[CORE]))))
        with made.capture("l0", "w1", "w2", "c1", snap=60) as files:
            _full_packets_pass(made)
            for number, ends in enumerate((V4, V6)):
                _bonded(made, ends, 8840 + number)
        for name, line in (("l0", LAN), ("w1", LINK1), ("w2", LINK2), ("c1", CORE)):
            strange, whole = _wrong(files[name], NETWORKS[line])
            assert whole > 1000, f"{name}: only {whole} frames"
            assert not strange, f"{name}: {strange} of {whole} frames have other tags"
            wrong += strange
    return wrong


def _next_router(made: Chain) -> None:
    """S takes the place of the router that the HCPE speaks to, on the far side of the bump."""
    made.server.ip("addr add 10.1.0.1/24 dev s0", f"route replace default via {V4.hcpe1} dev s0 congctl {CONGESTION}")
    made.server.ip("addr add fd00:1::1/64 dev s0 nodad", f"route replace default via {V6.hcpe1} dev s0 congctl {CONGESTION}", six=True)


def _neighbor(space: Namespace, address: str) -> str:
    """The station that a kernel has learned for an address."""
    words = space.run("ip", "neigh", "show", "to", address).split()
    return words[words.index("lladdr") + 1] if "lladdr" in words else ""


def _mac(made: Chain, box: str, port: str) -> str:
    words = made.spaces[box].run("ip", "-o", "link", "show", port).split()
    return words[words.index("link/ether") + 1]


UNKNOWN = [
    # A group that bridges keep to themselves, which a wire does not; an experimental ethertype; one that is a length.
    (bytes.fromhex("0180c200000e"), b"\x88\xcc" + bytes(60)),
    (bytes.fromhex("020000000077"), b"\x88\xb5" + bytes(range(200))),
    (bytes.fromhex("ffffffffffff"), b"\x00\x40" + b"\x42\x42\x03" + bytes(61)),
    (bytes.fromhex("020000000077"), b"\x88\x47" + bytes(1400)),
]


def _strange_frames_cross(made: Chain, *tags: bytes) -> int:
    """Frames that are no IP, with each of these tags, sent at each end of the bump, that arrive at the other as they were."""
    sender = bytes.fromhex("020000000066")
    sent = [tagged(to + sender + rest, each) for to, rest in UNKNOWN for each in tags]
    for line, end, name in ((LINK1, "right", "c1"), (CORE, "left", "a1")):
        with made.capture(name) as files, made.line(line).entered():
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as wire:
                wire.bind((end, 0))
                for frame in sent:
                    wire.send(frame)
            time.sleep(0.2)
        came = [frame for _, frame in caught(files[name]) if frame[6:12] == sender]
        missing = [frame for frame in sent if frame not in came]
        assert not missing and len(came) == len(sent), f"from {line.name}: {len(missing)} of {len(sent)} did not cross, first {missing[0][:20].hex() if missing else ''}"
    return 2 * len(sent)


def _splits_in_place(made: Chain) -> None:
    """Both families are bonded across the bump, whose ends know each other's stations, and no hop is spent on it."""
    before = made.hag.counters()["relay_opened"]
    for number, ends in enumerate((V4, V6)):
        with made.capture("s0", only="tcp") as files:
            _bonded(made, ends, 8850 + number)
        hops = {syn.frame.hops for syn in openers(files["s0"], SYN)}
        assert hops == {63}, f"SYNs reach S with {sorted(hops)} hops left, of 64, where the HCPE alone is one"
        station = _neighbor(made.server, ends.hcpe1)
        assert station == _mac(made, "hcpe", "w1"), f"S takes {station or 'nobody'} for the HCPE"
    assert made.hag.counters()["relay_opened"] == before + 2, "the HAG split nothing"


@row("P3", "frames of no IP, tagged and not, that crossed a bump in the wire without addresses on the path; TCP of both families was bonded in it, ARP and NDP cross", goal="16", unit="frames", on=BARE, fresh=True)
def a_bump_between_kernels(made: Chain) -> int:
    _next_router(made)
    _widen(made, LINK1, CORE)
    _splits_in_place(made)
    _full_packets_pass(made)
    return _strange_frames_cross(made, b"", written((9,)))


@row("P3", "frames with other tags than the two of those whom a bump in the wire is between, bonded in place", goal="0", unit="frames", on=THROUGH, fresh=True)
def a_bump_under_tags(made: Chain) -> int:
    _next_router(made)
    _widen(made, LINK1, CORE)
    with shim(made, CORE, "tags:left:200.7"):
        with made.capture("w1", "c1", snap=60) as files:
            _full_packets_pass(made)
            _splits_in_place(made)
    _strange_frames_cross(made, written((9, 8)))
    wrong = 0
    for name in ("w1", "c1"):
        strange, whole = _wrong(files[name], (200, 7))
        assert whole > 1000 and not strange, f"{name}: {strange} of {whole} frames have other tags"
        wrong += strange
    return wrong
