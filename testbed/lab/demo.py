"""`make demo`: one download and one upload over two access networks at once, through the HAG, between kernels.

Run as root from the root of the tree: python3 -m testbed.lab.demo
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from . import handshakes, limits, plot, report, transfer
from .box import BOXES, box
from .running import ROOT
from .server import nginx
from .shell import LabError
from .topology import CONGESTION, Scene, scene


def say(begin: float, text: str) -> None:
    """A step of the demo, with the time since its start."""
    print(f"[{time.monotonic() - begin:5.1f} s] {text}", flush=True)


def play(made: Scene, out: Path, kind: str, seconds: float, begin: float) -> bool:
    """The whole scene; whether every condition holds."""
    with nginx(made) as server, box(made, kind) as running:
        say(begin, f"five namespaces, {'the HAG' if kind == 'hag' else kind} between them, nginx behind it; hosts use {CONGESTION}")
        proven = limits.prove(made, server, min(3.0, seconds / 4))
        for limit in proven:
            print(f"  {limit.line} {limit.direction:<4} alone, plain TCP: {limit.payload_mbps:5.1f} Mbit/s payload, {limit.wire_mbps:5.1f} on the wire, limit {limit.limit_mbps:.0f}")
        sums = {way: sum(limit.payload_mbps for limit in proven if limit.direction == way) for way in ("down", "up")}
        say(begin, "55 short connections, captured; the last 5 to a server that answers 50 ms late")
        setup = handshakes.measure(made, made.work)
        say(begin, "download: one connection of curl, two accesses")
        down = transfer.run(made, server, running, "down", int(sums["down"] * 1e6 / 8 * seconds), title="download")
        say(begin, "upload: the same the other way")
        up = transfer.run(made, server, running, "up", int(sums["up"] * 1e6 / 8 * seconds), title="upload")
        say(begin, "judging")
        # The client's address on the first access is the only one the server may see of the bonded connections.
        bonded = {down.local_port, up.local_port}
        seen = {address for address, port in server.seen() if port in bonded}
        relays = running.relays_left() if running else None
        figures = report.report(proven, down, up, setup, seen, running.counters() if running else None, relays)
    found = report.checks(proven, figures, handshakes.SLOW_MS)
    out.mkdir(parents=True, exist_ok=True)
    plot.draw(out / "goodput.svg", [
        plot.Panel("download", down.paths, sums["down"]),
        plot.Panel("upload", up.paths, sums["up"]),
    ])  # fmt: skip
    report.write(out / "report.json", figures, found)
    print()
    print(report.table(figures, found))
    print(f"\n  picture: {out / 'goodput.svg'}\n  figures: {out / 'report.json'}")
    return all(check.ok for check in found)


def main() -> int:
    """Parses the command line and plays the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--box", choices=BOXES, default="hag", help="what stands in the HAG's place (the kernel: for comparison)")
    parser.add_argument("--seconds", type=float, default=16.0, help="length of each transfer")
    parser.add_argument("--out", type=Path, default=ROOT / "target" / "demo", help="where picture and report go")
    chosen = parser.parse_args()
    begin = time.monotonic()
    try:
        with scene(work=chosen.out / "work") as made:
            good = play(made, chosen.out, chosen.box, chosen.seconds, begin)
    except LabError as failed:
        print(f"\nthe demo failed: {failed}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stopped:
        print(f"\nstopped by {stopped or 'Ctrl-C'}; namespaces and processes are gone", file=sys.stderr)
        return 130
    # Half a gigabyte of transferred files; the captures stay beside the report.
    for big in (chosen.out / "work").glob("**/*-*[0-9]"):
        if big.is_file() and big.suffix == "":
            big.unlink()
    say(begin, "done" if good else "done, with failures")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
