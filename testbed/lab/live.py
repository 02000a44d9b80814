"""The live view: once in a while, what each access network carries, as one line that is refreshed in place."""

from __future__ import annotations

import json
import sys
import threading
import time

from .chain import LINKS, Chain
from .shell import LabError

PERIOD_S = 0.25
PLAIN_EVERY = 8
"""Without a terminal one sample in so many is printed."""


class Live:
    """Samples in a thread while a transfer runs: `with Live(...)`.

    Octets are the link emulators' counts; round trips are those of the box that sends: who only receives measures none.
    """

    def __init__(self, title: str, made: Chain, direction: str) -> None:
        self._title = title
        self._made = made
        self._direction = direction
        self._sender = made.boxes.get("hag" if direction == "down" else "hcpe")
        self._port = "access" if direction == "down" else "wan"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._in_place = sys.stdout.isatty()

    def __enter__(self) -> "Live":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._in_place:
            print(flush=True)

    def _octets(self) -> dict[int, int]:
        links = LINKS[: len(self._made.setup.links)]
        return {number: self._made.carried(line)[self._direction]["sent_octets"] for number, line in enumerate(links, start=1)}

    def _rtts(self) -> dict[int, float]:
        if not self._sender:
            return {}
        subflows = [subflow for connection in self._sender.connections() for subflow in connection["subflows"]]
        return {int(subflow["port"].removeprefix(self._port)): subflow["srtt_us"] / 1e3 for subflow in subflows if subflow["port"].startswith(self._port)}

    def _loop(self) -> None:
        begin = last = time.monotonic()
        before = self._octets()
        count = 0
        while not self._stop.wait(PERIOD_S):
            try:
                octets, rtts = self._octets(), self._rtts()
            except (LabError, json.JSONDecodeError):
                continue
            now = time.monotonic()
            rates = {path: (octets[path] - before[path]) * 8 / (now - last) / 1e6 for path in octets}
            before, last, count = octets, now, count + 1
            if self._in_place or count % PLAIN_EVERY == 0:
                self._show(now - begin, rates, rtts)

    def _show(self, seconds: float, rates: dict[int, float], rtts: dict[int, float]) -> None:
        whole = sum(rates.values())
        parts = [f"access{path} {rate:5.1f} Mbit/s {rtts.get(path, 0.0):5.1f} ms {rate / whole * 100 if whole else 0:3.0f} %" for path, rate in rates.items()]
        line = f"  {self._title:<8} {seconds:4.1f} s  {whole:5.1f} Mbit/s | " + " | ".join(parts)
        print(f"\r{line}" if self._in_place else line, end="" if self._in_place else "\n", flush=True)
