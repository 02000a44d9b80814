"""What opening a connection costs."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from .. import peer
from ..capture import ACK, SYN, read
from ..chain import CORE, Chain, chain
from ..chainconfig import V4, V6, WIRE, Ends, Setup
from ..running import ROOT
from ..shim import shim
from ..verdicts import early
from .rows import NotJudged, row

CONNECTIONS = 200
LATE_MS = 50


def _opened(made: Chain, count: int, ends: Ends = V4) -> list[float]:
    """Milliseconds from SYN to SYN+ACK at H, of connections one after the other; each carries a question and an answer."""
    with made.capture("h0", only="tcp", snap=134) as files, peer.listening(made.server, _answers, family=2 if ends is V4 else 10, port=84):
        for _ in range(count):
            with peer.connect(made.host, ends.server, mptcp=False, port=84) as conn:
                conn.sendall(b"question")
                assert peer.read_all(conn) == b"answer"
    begun: dict[int, float] = {}
    took: list[float] = []
    for packet in read(files["h0"]):
        if packet.flags & (SYN | ACK) == SYN:
            begun.setdefault(packet.sport, packet.at)
        elif packet.flags & (SYN | ACK) == SYN | ACK and packet.dport in begun:
            took.append((packet.at - begun.pop(packet.dport)) * 1e3)
    assert len(took) >= count, f"{len(took)} SYN+ACKs of {count}"
    return took


def _answers(conn) -> None:  # noqa: ANN001
    peer.read_exactly(conn, 8)
    conn.sendall(b"answer")


def idle_share() -> float:
    """How much of the processors' time nobody used, over 0.3 s."""

    def times() -> tuple[int, int]:
        ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
        return ticks[3], sum(ticks)

    idle, whole = times()
    time.sleep(0.3)
    idle_now, whole_now = times()
    return (idle_now - idle) / max(1, whole_now - whole)


def _percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


@row("R2a", "how much later than over kernel routers H's SYN+ACK comes: 99 of 100 connections, unloaded", goal="<= 1", unit="ms", limit=90)
def no_round_trip_is_added() -> float:
    work = ROOT / "target" / "interop" / "work"
    idle = idle_share()
    if idle < 0.6:
        raise NotJudged(f"the machine is busy with other things: {idle:.0%} idle before the row began")
    with chain(Setup(links=(WIRE, WIRE), boxes=()), work=work / "direct") as made:
        direct = _opened(made, CONNECTIONS)
    with chain(Setup(links=(WIRE, WIRE)), work=work / "bonded") as made:
        bonded = _opened(made, CONNECTIONS)
    more = _percentile(bonded, 0.99) - statistics.median(direct)
    assert more <= 1.0, f"{more:.2f} ms at the 99th percentile, {statistics.median(bonded) - statistics.median(direct):.2f} ms at the median (direct: {statistics.median(direct):.2f} and {_percentile(direct, 0.99):.2f})"
    return round(more, 3)


@row("R2a", "packets beyond H's own SYN that H, P, X and S carry before S answers, S being 50 ms late", goal="0", unit="packets")
def nothing_is_sent_before_the_answer(made: Chain) -> int:
    total = 0
    for ends in (V4, V6):
        with made.capture("h0", "w1", "w2", "s0", only="tcp", snap=134) as files:
            # The boxes close what the connections before left open: that is over soon.
            time.sleep(0.3)
            begin = time.time()
            with shim(made, CORE, f"delay-synack:{LATE_MS}"), peer.listening(made.server, _answers, family=2 if ends is V4 else 10, port=85):
                for _ in range(10):
                    with peer.connect(made.host, ends.server, mptcp=False, port=85) as conn:
                        conn.sendall(b"question")
                        peer.read_all(conn)
                    time.sleep(0.05)
        extra = early({name: [packet for packet in read(file) if packet.at >= begin] for name, file in files.items()}, LATE_MS / 1e3)
        assert not extra, f"{len(extra)} packets, first {extra[0]}"
        total += len(extra)
    return total
