"""B8 and B9 on virtio-user: latency under load, and what is kept of goodput where more connections come than can be set up."""

from __future__ import annotations

import os
import time
from pathlib import Path

from ..shell import LabError, wait_until
from .device import Hag, Run, cores, measured
from .results import Row

REPEATS = 5
SECONDS = 3.0
ASK = {"connections": 64, "requests": 0, "request": 64, "response": 14000}
LOADS = (0.1, 0.7)


def steal_ticks() -> int:
    """What the machine below us took from all cores."""
    return int(Path("/proc/stat").read_text().split("\n")[0].split()[8])


def preempted(seconds: float = 0.5) -> dict[str, float]:
    """An idle loop on the box's core, while the box is not there: gaps over 50 us in it are the machine's."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cores()[0]})
    try:
        gaps, longest = 0, 0.0
        last = end = time.perf_counter()
        end += seconds
        while last < end:
            now = time.perf_counter()
            if now - last > 50e-6:
                gaps, longest = gaps + 1, max(longest, now - last)
            last = now
    finally:
        os.sched_setaffinity(0, allowed)
    return {"gaps_over_50us_per_s": gaps / seconds, "longest_us": round(1e6 * longest)}


TIMES = {"p50": "p50", "p99": "p99_others", "p99.9": "p99_9_others"}
"""What rows are called, and what flowgen calls it: without requests that took over 50 us longer than half of them did."""


def latency(work: Path, progress) -> list[Row]:  # noqa: ANN001
    """B8: half of what a request takes through our box beyond what it takes through testpmd, at the same rate. Both spin: a nap of
    our own making is not what is asked for."""
    progress("the highest rate")
    search = ASK | {"search": {"low": 1000, "high": 200000, "trial": "1s"}}
    highest = measured(work / "search", "mptcp", search, seconds=SECONDS, subflows=2, polling="spin").report["search"]["rate"]
    if not highest:
        raise LabError("no rate of requests is kept, not even 1,000 per second")
    rows = []
    for load in LOADS:
        rows += _at(load, highest, work, progress)
    return rows


def _at(load: float, highest: int, work: Path, progress) -> list[Row]:  # noqa: ANN001
    rate, steal, idle = max(int(highest * load), 1), steal_ticks(), []
    ours: list[dict[str, float]] = []
    io: list[dict[str, float]] = []
    for n in range(REPEATS):
        progress(f"{load:.0%} of {highest}/s, {n + 1} of {REPEATS}")
        for box, times in (("mptcp", ours), ("testpmd", io)):
            times.append(measured(work / box, box, ASK | {"rate": rate}, seconds=SECONDS, subflows=2, polling="spin").client["request_us"])
        idle.append(preempted())
    more = {
        "rate": rate, "highest": highest, "idle_loop": idle, "steal_ticks": steal_ticks() - steal,
        "ours_p99_us": [times["p99_others"] for times in ours], "io_p99_us": [times["p99_others"] for times in io],
        "ours_p99_us_with_those_held_up": [times["p99"] for times in ours], "io_p99_us_with_those_held_up": [times["p99"] for times in io],
    }  # fmt: skip
    rows = []
    for name, key in TIMES.items():
        # One way: a request and its answer cross the box once each.
        added = [(mine[key] - theirs[key]) / 2 for mine, theirs in zip(ours, io)]
        goal = "<= 10" if load == LOADS[-1] and name == "p99" else ""
        what = f"time that the box adds one way at {load:.0%} of the highest rate of requests, {name}, those held up over 50 us apart"
        rows.append(Row(f"B8.{load:.0%}.{name}", what, added, "us", "testpmd in io mode in the same run", goal, more=more if name == "p99" else {}))
    for box, times in (("ours", ours), ("io", io)):
        held_up = [1000 * each["held_up"] / max(each["count"], 1) for each in times]
        rows.append(Row(f"B8.{load:.0%}.held_up.{box}", f"requests of 1,000 that took over 50 us longer than half of them did, {box}", held_up, "per 1,000"))
    return rows


STORM_S = 10.0
STORMS = 5
STUCK_S = 20.0
"""What is left then is stuck: longer than any timer of a connection that ends."""

PENDING_S = 120.0
"""How long a flow in set-up is kept whose client says nothing more: hag's timeouts.pending, unless a file says otherwise."""


def overload(work: Path, progress) -> list[Row]:  # noqa: ANN001
    """B9: the highest rate of set-ups, then what is answered at twice that rate."""
    short = {"connections": 5000, "request": 64, "response": 64}
    progress("the highest rate of set-ups")
    found = measured(work / "search", "mptcp", short | {"search": {"low": 500, "high": 200000, "trial": "1s"}}, seconds=SECONDS, subflows=2)
    highest = found.report["search"]["rate"]
    if not highest:
        raise LabError("no rate of set-ups is kept, not even 500 per second")
    kept, recovery, control, stuck, silent, more = [], [], [], [], [], {"highest_per_s": highest, "box_busy_at_highest": f"{found.cpu_s / found.seconds:.0%}"}
    for n in range(STORMS):
        progress(f"twice {highest}/s for {STORM_S:.0f} s, {n + 1} of {STORMS}")
        storm: Run = measured(work / "storm", "mptcp", short | {"rate": 2 * highest, "timeout": "5s"}, seconds=STORM_S, subflows=2, after=_recovered if n + 1 < STORMS else _emptied)
        kept.append(100 * storm.client["requests"]["per_second"] / highest)
        recovery.append(storm.counters["recovery_s"])
        control.append(storm.counters["answer_s"])
        stuck.append(storm.counters["stuck"])
        silent.append(storm.counters["pending"])
        more[f"storm_{n + 1}"] = {"answered_per_s": round(storm.client["requests"]["per_second"]), "box_busy": f"{storm.cpu_s / storm.seconds:.0%}", **storm.client["connections"]}
    return [
        Row("B9", "connections answered at twice the highest rate of set-ups, of that rate", kept, "%", "the same box at its highest rate", ">= 95", more=more),
        Row("B9.recovery", "from the end of the storm until no relay of it is left in the box", recovery, "s", goal="<= 1"),
        Row("B9.stuck", f"relays that are still there {STUCK_S:.0f} s after the storm", stuck, "connections", goal="<= 0"),
        Row("B9.pending", "flows in set-up then whose clients gave up without a word: they end after timeouts.pending, two minutes", silent, "flows"),
        Row("B9.emptied", "from the end of the last storm until none of these is left either", [storm.counters["emptied_s"]], "s", goal=f"<= {PENDING_S + 1:.0f}"),
        Row("B9.control", "what `braidctl show status` takes right after it, its own start included", control, "s"),
    ]


def _left(hag: Hag, what: str) -> int:
    return hag.show("counters")["counters"][what]


def _recovered(hag: Hag) -> dict[str, float]:
    """How long the control socket takes to answer, and until no relay is left; and what is still in set-up."""
    begun = time.monotonic()
    hag.show("status")
    answered = time.monotonic()
    try:
        wait_until("no relay of the storm is left", lambda: _left(hag, "relays") == 0, STUCK_S, every=0.05)
    except LabError:
        pass
    return {"answer_s": answered - begun, "recovery_s": time.monotonic() - begun, "stuck": _left(hag, "relays"), "pending": _left(hag, "pending")}


def _emptied(hag: Hag) -> dict[str, float]:
    """The same, and how long until nothing at all is left."""
    begun = time.monotonic()
    seen = _recovered(hag)
    try:
        wait_until("nothing is left of the storm", lambda: _left(hag, "relays") + _left(hag, "pending") == 0, PENDING_S + 20, every=0.25)
    except LabError:
        pass
    return seen | {"emptied_s": time.monotonic() - begun}
