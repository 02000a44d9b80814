"""Proof of each line's limit: plain TCP alone on it, through the box, both directions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from . import curl
from .server import Server
from .topology import ACCESS1, ACCESS2, V4, Line, Scene

FRAME_OCTETS = 1514
SEGMENT_OCTETS = 1448
"""A full Ethernet frame as the token bucket counts it, and the plain TCP payload (with timestamps) inside."""

TOLERANCE = 0.05


@dataclass(frozen=True)
class Limit:
    """What one line carried in one direction, alone."""

    line: str
    direction: str
    limit_mbps: float
    payload_mbps: float

    @property
    def wire_mbps(self) -> float:
        """Ethernet frames that the payload needed, Mbit/s."""
        return self.payload_mbps * FRAME_OCTETS / SEGMENT_OCTETS

    @property
    def holds(self) -> bool:
        """Whether the line is within 5 % of its limit."""
        return abs(self.wire_mbps / self.limit_mbps - 1) <= TOLERANCE


def prove(made: Scene, nginx: Server, seconds: float) -> list[Limit]:
    """Measures each access alone; a transfer of about `seconds` each."""
    proven = []
    for line, source in ((ACCESS1, V4.client1), (ACCESS2, V4.client2)):
        for direction in ("down", "up"):
            proven.append(_one(made, nginx, line, source, direction, seconds))
    return proven


def _one(made: Scene, nginx: Server, line: Line, source: str, direction: str, seconds: float) -> Limit:
    rate = float(line.rate_mbps or 0)
    size = int(rate * 1e6 / 8 * seconds)
    name = f"proof-{line.name}-{direction}"
    made_file: Path = nginx.stored(name) if direction == "down" else made.work / name
    with made_file.open("wb") as sink:
        sink.truncate(size)
    options = {"get": Path("/dev/null")} if direction == "down" else {"put": made_file}
    url = f"http://{V4.server}/{name}"
    done = curl.result(curl.start(made.client, made.work / "proof.log", url, mptcp=False, source=source, **options))
    made_file.unlink()
    nginx.stored(name).unlink(missing_ok=True)
    return Limit(line.name, direction, rate, done.mbps)
