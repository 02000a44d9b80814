"""One of our programs in a namespace, and what `braidctl` says of it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .netns import Namespace
from .shell import Background, LabError, run, wait_until

ROOT = Path(__file__).resolve().parents[2]


def program(name: str) -> Path:
    """The built program: release unless `BRAID_PROFILE` says otherwise."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    path = target / os.environ.get("BRAID_PROFILE", "release") / name
    if not path.exists():
        raise LabError(f"{path} is not built: run `make build`")
    return path


@dataclass
class Running:
    """A running `hag` or `hcpe`."""

    name: str
    process: Background
    socket: Path
    told_to_stop: bool = False

    def show(self, what: str) -> dict:
        """`braidctl show WHAT --json`, without its outermost name."""
        said = json.loads(run([str(program("braidctl")), "--socket", str(self.socket), "show", what, "--json"]))
        return said.get("result", said)

    def counters(self) -> dict[str, int]:
        """Every counter of the box."""
        return self.show("counters")["counters"]

    def connections(self) -> list[dict]:
        """The relays there are now."""
        return self.show("connections")["connections"]

    def relays_left(self, patience: float = 6.0) -> int:
        """Relays that remain, pending ones too, once the last connections had time to end."""
        def left() -> int:
            counters = self.counters()
            return counters["relays"] + counters["pending"]

        try:
            wait_until("no relay left", lambda: left() == 0, patience, every=0.25)
        except LabError:
            pass
        return left()

    def tell_to_stop(self) -> None:
        """SIGTERM: it drains and ends by itself."""
        self.told_to_stop = True
        self.process.signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: it ends as it does when it crashes."""
        self.told_to_stop = True
        self.process.signal(signal.SIGKILL)
        self.process.wait(5.0)

    def died(self) -> bool:
        """Whether it ended though nobody asked it to."""
        return not self.process.running() and not self.told_to_stop

    def answering(self) -> bool:
        """Whether the control socket answers."""
        try:
            self.show("counters")
        except (LabError, json.JSONDecodeError):
            return False
        return True


def start(space: Namespace, name: str, config: str, work: Path, kind: str = "") -> Running:
    """Starts the program `kind` (the one called `name`) in a namespace with this configuration, and waits until it answers."""
    socket, file = work / f"{name}.sock", work / f"{name}.yaml"
    socket.unlink(missing_ok=True)
    file.write_text(config)
    process = space.start([str(program(kind or name)), "run", "-c", str(file)], work / f"{name}.log")
    process.prefer()
    running = Running(name, process, socket)
    try:
        wait_until(f"{name} is ready", lambda: not process.running() or (socket.exists() and running.answering()), 20.0, every=0.1)
        if not process.running():
            raise LabError(f"{name} ended with {process.wait(1)}:\n{process.output()}")
    except BaseException:
        process.stop(1.0)
        raise
    return running


def stop(running: Running, grace: float = 30.0) -> None:
    """Ends it; `LabError` if it had died or does not stop cleanly."""
    died = running.died()
    killed = running.told_to_stop and not running.process.running()
    status = running.process.stop(grace)
    if died or (status != 0 and not killed):
        raise LabError(f"{running.name} {'died' if died else 'did not stop cleanly'} ({status}):\n{running.process.output()[-2000:]}")


@contextmanager
def runs(space: Namespace, name: str, config: str, work: Path) -> Iterator[Running]:
    """Runs `name` while the block does; in the end it must stop cleanly."""
    running = start(space, name, config, work)
    try:
        yield running
    except BaseException:
        running.process.stop(1.0)
        raise
    stop(running)
