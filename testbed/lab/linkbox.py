"""The link emulator between two hosts, each in a namespace of its own.

    near --n0-- [left  emulator  right] --f0-- far
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .running import program
from .netns import Namespace
from .shell import Background, LabError, wait_until

NEAR, FAR = "10.7.0.1", "10.7.0.2"


@dataclass
class LinkBox:
    """Two hosts and the running emulator between them."""

    near: Namespace
    far: Namespace
    process: Background

    def report(self) -> dict:
        """What the emulator says of itself now."""
        return reports(self.process)


def reports(emulator: Background) -> dict:
    """What a running `braid-link --json` says of itself now."""

    def lines() -> list[str]:
        return [line for line in emulator.output().splitlines(keepends=True) if line.startswith("{") and line.endswith("\n")]

    before = lines()
    emulator.signal(signal.SIGUSR1)
    wait_until("a report of the emulator", lambda: len(lines()) > len(before), timeout=2.0)
    return json.loads(lines()[-1])


@contextmanager
def linkbox(work: Path, *options: str, cpu: int | None = None) -> Iterator[LinkBox]:
    """Makes the hosts and starts the emulator with `options`, on processor `cpu` alone; removes all of it in the end."""
    prefix = os.environ.get("BRAID_LAB", "braid")
    near, middle, far = (Namespace(f"{prefix}-link-{name}") for name in ("near", "middle", "far"))
    spaces = (near, middle, far)
    try:
        for space in spaces:
            space.delete()
            space.create()
            space.sysctl(net__ipv6__conf__all__disable_ipv6=1, net__ipv6__conf__default__disable_ipv6=1)
        for space, device, here, address in ((near, "n0", "left", NEAR), (far, "f0", "right", FAR)):
            middle.ip(f"link add {here} type veth peer name {device} netns {space.name}")
            for owner, name in ((middle, here), (space, device)):
                owner.run("ethtool", "-K", name, "tx", "off", "rx", "off", "gro", "off", "gso", "off", "tso", "off")
                owner.ip(f"link set {name} up")
            space.ip(f"addr add {address}/24 dev {device}")
        # The emulator carries what the kernel sees there, so the kernel itself must not answer.
        middle.ip("link set left arp off", "link set right arp off")
        pinned = ["taskset", "-c", str(cpu)] if cpu is not None else []
        work.mkdir(parents=True, exist_ok=True)
        command = [*pinned, str(program("braid-link")), "left", "right", "--json", *options]
        process = middle.start(command, work / "braid-link.log")
        try:
            wait_until("the emulator's start", lambda: "are joined" in process.output() or not process.running(), timeout=5.0)
            if not process.running():
                raise LabError(f"braid-link ended at once: {process.output().strip()}")
            yield LinkBox(near, far, process)
        finally:
            process.stop()
    finally:
        for space in spaces:
            space.delete()
