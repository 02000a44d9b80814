"""Takes a share of a core away from whoever runs there, in short pieces: the box is as if its core were so much slower.

    python3 -m testbed.lab.bench.ballast CORE BUSY_US PERIOD_US

One core of generator cannot offer a box with as much of a core twice the connections that it can set up: each costs both ends about as much.
"""

from __future__ import annotations

import gc
import os
import sys
import time


def main() -> None:
    """Spins for a part of each period, before anything else on the core, until it is killed."""
    core, busy, period = int(sys.argv[1]), float(sys.argv[2]) / 1e6, float(sys.argv[3]) / 1e6
    os.sched_setaffinity(0, {core})
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    gc.disable()
    begun = time.monotonic()
    while True:
        end = begun + busy
        while time.monotonic() < end:
            pass
        begun = max(begun + period, end)
        time.sleep(max(0.0, begun - time.monotonic()))


if __name__ == "__main__":
    main()
