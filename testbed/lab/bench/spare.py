"""What others take of a core, seen by who has the rest of it.

The kernel's own account of a core books a soft interrupt to the process that it happens to come over, and to nobody if the core
sleeps. A loop that has the core only while nobody else wants it misses nothing: what it does not get is what the others take, the
machine below among them.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.sharedctypes import RawValue
from pathlib import Path

AUTOGROUP = Path("/proc/sys/kernel/sched_autogroup_enabled")

BREAK_NS = 1_000
"""A turn of the loop takes about a tenth of this; one that takes more was interrupted."""


class Core:
    """A core and the loop on it."""

    def __init__(self, had) -> None:  # noqa: ANN001
        self._had = had
        self._began, self._before = time.monotonic_ns(), had.value

    def busy(self) -> float:
        """Seconds that others had since it was asked last, however long that is ago."""
        now, had = time.monotonic_ns(), self._had.value
        taken = (now - self._began) - (had - self._before)
        self._began, self._before = now, had
        return max(0.0, taken / 1e9)


def _idle(had) -> None:  # noqa: ANN001
    last, total = time.monotonic_ns(), 0
    while True:
        now = time.monotonic_ns()
        if now - last < BREAK_NS:
            total += now - last
            had.value = total
        last = now


@contextmanager
def _ungrouped() -> Iterator[None]:
    if not AUTOGROUP.exists():
        yield
        return
    before = AUTOGROUP.read_text()
    AUTOGROUP.write_text("0")
    try:
        yield
    finally:
        AUTOGROUP.write_text(before)


@contextmanager
def watched(core: int) -> Iterator[Core]:
    """A core, seen from now on. Programs are scheduled by themselves meanwhile, not by their sessions: only then does everybody
    come before the loop (sched(7), SCHED_IDLE and autogroup)."""
    had = RawValue("q", 0)
    with _ungrouped():
        loop = os.fork()
        if not loop:
            try:
                os.sched_setaffinity(0, {core})
                os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
                _idle(had)
            finally:
                os._exit(1)
        try:
            yield Core(had)
        finally:
            os.kill(loop, signal.SIGKILL)
            os.waitpid(loop, 0)
