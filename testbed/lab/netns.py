"""One network namespace: programs in it, sockets in it, its counters."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .shell import Background, LabError, run

CLONE_NEWNET = 0x4000_0000
IPPROTO_MPTCP = 262

_libc = ctypes.CDLL(None, use_errno=True)


def _setns(fd: int) -> None:
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise LabError(f"setns: {os.strerror(number)}")


class Namespace:
    """A named network namespace of the lab."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = Path("/run/netns") / name

    def create(self) -> None:
        """Makes it, with the loopback up."""
        run(["ip", "netns", "add", self.name])
        run(["ip", "-n", self.name, "link", "set", "lo", "up"])

    def delete(self) -> None:
        """Ends what still runs in it and removes it. Does nothing if it does not exist."""
        if not self.path.exists():
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            pids = [int(pid) for pid in run(["ip", "netns", "pids", self.name], check=False).split()]
            for pid in pids:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass
            deadline = time.monotonic() + 2.0
            while pids and time.monotonic() < deadline and run(["ip", "netns", "pids", self.name], check=False).split():
                time.sleep(0.05)
        run(["ip", "netns", "del", self.name], check=False)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Puts the calling thread (it alone) into the namespace; sockets made meanwhile stay there for good."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            there = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                _setns(there)
            finally:
                os.close(there)
            try:
                yield
            finally:
                _setns(home)
        finally:
            os.close(home)

    def socket(self, family: socket.AddressFamily = socket.AF_INET, *, mptcp: bool = False) -> socket.socket:
        """A TCP socket, or an MPTCP one, of this namespace."""
        with self.entered():
            return socket.socket(family, socket.SOCK_STREAM, IPPROTO_MPTCP if mptcp else socket.IPPROTO_TCP)

    def args(self, args: Sequence[str]) -> list[str]:
        """The command line that runs `args` in the namespace."""
        return ["ip", "netns", "exec", self.name, *args]

    def run(self, *args: str, check: bool = True, stdin: str | None = None, timeout: float = 60.0) -> str:
        """Runs a program in it."""
        return run(self.args(args), check=check, stdin=stdin, timeout=timeout)

    def start(self, args: Sequence[str], log: Path, env: dict[str, str] | None = None) -> Background:
        """Starts a program in it."""
        return Background(self.args(args), log, env)

    def ip(self, *lines: str, six: bool = False) -> None:
        """Runs `ip` commands (`ip -6` ones if `six`) in it, one a line."""
        family = ["-6"] if six else []
        run(["ip", *family, "-n", self.name, "-batch", "-"], stdin="\n".join(lines) + "\n")

    def sysctl(self, **values: int | str) -> None:
        """Sets sysctls; in names `__` stands for the dot (interface names keep their underscores)."""
        pairs = [f"{name.replace('__', '.')}={value}" for name, value in values.items()]
        self.run("sysctl", "-qw", *pairs)

    def nstat(self, prefix: str = "") -> dict[str, int]:
        """The kernel's absolute counters whose names start with `prefix`."""
        counters: dict[str, int] = {}
        # -s: do not touch the history file that all namespaces share.
        for line in self.run("nstat", "-asz").splitlines():
            fields = line.split()
            if len(fields) >= 2 and fields[0].startswith(prefix):
                counters[fields[0]] = int(fields[1])
        return counters
