"""One judged transfer: curl on H's plain TCP to nginx, captured on both access networks, watched live."""

from __future__ import annotations

import time
from dataclasses import dataclass

from . import curl
from .chain import Chain
from .chainconfig import V4, V6
from .live import Live
from .server import Server, make_file, sha256_of
from .traffic import PathTraffic, measure

SEED = 8684


@dataclass
class Outcome:
    """What one transfer did, seen from outside the boxes."""

    direction: str
    octets: int
    mbps: float
    seconds: float
    sha256_ok: bool
    local_port: int
    paths: tuple[PathTraffic, PathTraffic]
    late_us: float
    """How late 99 of 100 frames left the emulated links at most."""


def run(made: Chain, nginx: Server, direction: str, octets: int, *, title: str = "") -> Outcome:
    """Moves `octets` in one direction (`down` or `up`) and judges what arrived."""
    name = f"{direction}-{octets}"
    if direction == "down":
        wanted = nginx.put_file(name, octets, SEED)
        options = {"get": made.work / name}
    else:
        wanted = make_file(made.work / name, octets, SEED + 1)
        options = {"put": made.work / name}
    made.lateness_us()
    with made.capture("w1", "w2", only="tcp", snap=134, at_once=False) as files:
        start = time.time()
        with Live(title or direction, made, direction):
            process = curl.start(made.host, made.work / f"{direction}.log", f"http://{V4.server}/{name}", mptcp=False, **options)
            done = curl.result(process)
    got = made.work / name if direction == "down" else nginx.stored(name)
    customers = {V4.host, V4.hcpe2, V6.host, V6.hcpe2}
    one, two = (measure(file, customers, start)[direction] for file in files.values())
    exact = done.status == 0 and sha256_of(got) == wanted
    for big in (made.work / name, nginx.stored(name)):
        big.unlink(missing_ok=True)
    return Outcome(direction, done.octets, done.mbps, done.seconds, exact, done.local_port, (one, two), made.lateness_us())
