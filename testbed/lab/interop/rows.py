"""How rows are written.

    @row("P7-4", "SYNs that the server sees beyond the host's own", goal="<= 1", unit="segments", on=Setup(...))
    def closed_and_filtered_ports(chain: Chain) -> Figure: ...

A row gets a running chain of the setup it asks for; rows with an equal setup share one, in the order of the files, and a
row that fails gets the next a new one. A row without an argument has no chain: it may call `rust_test`. What it returns (a
number, a text, or nothing) is its figure. `AssertionError`, `LabError` and `OSError` mean FAIL. One id may have several rows:
all must pass. Every file beside this one is read.
"""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..chain import Chain
from ..chainconfig import WIRE, Setup
from ..running import ROOT

Figure = float | int | str | None

LATEST_US = float(os.environ.get("BRAID_LATEST_MS", "5")) * 1e3
"""If more than a hundredth of the frames left an emulated link later than this, what was measured over it says nothing."""

PLAIN = Setup(links=(WIRE, WIRE))
"""A chain whose links are bridges: for what needs no rates and no delays. It takes the least time and processor."""


class NotJudged(Exception):
    """The lab could not measure: the row is run once more, and fails if that happens again."""


@dataclass(frozen=True)
class Row:
    """One registered row."""

    id: str
    what: str
    goal: str
    unit: str
    on: Setup | None
    limit: float
    fresh: bool
    run: Callable[..., Figure]

    @property
    def name(self) -> str:
        """Its file and function."""
        return f"{self.run.__module__.rsplit('.', 1)[-1]}.{self.run.__name__}"


ROWS: list[Row] = []


def row(id: str, what: str, *, goal: str = "", unit: str = "", on: Setup = PLAIN, limit: float = 0.0, fresh: bool = False) -> Callable[[Callable[..., Figure]], Callable[..., Figure]]:
    """Registers a function as a row of requirement `id`. It must end within `limit` seconds (a minute, ten without a chain); `fresh` has a chain to itself."""

    def register(function: Callable[..., Figure]) -> Callable[..., Figure]:
        takes_chain = bool(inspect.signature(function).parameters)
        ROWS.append(Row(id, what, goal, unit, on if takes_chain else None, limit or (60.0 if takes_chain else 600.0), fresh, function))
        return function

    return register


STARVED = 0.15
"""If a box had work, but no processor, for more than this share of the time, what falls short says nothing of the box."""

starved: list[str] = []
"""What `punctual` found of that since the row began: a failure of such a row is not judged. The runner empties it."""


def _waited_s(chain: Chain) -> dict[str, float]:
    """How long each box has waited for a processor so far."""
    waited = {}
    for name, box in chain.boxes.items():
        threads = Path(f"/proc/{box.process.pid}/task").glob("*/schedstat")
        waited[name] = max((int(thread.read_text().split()[1]) / 1e9 for thread in threads), default=0.0)
    return waited


@contextmanager
def punctual(chain: Chain) -> Iterator[dict[str, float]]:
    """What is measured in the block counts only if the emulated links were not late: else `NotJudged`.

    The lateness is in the yielded `{"late_us": ...}` afterwards, for the figure.
    """
    chain.lateness_us()
    said: dict[str, float] = {}
    begin, before = time.monotonic(), _waited_s(chain)
    yield said
    said["late_us"] = chain.lateness_us()
    for name, waited in _waited_s(chain).items():
        share = (waited - before.get(name, 0.0)) / (time.monotonic() - begin)
        if share > STARVED:
            starved.append(f"{name} had work but no processor for {share:.0%} of the time")
    if said["late_us"] > LATEST_US:
        raise NotJudged(f"1 % of the frames left the links more than {said['late_us'] / 1e3:.1f} ms late (at most {LATEST_US / 1e3:.0f} ms)")


def rust_test(package: str, name: str, *, features: str = "") -> str:
    """Runs the tests of a package: the test file `name`, or the tests whose names contain it. At least one must have run."""
    folder = ROOT / package / "tests"
    if any((folder / f"{name}{end}").exists() for end in (".rs", "/main.rs")):
        which = ["--test", name]
    elif any(folder.glob(f"*/{name}.rs")):
        which = ["--tests", "--", f"{name}::"]
    else:
        which = ["--tests", "--", name]
    features_asked = ["--features", features] if features else []
    command = ["cargo", "test", "-p", package, *features_asked, *which]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, env=os.environ | {"CARGO_TERM_COLOR": "never"}, timeout=600, check=False)
    counts = re.findall(r"^test result: \w+\. (\d+) passed; (\d+) failed", done.stdout, re.M)
    passed, failed = sum(int(p) for p, _ in counts), sum(int(f) for _, f in counts)
    names = re.findall(r"^test (\S+) \.\.\. FAILED", done.stdout, re.M)
    assert done.returncode == 0 and not failed, f"{package} {name}: {', '.join(names) or done.stderr[-800:]}"
    assert passed, f"{package} has no test called {name}"
    return f"{passed} tests"


def at_least(value: float, bound: float, what: str) -> float:
    """`value`, if it reaches `bound`."""
    assert value >= bound, f"{what}: {value:.3f}, must be at least {bound:.3f}"
    return value


def at_most(value: float, bound: float, what: str) -> float:
    """`value`, if it does not exceed `bound`."""
    assert value <= bound, f"{what}: {value:.3f}, must be at most {bound:.3f}"
    return value
