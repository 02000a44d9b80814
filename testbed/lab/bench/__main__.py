"""`make bench`: runs what is not there yet, and writes target/bench/report.json and report.html.

    python3 -m testbed.lab.bench              everything, within 40 minutes; what was measured before is kept
    python3 -m testbed.lab.bench relay b3     these parts anew
    python3 -m testbed.lab.bench --list       the parts
    python3 -m testbed.lab.bench --fresh      everything anew
    python3 -m testbed.lab.bench --page       the report from what is there
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ..shell import LabError
from ..topology import terminable
from . import kernel, links, load, memory, relay
from .device import hugepages
from .page import page
from .results import COMMAND, FOLDER, PARTS, Row, kept, line, save, saved

LIMIT_S = 40 * 60.0

Part = Callable[[Path, Callable[[str], None]], list[Row]]


@dataclass(frozen=True)
class Planned:
    """One part of the run."""

    name: str
    run: Part
    takes_s: float
    """About, on an idle machine: a part that would not fit any more is left out, and said to be."""
    title: str
    """What it measures, for the report."""
    topology: str = ""
    """What stands where."""
    huge: bool = False
    """Whether it needs hugepages."""


VIRTIO = """flowgen (clients and server, core 1)  --  vhost / virtio-user  --  hag, or testpmd in io mode (core 0)"""
VETHS = """flowgen (clients and server, core 1, af_packet)  --  veths  --  hag, or the kernel with haproxy (core 0, its soft interrupts too)"""
CHAIN = """host (TCP)  --  hcpe, or a kernel  ==  two emulated lines (braid-link)  ==  hag, or a kernel  --  server (TCP)"""
MEMORY = """one process: the worker's loop over ports in memory"""

PLAN = (
    Planned("quick", memory.quick, 80, "The main ratios in memory", MEMORY),
    Planned("relay", relay.relaying, 130, "B1, B2: cycles of a relayed segment beside DPDK's own forwarding of the same flows", VIRTIO, huge=True),
    Planned("bursts", relay.bursts, 40, "B1: which burst suits testpmd best", VIRTIO, huge=True),
    Planned("subflows", relay.subflows, 120, "B4: several subflows a connection on one core", VIRTIO, huge=True),
    Planned("b3", kernel.throughput, 260, "B3: processor time by relayed octet, beside the kernel's Multipath TCP with haproxy", VETHS),
    Planned("b5", kernel.setups, 140, "B5: processor time by relayed connection, beside the same", VETHS),
    Planned("b6", memory.idle, 30, "B6: memory of an idle relayed connection", MEMORY),
    Planned("b8", load.latency, 200, "B8: time that the box adds to a request and its answer, beside testpmd", VIRTIO, huge=True),
    Planned("b9", load.overload, 280, "B9: what established connections keep while new ones come at twice the rate that the box can set up", VIRTIO, huge=True),
    Planned("b11", links.aggregation, 100, "B11: what one connection gets of two lines", CHAIN),
    Planned("b12", memory.workers, 30, "B12: two workers on two cores over one", "two workers, each on its core with a port in memory, a ring each way between them"),
    Planned("b13", relay.ledger, 45, "B13: what the loop's cycles go to", VIRTIO, huge=True),
    Planned("b10", links.loss, 720, "B10: goodput where lines lose frames, beside the kernel's", CHAIN),
)


class Progress:
    """A line for what is being done, and how much of the time is gone."""

    def __init__(self) -> None:
        self.begun = time.monotonic()

    def gone(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.begun

    def tell(self, part: str) -> Callable[[str], None]:
        """What a part calls with what it is at."""
        return lambda text: print(f"[{self.gone() / 60:5.1f} min] {part}: {text}", flush=True)


def core_to_core() -> dict | None:
    """What the quick bench measured when it ran last."""
    try:
        return json.loads((FOLDER / "quick.json").read_text())["core_round_trip_ns"]
    except (FileNotFoundError, json.JSONDecodeError, KeyError):
        return None


def one(planned: Planned, progress: Progress) -> bool:
    """Runs a part and keeps what came of it; whether it ran to its end."""
    tell = progress.tell(planned.name)
    tell("begins")
    work = FOLDER / "work" / planned.name
    work.mkdir(parents=True, exist_ok=True)
    try:
        if planned.huge:
            with hugepages():
                rows = planned.run(work, tell)
        else:
            rows = planned.run(work, tell)
    except Exception as failed:  # noqa: BLE001 (whatever fails in a part must not take the others with it)
        (work / "failure.txt").write_text(traceback.format_exc())
        save(planned.name, [], failed=f"{type(failed).__name__}: {failed}")
        print(f"  {planned.name}: NOT MEASURED: {failed}", flush=True)
        return False
    save(planned.name, rows, core_to_core=core_to_core())
    for row in rows:
        print(line(row.told()), flush=True)
    return True


def planned_in_all(parts: Sequence[Planned]) -> str:
    """What these parts take together."""
    return f"{len(parts)} parts, {sum(planned.takes_s for planned in parts) / 60:.0f} minutes as planned, {LIMIT_S / 60:.0f} at most"


def processor() -> str:
    """What the machine calls its processor."""
    for line_ in Path("/proc/cpuinfo").read_text().splitlines():
        if line_.startswith("model name"):
            return line_.split(":", 1)[1].strip()
    return platform.machine()


def siblings() -> str:
    """Which cores are threads of one, as far as the machine tells."""
    try:
        return Path("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list").read_text().strip()
    except OSError:
        return "unknown"


def report() -> list[dict]:
    """Writes both files from the parts that are there."""
    parts = []
    for planned in PLAN:
        part = kept(planned.name) or {"part": planned.name, "rows": [], "failed": "it did not run", "core_round_trip_ns": None}
        parts.append(part | {"title": planned.title, "topology": planned.topology})
    machine = f"{processor()}, {os.cpu_count()} cores (hardware threads of the first: {siblings()}), Linux {platform.release()}"
    head = {"when": datetime.now().strftime("%Y-%m-%d %H:%M"), "machine": machine}
    rows = [row for part in parts for row in part["rows"]]
    not_measured = {part["part"]: part["failed"] for part in parts if part["failed"]}
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "report.json").write_text(json.dumps({**head, "command": COMMAND, "rows": rows, "not_measured": not_measured}, indent=1) + "\n")
    try:
        (FOLDER / "report.html").write_text(page(parts, head, FOLDER / "work" / "plots"))
    except LabError as failed:
        print(f"the page was not written: {failed}", file=sys.stderr, flush=True)
    return parts


def main() -> int:
    """The command line."""
    said = argparse.ArgumentParser(prog="python3 -m testbed.lab.bench", description="Benchmarks beside what they are compared with.")
    said.add_argument("parts", nargs="*", metavar="PART", help="only these, whether they were measured or not")
    said.add_argument("--list", action="store_true", help="name the parts")
    said.add_argument("--fresh", action="store_true", help="forget what was measured before")
    said.add_argument("--page", action="store_true", help="only write the report")
    options = said.parse_args()
    if options.list:
        print(*(f"{planned.name:<10} about {planned.takes_s:3.0f} s" for planned in PLAN), planned_in_all(PLAN), sep="\n")
        return 0
    unknown = set(options.parts) - {planned.name for planned in PLAN}
    if unknown:
        said.error(f"there is no part {', '.join(sorted(unknown))}: --list names them")
    if options.fresh:
        for file in PARTS.glob("*.json"):
            file.unlink()
    progress = Progress()
    whole = True
    if not options.page:
        with terminable():
            whole = _run(options.parts, progress)
    parts = report()
    missed = [row["id"] for part in parts for row in part["rows"] if row["met"] is False]
    print(f"target/bench/report.html and report.json, after {progress.gone() / 60:.1f} min; missed: {', '.join(missed) or 'nothing'}")
    return 0 if whole else 1


def _run(wanted: list[str], progress: Progress) -> bool:
    whole = True
    chosen = [planned for planned in PLAN if planned.name in wanted or not (wanted or saved(planned.name))]
    print(planned_in_all(chosen), flush=True)
    for planned in PLAN:
        if wanted and planned.name not in wanted:
            continue
        if not wanted and saved(planned.name):
            print(f"{planned.name}: measured before", flush=True)
            continue
        if progress.gone() + planned.takes_s > LIMIT_S:
            save(planned.name, [], failed="no time was left within 40 minutes; run `make bench` again to go on")
            whole = False
            continue
        whole &= one(planned, progress)
        report()
    return whole


if __name__ == "__main__":
    sys.exit(main())
