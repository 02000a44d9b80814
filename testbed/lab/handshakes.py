"""Short connections: what their set-up exchanges, and what it costs in time."""

from __future__ import annotations

import socket
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

from .capture import ACK, SYN, Packet, captures, read
from .netns import Namespace
from .shell import LabError
from .shim import shim
from .topology import CORE, V4, Scene

REQUEST = b"GET /small HTTP/1.0\r\n\r\n"
SLOW_MS = 50
MP_CAPABLE = 0


@dataclass
class SetUp:
    """Figures of a batch of short connections."""

    connections: int = 0
    answered: int = 0
    extra_packets: int = 0
    extra: list[str] = field(default_factory=list)
    connect_ms: dict[bool, list[float]] = field(default_factory=lambda: {True: [], False: []})
    first_byte_ms: dict[bool, list[float]] = field(default_factory=lambda: {True: [], False: []})
    slow_connect_ms: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def overhead_ms(self) -> float:
        """How much longer `connect` takes through the relay than plain TCP through the same box: medians, ms."""
        return statistics.median(self.connect_ms[True]) - statistics.median(self.connect_ms[False])

    @property
    def first_byte_overhead_ms(self) -> float:
        """The same from the SYN to the first octet of the answer."""
        return statistics.median(self.first_byte_ms[True]) - statistics.median(self.first_byte_ms[False])


def ask(client: Namespace, server: str, *, mptcp: bool, timeout: float = 10.0) -> tuple[float, float, bytes]:
    """One request for the small file: ms to connected, ms to the first octet, the answer."""
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with client.socket(family, mptcp=mptcp) as conn:
        conn.settimeout(timeout)
        begin = time.perf_counter()
        conn.connect((server, 80))
        connected = time.perf_counter()
        conn.sendall(REQUEST)
        answer = conn.recv(4096)
        first = time.perf_counter()
        while more := conn.recv(4096):
            answer += more
    return (connected - begin) * 1e3, (first - begin) * 1e3, answer


def measure(made: Scene, work: Path, count: int = 50, slow: int = 5, timeout: float = 10.0) -> SetUp:
    """`count` MPTCP connections, plain ones in turn with them, and `slow` more whose server answers 50 ms late; all captured."""
    found = SetUp(connections=count + slow)
    wanted = ((made.client, "c1", "setup-c1"), (made.client, "c2", "setup-c2"), (made.line(CORE), "left", "setup-core"))
    with captures(work, *wanted) as files:
        for _ in range(count):
            _ask(made.client, found, found.connect_ms[False], mptcp=False, timeout=timeout)
            _ask(made.client, found, found.connect_ms[True], mptcp=True, timeout=timeout)
        with shim(made, CORE, f"delay-synack:{SLOW_MS}"):
            for _ in range(slow):
                _ask(made.client, found, found.slow_connect_ms, mptcp=True, timeout=timeout)
        time.sleep(0.3)
    _count_extra(found, files)
    return found


def _ask(client: Namespace, found: SetUp, connect_ms: list[float], *, mptcp: bool, timeout: float) -> None:
    try:
        connected, first, answer = ask(client, V4.server, mptcp=mptcp, timeout=timeout)
    except OSError as failed:
        found.failures.append(str(failed))
        return
    connect_ms.append(connected)
    found.first_byte_ms[mptcp].append(first)
    found.answered += mptcp and answer.endswith(b"small answer\n")


def _count_extra(found: SetUp, files: dict[str, Path]) -> None:
    """What client and HAG exchanged on either access before the server's SYN+ACK reached the HAG, beyond the SYN."""
    answered: dict[int, float] = {}
    for packet in read(files["setup-core"]):
        if packet.flags & (SYN | ACK) == SYN | ACK:
            answered.setdefault(packet.dport, packet.at)
    begun: dict[int, float] = {}
    for packet in read(files["setup-c1"]):
        port = packet.sport if packet.src == V4.client1 else packet.dport
        if packet.flags & (SYN | ACK) == SYN and port not in begun and packet.mptcp == [MP_CAPABLE]:
            begun[port] = packet.at
        elif port in begun and packet.at < answered.get(port, float("inf")):
            _note(found, packet, answered.get(port))
    if len(begun) != found.connections:
        raise LabError(f"the capture has {len(begun)} SYNs with MP_CAPABLE of {found.connections} connections")
    _check_joins(found, files["setup-c2"], begun, answered)


def _check_joins(found: SetUp, file: Path, begun: dict[int, float], answered: dict[int, float]) -> None:
    """A SYN on the second access before any server had answered belongs to a set-up that is still under way."""
    first = min(answered.get(port, float("inf")) for port in begun)
    for packet in read(file):
        if packet.flags & SYN and packet.at < first:
            _note(found, packet, first)


def _note(found: SetUp, packet: Packet, answered: float | None) -> None:
    found.extra_packets += 1
    late = "never answered" if answered is None else f"{(answered - packet.at) * 1e3:.2f} ms before the server's SYN+ACK"
    found.extra.append(f"{packet.src}:{packet.sport} > {packet.dst}:{packet.dport} flags {packet.flags:#04x}, {late}")
