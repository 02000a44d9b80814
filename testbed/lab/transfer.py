"""One judged transfer: curl on the kernel's MPTCP to nginx, captured at the client, watched live."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from . import counters, curl
from .capture import captures
from .hag import Hag, HagRtt
from .live import Live
from .server import Server, make_file, sha256_of
from .topology import V4, Addresses, Scene
from .traffic import PathTraffic, measure

SEED = 8684


@dataclass
class Outcome:
    """What one transfer did, seen from outside the HAG."""

    direction: str
    octets: int
    mbps: float
    seconds: float
    sha256_ok: bool
    local_port: int
    paths: tuple[PathTraffic, PathTraffic]
    joins_hag: int | None
    kernel: dict[str, int] = field(default_factory=dict)
    captures: dict[str, Path] = field(default_factory=dict)

    @property
    def joins_kernel(self) -> int:
        """Joined subflows by the client kernel's own count."""
        return self.kernel.get(counters.JOINS, 0)


def run(
    made: Scene, nginx: Server, running: Hag | None, direction: str, octets: int, *, family: Addresses = V4, title: str = ""
) -> Outcome:
    """Moves `octets` in one direction (`down` or `up`) and judges what arrived."""
    name = f"{direction}-{octets}"
    paths = {family.client1: 1, family.client2: 2}
    before = made.client.nstat("MPTcpExt")
    rtts = HagRtt(running, {"access1": 1, "access2": 2}, sending=direction == "down") if running else None
    if direction == "down":
        wanted = nginx.put_file(name, octets, SEED)
        options = {"get": made.work / name}
    else:
        wanted = make_file(made.work / name, octets, SEED + 1)
        options = {"put": made.work / name}
    host = f"[{family.server}]" if ":" in family.server else family.server
    url = f"http://{host}/{name}"
    devices = ((made.client, "c1", f"{direction}-c1"), (made.client, "c2", f"{direction}-c2"))
    with captures(made.work, *devices, at_once=False) as files:
        start = time.time()
        with Live(title or direction, made.client, paths, rtts):
            process = curl.start(made.client, made.work / f"{direction}.log", url, mptcp=True, **options)
            done = curl.result(process)
    got = made.work / name if direction == "down" else nginx.stored(name)
    one, two = (measure(file, set(paths), start)[direction] for file in files.values())
    return Outcome(
        direction=direction,
        octets=done.octets,
        mbps=done.mbps,
        seconds=done.seconds,
        sha256_ok=done.status == 0 and sha256_of(got) == wanted,
        local_port=done.local_port,
        paths=(one, two),
        joins_hag=max(0, rtts.subflows_seen - 1) if rtts else None,
        kernel=counters.difference(before, made.client.nstat("MPTcpExt")),
        captures=files,
    )
