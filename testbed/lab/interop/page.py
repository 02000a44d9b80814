"""docs/requirements.md: which requirements there are, who owes them, and which rows show them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..running import ROOT
from .rows import Row

PAGE = ROOT / "docs" / "requirements.md"
_LINE = re.compile(r"^\| ([A-Z][A-Za-z0-9-]*[0-9A-Za-z]) \| (.*?) \| (.*?) \| (this|later) \|$")


@dataclass(frozen=True)
class Requirement:
    """One line of the page."""

    id: str
    what: str
    tests: tuple[str, ...]
    owner: str


def read(page: Path = PAGE) -> dict[str, Requirement]:
    """Every requirement of the page, by id."""
    found: dict[str, Requirement] = {}
    for line in page.read_text().splitlines():
        if match := _LINE.match(line):
            tests = tuple(re.findall(r"`([^`]+)`", match[3]))
            found[match[1]] = Requirement(match[1], match[2], tests, match[4])
    return found


def tests_of(rows: list[Row]) -> dict[str, list[str]]:
    """The names of the rows of each id, in order."""
    named: dict[str, list[str]] = {}
    for row in rows:
        if row.name not in named.setdefault(row.id, []):
            named[row.id].append(row.name)
    return named


def differences(rows: list[Row], page: Path = PAGE) -> list[str]:
    """Where page and rows do not agree."""
    requirements, named = read(page), tests_of(rows)
    wrong = [f"{id}: the page does not have it, {', '.join(names)} shows it" for id, names in named.items() if id not in requirements]
    for requirement in requirements.values():
        here = named.get(requirement.id, [])
        if sorted(requirement.tests) != sorted(here):
            wrong.append(f"{requirement.id}: the page names {', '.join(requirement.tests) or 'no test'}, the rows are {', '.join(here) or 'none'}")
    return wrong


def rewrite(rows: list[Row], page: Path = PAGE) -> int:
    """Writes the names of the rows into the page; the number of lines that changed."""
    named, changed, lines = tests_of(rows), 0, []
    for line in page.read_text().splitlines():
        if match := _LINE.match(line):
            tests = ", ".join(f"`{name}`" for name in sorted(named.get(match[1], []))) or "–"
            new = f"| {match[1]} | {match[2]} | {tests} | {match[4]} |"
            changed += new != line
            line = new
        lines.append(line)
    page.write_text("\n".join(lines) + "\n")
    return changed
