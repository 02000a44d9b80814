"""`make demo`: what a host behind the HCPE has without bonding and with it, over two emulated access networks.

Run as root from the root of the tree: python3 -m testbed.lab.demo
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from . import limits, plot, report, transfer
from .capture import read
from .chain import CORE, Chain, chain
from .chainconfig import OVERFLOW, PRIMARY, SECONDARY, V4, Setup
from .handshakes import ask
from .limits import Limit
from .running import ROOT
from .server import nginx
from .shell import LabError
from .shim import shim
from .topology import CONGESTION
from .verdicts import early, foreign_sources

LINKS = (PRIMARY, SECONDARY)
CONNECTIONS = 50
SLOW, SLOW_MS = 5, 50


@dataclass
class Plain:
    """What H has without bonding."""

    limits: list[Limit]
    connect_ms: list[float]


def say(begin: float, text: str) -> None:
    """A step of the demo, with the time since its start."""
    print(f"[{time.monotonic() - begin:5.1f} s] {text}", flush=True)


def without(out: Path, seconds: float, begin: float) -> Plain:
    """The same links with kernel routers in the boxes' places."""
    with chain(Setup(links=LINKS, boxes=()), work=out / "work" / "off") as made, nginx(made) as server:
        say(begin, f"without bonding: kernel routers between host and nginx; both use {CONGESTION}")
        proven = limits.prove(made, server, seconds)
        for limit in proven:
            print(f"  {limit.line} {limit.direction:<4} alone, plain TCP: {limit.payload_mbps:5.1f} Mbit/s payload, {limit.wire_mbps:5.1f} on the wire, limit {limit.limit_mbps:.0f}")
        return Plain(proven, limits.connect_ms(made, CONNECTIONS))


def short_connections(made: Chain) -> report.SetUp:
    """Connections one after the other, then some to a server that answers late, captured at H, P, X and S."""
    found = report.SetUp(CONNECTIONS + SLOW)

    def one(times: list[float]) -> None:
        try:
            connected, _, answer = ask(made.host, V4.server, mptcp=False)
        except OSError as failed:
            found.failures.append(str(failed))
            return
        times.append(connected)
        found.answered += answer.endswith(b"small answer\n")

    with made.capture("w1", "w2", only="ip", snap=134) as files:
        for _ in range(CONNECTIONS):
            one(found.connect_ms)
        time.sleep(0.5)
    found.foreign = foreign_sources(files["w1"], files["w2"])
    with made.capture("h0", "w1", "w2", "s0", only="tcp", snap=134) as files, shim(made, CORE, f"delay-synack:{SLOW_MS}"):
        for _ in range(SLOW):
            one(found.slow_connect_ms)
            time.sleep(0.2)
        time.sleep(0.3)
    found.extra = early({name: list(read(file)) for name, file in files.items()}, SLOW_MS / 1e3)
    return found


def play(out: Path, seconds: float, begin: float) -> bool:
    """The whole of it; whether every condition holds."""
    plain = without(out, max(4.0, seconds / 2), begin)
    sums = {way: sum(limit.payload_mbps for limit in plain.limits if limit.direction == way) for way in ("down", "up")}
    with chain(Setup(links=LINKS, hcpe=OVERFLOW, hag=OVERFLOW), work=out / "work" / "on") as made, nginx(made) as server:
        say(begin, f"with bonding: hcpe and hag in their places; {CONNECTIONS + SLOW} short connections, the last {SLOW} to a server that answers {SLOW_MS} ms late")
        setup = short_connections(made)
        say(begin, "download: one connection of curl, two accesses")
        down = transfer.run(made, server, "down", int(sums["down"] * 1e6 / 8 * seconds), title="download")
        say(begin, "upload: the same the other way")
        up = transfer.run(made, server, "up", int(sums["up"] * 1e6 / 8 * seconds), title="upload")
        say(begin, "judging")
        seen = {address for address, _ in server.seen()}
        left = {name: box.relays_left() for name, box in made.boxes.items()}
        counters = {name: box.counters() for name, box in made.boxes.items()}
    figures = report.report(plain.limits, plain.connect_ms, down, up, setup, seen, counters, left)
    found = report.checks(plain.limits, figures, SLOW_MS)
    plot.draw(out / "goodput.svg", [
        plot.Panel("download", down.paths, sums["down"], figures["off_mbps"]["down"]),
        plot.Panel("upload", up.paths, sums["up"], figures["off_mbps"]["up"]),
    ])  # fmt: skip
    report.write(out / "report.json", figures, found)
    print()
    print(report.table(figures, found))
    print(f"\n  picture: {out / 'goodput.svg'}\n  figures: {out / 'report.json'}")
    return all(check.ok for check in found)


def main() -> int:
    """Parses the command line and plays the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=16.0, help="length of each transfer")
    parser.add_argument("--out", type=Path, default=ROOT / "target" / "demo", help="where picture and report go")
    chosen = parser.parse_args()
    begin = time.monotonic()
    try:
        good = play(chosen.out, chosen.seconds, begin)
    except LabError as failed:
        print(f"\nthe demo failed: {failed}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stopped:
        print(f"\nstopped by {stopped or 'Ctrl-C'}; namespaces and processes are gone", file=sys.stderr)
        return 130
    say(begin, "done" if good else "done, with failures")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
