"""Rules taken out: each mutation of `mutations.toml` in a copy of the code, and the tests that must notice it.

All of them are built at once, each behind a switch that the test programs read from their environment; so a mutation
costs a run of its tests and no build. The copy stands under `target/`, and nothing of this is in the product.
"""

from __future__ import annotations

import json
import os
import subprocess
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from .running import ROOT

FILE = Path(__file__).with_name("mutations.toml")
HOME = ROOT / "target" / "mutations"
SWITCH = "BRAID_WITHOUT"
_SWITCH_CODE = f"""
/// Whether the rule of this name is taken out.
pub(crate) fn without(rule: &str) -> bool {{
    static RULE: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let taken_out = RULE.get_or_init(|| std::env::var("{SWITCH}").ok());
    taken_out.as_deref() == Some(rule)
}}
"""


@dataclass(frozen=True)
class Mutation:
    """One rule, and how it is taken out."""

    row: str
    rule: str
    file: str
    at: str
    old: str
    new: str
    fails: tuple[str, ...]

    def applied(self, code: str) -> str:
        """`code` with the switch in it; `ValueError` if it does not apply any more."""
        for text, within, what in ((self.at, code, self.file), (self.old, self.at, "`at`")):
            if (count := within.count(text)) != 1:
                raise ValueError(f"does not apply any more: {text!r} stands {count} times in {what}")
        switched = f'(if crate::without("{self.row}") {{ {self.new} }} else {{ {self.old} }})'
        return code.replace(self.at, self.at.replace(self.old, switched))


def read(file: Path = FILE) -> list[Mutation]:
    """Every mutation; `ValueError` if two have the same row."""
    found = tomllib.loads(file.read_text())["mutation"]
    mutations = [Mutation(m["row"], m["rule"], m["in"], m["at"], m["old"], m["new"], tuple(m["fails"])) for m in found]
    if len({mutation.row for mutation in mutations}) < len(mutations):
        raise ValueError(f"{file.name}: a row stands twice")
    return mutations


def _copy(files: dict[str, str]) -> None:
    """Brings the copy of the tree up to date, with `files` changed; what did not change keeps its time of change."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True, capture_output=True, check=True).stdout.splitlines()
    wanted = {name for name in listed if (ROOT / name).is_file()}
    tree = HOME / "tree"
    for name in wanted:
        data = files[name].encode() if name in files else (ROOT / name).read_bytes()
        copy = tree / name
        if not copy.is_file() or copy.read_bytes() != data:
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(data)
    for copy in tree.rglob("*"):
        if copy.is_file() and str(copy.relative_to(tree)) not in wanted:
            copy.unlink()


def _changed(mutations: Iterable[Mutation]) -> tuple[dict[str, str], dict[str, str]]:
    """The files that the mutations change, and by row why one does not apply."""
    files: dict[str, str] = {}
    wrong: dict[str, str] = {}
    for mutation in mutations:
        code = files.get(mutation.file) or (ROOT / mutation.file).read_text()
        try:
            files[mutation.file] = mutation.applied(code)
        except ValueError as error:
            wrong[mutation.row] = str(error)
    for package in {Path(name).parts[0] for name in files}:
        root = f"{package}/src/lib.rs"
        files[root] = files.get(root, (ROOT / root).read_text()) + _SWITCH_CODE
    return files, wrong


def _programs(tests: Iterable[str]) -> dict[str, tuple[str, Path]]:
    """Builds what `tests` stand in: each program and its folder, by prefix; `SystemExit` if that fails."""
    programs: dict[str, tuple[str, Path]] = {}
    for package in sorted({test.split("::")[0] for test in tests}):
        folder = ROOT / package / "tests"
        files = {path.stem for path in folder.glob("*.rs")} | {path.parent.name for path in folder.glob("*/main.rs")}
        mine = {test.split("::")[1] for test in tests if test.startswith(f"{package}::")}
        targets = [word for name in sorted(mine & files) for word in ("--test", name)]
        targets += ["--lib"] if mine - files else []
        command = ["cargo", "test", "--offline", "-p", package, *targets, "--no-run", "--quiet", "--message-format=json-render-diagnostics"]
        env = os.environ | {"CARGO_TARGET_DIR": str(HOME / "build"), "CARGO_PROFILE_TEST_OPT_LEVEL": "1", "RUSTFLAGS": "-Awarnings"}
        built = subprocess.run(command, cwd=HOME / "tree", env=env, text=True, stdout=subprocess.PIPE, check=False)
        if built.returncode:
            raise SystemExit("a mutation does not build")
        for line in built.stdout.splitlines():
            said = json.loads(line)
            if said.get("reason") == "compiler-artifact" and said.get("executable") and said["profile"]["test"]:
                target = said["target"]
                prefix = f"{package}::{target['name']}" if "test" in target["kind"] else package
                programs[prefix] = (said["executable"], Path(said["manifest_path"]).parent)
    return programs


def _passes(programs: dict[str, tuple[str, Path]], test: str, without: str | None) -> bool | None:
    """Whether `test` passes, with the rule of row `without` taken out if any; `None` if there is no such test."""
    prefix = max((p for p in programs if test.startswith(f"{p}::")), key=len, default=None)
    if prefix is None:
        return None
    path, folder = programs[prefix]
    env = {key: value for key, value in os.environ.items() if key != SWITCH} | ({SWITCH: without} if without else {})
    try:
        done = subprocess.run([path, "--exact", test.removeprefix(f"{prefix}::")], cwd=folder, env=env, capture_output=True, text=True, errors="replace", timeout=60, check=False)
    except subprocess.TimeoutExpired:
        # Without the rule it does not even end.
        return False
    return None if "running 0 tests" in done.stdout else done.returncode == 0


def results(say: Callable[[str], None]) -> list[tuple[Mutation, str]]:
    """Each mutation, and why it does not prove its rule; nothing where it does."""
    mutations = read()
    files, wrong = _changed(mutations)
    _copy(files)
    say(f"{len(mutations)} rules to be taken out: building")
    programs = _programs([test for mutation in mutations for test in mutation.fails])
    found = []
    for mutation in mutations:
        why = wrong.get(mutation.row, "")
        for test in mutation.fails if not why else ():
            with_rule, without = _passes(programs, test, None), _passes(programs, test, mutation.row)
            if with_rule is None:
                why = f"there is no test {test}"
            elif not with_rule:
                why = f"{test} fails with the rule in place, too"
            elif without:
                why = f"{test} does not notice"
        found.append((mutation, why))
    return found
