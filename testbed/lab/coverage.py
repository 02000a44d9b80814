"""`make coverage`: the lines of each crate that no test and none of the simulator's networks passes through.

    python3 -m testbed.lab.coverage            builds, runs and counts: by crate, and the files with most such lines
    python3 -m testbed.lab.coverage FILE...    the lines themselves, as the last run found them

Counted are the crates without DPDK. Tests are not: neither their files nor what stands behind `#[cfg(test)]`. What the lab
of namespaces and the fuzz targets pass through is not seen here.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .running import ROOT

OUT = ROOT / "target" / "coverage"
FOUND = OUT / "found.lcov"
CRATES = ("stack", "mptcp", "dataplane", "apps", "apps/loadgen")
RUN = ("stack", "mptcp", "dataplane", "apps", "loadgen", "scripts", "packetdrill", "sim")
"""Packages whose tests run."""

SIMULATOR = "braid-sim"
SEEDS = "0..300"
WORST = 25

_TEST_FILE = re.compile(r"(^|/)tests?(/|\.rs$)")
_ENVIRONMENT = {
    **os.environ,
    "RUSTFLAGS": "-Cinstrument-coverage",
    "CARGO_TARGET_DIR": str(OUT / "build"),
    # A pool of files that programs add to: of each test that runs by itself one would be much.
    "LLVM_PROFILE_FILE": str(OUT / "raw" / "%4m.profraw"),
}


@dataclass
class File:
    """How often each line was passed, and the lines at which functions begin with how often these were called."""

    lines: dict[int, int] = field(default_factory=dict)
    functions: dict[int, int] = field(default_factory=dict)

    def missed(self) -> list[int]:
        """The lines that nothing passes."""
        return sorted(line for line, count in self.lines.items() if not count)

    def uncalled(self) -> list[int]:
        """Where functions begin that nothing calls."""
        return sorted(line for line, count in self.functions.items() if not count)


def _tool(name: str) -> Path:
    """A tool of LLVM that comes with the compiler."""
    sysroot = subprocess.run(["rustc", "--print", "sysroot"], cwd=ROOT, text=True, capture_output=True, check=True).stdout.strip()
    for tool in Path(sysroot).glob(f"lib/rustlib/*/bin/{name}"):
        return tool
    raise SystemExit(f"{name} is not there: rustup component add llvm-tools")


def _cargo(*words: str) -> str:
    command = ["cargo", *words]
    return subprocess.run(command, cwd=ROOT, env=_ENVIRONMENT, text=True, stdout=subprocess.PIPE, check=True).stdout


def _programs() -> dict[str, Path]:
    """Builds the tests and the simulator: each program, and the folder that it runs in."""
    packages = [word for package in RUN for word in ("-p", package)]
    words = ("--quiet", "--message-format=json-render-diagnostics")
    said = _cargo("test", "--no-run", *packages, *words) + _cargo("build", "-p", "sim", "--bin", SIMULATOR, *words)
    built = [item for item in map(json.loads, said.splitlines()) if item.get("executable")]
    wanted = (item for item in built if item["profile"]["test"] or item["target"]["name"] == SIMULATOR)
    return {item["executable"]: Path(item["manifest_path"]).parent for item in wanted}


def _run() -> None:
    profdata, cov = _tool("llvm-profdata"), _tool("llvm-cov")
    programs = _programs()
    for old in (OUT / "raw").glob("*.profraw"):
        old.unlink()
    for program, folder in programs.items():
        words = [SEEDS] if Path(program).name == SIMULATOR else ["--quiet"]
        print("+", Path(program).name, *words, flush=True)
        done = subprocess.run([program, *words], cwd=folder, env=_ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            raise SystemExit(done.stdout)
    merged = OUT / "merged.profdata"
    raw = map(str, (OUT / "raw").glob("*.profraw"))
    subprocess.run([profdata, "merge", "--sparse", "--output", merged, *raw], check=True)
    objects = [word for program in programs for word in ("--object", program)]
    with FOUND.open("w") as found:
        subprocess.run([cov, "export", "--format=lcov", f"--instr-profile={merged}", *objects], stdout=found, check=True)


def read(found: Path = FOUND) -> dict[str, File]:
    """The files of our crates by their paths, without tests."""
    files: dict[str, File] = {}
    path, end = "", 0
    for line in found.read_text().splitlines():
        what, _, rest = line.partition(":")
        if what == "SF":
            path, end = _counted(rest)
            starts: dict[str, int] = {}
        elif not path:
            continue
        elif what == "FN":
            at, _, name = rest.partition(",")
            starts[name] = int(at)
        elif what == "FNDA":
            count, _, name = rest.partition(",")
            _add(files.setdefault(path, File()).functions, starts[name], int(count), end)
        elif what == "DA":
            at, count = rest.split(",")[:2]
            _add(files.setdefault(path, File()).lines, int(at), int(count), end)
    return files


def _add(counts: dict[int, int], line: int, count: int, end: int) -> None:
    if line < end:
        counts[line] = counts.get(line, 0) + count


def _counted(source: str) -> tuple[str, int]:
    """The path from the root of a file that counts, and the line at which its tests begin; an empty path if it does not."""
    if not source.startswith(f"{ROOT}/"):
        return "", 0
    path = source.removeprefix(f"{ROOT}/")
    if not path.startswith(tuple(f"{crate}/src/" for crate in CRATES)) or _TEST_FILE.search(path):
        return "", 0
    lines = Path(source).read_text().splitlines()
    return path, lines.index("#[cfg(test)]") + 1 if "#[cfg(test)]" in lines else len(lines) + 1


def _row(name: str, files: list[File]) -> str:
    lines, missed = sum(len(file.lines) for file in files), sum(len(file.missed()) for file in files)
    functions, uncalled = sum(len(file.functions) for file in files), sum(len(file.uncalled()) for file in files)
    passed = 100 - 100 * missed / max(lines, 1)
    return f"{name:<44}{lines:>8}{missed:>8}{passed:>8.1f} %{functions:>11}{uncalled:>8}"


def report(files: dict[str, File]) -> Iterator[str]:
    """A table by crate, and one of the files with most lines that nothing passes."""
    yield f"\n{'':<44}{'lines':>8}{'missed':>8}{'passed':>10}{'functions':>11}{'missed':>8}"
    for crate in CRATES:
        yield _row(crate, [file for path, file in files.items() if path.startswith(f"{crate}/src/")])
    yield ""
    worst = sorted(files.items(), key=lambda item: (-len(item[1].missed()), item[0]))
    yield from (_row(path, [file]) for path, file in worst[:WORST] if file.missed())


def show(path: str, file: File) -> Iterator[str]:
    """The lines of a file that nothing passes, and those at which functions begin that nothing calls."""
    lines, uncalled = (ROOT / path).read_text().splitlines(), file.uncalled()
    yield f"\n{path}"
    yield from (f"{line:>5} {'fn' if line in uncalled else '  '} {lines[line - 1]}" for line in file.missed())


def main() -> int:
    """Counts, or shows what was counted."""
    if len(sys.argv) == 1:
        OUT.mkdir(parents=True, exist_ok=True)
        _run()
        print(*report(read()), sep="\n")
        return 0
    files = read()
    for wanted in sys.argv[1:]:
        for path in sorted(path for path in files if path.startswith(wanted)):
            if files[path].missed():
                print(*show(path, files[path]), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
