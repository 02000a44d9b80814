"""B10 and B11: one connection over emulated access networks, our two boxes beside the kernel's Multipath TCP at both ends.

Beside the kernel both use all that there is, each with CUBIC on every subflow: so our boxes schedule by round-trip times, as the
kernel does, and not by cost, which is what they do by themselves. No interface of the chain offloads anything: what the links
lose is one frame at a time, and that is asserted.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..bulk import carries, move
from ..chain import Chain, chain
from ..chainconfig import OVERFLOW, V4, Link, Setup
from ..kernelrelay import announcing, joining, relaying
from .results import Row

RATES = (40.0, 20.0)
LOSSES = (0.01, 0.1, 1.0)
RTTS = (5.0, 50.0)
SEEDS = (1, 2, 3, 4, 5)
SECONDS = 4.0
LOWEST_RTT = {"policy": {"scheduler": "lowest-rtt"}}
FRAME_MAX = 1514


@dataclass
class Carried:
    """What one connection carried over the links."""

    mbps: dict[str, float]
    """Goodput `down` and `up`, Mbit/s."""
    late_us: float
    """How late 99 of 100 frames left the emulated links at most: a machine that is busy does that."""


def _goodput(links: tuple[Link, ...], boxes: dict[str, Any] | None, work: Path, seconds: float) -> Carried:
    """One connection, down and up, between our boxes with this beside their usual configuration, or between kernels."""
    with ExitStack() as ends:
        names = () if boxes is None else ("hcpe", "hag")
        made = ends.enter_context(chain(Setup(links=links, boxes=names, hcpe=boxes or {}, hag=boxes or {}), work=work))
        if boxes is None:
            _kernels(made, ends)
        emulated = [line for line in made.lines if line.name in made.emulators]
        carried = Carried({}, 0.0)
        for way in ("down", "up"):
            # The links anew: they decide frame by frame what to lose, and how many acknowledgments a download sent would choose,
            # by chance, which frames of the upload after it are lost.
            for line in emulated:
                made.reshape(line)
            carried.mbps[way] = _exact(made, way, seconds)
            passed = [frames for line in emulated for frames in made.carried(line).values()]
            largest = max(frames["largest"] for frames in passed)
            assert largest <= FRAME_MAX, f"a frame of {largest} octets came to a link: an interface offloads"
            carried.late_us = max(carried.late_us, *(frames["lateness_us"]["p99"] for frames in passed))
        return carried


def _kernels(made: Chain, ends: ExitStack) -> None:
    """The kernel's relay in the place of both boxes."""
    hag, hcpe = made.spaces["hag"], made.spaces["hcpe"]
    announcing(hag, V4.announced)
    hcpe.ip(f"route add {V4.announced} via 10.2.0.1 dev w2")
    joining(hcpe)
    ends.enter_context(relaying(hag, "hag", "a1", made.work / "relay-hag.log"))
    ends.enter_context(relaying(hcpe, "hcpe", "l0", made.work / "relay-hcpe.log"))


def _exact(made: Chain, way: str, seconds: float) -> float:
    moved = move(made, way, seconds)
    assert moved.exact, "what arrived is not what was sent"
    return moved.mbps


def loss(work: Path, progress) -> list[Row]:  # noqa: ANN001
    """B10."""
    rows = []
    for rtt in RTTS:
        for percent in LOSSES:
            ratios, told = [], {"ours_mbps": [], "kernel_mbps": [], "late_us": []}
            for seed in SEEDS:
                progress(f"{percent} % at {rtt:.0f} ms, seed {seed}")
                links = tuple(Link(rate, rtt, loss=percent, more=(f"--seed={2 * seed + n}",)) for n, rate in enumerate(RATES))
                ours = _goodput(links, LOWEST_RTT, work / "ours", SECONDS)
                theirs = _goodput(links, None, work / "kernel", SECONDS)
                ratios += [ours.mbps[way] / theirs.mbps[way] for way in ours.mbps]
                told["ours_mbps"] += [round(value, 1) for value in ours.mbps.values()]
                told["kernel_mbps"] += [round(value, 1) for value in theirs.mbps.values()]
                told["late_us"] += [round(ours.late_us), round(theirs.late_us)]
            what = f"goodput of one connection over {RATES[0]:.0f} + {RATES[1]:.0f} Mbit/s, {percent} % lost each way at {rtt:.0f} ms round trip, over the kernel's"
            rows.append(Row(f"B10.{rtt:.0f}ms.{percent}", what, ratios, "ratio", "the kernel's Multipath TCP at both ends, CUBIC and lowest round trip on both sides, same links and seeds", ">= 1.0", more=told))
    return rows


AGGREGATED = (Link(50, 20), Link(20, 60))
REPEATS = 5


def aggregation(work: Path, progress) -> list[Row]:  # noqa: ANN001
    """B11."""
    whole, best = carries(*(link.rate for link in AGGREGATED)), carries(max(link.rate for link in AGGREGATED))
    shares, over_best = [], []
    for n in range(REPEATS):
        progress(f"{n + 1} of {REPEATS}")
        links = tuple(Link(link.rate, link.rtt, more=(f"--seed={n + 1}",)) for link in AGGREGATED)
        least = min(_goodput(links, OVERFLOW, work / "chain", 8.0).mbps.values())
        shares.append(least / whole)
        over_best.append(least / best)
    return [
        Row("B11", "goodput of one connection over 50 Mbit/s at 20 ms and 20 Mbit/s at 60 ms, of their sum, the lesser direction", shares, "ratio", "what the links carry, in full frames", ">= 0.9"),
        Row("B11.best", "the same of the best path alone: the least run counts", [min(over_best)], "ratio", "the 50 Mbit/s link alone", ">= 1.0"),
    ]
