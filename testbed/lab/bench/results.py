"""What was measured: rows with their spread, kept part by part so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..running import ROOT

FOLDER = ROOT / "target" / "bench"
PARTS = FOLDER / "parts"
COMMAND = "make bench"


@dataclass
class Row:
    """One figure. A goal is `>= 0.5` or `<= 15`; rows without one explain others."""

    id: str
    what: str
    values: list[float]
    unit: str
    peer: str = ""
    goal: str = ""
    command: str = ""
    more: dict[str, Any] = field(default_factory=dict)
    """Whatever else belongs to it: counts, rates, the peer's command line."""

    @property
    def value(self) -> float:
        """The median."""
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the median is what it should be."""
        return is_met(self.value, self.goal)

    def told(self) -> dict[str, Any]:
        """As it stands in the report."""
        said = asdict(self)
        values = said.pop("values")
        said |= {"value": self.value, "met": self.met, "spread": {"min": min(values), "max": max(values), "repeats": len(values)}, "each": values}
        return said


def is_met(value: float, goal: str) -> bool | None:
    """Whether a value is what the goal says; nothing without one."""
    if not goal:
        return None
    sign, bound = goal.split()
    return value >= float(bound) if sign == ">=" else value <= float(bound)


def save(part: str, rows: Sequence[Row], *, failed: str = "", core_to_core: dict | None = None) -> None:
    """Keeps a part's rows, or why there are none."""
    PARTS.mkdir(parents=True, exist_ok=True)
    told = [row.told() for row in rows]
    for row in told:
        # One that has no command of its own comes of its part's.
        row["command"] = row["command"] or f"{COMMAND} PART={part}"
    whole = {"part": part, "rows": told, "failed": failed, "core_round_trip_ns": core_to_core}
    # By a rename: a part that is there is whole.
    fresh = PARTS / f"{part}.new"
    fresh.write_text(json.dumps(whole, indent=1))
    fresh.rename(PARTS / f"{part}.json")


def kept(part: str) -> dict[str, Any] | None:
    """What was kept of a part, if it ran, whatever came of it."""
    try:
        return json.loads((PARTS / f"{part}.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def saved(part: str) -> dict[str, Any] | None:
    """A part that was kept, unless it failed: that is tried again."""
    whole = kept(part)
    return whole if whole and not whole["failed"] else None


def line(row: dict[str, Any]) -> str:
    """A row for the terminal."""
    met = {True: "met", False: "MISSED", None: ""}[row["met"]]
    spread = row["spread"]
    return f"  {row['id']:<12} {row['value']:>11.3f} {row['unit']:<12} [{spread['min']:.3f} .. {spread['max']:.3f}]  {row['goal']:<9} {met:<7} {row['what']}"
