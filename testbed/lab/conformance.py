"""`make conformance`: runs the tests that docs/conformance.md names, and says for each rule whether it holds.

    python3 -m testbed.lab.conformance [ROW...]     a row is an id (T9); all without
    python3 -m testbed.lab.conformance --untested   the rows without a test
    python3 -m testbed.lab.conformance --page       writes tests that say their row (t9_k_is_exact) into the page
    python3 -m testbed.lab.conformance --mutations  only takes rules out, see mutations.py

A test is named by its package and path, `stack::tcp::tests::rto::backs_off`; that of a file in `tests/` has the file's name
in between, `apps::engine::joins::eight_secondaries`. What ends in `::*` is a module, with at least one test. Names that
begin with `lab.` are kernel-peer tests. Rows of an RFC's MUSTs also name the place in the code that obeys, a file and a name
in it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import mutations
from .running import ROOT

PAGE = ROOT / "docs" / "conformance.md"
OUT = ROOT / "target" / "conformance"
_LINE = re.compile(r"^\| ([A-Z0-9][A-Za-z0-9.-]*) \| (.*) \|$")
_RAN = re.compile(r"^test (\S+)(?: - should panic)? +\.\.\. (ok|FAILED)$", re.M)
_LAB = re.compile(r"^  (ok|FAILED|SKIP) .*? (test_\w+\.\w+\.\w+)", re.M)
LAB = "lab."
NOT_APPLICABLE = "n/a: "
"""How the last column begins where a rule asks nothing of a relay; the reason follows."""
ONE_FILTER = {"scripts::relay"}
"""Programs that take one filter at most (libtest-mimic): all of their tests run."""
LISTS = {
    "MUST": "RFC 9293",
    "8684-MUST": "RFC 8684",
    "6298-MUST": "RFC 6298",
    "5961-MUST": "RFC 5961",
    "5482-MUST": "RFC 5482",
}
"""Rows whose id begins so are the MUSTs of that RFC, each with its code."""


@dataclass(frozen=True)
class Rule:
    """One line of the page."""

    id: str
    what: str
    source: str
    code: str | None
    tests: tuple[str, ...]
    why_not: str

    @property
    def list(self) -> str:
        """The RFC whose list of MUSTs it belongs to, if any."""
        return LISTS.get(self.id.rpartition("-")[0], "")

    def code_wrong(self) -> str:
        """What is wrong with the place in the code that it names; nothing if that is there."""
        if not self.list or self.why_not:
            return ""
        file, _, name = (self.code or "").strip("`").partition(": ")
        path = ROOT / file
        if not name or not path.is_file():
            return "no code is named"
        return "" if re.search(rf"\b{name}\b", path.read_text()) else f"{file} has no {name}"


def _cells(line: str) -> list[str]:
    """The cells of a row of the page: id, rule, source, code where the table has it, tests."""
    match = _LINE.match(line)
    return [match[1], *match[2].split(" | ")] if match else []


def read(page: Path = PAGE) -> list[Rule]:
    """Every rule of the page; `ValueError` if an id stands twice."""
    rules: dict[str, Rule] = {}
    for line in page.read_text().splitlines():
        cells = _cells(line)
        if not cells:
            continue
        id, what, source, *code, last = cells
        if id in rules:
            raise ValueError(f"{page.name}: {id} stands twice")
        why_not = last.removeprefix(NOT_APPLICABLE) if last.startswith(NOT_APPLICABLE) else ""
        tests = () if why_not else tuple(re.findall(r"`([^`]+)`", last))
        rules[id] = Rule(id, what, source, code[0] if code else None, tests, why_not)
    return list(rules.values())


@dataclass(frozen=True)
class Program:
    """A test program that cargo built."""

    prefix: str
    path: str
    folder: Path

    def names(self) -> list[str]:
        """Every test in it."""
        said = subprocess.run([self.path, "--list", "--format", "terse"], cwd=self.folder, text=True, capture_output=True, check=True).stdout
        return [f"{self.prefix}::{line.removesuffix(': test')}" for line in said.splitlines() if line.endswith(": test")]

    def run(self, only: Iterable[str]) -> dict[str, bool]:
        """Runs the tests whose names contain one of `only`, all if there is none."""
        only = [] if self.prefix in ONE_FILTER else only
        done = subprocess.run([self.path, *only], cwd=self.folder, text=True, errors="replace", capture_output=True, timeout=600, check=False)
        return {f"{self.prefix}::{name}": said == "ok" for name, said in _RAN.findall(done.stdout)}


def programs() -> Iterator[Program]:
    """Builds the workspace's tests; `SystemExit` if that fails."""
    command = ["cargo", "test", "--workspace", "--no-run", "--quiet", "--message-format=json-render-diagnostics"]
    built = subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, check=False)
    if built.returncode:
        raise SystemExit("the tests do not build")
    for line in built.stdout.splitlines():
        said = json.loads(line)
        if said.get("reason") != "compiler-artifact" or not said.get("executable") or not said["profile"]["test"]:
            continue
        folder = Path(said["manifest_path"]).parent
        package = re.sub(r".*[/#]([\w-]+)[#@][\d.]+$", r"\1", said["package_id"])
        target = said["target"]
        prefix = f"{package}::{target['name']}" if "test" in target["kind"] else package
        yield Program(prefix, said["executable"], folder)


def _kernel(names: Iterable[str]) -> dict[str, bool]:
    command = [sys.executable, "-m", "testbed.lab.tests", *(name.removeprefix(LAB) for name in names)]
    done = subprocess.run(command, cwd=ROOT, text=True, errors="replace", capture_output=True, check=False)
    return {LAB + name: said == "ok" for said, name in _LAB.findall(done.stdout)}


def results(rules: list[Rule], say: Callable[[str], None]) -> dict[str, bool]:
    """What came of each test that some rule names, by name."""
    wanted = {name for rule in rules for name in rule.tests}
    found: dict[str, bool] = {}
    say("building the tests")
    for program in programs():
        mine = {name.removeprefix(f"{program.prefix}::").removesuffix("*") for name in wanted if name.startswith(f"{program.prefix}::")}
        if mine:
            say(f"{program.prefix}: {len(mine)} names")
            found |= program.run(sorted(mine))
    lab = sorted(name for name in wanted if name.startswith(LAB))
    if lab:
        subprocess.run(["cargo", "build", "--release", "--quiet", "-p", "hag", "-p", "hcpe", "-p", "braidctl", "-p", "braid-link"], cwd=ROOT, check=True)
        say(f"kernel peers: {len(lab)} names")
        found |= _kernel(lab)
    return found


def rows_of(test: str, ids: Iterable[str]) -> set[str]:
    """The rows that a test's own name says it is for: `m1_m2_both_roles_agree` is for M1 and M2, `i_sack_..` for I-SACK."""
    words = {id.lower().replace("-", "_") + "_": id for id in ids}
    name, rows = test.rsplit("::", 1)[-1], set()
    while begin := max((word for word in words if name.startswith(word)), key=len, default=""):
        rows.add(words[begin])
        name = name.removeprefix(begin)
    return rows


def rewrite(page: Path = PAGE) -> int:
    """Adds to each row of the page the tests that say its id; the number of lines that changed."""
    ids = [rule.id for rule in read(page)]
    said: dict[str, list[str]] = {}
    for program in programs():
        for test in program.names():
            for id in rows_of(test, ids):
                said.setdefault(id, []).append(test)
    lines, changed = [], 0
    for line in page.read_text().splitlines():
        cells = _cells(line)
        if cells and not cells[-1].startswith(NOT_APPLICABLE):
            names = sorted({*re.findall(r"`([^`]+)`", cells[-1]), *said.get(cells[0], [])})
            cells[-1] = ", ".join(f"`{name}`" for name in names) or "–"
            new = f"| {' | '.join(cells)} |"
            changed += new != line
            line = new
        lines.append(line)
    page.write_text("\n".join(lines) + "\n")
    return changed


def judge(rule: Rule, found: dict[str, bool]) -> tuple[str, str]:
    """`pass`, `FAIL` or `n/a`, and why."""
    if rule.why_not:
        return "n/a", rule.why_not
    if wrong := rule.code_wrong():
        return "FAIL", wrong
    if not rule.tests:
        return "FAIL", "no test is named"
    count = 0
    for name in rule.tests:
        ran = {test: ok for test, ok in found.items() if test == name or (name.endswith("::*") and test.startswith(name[:-1]))}
        if not ran:
            return "FAIL", f"{name} did not run"
        if wrong := [test for test, ok in ran.items() if not ok]:
            return "FAIL", f"{wrong[0]} failed"
        count += len(ran)
    return "pass", f"{count} tests"


def report_lists(picked: list[Rule], entries: list[dict[str, object]]) -> None:
    """Of each RFC's MUSTs: how many there are, and how many have code and a test that passed."""
    for rfc in LISTS.values():
        mine = [entry["result"] for rule, entry in zip(picked, entries, strict=True) if rule.list == rfc]
        if mine:
            asked = len(mine) - mine.count("n/a")
            print(f"{rfc}: {len(mine)} MUSTs, of which {asked} ask something of a relay; code and passing tests behind {mine.count('pass')} of these")


def report_mutations(say: Callable[[str], None]) -> tuple[list[dict[str, str]], bool]:
    """Takes rules out, and prints which tests noticed; whether all did."""
    entries = []
    lines = []
    for mutation, why in mutations.results(say):
        entries.append({"row": mutation.row, "rule": mutation.rule, "tests": list(mutation.fails), "why": why})
        lines.append(f"{mutation.row:<12} {'FAIL' if why else 'noticed':<7} {mutation.rule}{': ' if why else ''}{why}")
    print("\nrule taken out", *lines, sep="\n")
    return entries, not any(entry["why"] for entry in entries)


def aggregation() -> bool:
    """Runs the table of what two access networks bring together, which prints and judges itself."""
    OUT.mkdir(parents=True, exist_ok=True)
    command = ["cargo", "run", "--release", "--quiet", "-p", "sim", "--bin", "braid-aggregation", "--", "--into", str(OUT / "aggregation.md")]
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def main() -> int:
    """Runs what the command line names."""
    words = sys.argv[1:]
    rules = read()
    if words == ["--untested"]:
        for rule in rules:
            if not rule.tests and not rule.why_not:
                print(f"{rule.id:<10} {rule.what}")
        return 0
    if words == ["--page"]:
        print(f"{rewrite()} lines of {PAGE.relative_to(ROOT)} changed")
        return 0
    begin = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - begin:6.1f} s] {text}", flush=True)

    if words == ["--mutations"]:
        return 0 if report_mutations(say)[1] else 1
    if unknown := set(words) - {rule.id for rule in rules}:
        print(f"{PAGE.relative_to(ROOT)} has no row {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    picked = [rule for rule in rules if not words or rule.id in words]
    found = results(picked, say)
    taken_out, noticed = ([], True) if words else report_mutations(say)
    entries: list[dict[str, object]] = []
    print("\nid            result  rule")
    for rule in picked:
        result, why = judge(rule, found)
        entries.append({"id": rule.id, "result": result, "what": rule.what, "source": rule.source, "code": rule.code, "tests": list(rule.tests), "why": why})
        print(f"{rule.id:<13} {result:<7} {rule.what} ({rule.source}): {why}")
    aggregates = True
    if not words:
        print("\naggregation, against testbed/sim/aggregation.md", flush=True)
        aggregates = aggregation()
    OUT.mkdir(parents=True, exist_ok=True)
    report = {"rows": entries, "taken_out": taken_out, "aggregation": aggregates, "seconds": round(time.monotonic() - begin, 1)}
    (OUT / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    count = {result: sum(entry["result"] == result for entry in entries) for result in ("pass", "FAIL", "n/a")}
    print(f"\n{OUT.relative_to(ROOT)}/report.json, {time.monotonic() - begin:.0f} s")
    report_lists(picked, entries)
    if taken_out:
        print(f"{sum(not entry['why'] for entry in taken_out)} of {len(taken_out)} rules taken out were noticed")
    print(f"{count['pass']} pass, {count['FAIL']} FAIL, {count['n/a']} not applicable")
    if not words:
        print(f"aggregation {'as reviewed' if aggregates else 'WORSE than reviewed'}")
    return 1 if count["FAIL"] or not noticed or not aggregates else 0


if __name__ == "__main__":
    sys.exit(main())
