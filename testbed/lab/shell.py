"""Running programs: one call that explains what failed, and background programs that never outlive the lab."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path


PREFERRED = -15
"""Niceness of boxes and emulated links."""


class LabError(Exception):
    """Something the lab needs did not work; the text says what, and where one can what to do."""


def run(args: Sequence[str], *, stdin: str | None = None, check: bool = True, timeout: float = 60.0) -> str:
    """Runs a program to its end and returns what it printed; raises `LabError` with its own words if it failed."""
    try:
        done = subprocess.run(args, input=stdin, text=True, capture_output=True, timeout=timeout, check=False)
    except FileNotFoundError as missing:
        raise LabError(f"{args[0]} is not installed: run testbed/setup.sh") from missing
    except subprocess.TimeoutExpired as late:
        raise LabError(f"`{' '.join(args)}` did not end within {timeout:.0f} s") from late
    if check and done.returncode != 0:
        words = (done.stderr or done.stdout).strip()
        raise LabError(f"`{' '.join(args)}` failed ({done.returncode}): {words}")
    return done.stdout


class Background:
    """A program that runs beside the lab until `stop`. Its output goes to a log file, for the reader of a failure."""

    def __init__(self, args: Sequence[str], log: Path, env: dict[str, str] | None = None) -> None:
        self.name = Path(args[0]).name
        self.log = log
        with log.open("wb") as sink:
            try:
                # A session of its own: the terminal's Ctrl-C reaches the lab alone, which then ends its programs in order.
                self._process = subprocess.Popen(
                    args, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT, env=env, start_new_session=True
                )
            except FileNotFoundError as missing:
                raise LabError(f"{args[0]} is not installed: run testbed/setup.sh") from missing

    @property
    def pid(self) -> int:
        """Process id of the program (or of the `ip netns exec` that became it)."""
        return self._process.pid

    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def wait(self, timeout: float) -> int:
        """Waits for its end and returns its exit status."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired as late:
            raise LabError(f"{self.name} did not end within {timeout:.0f} s") from late

    def prefer(self, nice: int = PREFERRED) -> None:
        """Puts it before other programs of the machine, where the kernel lets us: boxes and links must not wait for a compiler."""
        try:
            os.setpriority(os.PRIO_PROCESS, self.pid, nice)
            # It is the leader of a session, and so of a scheduling group of its own (sched(7)).
            Path(f"/proc/{self.pid}/autogroup").write_text(str(nice))
        except OSError:
            pass

    def signal(self, number: int) -> None:
        """Sends a signal, if it still runs."""
        if self.running():
            self._process.send_signal(number)

    def stop(self, grace: float = 5.0) -> int:
        """Ends it with SIGTERM, with SIGKILL after `grace` seconds. Returns its exit status."""
        if self.running():
            self._process.terminate()
            try:
                self._process.wait(grace)
            except subprocess.TimeoutExpired:
                self._process.kill()
        return self._process.wait()

    def output(self) -> str:
        """What it printed so far."""
        return self.log.read_text(errors="replace")


def wait_until(what: str, ready, timeout: float = 10.0, every: float = 0.02) -> None:
    """Waits until `ready()` is true; `LabError` naming `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not ready():
        if time.monotonic() > deadline:
            raise LabError(f"{what}: not within {timeout:.0f} s")
        time.sleep(every)
