"""B8 and B9 on virtio-user: latency under load, and what is kept of goodput where more connections come than can be set up."""

from __future__ import annotations

import time
from pathlib import Path

from ..shell import wait_until
from .device import Hag, Run, measured
from .results import Row

REPEATS = 5
SECONDS = 3.0
ASK = {"connections": 64, "requests": 0, "request": 64, "response": 14000}
LOADS = (0.1, 0.7)


def steal_ticks() -> int:
    """What the machine below us took from all cores."""
    return int(Path("/proc/stat").read_text().split("\n")[0].split()[8])


def preempted(seconds: float = 0.5) -> dict[str, float]:
    """An idle loop on this core: gaps over 50 us in it are the machine's, not the box's."""
    gaps, longest = 0, 0.0
    last = end = time.perf_counter()
    end += seconds
    while last < end:
        now = time.perf_counter()
        if now - last > 50e-6:
            gaps, longest = gaps + 1, max(longest, now - last)
        last = now
    return {"gaps_over_50us_per_s": gaps / seconds, "longest_us": round(1e6 * longest)}


def latency(work: Path, progress) -> list[Row]:  # noqa: ANN001
    """B8: half of what a request takes through our box beyond what it takes through testpmd, at the same rate."""
    progress("the highest rate")
    search = ASK | {"search": {"low": 500, "high": 200000, "trial": "500ms"}}
    highest = measured(work / "search", "mptcp", search, seconds=20.0, subflows=2).report["search"]["rate"]
    rows = []
    for load in LOADS:
        rate, added, each = int(highest * load), {"p50": [], "p99": [], "p99_9": []}, {"ours": [], "io": []}
        steal = steal_ticks()
        for n in range(REPEATS):
            progress(f"{load:.0%} of {highest}/s, {n + 1} of {REPEATS}")
            ours, io = (measured(work / box, box, ASK | {"rate": max(rate, 1)}, seconds=SECONDS, subflows=2) for box in ("mptcp", "testpmd"))
            for name, values in added.items():
                # One way: a request and its answer cross the box once each.
                values.append((ours.client["request_us"][name] - io.client["request_us"][name]) / 2)
            each["ours"].append(ours.client["request_us"]["p99"])
            each["io"].append(io.client["request_us"]["p99"])
        more = {"rate": rate, "highest": highest, "p99_us": each, "idle_loop": preempted(), "steal_ticks": steal_ticks() - steal}
        for name, values in added.items():
            goal = "<= 10" if load == LOADS[-1] and name == "p99" else ""
            rows.append(Row(f"B8.{load:.0%}.{name}", f"time that the box adds one way at {load:.0%} of the highest rate of requests, {name}", values, "us", "testpmd in io mode in the same run", goal, more=more if name == "p99" else {}))
    return rows


STORM_S = 20.0


def overload(work: Path, progress) -> list[Row]:  # noqa: ANN001
    """B9: the highest rate of set-ups, then what is answered at twice that rate."""
    short = {"connections": 5000, "request": 64, "response": 64}
    progress("the highest rate of set-ups")
    found = measured(work / "search", "mptcp", short | {"search": {"low": 200, "high": 200000, "trial": "1s"}}, seconds=25.0, subflows=2)
    highest = found.report["search"]["rate"]
    progress(f"twice {highest}/s for {STORM_S:.0f} s")
    storm: Run = measured(work / "storm", "mptcp", short | {"rate": 2 * highest, "timeout": "5s"}, seconds=STORM_S, subflows=2, after=_recovered)
    kept = storm.client["requests"]["per_second"] / max(highest, 1)
    more = {"highest_per_s": highest, "answered_per_s": round(storm.client["requests"]["per_second"]), "connections": storm.client["connections"]}
    return [
        Row("B9", "connections answered at twice the highest rate of set-ups, of that rate", [100 * kept], "%", "the same box at its highest rate", ">= 95", more=more),
        Row("B9.recovery", "from the end of the storm until nothing of it is left in the box", [storm.counters["recovery_s"]], "s", goal="<= 1"),
        Row("B9.control", "what `braidctl show status` takes meanwhile, its own start included", [storm.counters["answer_s"]], "s"),
    ]


def _recovered(hag: Hag) -> dict[str, float]:
    """How long the control socket takes to answer, and until no relay and nothing in set-up is left."""
    begun = time.monotonic()
    hag.show("status")
    answered = time.monotonic()

    def left() -> int:
        counters = hag.show("counters")["counters"]
        return counters["relays"] + counters["pending"]

    wait_until("nothing is left of the storm", lambda: left() == 0, 60.0, every=0.05)
    return {"answer_s": answered - begun, "recovery_s": time.monotonic() - begun}
