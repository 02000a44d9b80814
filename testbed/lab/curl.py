"""The client program: curl, unchanged, on the kernel's MPTCP (`mptcpize`) or on plain TCP."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from .netns import Namespace
from .shell import Background, LabError

ANSWER = "%{json}"


@dataclass(frozen=True)
class Transfer:
    """What curl says of one finished transfer."""

    seconds: float
    octets: int
    local_port: int
    connect_ms: float
    first_byte_ms: float
    status: int

    @property
    def mbps(self) -> float:
        """Goodput from the first request octet on, Mbit/s."""
        return self.octets * 8 / self.seconds / 1e6 if self.seconds > 0 else 0.0


def command(url: str, *, mptcp: bool, get: Path | None = None, put: Path | None = None, source: str = "", seconds: float = 60.0) -> list[str]:
    """The command line of one transfer: into `get`, or of the file `put`."""
    args = ["mptcpize", "run"] if mptcp else []
    args += ["curl", "-sS", "-g", "--fail", "--max-time", str(seconds), "-w", ANSWER, "-H", "Expect:"]
    args += ["-o", str(get or "/dev/null")]
    if put:
        args += ["-T", str(put)]
    if source:
        args += ["--interface", source]
    return [*args, url]


def start(client: Namespace, log: Path, url: str, **options) -> Background:
    """Starts a transfer in the background; `result` reads its end."""
    return client.start(command(url, **options), log)


def result(process: Background, timeout: float = 90.0) -> Transfer:
    """Waits for a transfer and reads what curl said."""
    status = process.wait(timeout)
    text = process.output()
    start_of_json = text.find("{")
    if status not in (0, 28) or start_of_json < 0:
        raise LabError(f"curl ended with {status}: {text[:200].strip()}")
    said = json.loads(text[start_of_json:])
    octets = int(said["size_download"]) or int(said["size_upload"])
    start_s = float(said["time_pretransfer"])
    return Transfer(
        seconds=float(said["time_total"]) - start_s,
        octets=max(octets, int(said["size_upload"])),
        local_port=int(said["local_port"]),
        connect_ms=float(said["time_connect"]) * 1e3,
        first_byte_ms=float(said["time_starttransfer"]) * 1e3,
        status=status,
    )
