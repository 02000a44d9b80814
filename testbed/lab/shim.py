"""A wire with a will: joins the two ends of a line in place of its bridge, and delays or rewrites frames on the way.

Runs as a process in the line's namespace (`python3 -m testbed.lab.shim RULE...`). It makes the server slow where a test
wants it slow, and it breaks our packets on purpose where a judge has to prove that it notices. A Python loop carries
some ten thousand frames a second: enough for the lines of the lab.
"""

from __future__ import annotations

import heapq
import select
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .mangle import Rule, rule
from .netns import Namespace
from .shell import wait_until
from .tags import PACKET_AUXDATA, SOL_PACKET, receive
from .chain import Chain
from .topology import Line, Scene

ETH_P_ALL = 3
PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC, PACKET_IGNORE_OUTGOING = 1, 1, 23


def _open(device: str) -> socket.socket:
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    end.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    end.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    end.bind((device, ETH_P_ALL))
    index = socket.if_nametoindex(device)
    membership = index.to_bytes(4, sys.byteorder) + PACKET_MR_PROMISC.to_bytes(2, sys.byteorder) + bytes(10)
    end.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, membership)
    end.setblocking(False)
    return end


class Wire:
    """Carries frames between `left` (client's side) and `right` (server's side) through the rules, in order."""

    def __init__(self, rules: list[Rule]) -> None:
        self._rules = rules
        self._ends = {"left": _open("left"), "right": _open("right")}
        self._late: list[tuple[float, int, str, bytes]] = []
        self._count = 0

    def run(self) -> None:
        """Until a signal ends it."""
        poll = select.poll()
        names = {}
        for name, end in self._ends.items():
            poll.register(end, select.POLLIN)
            names[end.fileno()] = name
        while True:
            wait = max(0.0, self._late[0][0] - time.monotonic()) * 1e3 if self._late else None
            for fd, _ in poll.poll(wait):
                self._receive(names[fd])
            while self._late and self._late[0][0] <= time.monotonic():
                _, _, target, frame = heapq.heappop(self._late)
                self._send(target, frame)

    def _receive(self, source: str) -> None:
        for _ in range(64):
            try:
                frame = receive(self._ends[source])
            except BlockingIOError:
                return
            sent = [(source, 0.0, frame)]
            for each in self._rules:
                sent = [out for came, delay, data in sent for out in each.pass_on(came, delay, data)]
            for came, delay, data in sent:
                target = "right" if came == "left" else "left"
                if delay:
                    self._count += 1
                    heapq.heappush(self._late, (time.monotonic() + delay, self._count, target, data))
                else:
                    self._send(target, data)

    def _send(self, target: str, frame: bytes) -> None:
        try:
            self._ends[target].send(frame)
        except OSError:
            # A full queue: a wire loses frames too.
            pass


@contextmanager
def shim(made: Scene | Chain, line: Line, *rules: str) -> Iterator[None]:
    """Puts a shim with these rules into a line while the block runs."""
    space: Namespace = made.line(line)
    made.cut(line, dead=True)
    try:
        log = made.work / f"shim-{line.name}.log"
        process = space.start([sys.executable, "-u", "-m", "testbed.lab.shim", *rules], log)
        try:
            wait_until(f"shim on {line.name}", lambda: "carrying" in process.output() or not process.running())
            yield
        finally:
            process.stop(1.0)
    finally:
        made.cut(line, dead=False)


if __name__ == "__main__":
    wire = Wire([rule(text) for text in sys.argv[1:]])
    print("carrying", flush=True)
    wire.run()
