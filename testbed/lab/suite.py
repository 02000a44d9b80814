"""`make test`: every part with its time, and one last line that counts all.

    python3 -m testbed.lab.suite [PART...]
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from .running import ROOT

COUNTS = (
    re.compile(r"tests? run: (?P<passed>\d+) passed(?:.*?, (?P<failed>\d+) failed)?"),
    re.compile(r"^test result: \w+\. (?P<passed>\d+) passed; (?P<failed>\d+) failed"),
    re.compile(r"^Ran (?P<passed>\d+) tests? in [\d.]+s(?P<failed>$)"),
    re.compile(r"^(?:\w+: )?(?P<passed>\d+) passed, (?P<failed>\d+) failed"),
)
NAMED = re.compile(r"^fuzz \S+ +(ok|FAILED) ")
"""A line for each fuzz target."""

UNITTEST_FAILED = re.compile(r"^FAILED \((.*)\)")

FUZZ_SECONDS = 40


@dataclass
class Part:
    """A part of the suite: its name, what it runs, and what came of it."""

    name: str
    commands: Callable[[], list[list[str]]]
    passed: int = 0
    failed: int = 0
    seconds: float = 0.0

    def run(self) -> None:
        """Runs its commands in order; a command that prints no counts is one test, passed if it exits with 0."""
        begin = time.monotonic()
        print(f"\n=== {self.name}", flush=True)
        for command in self.commands():
            self._one(command)
        self.seconds = time.monotonic() - begin

    def _one(self, command: list[str]) -> None:
        print("+ " + " ".join(command), flush=True)
        process = subprocess.Popen(command, cwd=ROOT, text=True, errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        passed = failed = counted = 0
        assert process.stdout
        for line in process.stdout:
            print(line, end="", flush=True)
            bare = re.sub(r"\x1b\[[0-9;]*m", "", line)
            if match := NAMED.match(bare):
                counted += 1
                passed += match[1] == "ok"
                failed += match[1] == "FAILED"
            if match := UNITTEST_FAILED.match(bare):
                wrong = sum(map(int, re.findall(r"(?:failures|errors)=(\d+)", match[1])))
                passed, failed = passed - wrong, failed + wrong
            for pattern in COUNTS:
                if match := pattern.search(bare):
                    counted += 1
                    passed += int(match["passed"])
                    failed += int(match["failed"] or 0)
        status = process.wait()
        if not counted:
            passed = int(status == 0)
        if status and not failed:
            failed = 1
        self.passed += passed
        self.failed += failed


def _unit() -> list[list[str]]:
    if shutil.which("cargo-nextest"):
        return [["cargo", "nextest", "run", "--workspace", "--no-fail-fast", "--status-level", "fail"]]
    return [["cargo", "test", "--workspace", "--no-fail-fast", "--quiet"]]


def _kernel() -> list[list[str]]:
    build = ["cargo", "build", "--release", "--quiet", "-p", "hag", "-p", "hcpe", "-p", "braidctl", "-p", "braid-link"]
    return [build, [sys.executable, "-m", "testbed.lab.tests"]]


def _judge() -> list[list[str]]:
    return [[sys.executable, "-m", "unittest", "discover", "-s", "testbed/judge", "-t", "testbed/judge"]]


def _fuzz() -> list[list[str]]:
    return [["testbed/fuzz/run", str(FUZZ_SECONDS)]]


def _sim() -> list[list[str]]:
    program = ["cargo", "run", "--quiet", "-p", "sim", "--bin", "braid-sim", "--"]
    return [[*program, "0..2000"], [*program, "500..1000", "--without", "all"]]


PARTS = (
    Part("format", lambda: [["cargo", "fmt", "--all", "--check"]]),
    Part("clippy", lambda: [["cargo", "clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]]),
    Part("unit", _unit),
    Part("instructions", lambda: [[sys.executable, "-m", "testbed.lab.instructions"]]),
    Part("sim", _sim),
    Part("judge", _judge),
    Part("kernel", _kernel),
    Part("fuzz", _fuzz),
)


def main() -> int:
    """Runs the named parts, or all of them."""
    wanted = sys.argv[1:]
    unknown = set(wanted) - {part.name for part in PARTS}
    if unknown:
        print(f"no part is called {', '.join(sorted(unknown))}; there are {', '.join(part.name for part in PARTS)}", file=sys.stderr)
        return 2
    os.environ.setdefault("CARGO_TERM_COLOR", "never")
    chosen = [part for part in PARTS if not wanted or part.name in wanted]
    try:
        for part in chosen:
            part.run()
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    print("\npart           seconds   passed   failed")
    for part in chosen:
        print(f"{part.name:<13}{part.seconds:>9.1f}{part.passed:>9}{part.failed:>9}")
    passed, failed = sum(part.passed for part in chosen), sum(part.failed for part in chosen)
    print(f"{'all':<13}{sum(part.seconds for part in chosen):>9.1f}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
