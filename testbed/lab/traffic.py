"""What a capture at the client says of a transfer: octets by path and direction, and goodput over time."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from . import capture

BIN_S = 0.25
"""Width of a bin of the goodput series, seconds."""


@dataclass
class PathTraffic:
    """TCP payload of one path in one direction, each octet counted once per subflow."""

    octets: int = 0
    first: float = 0.0
    last: float = 0.0
    bins: dict[int, int] = field(default_factory=dict)

    def mbps(self, index: int) -> float:
        """Goodput in a bin, Mbit/s."""
        return self.bins.get(index, 0) * 8 / BIN_S / 1e6


def measure(path: Path, clients: set[str], start: float) -> dict[str, PathTraffic]:
    """Reads a capture of one access: traffic `up` and `down`, bins counted from the time `start`."""
    traffic = {"up": PathTraffic(), "down": PathTraffic()}
    highest: dict[tuple[str, int, str, int], int] = {}
    for packet in capture.read(path):
        flow = (packet.src, packet.sport, packet.dst, packet.dport)
        if packet.flags & capture.SYN:
            highest[flow] = (packet.seq + 1) & 0xFFFF_FFFF
            continue
        if not packet.payload or flow not in highest:
            continue
        # Octets beyond the highest sequence number so far; what fills a hole was counted when the hole was jumped.
        advance = ((packet.seq + packet.payload - highest[flow] + 0x8000_0000) & 0xFFFF_FFFF) - 0x8000_0000
        if advance <= 0:
            continue
        highest[flow] = (packet.seq + packet.payload) & 0xFFFF_FFFF
        seen = traffic["up" if packet.src in clients else "down"]
        seen.octets += advance
        seen.first = seen.first or packet.at
        seen.last = packet.at
        index = int((packet.at - start) / BIN_S)
        seen.bins[index] = seen.bins.get(index, 0) + advance
    return traffic
