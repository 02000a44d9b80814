"""One connection over both access networks: how much it carries, and what it costs others."""

from __future__ import annotations

import re
import statistics

from ..bulk import InBackground, Moved, carries, move
from ..chain import LINK1, LINK2, Chain, chain
from ..chainconfig import OVERFLOW, PRIMARY, QUICK_SECONDARY, SECONDARY, V4, Link, Setup
from ..running import ROOT
from .rows import at_least, at_most, punctual, row

SECONDS = 8.0
LOSSY_SECONDS = 5.0
SHARE_OF_SUM = 0.90
SHARE_OF_PRIMARY = 0.98
"""What the boxes do unless they are told otherwise."""
DEFAULT = Setup(links=(PRIMARY, SECONDARY), hcpe=OVERFLOW, hag=OVERFLOW)
QUICK = Setup(links=(PRIMARY, QUICK_SECONDARY), hcpe=OVERFLOW, hag=OVERFLOW)
LOSSES = (0.1, 1.0)

_alone: dict[tuple[float, str], float] = {}


def exact(moved: Moved) -> Moved:
    """A transfer whose octets arrived as they were sent, from H's own address."""
    assert moved.exact, "what arrived is not what was sent"
    assert moved.seen == [V4.host], f"the server saw {moved.seen}"
    return moved


def share_of_sum(made: Chain, links: tuple[Link, ...], seconds: float = SECONDS) -> float:
    """The lesser share, of both directions, that one connection reaches of what the links carry together."""
    whole = carries(*(link.rate for link in links))
    shares = []
    for way in ("down", "up"):
        with punctual(made):
            shares.append(exact(move(made, way, seconds)).mbps / whole)
    text = f"{shares[0]:.3f} down, {shares[1]:.3f} up"
    assert min(shares) >= SHARE_OF_SUM, f"{text} of {whole:.1f} Mbit/s, must be at least {SHARE_OF_SUM}"
    return round(min(shares), 3)


@row("R8", "goodput of one connection, of the sum of 20 Mbit/s at 30 ms and 40 Mbit/s at 60 ms, the lesser direction", goal=">= 0.90", unit="of the sum", on=DEFAULT)
def slow_secondary(made: Chain) -> float:
    return share_of_sum(made, DEFAULT.links)


@row("R8", "the same with the 40 Mbit/s at 15 ms", goal=">= 0.90", unit="of the sum", on=QUICK)
def quick_secondary(made: Chain) -> float:
    return share_of_sum(made, QUICK.links)


@row("P1", "with a quick secondary the primary is full before the secondary takes more: share of the primary in use, the lesser direction", goal=">= 0.90", unit="of the primary", on=QUICK)
def the_primary_is_full_beside_a_quick_secondary(made: Chain) -> float:
    shares = []
    for way in ("down", "up"):
        before = made.carried(LINK1)[way]["sent_octets"]
        with punctual(made):
            moved = exact(move(made, way, SECONDS))
        shares.append((made.carried(LINK1)[way]["sent_octets"] - before) * 8 / moved.seconds / 1e6 / PRIMARY.rate)
    return round(at_least(min(shares), 0.90, "the primary's use"), 3)


def primary_alone(loss: float, way: str) -> float:
    """What one plain connection reaches over the primary alone, routed by kernels, Mbit/s."""
    if (loss, way) not in _alone:
        work = ROOT / "target" / "interop" / "work" / f"alone-{loss}"
        with chain(Setup(links=(Link(20, 30, loss=loss), SECONDARY), boxes=()), work=work) as made:
            for each in ("down", "up"):
                _alone[loss, each] = move(made, each, LOSSY_SECONDS).mbps
    return _alone[loss, way]


@row("R8", "goodput of one connection on links that lose 0.1 % or 1 %, of the primary alone with the same loss: the least of eight cells", goal=">= 0.98", unit="of the primary alone", limit=240)
def never_less_than_the_primary() -> float:
    cells: list[float] = []
    for loss in LOSSES:
        bounds = {way: primary_alone(loss, way) for way in ("down", "up")}
        for rtt in (60.0, 15.0):
            links = (Link(20, 30, loss=loss), Link(40, rtt, loss=loss))
            with chain(Setup(links=links, hcpe=OVERFLOW, hag=OVERFLOW), work=ROOT / "target" / "interop" / "work" / f"lossy-{loss}-{rtt}") as made:
                for way in ("down", "up"):
                    reached = exact(move(made, way, LOSSY_SECONDS)).mbps / bounds[way]
                    assert reached >= SHARE_OF_PRIMARY, f"loss {loss} %, X at {rtt} ms, {way}: {reached:.2f} of the {bounds[way]:.1f} Mbit/s of the primary alone"
                    cells.append(reached)
    return round(min(cells), 2)


def _queueing_ms(made: Chain, way: str) -> float:
    """How much longer pings of H to S take while one connection carries bulk: the mean, ms."""
    idle = _ping(made, 10)
    with InBackground(move, made, way, 12.0):
        # The start overshoots on any path, bonded or not: what lasts is what counts, over two turns of the sawtooth.
        made.host.run("sleep", "2")
        busy = _ping(made, 95)
    return statistics.fmean(busy) - statistics.median(idle)


def _ping(made: Chain, count: int) -> list[float]:
    said = made.host.run("ping", "-c", str(count), "-i", "0.1", V4.server, check=False)
    times = [float(time) for time in re.findall(r"time=([\d.]+)", said)]
    assert len(times) >= count // 2, f"pings got lost: {said[-200:]}"
    return times


_queueing: dict[str, float] = {}


def plain_queueing_ms(way: str) -> float:
    """The same with a plain connection and kernel routers."""
    if not _queueing:
        with chain(Setup(links=DEFAULT.links, boxes=()), work=ROOT / "target" / "interop" / "work" / "plain-queueing") as made:
            for each in ("down", "up"):
                _queueing[each] = _queueing_ms(made, each)
    return _queueing[way]


@row("R2c", "how much longer pings on P wait beside a bonded bulk transfer than beside a plain one, the worse direction", goal="<= 1.2", unit="times", limit=150)
def queueing_on_the_primary() -> float:
    plain = {way: plain_queueing_ms(way) for way in ("down", "up")}
    with chain(DEFAULT, work=ROOT / "target" / "interop" / "work" / "queueing") as made:
        ratios = {}
        for way in ("down", "up"):
            with punctual(made):
                ratios[way] = _queueing_ms(made, way) / plain[way]
    return round(at_most(max(ratios.values()), 1.2, f"of {plain['down']:.1f} ms down and {plain['up']:.1f} ms up"), 2)


@row("S2-1", "goodput of one connection over three paths (20, 40 and 10 Mbit/s), of their sum, the lesser direction", goal=">= 0.90", unit="of the sum", on=Setup(links=(PRIMARY, SECONDARY, Link(10, 40)), hcpe=OVERFLOW, hag=OVERFLOW))
def three_paths(made: Chain) -> float:
    return share_of_sum(made, made.setup.links)


CAPPED = 5.0
UNEVEN = Setup(links=(Link(20, 10), Link(40, 12)), hcpe=OVERFLOW, hag=OVERFLOW | {"ports": {"access2": {"cap": f"{CAPPED:.0f}Mbit/s"}}})


@row("P11", "the HAG caps X at 5 Mbit/s, the HCPE does not: what X carries down and up of one connection each", goal="<= 5.5 down, >= 25 up", unit="Mbit/s", on=UNEVEN)
def each_box_has_its_own_policy(made: Chain) -> str:
    rates = {}
    for way in ("down", "up"):
        before = made.carried(LINK2)[way]["sent_octets"]
        with punctual(made):
            moved = exact(move(made, way, 6.0))
        rates[way] = (made.carried(LINK2)[way]["sent_octets"] - before) * 8 / moved.seconds / 1e6
    at_most(rates["down"], 1.1 * CAPPED, "X down")
    at_least(rates["up"], 25.0, "X up")
    return f"{rates['down']:.1f} down, {rates['up']:.1f} up"


@row("I-FAIL", "X swallows everything in mid-transfer: the longest pause of a download, and the join once X is back", goal="<= 2.5", unit="s", on=DEFAULT)
def the_secondary_falls_silent(made: Chain) -> float:
    return _loses_the_secondary(made, made.cut)


@row("I-FAIL", "X loses its carrier in mid-transfer: the longest pause of a download, and the join once X is back", goal="<= 2.5", unit="s", on=DEFAULT)
def the_secondary_loses_its_carrier(made: Chain) -> float:
    return _loses_the_secondary(made, made.unplug)


def _loses_the_secondary(made: Chain, breaks) -> float:  # noqa: ANN001
    import threading
    import time

    from ..capture import read

    with made.capture("h0", only="tcp") as files:
        fault = threading.Timer(2.0, lambda: breaks(LINK2, dead=True))
        fault.start()
        try:
            moved = exact(move(made, "down", 6.0))
        finally:
            fault.join()
            breaks(LINK2, dead=False)
    arrivals = [packet.at for packet in read(files["h0"]) if packet.src == V4.server and packet.dport == moved.port and packet.payload]
    pause = max(later - sooner for sooner, later in zip(arrivals, arrivals[1:]))
    at_most(pause, 2.5, "the longest pause")
    time.sleep(0.3)
    before = made.carried(LINK2)["down"]["sent_octets"]
    exact(move(made, "down", 3.0))
    carried = made.carried(LINK2)["down"]["sent_octets"] - before
    assert carried > 3_000_000, f"X carries only {carried} octets of a new connection once it is back"
    return round(pause, 2)
