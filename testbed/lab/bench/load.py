"""B8 and B9 on virtio-user: latency under load, and what established connections keep of their goodput in a storm of new ones."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..shell import Background, LabError, wait_until
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
HEAVIER = 3
ALONE_S = 3.0
STUCK_S = 20.0
"""What is left then is stuck: longer than any timer of a connection that ends."""

PENDING_S = 120.0
"""How long a flow in set-up is kept whose client says nothing more: hag's timeouts.pending, unless a file says otherwise."""

TAKEN_US, PERIOD_US = 66, 100
"""What is taken of the box's core, as one core of generator cannot offer a whole one twice what it can set up."""

KEPT = {"name": "kept", "connections": 100, "requests": 0, "hold": True, "request": 64, "response": 14000}
STORM = {"name": "storm", "connections": 100000, "request": 64, "response": 64, "timeout": "2s", "delay": "1s"}


UNPROTECTED = {"protect_established": False}


def overload(work: Path, progress) -> list[Row]:  # noqa: ANN001
    """B9: what established connections move while others come at twice the highest rate of set-ups, of what they move alone."""
    with _lighter(work):
        return _overloaded(work, progress)


@contextmanager
def _lighter(work: Path) -> Iterator[None]:
    ballast = Background(["python3", "-m", "testbed.lab.bench.ballast", str(cores()[0]), str(TAKEN_US), str(PERIOD_US)], work / "ballast.log")
    try:
        yield
    finally:
        ballast.stop()


def _overloaded(work: Path, progress) -> list[Row]:  # noqa: ANN001
    progress("what established connections move at most")
    most = measured(work / "most", "mptcp", {key: value for key, value in KEPT.items() if key != "name"}, seconds=ALONE_S, subflows=2)
    # A box that is asked for less is asked less at a time, which costs more of each: a third is about half of its time, and half
    # is most of it, so that passing the storm on is more than it has left.
    kept, heavier = (KEPT | {"rate": round(most.client["requests"]["per_second"] / parts)} for parts in (3, 2))
    progress("the highest rate of set-ups")
    search = {"connections": 5000, "request": 64, "response": 64, "search": {"low": 4000, "high": 200000, "trial": "1s"}}
    highest = measured(work / "search", "mptcp", search, seconds=SECONDS, subflows=2, limits=UNPROTECTED).report["search"]["rate"]
    if not highest:
        raise LabError("no rate of set-ups is kept, not even 4,000 per second")
    storm = STORM | {"rate": 2 * highest}
    share, bonded, failed, recovery, control, stuck, silent = [], [], [], [], [], [], []
    more: dict[str, Any] = {"highest_per_s": highest, "kept_per_s": kept["rate"], "core_left": f"{1 - TAKEN_US / PERIOD_US:.0%}"}
    for n in range(STORMS):
        progress(f"{kept['rate']}/s on connections that are there, alone, then with twice {highest}/s new ones for {STORM_S:.0f} s, {n + 1} of {STORMS}")
        alone = measured(work / "alone", "mptcp", [kept], seconds=ALONE_S, subflows=2)
        both = measured(work / "storm", "mptcp", [kept, storm], seconds=STORM_S, subflows=2, after=_recovered if n + 1 < STORMS else _emptied)
        share.append(_share(both, alone))
        new = both.report["groups"]["storm"]["connections"]
        bonded.append(100 - 100 * new["fell_back"] / max(new["established"], 1))
        failed.append(100 * (new["timed_out"] + new["reset"] + new["refused"]) / max(new["begun"], 1))
        recovery.append(both.counters["recovery_s"])
        control.append(both.counters["answer_s"])
        stuck.append(both.counters["stuck"])
        silent.append(both.counters["pending"])
        emptied = both.counters.get("emptied_s", 0.0)
        more[f"storm_{n + 1}"] = _told(both) | {"alone_busy": f"{alone.cpu_s / alone.seconds:.0%}"}
    loaded = []
    for n in range(HEAVIER):
        progress(f"the same with {heavier['rate']}/s on connections that are there, {n + 1} of {HEAVIER}")
        alone = measured(work / "alone", "mptcp", [heavier], seconds=ALONE_S, subflows=2)
        both = measured(work / "heavier", "mptcp", [heavier, storm], seconds=STORM_S, subflows=2)
        loaded.append(_share(both, alone))
        more[f"heavier_{n + 1}"] = _told(both) | {"alone_busy": f"{alone.cpu_s / alone.seconds:.0%}"}
    progress("the same where established connections are not protected")
    alone = measured(work / "alone", "mptcp", [kept], seconds=ALONE_S, subflows=2)
    bare = measured(work / "unprotected", "mptcp", [kept, storm], seconds=STORM_S, subflows=2, limits=UNPROTECTED)
    peer = "the same connections on the same box without the storm"
    return [
        Row("B9", "goodput of 100 connections that are there while new ones come at twice the highest rate of set-ups, of theirs alone", share, "%", peer, ">= 95", more=more),
        Row("B9.heavier", "the same where those connections take most of the core by themselves", loaded, "%", peer, ">= 95"),
        Row("B9.unprotected", "the same with limits.protect_established: false", [_share(bare, alone)], "%", peer, more=_told(bare)),
        Row("B9.bonded", "of the storm's connections that were established, those that were bonded; the others went on unbonded", bonded, "%"),
        Row("B9.failed", "of the storm's connections, those that were not established, or not answered within two seconds", failed, "%"),
        Row("B9.recovery", "from the end of the storm until no relay of it is left in the box", recovery, "s", goal="<= 1"),
        Row("B9.stuck", f"relays that are still there {STUCK_S:.0f} s after the storm", stuck, "connections", goal="<= 0"),
        Row("B9.pending", "flows in set-up then whose clients gave up without a word: they end after timeouts.pending, two minutes", silent, "flows"),
        Row("B9.emptied", "from the end of the last storm until none of these is left either", [emptied], "s", goal=f"<= {PENDING_S + 1:.0f}"),
        Row("B9.control", "what `braidctl show status` takes right after it, its own start included", control, "s"),
    ]


def _share(both: Run, alone: Run) -> float:
    """What the connections that were there moved with the storm, in parts of a hundred of what they moved alone."""
    return 100 * both.report["groups"]["kept"]["gbit_per_second"] / alone.client["gbit_per_second"]


def _told(run_: Run) -> dict[str, Any]:
    """What became of a storm: of its connections by the box's count of flows, its warm-up included, and by the clients'."""
    kept, storm = (run_.report["groups"][name] for name in ("kept", "storm"))
    flows = {name: run_.counters[name] for name in ("pending_opened", "bypass_overload")}
    return {
        "kept_per_s": round(kept["requests"]["per_second"]), "kept_p50_us": round(kept["request_us"]["p50"]), "kept_failed": kept["connections"]["reset"] + kept["connections"]["timed_out"],
        "answered_per_s": round(storm["requests"]["per_second"]), "box_busy": f"{run_.cpu_s / run_.seconds:.0%}", "sent_again": run_.report["segments_sent_again"],
        **flows, **storm["connections"],
    }  # fmt: skip


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
