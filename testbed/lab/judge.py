"""Calls the capture judge: an independent reading of MPTCP (tokens, HMACs, DSS checksums) on hashlib and hmac."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from .running import ROOT

SCRIPT = ROOT / "testbed" / "judge" / "mptcp_judge.py"


@dataclass(frozen=True)
class Verdict:
    """What the judge found."""

    ok: bool
    text: str


def judge(clients: list[Path], servers: list[Path] | None = None, require: tuple[str, ...] = ()) -> Verdict:
    """Judges captures together: a join is checked against the keys seen on the other path.

    `servers` are captures of the plain side; `require` names checks that must have had something to check.
    """
    command = [sys.executable, str(SCRIPT), *map(str, clients)]
    for file in servers or ():
        command += ["--server", str(file)]
    for name in require:
        command += ["--require", name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode not in (0, 1) or not done.stdout.startswith("{"):
        return Verdict(False, f"it ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-1000:]}")
    said = json.loads(done.stdout)
    wrong = [f"{name} failed {check['failed']} times: {check['examples'][0]}" for name, check in said["checks"].items() if not check["ok"]]
    wrong += [f"nothing to check for {name}" for name in said["missing"]]
    return Verdict(done.returncode == 0, "; ".join(wrong))
