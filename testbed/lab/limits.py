"""What H has without bonding: plain TCP alone on each access network, both directions, kernel routers in the boxes' places."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from . import curl
from .chain import LINK1, LINK2, Chain
from .chainconfig import V4
from .handshakes import ask
from .server import Server
from .shell import Background
from .topology import CONGESTION, Line

TOLERANCE = 0.05
BEGUN_S = 2.0
"""By then a connection has found its rate."""


@dataclass(frozen=True)
class Limit:
    """What one access network carried in one direction, alone."""

    line: str
    direction: str
    limit_mbps: float
    payload_mbps: float
    """What the receiver got, from the first request octet on."""
    wire_mbps: float
    """Ethernet frames that left the link once the connection was under way."""

    @property
    def holds(self) -> bool:
        """Whether the link is within 5 % of its limit."""
        return abs(self.wire_mbps / self.limit_mbps - 1) <= TOLERANCE


def prove(made: Chain, nginx: Server, seconds: float) -> list[Limit]:
    """Measures each link alone; a transfer of about `seconds` each. What the first carries is what H has without bonding."""
    proven = []
    for number, line in enumerate((LINK1, LINK2), start=1):
        _route_by(made, number)
        for direction in ("down", "up"):
            proven.append(_one(made, nginx, line, direction, seconds))
    _route_by(made, 1)
    return proven


def _route_by(made: Chain, number: int) -> None:
    made.spaces["hcpe"].ip(f"route replace default via 10.{number}.0.1 dev w{number} congctl {CONGESTION}")
    made.spaces["hag"].ip(f"route replace 10.10.0.0/24 via 10.{number}.0.2 dev a{number} congctl {CONGESTION}")


def _one(made: Chain, nginx: Server, line: Line, direction: str, seconds: float) -> Limit:
    shape = made.setup.shape(line.name)
    assert shape
    size = int(shape.rate * 1e6 / 8 * seconds)
    name = f"proof-{line.name}-{direction}"
    made_file: Path = nginx.stored(name) if direction == "down" else made.work / name
    with made_file.open("wb") as sink:
        sink.truncate(size)
    options = {"get": Path("/dev/null")} if direction == "down" else {"put": made_file}
    process = curl.start(made.host, made.work / "proof.log", f"http://{V4.server}/{name}", mptcp=False, **options)
    wire = _wire_mbps(made, line, direction, process)
    done = curl.result(process)
    made_file.unlink()
    nginx.stored(name).unlink(missing_ok=True)
    return Limit(line.name, direction, shape.rate, done.mbps, wire)


def _wire_mbps(made: Chain, line: Line, direction: str, process: Background) -> float:
    """What leaves a link from `BEGUN_S` on, by its emulator's count."""
    time.sleep(BEGUN_S)
    begin = last = (time.monotonic(), made.carried(line)[direction]["sent_octets"])
    while process.running():
        time.sleep(0.1)
        now = (time.monotonic(), made.carried(line)[direction]["sent_octets"])
        # The last turn may have seen the end of the transfer.
        begin_to, last = last, now
        rate = (begin_to[1] - begin[1]) * 8 / max(1e-9, begin_to[0] - begin[0]) / 1e6
    return rate if last is not begin else 0.0


def connect_ms(made: Chain, count: int) -> list[float]:
    """What `connect` takes, `count` times, of connections that each fetch the small file."""
    return [ask(made.host, V4.server, mptcp=False)[0] for _ in range(count)]


def median(values: list[float]) -> float:
    """The median; of nothing, nothing."""
    return statistics.median(values) if values else 0.0
