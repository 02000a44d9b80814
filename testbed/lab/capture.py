"""Captures: tcpdump on an interface, and a reader of the TCP packets in what it wrote."""

from __future__ import annotations

import signal
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from .netns import Namespace
from .shell import LabError, run, wait_until
from .tags import untagged

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
BLOCK_S = 1.2
"""How long a captured packet may wait in the kernel before tcpdump gets it, with a margin, seconds."""

HEADERS = 134
"""Octets that hold Ethernet, IPv6 and the longest TCP header."""

BUFFER_KIB = 65536
"""Room for what tcpdump, the least favoured program of a busy machine, has not fetched yet: 30,000 whole frames."""


@dataclass(frozen=True, slots=True)
class Packet:
    """A TCP packet of a capture."""

    at: float
    src: str
    dst: str
    sport: int
    dport: int
    seq: int
    flags: int
    payload: int
    options: bytes

    @property
    def mptcp(self) -> list[int]:
        """Subtypes of its MPTCP options, in order."""
        return [data[0] >> 4 for kind, data in tcp_options(self.options) if kind == 30 and data]


def tcp_options(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and content of each TCP option; stops at a malformed one."""
    at = 0
    while at < len(raw) and raw[at] != 0:
        if raw[at] == 1:
            at += 1
            continue
        if at + 1 >= len(raw) or raw[at + 1] < 2 or at + raw[at + 1] > len(raw):
            return
        yield raw[at], raw[at + 2 : at + raw[at + 1]]
        at += raw[at + 1]


def caught(path: Path) -> Iterator[tuple[float, bytes]]:
    """The frames of a capture file, in the order of capture, each with its time; of the longer ones what was caught."""
    data = path.read_bytes()
    if len(data) < 24 or data[:4] != b"\xd4\xc3\xb2\xa1":
        raise LabError(f"{path} is not a pcap file with microseconds")
    at = 24
    while at + 16 <= len(data):
        seconds, micros, length, _ = struct.unpack_from("<IIII", data, at)
        yield seconds + micros / 1e6, data[at + 16 : at + 16 + length]
        at += 16 + length


def read(path: Path) -> Iterator[Packet]:
    """The TCP packets of a capture file, in the order of capture; VLAN tags are skipped."""
    for at, frame in caught(path):
        if packet := _parse(at, frame):
            yield packet


def _parse(at: float, frame: bytes) -> Packet | None:
    frame = untagged(frame)
    if len(frame) < 54:
        return None
    if frame[12:14] == b"\x08\x00":
        header = 14 + (frame[14] & 15) * 4
        fragment = struct.unpack_from("!H", frame, 20)[0] & 0x3FFF
        if frame[23] != socket.IPPROTO_TCP or fragment:
            return None
        end = 14 + struct.unpack_from("!H", frame, 16)[0]
        src, dst = socket.inet_ntop(socket.AF_INET, frame[26:30]), socket.inet_ntop(socket.AF_INET, frame[30:34])
    elif frame[12:14] == b"\x86\xdd" and frame[20] == socket.IPPROTO_TCP:
        header = 54
        end = 54 + struct.unpack_from("!H", frame, 18)[0]
        src, dst = socket.inet_ntop(socket.AF_INET6, frame[22:38]), socket.inet_ntop(socket.AF_INET6, frame[38:54])
    else:
        return None
    if len(frame) < header + 20:
        return None
    sport, dport, seq, _, offset, flags = struct.unpack_from("!HHIIBB", frame, header)
    length = (offset >> 4) * 4
    return Packet(at, src, dst, sport, dport, seq, flags, end - header - length, frame[header + 20 : header + length])


class Capture:
    """A running tcpdump."""

    def __init__(self, space: Namespace, device: str, path: Path, *, snap: int, only: str, at_once: bool) -> None:
        self.path = path
        self._log = path.with_suffix(".log")
        mode = ["--immediate-mode"] if at_once else []
        self._process = space.start(
            ["tcpdump", *mode, "-i", device, "-n", "-Z", "root", "-s", str(snap), "-B", str(BUFFER_KIB), "-w", str(path), only], self._log
        )
        wait_until(f"tcpdump on {device}", lambda: "listening on" in self._process.output() or not self._process.running())
        if not self._process.running():
            raise LabError(f"tcpdump on {device}: {self._process.output().strip()}")

    def stop(self) -> None:
        """Ends it; `LabError` if the kernel dropped packets before they were written."""
        if not self._process.running():
            return
        self._process.signal(signal.SIGINT)
        self._process.wait(10)
        for line in self._process.output().splitlines():
            if "dropped by kernel" in line and not line.startswith("0 "):
                raise LabError(f"{self.path.name} is incomplete: {line}")


@contextmanager
def captures(
    work: Path, *wanted: tuple[Namespace, str, str], snap: int = HEADERS, only: str = "tcp", at_once: bool = True
) -> Iterator[dict[str, Path]]:
    """Captures on several (namespace, device, name) at once; the files are complete when the block ends.

    `at_once` costs a wake-up a packet. Without it the kernel hands packets over in blocks, the last ones after a second.
    """
    with ExitStack() as stack:
        paths: dict[str, Path] = {}
        for space, device, name in wanted:
            paths[name] = work / f"{name}.pcap"
            capture = Capture(space, device, paths[name], snap=snap, only=only, at_once=at_once)
            stack.callback(capture.stop)
        yield paths
        time.sleep(0.1 if at_once else BLOCK_S)


def tshark(path: Path, shown: str, *fields: str) -> list[list[str]]:
    """Fields of the packets that a tshark display filter shows."""
    args = ["tshark", "-r", str(path), "-d", "tcp.port==1-65535,data", "-o", "tcp.relative_sequence_numbers:FALSE", "-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-Y", shown, "-T", "fields", "-E", "separator=/t"]
    for name in fields or ("frame.number",):
        args += ["-e", name]
    return [line.split("\t") for line in run(args).splitlines()]
