"""Figure 4 of the draft, read off captures: what each box makes of a SYN and of its answer, and in which order."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .. import peer
from ..bulk import move
from ..capture import ACK, SYN, tcp_options
from ..chain import Chain
from ..chainconfig import V4, V6, WIRE, Ends, Setup
from ..frames import Frame, frames
from .rows import row

MSS, WSCALE, SACK_PERMITTED, TIMESTAMPS, MPTCP = 2, 3, 4, 8, 30
PORT = 90


@dataclass(frozen=True)
class Opener:
    """A SYN or SYN+ACK as it passed one place."""

    frame: Frame
    ports: tuple[int, int]
    seq: int
    flags: int
    window: int
    options: tuple[tuple[int, bytes], ...]

    @property
    def ends(self) -> tuple:
        """Addresses and ports."""
        return self.frame.src, self.frame.dst, *self.ports

    @property
    def kinds(self) -> set[int]:
        """Which options it has."""
        return {kind for kind, _ in self.options}

    def value(self, kind: int) -> bytes:
        """The content of an option, empty without it."""
        return next((data for each, data in self.options if each == kind), b"")

    def without(self, *kinds: int) -> list[tuple[int, bytes]]:
        """Its options in order, but those."""
        return [(kind, data) for kind, data in self.options if kind not in kinds]


def openers(path: Path, flags: int) -> list[Opener]:
    """The SYNs (or, with `SYN | ACK`, their answers) of a capture."""
    found = []
    for frame in frames(path):
        start = (frame.packet[0] & 15) * 4 if frame.packet[0] >> 4 == 4 else 40
        if frame.protocol != socket.IPPROTO_TCP or len(frame.packet) < start + 20:
            continue
        sport, dport, seq, _, offset, bits, window = struct.unpack_from("!HHIIBBH", frame.packet, start)
        if bits & (SYN | ACK) == flags:
            options = tuple(tcp_options(frame.packet[start + 20 : start + (offset >> 4) * 4]))
            found.append(Opener(frame, (sport, dport), seq, bits, window, options))
    return found


def _answers(conn: socket.socket) -> None:
    peer.read_exactly(conn, 8)
    conn.sendall(b"answer")


def _ask(made: Chain, count: int, ends: Ends, *, at_once: int = 1) -> None:
    def one(_: int) -> None:
        with peer.connect(made.host, ends.server, mptcp=False, port=PORT) as conn:
            conn.sendall(b"question")
            assert peer.read_all(conn) == b"answer"

    family = socket.AF_INET if ends is V4 else socket.AF_INET6
    with peer.listening(made.server, _answers, family=family, port=PORT), ThreadPoolExecutor(at_once) as pool:
        list(pool.map(one, range(count)))


def _opened(made: Chain) -> dict[str, Path]:
    """Captures of ten connections in each family, taken once."""

    def take() -> dict[str, Path]:
        with made.capture("h0", "w1", "c1", only="tcp", snap=160) as files:
            for ends in (V4, V6):
                _ask(made, 10, ends)
        return files

    return made.once("opened", take)


def _pairs(first: Path, then: Path, flags: int) -> Iterator[tuple[Opener, Opener]]:
    """Each opener of `first` beside the one of the same connection in `then`."""
    later = {each.ends: each for each in openers(then, flags)}
    found = openers(first, flags)
    assert len(found) >= 20, f"{len(found)} openers captured"
    for each in found:
        assert each.ends in later, f"{each.ends} did not come by"
        yield each, later[each.ends]


def _same_but(before: Opener, after: Opener, *kinds: int) -> None:
    """The opener went on with its number, window and options, one hop further, and an MSS that is no larger."""
    assert after.seq == before.seq, f"number {before.seq} became {after.seq}"
    assert after.window == before.window, f"window {before.window} became {after.window}"
    assert after.without(MSS, *kinds) == before.without(MSS, *kinds), f"options {before.options} became {after.options}"
    assert after.frame.hops == before.frame.hops - 1, f"{before.frame.hops} hops became {after.frame.hops}"
    assert 0 < int.from_bytes(after.value(MSS)) <= int.from_bytes(before.value(MSS)), "the MSS grew"


@row("P7-2", "SYNs on P that differ from H's by more than MP_CAPABLE, an MSS and a hop", goal="0", unit="of 20")
def the_hosts_syn_goes_on_with_mp_capable(made: Chain) -> int:
    files = _opened(made)
    for before, after in _pairs(files["h0"], files["w1"], SYN):
        _same_but(before, after, MPTCP)
        assert MPTCP not in before.kinds
        said = after.value(MPTCP)
        # RFC 8684 3.1: subtype 0, version 1, no key on a SYN, HMAC-SHA256, and C as no join may go to H's address.
        assert len(said) == 2 and said[0] == 0x01 and said[1] & 0x21 == 0x21, f"MP_CAPABLE {said.hex()}"
    return 0


@row("P7-3", "SYNs towards S that differ from H's by more than an MSS and two hops", goal="0", unit="of 20")
def the_server_gets_the_hosts_own_syn(made: Chain) -> int:
    files = _opened(made)
    for before, after in _pairs(files["w1"], files["c1"], SYN):
        _same_but(before, after, MPTCP)
        assert MPTCP not in after.kinds
    return 0


@row("P7-3", "packets of a bulk transfer each way that carry an MPTCP option towards S", goal="0", unit="packets")
def no_mptcp_option_leaves_for_the_internet(made: Chain) -> int:
    with made.capture("c1", "s0", only="tcp", snap=160) as files:
        for way in ("down", "up"):
            assert move(made, way, 0.5).exact
    whole = 0
    for name in ("c1", "s0"):
        for frame in frames(files[name]):
            whole += 1
            offset = frame.packet[32] >> 4
            kinds = {kind for kind, _ in tcp_options(frame.packet[40 : 20 + offset * 4])}
            assert MPTCP not in kinds, f"{name}: {kinds} from {frame.src}"
    assert whole > 200, f"{whole} packets captured"
    return 0


OFF = (
    ("net.ipv4.tcp_sack", SACK_PERMITTED),
    ("net.ipv4.tcp_timestamps", TIMESTAMPS),
    ("net.ipv4.tcp_window_scaling", WSCALE),
)


@contextmanager
def _without(made: Chain, *names: str) -> Iterator[None]:
    for name in names:
        made.server.run("sysctl", "-qw", f"{name}=0")
    try:
        yield
    finally:
        for name in names:
            made.server.run("sysctl", "-qw", f"{name}=1")


def _mirrored(made: Chain, *off: tuple[str, int]) -> None:
    with _without(made, *(name for name, _ in off)), made.capture("h0", "w1", "s0", only="tcp", snap=160) as files:
        _ask(made, 2, V4)
    places = {name: openers(files[name], SYN | ACK) for name in files}
    assert all(len(found) == 2 for found in places.values()), f"SYN+ACKs: { {name: len(found) for name, found in places.items()} }"
    refused = {kind for _, kind in off}
    accepted = {SACK_PERMITTED, TIMESTAMPS, WSCALE} - refused
    for server, middle, host in zip(places["s0"], places["w1"], places["h0"], strict=True):
        assert server.kinds & {SACK_PERMITTED, TIMESTAMPS, WSCALE} == accepted, "the server did not do as it was told"
        assert middle.kinds == accepted | {MSS, MPTCP}, f"on P: {middle.kinds}"
        assert host.kinds == accepted | {MSS}, f"at H: {host.kinds}"
        for each in (middle, host):
            assert each.value(WSCALE) == server.value(WSCALE), "another window scale"
            assert int.from_bytes(each.value(MSS)) <= int.from_bytes(server.value(MSS)), "a larger MSS than S's"
            assert each.seq != server.seq, "S's initial sequence number shows"


@row("P7-5", "sets of options of S (SACK, timestamps, window scale, each on or off) that P and H see mirrored", goal="8", unit="sets")
def the_servers_options_are_mirrored(made: Chain) -> int:
    for which in range(8):
        _mirrored(made, *(each for bit, each in enumerate(OFF) if which >> bit & 1))
    return 8


@row("P7-6", "connections whose SYN+ACK left the HCPE before the HAG's had come, or the HAG before S's", goal="0", unit="of 1,000")
def each_answer_waits_for_the_next(made: Chain) -> int:
    with made.capture("h0", "w1", "c1", only="tcp[13] & 2 != 0", snap=160, at_once=False) as files:
        _ask(made, 1_000, V4, at_once=8)
    at = {name: {each.ends: each.frame.at for each in reversed(openers(files[name], SYN | ACK))} for name in files}
    wrong = [ends for ends, when in at["h0"].items() if not at["c1"][ends] < at["w1"][ends] < when]
    assert len(at["h0"]) >= 1_000, f"{len(at['h0'])} answers at H"
    assert not wrong, f"{len(wrong)} too early, first {wrong[0]}"
    return 0


STRANGERS = Setup(links=(WIRE, WIRE), hag={"subscribers": ["10.1.0.2/32"]})


@row("P4a", "SYNs with MP_CAPABLE of somebody who is no subscriber that S gets as they came; none is relayed", goal="4", unit="SYNs", on=STRANGERS)
def strangers_are_routed_untouched(made: Chain) -> int:
    with made.capture("w1", "s0", only="tcp", snap=160) as files:
        for ends in (V4, V6):
            _ask(made, 2, ends)
    later = {each.ends: each for each in openers(files["s0"], SYN)}
    count = 0
    for before in openers(files["w1"], SYN):
        after = later[before.ends]
        assert after.options == before.options and MPTCP in after.kinds, f"{before.options} became {after.options}"
        count += 1
    assert made.hag.counters()["pending_opened"] == 0, "the HAG proxied"
    assert count == 4, f"{count} SYNs"
    return count


@row("I-NATIVE-S", "MPTCP options, and MP_CAPABLE by its own count, that a server with MPTCP gets through the HAG; X is used all the same", goal="0", unit="packets")
def a_server_with_mptcp_sees_plain_tcp(made: Chain) -> int:
    made.server.sysctl(net__mptcp__enabled=1)
    data = peer.payload(400_000, 4)
    try:
        before = made.server.nstat("MPTcpExt")
        with made.capture("s0", "w2", only="tcp", snap=160) as files, peer.listening(made.server, peer.sends(data), port=91, mptcp=True):
            for _ in range(3):
                with peer.connect(made.host, V4.server, mptcp=False, port=91) as conn:
                    assert peer.read_all(conn) == data
        after = made.server.nstat("MPTcpExt")
    finally:
        made.server.sysctl(net__mptcp__enabled=0)
    with_option = [frame for frame in frames(files["s0"]) if MPTCP in {kind for kind, _ in tcp_options(frame.packet[40 : 20 + (frame.packet[32] >> 4) * 4])}]
    assert not with_option, f"{len(with_option)} packets"
    assert after.get("MPTcpExtMPCapableSYNRX", 0) == before.get("MPTcpExtMPCapableSYNRX", 0)
    assert any(MPTCP in each.kinds for each in openers(files["w2"], SYN)), "nobody joined over X"
    return 0
