"""What stands in the HAG's place, behind one face: our process, or the kernel for comparison."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .hag import Hag, hag
from .kernelbox import kernel_relay, kernel_router
from .topology import Scene

BOXES = ("hag", "kernel-relay", "kernel-router")


@contextmanager
def box(
    made: Scene, kind: str, cores: tuple[int, ...] = (0,), *, checksum: bool = False, grace: str = "10s"
) -> Iterator[Hag | None]:
    """Starts it and stops it; yields our process, or nothing where the kernel stands."""
    if kind == "hag":
        with hag(made, checksum=checksum, grace=grace, cores=cores) as running:
            yield running
    elif kind == "kernel-relay":
        with kernel_relay(made):
            yield None
    else:
        with kernel_router(made):
            yield None
