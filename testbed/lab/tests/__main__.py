"""Runs the kernel-peer tests: a line and a time for each, and a last line that counts them.

    python3 -m testbed.lab.tests [NAME...]        names as in test_transfer.Transfer.test_upload, or a part of one
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
import traceback
import unittest
from pathlib import Path

from ..running import ROOT
from ..shell import LabError
from ..topology import capability

LONGEST_S = 75.0
"""A test that has not ended by then has failed."""


def _too_long(_number: int, _frame: object) -> None:
    raise AssertionError(f"the test did not end within {LONGEST_S:.0f} s")


class Lines(unittest.TestResult):
    """A line for each test as it ends."""

    def __init__(self) -> None:
        super().__init__()
        self.passed = 0
        self._begin = time.monotonic()

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self._begin = time.monotonic()
        signal.signal(signal.SIGALRM, _too_long)
        signal.setitimer(signal.ITIMER_REAL, LONGEST_S)

    def stopTest(self, test: unittest.TestCase) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        super().stopTest(test)

    def _line(self, word: str, test: object, more: str = "") -> None:
        name = test.id().removeprefix("testbed.lab.tests.") if isinstance(test, unittest.TestCase) else str(test)
        print(f"  {word:<6} {time.monotonic() - self._begin:5.1f} s  {name}{more}", flush=True)

    def addSuccess(self, test: unittest.TestCase) -> None:
        self.passed += 1
        self._line("ok", test)

    def addFailure(self, test, err) -> None:  # noqa: ANN001 (unittest's types)
        super().addFailure(test, err)
        self._line("FAILED", test, "\n" + self._text(err))

    def addError(self, test, err) -> None:  # noqa: ANN001
        super().addError(test, err)
        self._line("FAILED", test, "\n" + self._text(err))

    def addSkip(self, test, reason: str) -> None:  # noqa: ANN001
        super().addSkip(test, reason)
        self._line("SKIP", test, f": {reason}")

    @staticmethod
    def _text(err) -> str:  # noqa: ANN001
        kind, value, trace = err
        if isinstance(value, (AssertionError, LabError, OSError)):
            frames = [frame for frame in traceback.extract_tb(trace) if "unittest" not in frame.filename]
            where = " > ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)
            return f"           {where}: {kind.__name__}: {value}"
        return "".join(traceback.format_exception(kind, value, trace))


def flatten(suite: unittest.TestSuite) -> list[unittest.TestCase]:
    """The suite's cases, in order."""
    cases: list[unittest.TestCase] = []
    for each in suite:
        cases += flatten(each) if isinstance(each, unittest.TestSuite) else [each]
    return cases


def main() -> int:
    """Runs what the command line names, or everything."""
    found: unittest.TestSuite = unittest.TestLoader().discover(str(Path(__file__).parent), "test_*.py", str(ROOT))
    wanted = sys.argv[1:]
    chosen = unittest.TestSuite(case for case in flatten(found) if not wanted or any(name in case.id() for name in wanted))
    count = chosen.countTestCases()
    ci = os.environ.get("CI") == "true"
    why = capability()
    if why:
        print(f"!!! {count} KERNEL-PEER TESTS CANNOT RUN HERE: {why} !!!")
        print(f"0 passed, {count if ci else 0} failed, {0 if ci else count} skipped")
        return 1 if ci else 0
    # Captures of the last run: kept until now for whoever looked into a failure.
    shutil.rmtree(ROOT / "target" / "lab", ignore_errors=True)
    result = Lines()
    try:
        chosen.run(result)
    except KeyboardInterrupt:
        # unittest leaves without tearing classes down.
        for kind in {type(case) for case in flatten(found)}:
            if hasattr(kind, "leave"):
                kind.leave()
        print("stopped; namespaces and processes are gone", file=sys.stderr)
        return 130
    failed = len(result.failures) + len(result.errors)
    skipped = len(result.skipped)
    print(f"{result.passed} passed, {failed + (skipped if ci else 0)} failed, {0 if ci else skipped} skipped")
    return 1 if failed or not count or (ci and skipped) else 0


if __name__ == "__main__":
    sys.exit(main())
