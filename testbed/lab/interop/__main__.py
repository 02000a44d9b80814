"""`make interop`: runs the rows, and says for each requirement whether it holds.

    python3 -m testbed.lab.interop [ROW...]      a row is an id (P7-4), a function or a file of rows; all without
    python3 -m testbed.lab.interop --list        what there is
    python3 -m testbed.lab.interop --page        writes the names of the rows into docs/requirements.md
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import shutil
import signal
import subprocess
import sys
import time
import traceback
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from .. import interop
from ..chain import Chain, chain
from ..running import ROOT
from ..shell import LabError
from ..topology import capability, terminable
from . import page
from .rows import ROWS, Figure, NotJudged, Row, starved

OUT = ROOT / "target" / "interop"
NO_ROWS = {"__main__", "rows", "page"}


@dataclass
class Result:
    """What came of one row."""

    row: Row
    passed: bool
    figure: Figure
    seconds: float
    why: str = ""


@dataclass
class Bench:
    """Runs rows in turn, and keeps a chain as long as the next row asks for an equal one."""

    stack: ExitStack = field(default_factory=ExitStack)
    made: Chain | None = None
    count: int = 0

    def chain_for(self, row: Row) -> Chain:
        """A running chain of the row's setup: the one that there is, unless the row wants its own."""
        assert row.on
        if self.made is None or self.made.setup != row.on or row.fresh:
            self.drop()
            self.count += 1
            self.made = self.stack.enter_context(chain(row.on, work=OUT / "work" / f"chain-{self.count}"))
        return self.made

    def drop(self) -> None:
        """Removes the chain; `LabError` if a box does not stop cleanly."""
        self.made = None
        self.stack.close()

    def run(self, row: Row) -> Result:
        """One row; a second time if the lab could not measure."""
        begin = time.monotonic()
        result = self._attempt(row)
        if result is None:
            result = self._attempt(row) or Result(row, False, None, 0.0, "the lab could not measure, twice: " + self.unjudged)
        result.seconds = time.monotonic() - begin
        return result

    def _attempt(self, row: Row) -> Result | None:
        starved.clear()
        signal.signal(signal.SIGALRM, lambda *_: _too_long(row))
        try:
            if row.on is None:
                # It may make chains of its own, with the same names.
                self.drop()
            made = self.chain_for(row) if row.on else None
            signal.setitimer(signal.ITIMER_REAL, row.limit)
            figure = row.run(made) if made else row.run()
            signal.setitimer(signal.ITIMER_REAL, 0)
            if made:
                made.check_boxes()
            if row.fresh:
                self.drop()
            return Result(row, True, figure, 0.0)
        except NotJudged as unjudged:
            self._forget()
            self.unjudged = str(unjudged)
            return None
        except (AssertionError, LabError, OSError, subprocess.SubprocessError) as failed:
            if isinstance(failed, AssertionError) and starved:
                self._forget()
                self.unjudged = f"{starved[-1]} ({failed})"
                return None
            return self._failed(row, f"{_where(failed)}{'' if isinstance(failed, AssertionError | LabError) else type(failed).__name__ + ': '}{failed}")
        except Exception:
            return self._failed(row, traceback.format_exc())
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _failed(self, row: Row, why: str) -> Result:
        self._forget()
        return Result(row, False, None, 0.0, why)

    def _forget(self) -> None:
        """The next row does not get a chain on which something went wrong."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            self.drop()
        except LabError:
            pass


def _too_long(row: Row) -> None:
    raise AssertionError(f"it did not end within {row.limit:.0f} s")


def _where(failed: BaseException) -> str:
    frames = [frame for frame in traceback.extract_tb(failed.__traceback__) if "interop" in frame.filename and "__main__" not in frame.filename]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}: " if frames else ""


def load() -> list[Row]:
    """Every row there is: equal setups together, each where the first of them stands."""
    for found in pkgutil.iter_modules(interop.__path__):
        if found.name not in NO_ROWS:
            importlib.import_module(f"{interop.__name__}.{found.name}")
    setups: list = []
    for row in ROWS:
        if row.on not in setups:
            setups.append(row.on)
    return sorted(ROWS, key=lambda row: setups.index(row.on))


def chosen(rows: list[Row], wanted: list[str]) -> list[Row]:
    """The rows that the command line names."""
    if not wanted:
        return rows
    return [row for row in rows if any(word in (row.id, row.name, row.run.__name__, row.name.split(".")[0]) for word in wanted)]


def shown(figure: Figure) -> str:
    """A figure as the table has it."""
    if isinstance(figure, float):
        return f"{figure:.4g}"
    return "" if figure is None else str(figure)


def summary(results: list[Result], ids: list[str]) -> list[dict]:
    """One entry for each id: what its rows say together."""
    requirements = page.read()
    entries = []
    for id in ids:
        mine = [result for result in results if result.row.id == id]
        owner = requirements[id].owner if id in requirements else "this"
        wrong = [result for result in mine if not result.passed]
        figures = [result.figure for result in mine if result.figure is not None]
        entries.append({
            "id": id,
            "result": "FAIL" if wrong or (not mine and owner == "this") else "pass" if mine else "later",
            "figure": figures[0] if len(figures) == 1 else "; ".join(shown(figure) for figure in figures) or None,
            "unit": "; ".join(dict.fromkeys(result.row.unit for result in mine if result.row.unit)),
            "goal": "; ".join(dict.fromkeys(result.row.goal for result in mine if result.row.goal)),
            "seconds": round(sum(result.seconds for result in mine), 1),
            "what": requirements[id].what if id in requirements else "",
            "tests": [{"name": result.row.name, "passed": result.passed, "figure": result.figure, "seconds": round(result.seconds, 1), "why": result.why} for result in mine],
            "why": wrong[0].why if wrong else "" if mine or owner == "later" else "no test was executed",
        })
    return entries


def play(rows: list[Row]) -> list[Result]:
    """Runs the rows and prints each as it ends."""
    begin = time.monotonic()
    results: list[Result] = []
    bench = Bench()
    with terminable():
        try:
            for number, row in enumerate(rows, start=1):
                print(f"[{time.monotonic() - begin:6.1f} s] {number:>3}/{len(rows)} {row.id:<11} {row.what}", flush=True)
                result = bench.run(row)
                results.append(result)
                figure = " ".join(filter(None, (shown(result.figure), row.unit)))
                goal = f" (goal {row.goal})" if row.goal else ""
                print(f"{'':>19}{'pass' if result.passed else 'FAIL':<5}{result.seconds:6.1f} s  {row.name}: {figure if result.passed else result.why}{goal}", flush=True)
            bench.drop()
        finally:
            bench._forget()
    return results


def main() -> int:
    """Runs what the command line names."""
    words = [word for argument in sys.argv[1:] for word in argument.replace(",", " ").split()]
    rows = load()
    if "--list" in words:
        for row in rows:
            print(f"{row.id:<11} {row.name:<48} {row.what}")
        return 0
    if "--page" in words:
        print(f"{page.rewrite(rows)} lines of {page.PAGE.relative_to(ROOT)} changed")
        return 0
    if why := capability():
        print(f"the rows cannot run here: {why}", file=sys.stderr)
        return 1
    picked = chosen(rows, words)
    ids = list(page.read()) if not words else list(dict.fromkeys([*(word for word in words if word in page.read()), *(row.id for row in picked)]))
    if not ids:
        print(f"no row is called {' '.join(words)}; --list shows them", file=sys.stderr)
        return 2
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    begin = time.monotonic()
    try:
        results = play(picked)
    except KeyboardInterrupt as stopped:
        print(f"stopped by {stopped or 'Ctrl-C'}; namespaces and processes are gone", file=sys.stderr)
        return 130
    entries = summary(results, ids)
    (OUT / "report.json").write_text(json.dumps({"rows": entries, "seconds": round(time.monotonic() - begin, 1)}, indent=1) + "\n")
    print("\nid          result  seconds  figure (goal)")
    for entry in entries:
        measured = " ".join(filter(None, (shown(entry["figure"]), entry["unit"]))) or entry["why"].splitlines()[0] if entry["result"] == "FAIL" or entry["figure"] is not None else ""
        text = entry["why"].strip().splitlines()[-1] if entry["result"] == "FAIL" and entry["why"] else measured
        print(f"{entry['id']:<11} {entry['result']:<6} {entry['seconds']:>8.1f}  {text}{' (' + entry['goal'] + ')' if entry['goal'] else ''}")
    wrong = [text for text in page.differences(rows) if not words or text.split(":")[0] in ids]
    for text in wrong:
        print(f"docs/requirements.md and the rows differ: {text} (python3 -m testbed.lab.interop --page mends it)")
    count = {result: sum(entry["result"] == result for entry in entries) for result in ("pass", "FAIL", "later")}
    print(f"\n{OUT.relative_to(ROOT)}/report.json, {time.monotonic() - begin:.0f} s")
    print(f"{count['pass']} pass, {count['FAIL']} FAIL, {count['later']} later")
    return 1 if count["FAIL"] or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
