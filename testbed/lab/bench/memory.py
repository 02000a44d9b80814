"""What needs no second process: the in-memory benches, memory of idle connections, and a million flows."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ..shell import Background, LabError
from .results import FOLDER, Row

CARGO = ["cargo", "run", "--release", "--quiet", "-p", "bench", "--example"]
IDLE = (100_000, 1_000_000)


def _example(work: Path, *args: str, timeout: float) -> str:
    """Runs an example, before other programs of the machine, as what runs on two cores at once waits for either; what it said."""
    process = Background([*CARGO, args[0], "--", *args[1:]], work / f"{args[0]}.log")
    process.prefer()
    try:
        status = process.wait(timeout)
    finally:
        process.stop()
    if status:
        raise LabError(f"the example {args[0]} ended with {status}: {process.output()[-1000:]}")
    return process.output()


def quick(work: Path, progress) -> list[Row]:  # noqa: ANN001
    """All rows of `make bench-quick`, under its own command."""
    progress("cargo builds, then about a minute")
    _example(work, "quick", timeout=1500)
    return [_row(row) for row in json.loads((FOLDER / "quick.json").read_text())["rows"]]


def _row(row: dict) -> Row:
    goal = ""
    if row["goal"]:
        (kind, bound), = row["goal"].items()
        goal = f"{'>=' if kind == 'at_least' else '<='} {bound}"
    return Row(f"{row['id']}.mem", f"in memory: {row['what']}", row["each"], row["unit"], row["peer"], goal, row["command"])


def idle(work: Path, progress) -> list[Row]:  # noqa: ANN001
    """B6: octets allocated by the box for each idle relayed connection with two subflows, its tables included."""
    rows = []
    for count in IDLE:
        progress(f"{count} connections")
        said = _example(work, "idle", str(count), timeout=900)
        found = re.search(r"idle for two minutes: (\d+) octets", said)
        if not found:
            raise LabError(f"the bench said: {said}")
        command = f"cargo run --release -p bench --example idle -- {count}"
        rows.append(Row(f"B6.{count // 1000}k", f"octets by idle relayed connection, 2 subflows, {count:,} of them", [float(found.group(1))], "octets", "", "<= 1024", command))
    return rows


def workers(work: Path, progress) -> list[Row]:  # noqa: ANN001
    """B12: two workers over one, each on its core with an in-memory port."""
    progress("two workers on two cores")
    return told_of_workers(_example(work, "workers", timeout=900))


def told_of_workers(said: str) -> list[Row]:
    """The rows in what the example says: two workers of a box, and beside them what two cores can do at best."""
    found = re.findall(r"^one .*, two \d+: ([\d.]+); two apart \d+: ([\d.]+);", said, re.MULTILINE)
    if not found:
        raise LabError(f"the bench said: {said}")
    two, apart = ([float(ratio) for ratio in ratios] for ratios in zip(*found))
    command = "cargo run --release -p bench --example workers"
    more = {"said": " / ".join(said.split("\n"))}
    return [
        Row("B12", "throughput of two workers on two cores over one's, half of the joined subflows handed over", two, "ratio", "one worker", ">= 1.8", command, more),
        Row("B12.apart", "the same of two boxes of one worker each, which share nothing: what these two cores can do at best", apart, "ratio", "one worker", "", command),
    ]
