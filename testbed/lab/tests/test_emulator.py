"""The link emulator, measured from outside: by ping, and by the kernel's stamps on UDP datagrams."""

from __future__ import annotations

import os
import re
import socket
import struct
import time
import unittest
from collections.abc import Callable
from contextlib import ExitStack

from ..running import ROOT
from ..linkbox import FAR, NEAR, LinkBox, linkbox

TRIES = 15
"""A measurement that misses its bound is taken again so often: the bound holds for an emulator alone on its core."""

SO_TIMESTAMPNS = 35
HEADERS = 14 + 20 + 8
"""Octets of a frame around a datagram's payload."""


class Emulator(unittest.TestCase):
    """Two hosts with the emulator between them."""

    _stack = ExitStack()

    @classmethod
    def tearDownClass(cls) -> None:
        cls.leave()

    @classmethod
    def leave(cls) -> None:
        """Removes the hosts, if they are there."""
        cls._stack.close()

    def start(self, *options: str) -> LinkBox:
        """The emulator with `options` on the last processor, this process on the others, until the test ends."""
        cpus = sorted(os.sched_getaffinity(0))
        stack = ExitStack()
        type(self)._stack = stack
        self.addCleanup(stack.close)
        if len(cpus) > 1:
            os.sched_setaffinity(0, cpus[:-1])
            stack.callback(os.sched_setaffinity, 0, cpus)
        box = stack.enter_context(linkbox(ROOT / "target" / "lab" / self._testMethodName, *options, cpu=cpus[-1]))
        # Each host learns the other's address before anything is measured.
        box.near.run("ping", "-c", "1", "-W", "2", FAR, check=False)
        return box

    def bounded(self, box: LinkBox, measure: Callable[[], tuple[bool, str]]) -> None:
        """`measure` holds in one of `TRIES`; each is shown, with how late the emulator was."""
        said = []
        for number in range(TRIES):
            holds, text = measure()
            late = [way["lateness_us"] for way in box.report()["ways"]]
            late_text = ", ".join(f"{each['p50']:.0f}/{each['p99']:.0f}/{each['max']:.0f}" for each in late)
            said.append(f"{text}; frames late by (half/99 %/worst, us, since the start, each way) {late_text}")
            print(f"         try {number + 1}: {said[-1]}", flush=True)
            if holds:
                return
        self.fail("\n".join(said))

    def test_twice_20_ms_are_40_ms(self) -> None:
        """The least and the mean of 100 pings lie within 0.2 ms of 40 ms, and 95 of them."""
        box = self.start("--delay", "20ms")

        def measure() -> tuple[bool, str]:
            text = box.near.run("ping", "-c", "100", "-i", "0.01", FAR)
            # Each time comes with one decimal, the sums with three.
            times = sorted(float(time_ms) for time_ms in re.findall(r"time=([\d.]+)", text))
            sums = re.search(r"= ([\d.]+)/([\d.]+)/([\d.]+)/", text)
            assert sums and len(times) == 100, text
            least, mean, most = map(float, sums.groups())
            holds = all(abs(each - 40.0) <= 0.2 for each in (least, mean, times[94]))
            return holds, f"ping: least {least:.3f}, mean {mean:.3f}, 95 % {times[94]:.1f}, most {most:.3f} ms"

        self.bounded(box, measure)

    def test_200_mbit_is_200_mbit(self) -> None:
        """More is sent than the rate; what arrives is the rate within 1 %, by the kernel's stamps on arrival."""
        # The queue bridges pauses of the sender up to 40 ms.
        box = self.start("--rate", "200mbit", "--queue", "1MB", "--delay", "5ms")

        def measure() -> tuple[bool, str]:
            before = box.report()["ways"][0]
            rate, count = received_rate(box, offered_mbit=260, seconds=1.5)
            after = box.report()["ways"][0]
            dropped = after["queue_full"] - before["queue_full"]
            unseen = after["missed"] - before["missed"] + after["refused"] - before["refused"]
            self.assertLessEqual(after["queue_max"], 1_000_000)
            holds = abs(rate - 200.0) <= 2.0 and dropped > 0
            return holds, f"UDP: {rate:.2f} Mbit/s of frames, {count} arrived, {dropped} dropped by the queue, {unseen} not emulated"

        self.bounded(box, measure)

    def test_loss_is_as_asked_and_one_way(self) -> None:
        """Of 5,000 datagrams a tenth is lost on the way out (within 5 deviations), none on the way back."""
        box = self.start("--loss", "10%/0%")
        for sender, receiver, address, lost in ((box.near, box.far, FAR, 500), (box.far, box.near, NEAR, 0)):
            with receiver.entered():
                sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with sender.entered():
                source = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with sink, source:
                sink.bind((address, 7000))
                # The first may have to ask for the neighbor's address, and that may be lost too.
                if not self._reaches(source, sink, address):
                    self.fail("nothing arrived")
                arrived = 0
                for number in range(5_000):
                    source.sendto(number.to_bytes(4), (address, 7000))
                    if number % 20 == 19:
                        time.sleep(0.001)
                        arrived += self._drain(sink, wait=False)
                arrived += self._drain(sink, wait=True)
            self.assertLessEqual(abs(5_000 - arrived - lost), 5 * (5_000 * 0.1 * 0.9) ** 0.5 if lost else 0, f"{arrived} arrived")

    def _reaches(self, source: socket.socket, sink: socket.socket, address: str) -> bool:
        for _ in range(20):
            source.sendto(b"first", (address, 7000))
            if self._drain(sink, wait=True):
                return True
        return False

    @staticmethod
    def _drain(sink: socket.socket, *, wait: bool) -> int:
        count = 0
        sink.settimeout(0.3 if wait else 0)
        try:
            while sink.recv(100):
                count += 1
        except (BlockingIOError, TimeoutError):
            pass
        return count


def received_rate(box: LinkBox, *, offered_mbit: float, seconds: float, size: int = 1400) -> tuple[float, int]:
    """Sends datagrams at a rate, near to far; the rate at which their frames arrived, in Mbit/s, and how many did."""
    with box.far.entered():
        sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with box.near.entered():
        source = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    stamps: list[int] = []

    def drain() -> None:
        try:
            while True:
                _, control, _, _ = sink.recvmsg(1, 64, socket.MSG_DONTWAIT)
                second, nano = struct.unpack("qq", control[0][2])
                stamps.append(second * 1_000_000_000 + nano)
        except BlockingIOError:
            pass

    with sink, source:
        sink.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
        sink.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sink.bind((FAR, 7001))
        source.connect((FAR, 7001))
        payload = bytes(size)
        gap = (size + HEADERS) * 8 / (offered_mbit * 1e6)
        begin = time.monotonic()
        sent = 0
        while (passed := time.monotonic() - begin) < seconds:
            # After a pause of this process no burst makes up for it.
            for _ in range(min(64, int(passed / gap) - sent)):
                source.send(payload)
                sent += 1
            drain()
        time.sleep(0.05)
        drain()
    # The first tenth may still fill the queue.
    stamps = stamps[len(stamps) // 10 :]
    octets = (len(stamps) - 1) * (size + HEADERS)
    return octets * 8 / ((stamps[-1] - stamps[0]) / 1e9) / 1e6, len(stamps)
