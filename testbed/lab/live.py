"""The live view: once in a while, what the client's kernel says of each subflow, as one line that is refreshed in place."""

from __future__ import annotations

import re
import sys
import threading
import time
from dataclasses import dataclass

from .netns import Namespace

PERIOD_S = 0.25
PLAIN_EVERY = 8
"""Without a terminal one sample in so many is printed."""

_FIELD = {name: re.compile(rf"\b{name}:([\d.]+)") for name in ("bytes_received", "bytes_acked", "rtt")}


@dataclass
class Reading:
    """One subflow in one sample."""

    path: int
    down: int
    up: int
    rtt_ms: float


def readings(client: Namespace, paths: dict[str, int]) -> list[Reading]:
    """Subflows of the client's established MPTCP connections; `paths` maps local addresses to path numbers."""
    found: list[Reading] = []
    for line in client.run("ss", "-tinOH", "state", "established", check=False).splitlines():
        fields = line.split()
        if "tcp-ulp-mptcp" not in line or len(fields) < 4:
            continue
        local = fields[2].rsplit(":", 1)[0].strip("[]").removeprefix("::ffff:")
        if local in paths:
            values = {name: (match.group(1) if (match := pattern.search(line)) else "0") for name, pattern in _FIELD.items()}
            found.append(Reading(paths[local], int(values["bytes_received"]), int(values["bytes_acked"]), float(values["rtt"])))
    return found


class Live:
    """Samples in a thread while a transfer runs: `with Live(...)`."""

    def __init__(self, title: str, client: Namespace, paths: dict[str, int], rtts: "RttSource | None" = None) -> None:
        self._title = title
        self._client = client
        self._paths = paths
        self._rtts = rtts
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._in_place = sys.stdout.isatty()
        self.subflows_seen = 0

    def __enter__(self) -> "Live":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._in_place:
            print(flush=True)

    def _loop(self) -> None:
        begin = last = time.monotonic()
        before: dict[int, int] = {}
        count = 0
        while not self._stop.wait(PERIOD_S):
            now = time.monotonic()
            sample = readings(self._client, self._paths)
            self.subflows_seen = max(self.subflows_seen, len(sample))
            totals = {reading.path: reading.down + reading.up for reading in sample}
            if self._rtts:
                self._rtts.refresh()
            rates = {path: max(0, totals[path] - before.get(path, 0)) * 8 / (now - last) / 1e6 for path in totals}
            before, last, count = totals, now, count + 1
            if self._in_place or count % PLAIN_EVERY == 0:
                self._show(now - begin, rates, {reading.path: reading.rtt_ms for reading in sample})

    def _show(self, seconds: float, rates: dict[int, float], rtts: dict[int, float]) -> None:
        whole = sum(rates.values())
        parts = []
        for path in sorted(set(self._paths.values())):
            rate = rates.get(path, 0.0)
            rtt = self._rtts.of(path) if self._rtts else None
            shown_rtt = rtt if rtt is not None else rtts.get(path, 0.0)
            parts.append(f"access{path} {rate:5.1f} Mbit/s {shown_rtt:5.1f} ms {rate / whole * 100 if whole else 0:3.0f} %")
        line = f"  {self._title:<8} {seconds:4.1f} s  {whole:5.1f} Mbit/s | " + " | ".join(parts)
        print(f"\r{line}" if self._in_place else line, end="" if self._in_place else "\n", flush=True)


class RttSource:
    """Where better round trips come from than the client, which measures none while it only receives."""

    def refresh(self) -> None:
        """Reads them anew."""

    def of(self, path: int) -> float | None:
        """Round-trip time of a path in ms, if known."""
        raise NotImplementedError
