"""Instructions that a segment costs on its way through the box, and a whole connection, against those on record.

    python3 -m testbed.lab.instructions             fails where a transfer costs over 3 % more than on record
    python3 -m testbed.lab.instructions --record    puts what it finds on record
    python3 -m testbed.lab.instructions --top NAME  the functions that they go to, for one transfer

Callgrind counts the same on every machine and however busy that is, which no clock does. A new compiler may count anew.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .running import ROOT

RECORD = ROOT / "bench" / "instructions.json"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
LEDGER = TARGET / "release" / "ledger"
FOUND = TARGET / "instructions"

TRANSFERS = ("download", "upload", "download-unverified", "plain", "forward", "setup")
"""See `bench/src/bin/ledger.rs`. That of `setup` is not a segment, but a connection from its SYN to its last ACK."""

SEGMENTS = 4_000
TOLERANCE = 0.03


def _build(environment: dict[str, str] | None = None) -> None:
    command = ["cargo", "build", "--release", "--quiet", "-p", "bench", "--bin", "ledger"]
    subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, **(environment or {})})


def _callgrind(transfer: str) -> tuple[Path, int]:
    """Runs a transfer; what callgrind wrote, and the instructions that it counted."""
    FOUND.mkdir(parents=True, exist_ok=True)
    out = FOUND / transfer
    tool = ["valgrind", "--tool=callgrind", "--toggle-collect=*through_the_box*", f"--callgrind-out-file={out}"]
    run = subprocess.run([*tool, str(LEDGER), transfer, str(SEGMENTS)], text=True, capture_output=True, check=False)
    collected = re.search(r"Collected : (\d+)", run.stderr)
    if run.returncode or not collected or int(collected[1]) == 0:
        raise RuntimeError(f"callgrind counted nothing of {transfer}:\n{run.stdout}{run.stderr}")
    return out, int(collected[1])


def count() -> dict[str, int]:
    """Instructions per segment of payload, its share of the acknowledgments included, or per connection, by transfer."""
    _build()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        counted = pool.map(_callgrind, TRANSFERS)
        return {name: instructions // SEGMENTS for name, (_, instructions) in zip(TRANSFERS, counted, strict=True)}


def _top(transfer: str) -> int:
    _build({"CARGO_PROFILE_RELEASE_DEBUG": "line-tables-only"})
    out, _ = _callgrind(transfer)
    listing = subprocess.run(["callgrind_annotate", "--auto=no", str(out)], text=True, capture_output=True, check=True)
    for line in listing.stdout.splitlines():
        if match := re.match(r"\s*([\d,]+)\s+\(\s*([\d.]+)%\)\s+(.*)", line):
            print(f"{int(match[1].replace(',', '')) / SEGMENTS:8.1f}  {match[2]:>6} %  {match[3][-130:]}")
    return 0


def main() -> int:
    """Compares, records or lists."""
    if sys.argv[1:2] == ["--top"]:
        return _top(sys.argv[2])
    found = count()
    if sys.argv[1:] == ["--record"]:
        RECORD.write_text(json.dumps(found, indent=2) + "\n")
    record = json.loads(RECORD.read_text())
    failed = 0
    print(f"{'instructions per segment':<26}{'now':>8}{'on record':>11}{'change':>9}")
    for name, now in found.items():
        before = record[name]
        change = now / before - 1
        failed += change > TOLERANCE
        verdict = "  TOO MANY" if change > TOLERANCE else "  put it on record with --record" if change < -TOLERANCE else ""
        print(f"{name:<26}{now:>8}{before:>11}{change:>+9.1%}{verdict}")
    print(f"{len(found) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
