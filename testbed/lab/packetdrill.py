"""`make packetdrill`: runs packetdrill's scripts on our own stack, and says what became of each.

    python3 -m testbed.lab.packetdrill [--ipv6] TOOL SCRIPTS [PART...]

TOOL is the program packetdrill, SCRIPTS a folder of scripts, of which those with one of PART in their path are run; without,
all. testbed/packetdrill/README.md says where both come from. What a script is about that we do not have is said by a line of
testbed/packetdrill/absent.txt; such a script is run all the same, and counts if it passes.

Scripts set the machine's sysctls by the shell. So each runs in a network namespace of its own, whose settings our library reads,
and with an `ip` and a `tc` of ours, which keep the addresses that Multipath TCP is to announce and do nothing else. Needs root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from .running import ROOT

ABSENT = ROOT / "testbed" / "packetdrill" / "absent.txt"
LIBRARY = ROOT / "target" / "debug" / "libbraid_packetdrill.so"
PATIENCE_S = 60

@dataclass(frozen=True)
class Family:
    """What the tool is told for scripts over one version of IP, as its own run_all.py has it."""

    mtu: int
    arguments: tuple[str, ...]
    names: tuple[str, ...]
    others: str
    """How the names of scripts end that are for the other version alone."""


IPV4 = Family(
    1500,
    ("--ip_version=ipv4", "--local_ip=192.168.0.1", "--gateway_ip=192.168.0.1", "--netmask_ip=255.255.0.0", "--remote_ip=192.0.2.1"),
    ("TFO_COOKIE=3021b9d889017eeb", "CODE=host_unreachable", "CMSG_LEVEL_IP=SOL_IP", "CMSG_TYPE_RECVERR=IP_RECVERR"),
    "v6.pkt",
)
IPV6 = Family(
    1520,
    (
        "--ip_version=ipv6",
        "--mtu=1520",
        "--local_ip=fd3d:0a0b:17d6::1",
        "--gateway_ip=fd3d:0a0b:17d6:8888::1",
        "--remote_ip=fd3d:fa7b:d17d::1",
    ),
    ("TFO_COOKIE=c1d1e9742a47a9bc", "CMSG_LEVEL_IP=SOL_IPV6", "CMSG_TYPE_RECVERR=IPV6_RECVERR"),
    "v4.pkt",
)

IP = """#!/bin/sh
case "$1 $2 $3" in
"mptcp endpoint flush") : > "$BRAID_ENDPOINTS" ;;
"mptcp endpoint add") echo "$(($(wc -l < "$BRAID_ENDPOINTS") + 1)) $4" >> "$BRAID_ENDPOINTS" ;;
esac
"""


@dataclass(frozen=True)
class Absent:
    """Something that we do not have, and the scripts that are about it."""

    pattern: str
    why: str


@dataclass(frozen=True)
class Verdict:
    """What became of a script."""

    script: Path
    outcome: str
    why: str


def absent(text: str) -> Iterator[Absent]:
    """The lines of the list: a pattern of paths, and why those are not for us."""
    for line in text.splitlines():
        pattern, _, why = line.partition(" ")
        if pattern and not pattern.startswith("#"):
            yield Absent(pattern, why.strip())


def judge(script: Path, complaint: str | None, lacks: list[Absent]) -> Verdict:
    """The verdict on a script that the tool complained about, or not."""
    if complaint is None:
        return Verdict(script, "ok", "")
    whys = (lack.why for lack in lacks if fnmatch(str(script), lack.pattern))
    why = next(whys, None)
    return Verdict(script, "n/a", why) if why else Verdict(script, "FAILED", complaint)


def first_complaint(text: str) -> str:
    """The tool's first words about a failure, without the name of the script."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and "netlink error" not in line]
    errors = [line for line in lines if "Error" in line or "error" in line or "expected" in line.lower()]
    line = (errors or lines or ["no word about it"])[0]
    if line.endswith("error in Python code"):
        line = " ".join([line, *(other for other in lines if other.startswith("AssertionError"))])
    return line


class Runner:
    """Runs single scripts."""

    def __init__(self, tool: Path, family: Family, stubs: Path) -> None:
        self.tool = tool
        self.family = family
        self.stubs = stubs
        for name, text in (("ip", IP), ("tc", "#!/bin/sh\n")):
            stub = stubs / name
            stub.write_text(text)
            stub.chmod(0o755)

    def complaint(self, script: Path) -> str | None:
        """What the tool has to say against our stack; nothing if the script passes."""
        with tempfile.NamedTemporaryFile(dir=self.stubs) as endpoints:
            preload = [os.environ.get("LD_PRELOAD", ""), str(LIBRARY)]
            environment = {
                **os.environ,
                "PATH": f"{self.stubs}:{os.environ['PATH']}",
                "LD_PRELOAD": ":".join(filter(None, preload)),
                "BRAID_ENDPOINTS": endpoints.name,
            }
            defines = [f"-D{name}" for name in self.family.names]
            flags = f"--so_flags=endpoints={endpoints.name},mtu={self.family.mtu}"
            command = ["unshare", "--net", str(self.tool), *self.family.arguments, *defines]
            command += [f"--so_filename={LIBRARY}", flags, script.name]
            pipe = subprocess.PIPE
            process = subprocess.Popen(
                command, cwd=script.parent, env=environment, text=True, errors="replace", stdout=pipe, stderr=subprocess.STDOUT
            )
            try:
                text, _ = process.communicate(timeout=PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                return f"not over after {PATIENCE_S} s"
            finally:
                # Scripts leave a way back to the settings as they were, which are gone with the namespace.
                Path(f"/tmp/sysctl_restore_{process.pid}.sh").unlink(missing_ok=True)
        return first_complaint(text) if process.returncode else None


def score(verdicts: list[Verdict]) -> Iterator[str]:
    """A line for each folder, and one for all."""
    folders: dict[str, Counter[str]] = {}
    for verdict in verdicts:
        folders.setdefault(str(verdict.script.parent), Counter())[verdict.outcome] += 1
    folders["all"] = sum(folders.values(), Counter())
    width = max(map(len, folders))
    yield f"{'':{width}} {'ok':>6} {'FAILED':>6} {'n/a':>6}"
    for folder, count in folders.items():
        yield f"{folder:{width}} {count['ok']:6} {count['FAILED']:6} {count['n/a']:6}"


def main() -> int:
    """Runs the scripts; fails if none was found, never because of what became of one."""
    words = [word for word in sys.argv[1:] if word != "--ipv6"]
    if len(words) < 2:
        print(__doc__)
        return 2
    family = IPV6 if "--ipv6" in sys.argv else IPV4
    tool, folder, parts = Path(words[0]).resolve(), Path(words[1]).resolve(), words[2:]
    lacks = list(absent(ABSENT.read_text()))
    scripts = [path for path in sorted(folder.rglob("*.pkt")) if not parts or any(part in str(path) for part in parts)]
    scripts = [path for path in scripts if not path.name.endswith(family.others)]
    if not scripts or not shutil.which(str(tool)):
        print(f"no scripts in {folder}, or no program {tool}")
        return 2
    with tempfile.TemporaryDirectory(prefix="braid-packetdrill-") as stubs:
        runner = Runner(tool, family, Path(stubs))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            verdicts = []
            for script, complaint in zip(scripts, pool.map(runner.complaint, scripts), strict=True):
                verdict = judge(script.relative_to(folder), complaint, lacks)
                verdicts.append(verdict)
                why = f"\n         {verdict.why}" if verdict.why else ""
                print(f"  {verdict.outcome:6} {verdict.script}{why}", flush=True)
    print("\n" + "\n".join(score(verdicts)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
