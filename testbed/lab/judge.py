"""Calls the capture judge: an independent reading of MPTCP (tokens, HMACs, DSS checksums) on hashlib and hmac."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from .hag import ROOT

SCRIPT = ROOT / "testbed" / "judge" / "mptcp_judge.py"


@dataclass(frozen=True)
class Verdict:
    """What the judge found."""

    ok: bool
    text: str


def judge(files: list[Path]) -> Verdict:
    """Judges the captures of one client together: a join is checked against the keys seen on the other file."""
    if not SCRIPT.exists():
        return Verdict(False, f"{SCRIPT} is missing")
    done = subprocess.run([sys.executable, str(SCRIPT), *map(str, files)], capture_output=True, text=True, timeout=120, check=False)
    return Verdict(done.returncode == 0, (done.stdout + done.stderr).strip()[-3000:])
