"""What the operator's policy makes of two accesses: the primary first, caps, and paths that change."""

from __future__ import annotations

import socket
import threading
import time

from .. import peer
from ..bulk import carries, move
from ..chain import LINK1, LINK2, Chain
from ..chainconfig import OVERFLOW, PRIMARY, QUICK_SECONDARY, SECONDARY, V4, Setup
from .rows import at_least, at_most, punctual, row, rust_test

NORMAL = Setup(links=(PRIMARY, SECONDARY), hcpe=OVERFLOW, hag=OVERFLOW)
QUICK = Setup(links=(PRIMARY, QUICK_SECONDARY), hcpe=OVERFLOW, hag=OVERFLOW)
CAP = 10.0
CAPPED = Setup(
    links=(PRIMARY, SECONDARY),
    hcpe=OVERFLOW | {"ports": {"wan2": {"cap": f"{CAP:.0f}Mbit/s"}}},
    hag=OVERFLOW | {"ports": {"access2": {"cap": f"{CAP:.0f}Mbit/s"}}},
)
PORT = 5010
TICK_S = 0.01


def _pace(conn: socket.socket, mbps: float, seconds: float) -> None:
    """Writes so many Mbit/s of payload, as far as the connection takes them."""
    begin, sent = time.monotonic(), 0
    block = bytes(65_536)
    while (now := time.monotonic() - begin) < seconds:
        due = int(now * mbps * 1e6 / 8)
        while sent < due:
            sent += conn.send(block[: min(len(block), due - sent)])
        time.sleep(TICK_S)


def _offered(made: Chain, way: str, mbps: float, seconds: float, *, settle: float) -> tuple[float, float]:
    """Mbit/s of frames that P and X carry while a connection is offered `mbps` of payload, once `settle` seconds have passed."""
    measured: dict[str, tuple[float, float]] = {}

    def send(conn: socket.socket) -> None:
        pacing = threading.Thread(target=_pace, args=(conn, mbps, settle + seconds), daemon=True)
        pacing.start()
        time.sleep(settle)
        before = [made.carried(line)[way]["sent_octets"] for line in (LINK1, LINK2)]
        begin = time.monotonic()
        pacing.join()
        took = time.monotonic() - begin
        after = [made.carried(line)[way]["sent_octets"] for line in (LINK1, LINK2)]
        rates = [(then - first) * 8 / took / 1e6 for first, then in zip(before, after, strict=True)]
        measured[way] = rates[0], rates[1]
        conn.shutdown(socket.SHUT_WR)

    def serve(conn: socket.socket) -> None:
        if way == "down":
            send(conn)
        peer.read_all(conn)

    with peer.listening(made.server, serve, port=PORT), peer.connect(made.host, V4.server, mptcp=False, port=PORT) as conn:
        if way == "up":
            send(conn)
        peer.read_all(conn)
    return measured[way]


def _underused(made: Chain) -> float:
    shares = []
    for way in ("down", "up"):
        with punctual(made):
            primary, secondary = _offered(made, way, 0.8 * carries(PRIMARY.rate), 5.0, settle=2.0)
        # Frames without payload, such as keepalives and acknowledgments of the other way, are not what is offered.
        shares.append(secondary / max(primary, 0.001))
    return 100 * at_most(max(shares), 0.001, "the secondary's share")


@row("R6c", "a connection that offers 0.8 of the primary's rate: what the secondary (60 ms) carries, the greater direction", goal="< 0.1", unit="% of the primary", on=NORMAL)
def below_the_primarys_rate_the_secondary_idles(made: Chain) -> float:
    return round(_underused(made), 4)


@row("R6c", "the same with a secondary that has the shorter round trip (15 ms)", goal="< 0.1", unit="% of the primary", on=QUICK)
def below_the_primarys_rate_a_quicker_secondary_idles(made: Chain) -> float:
    return round(_underused(made), 4)


def _overflowing(made: Chain) -> float:
    shares = []
    for way in ("down", "up"):
        offered = 2 * carries(PRIMARY.rate)
        with punctual(made):
            primary, secondary = _offered(made, way, offered, 5.0, settle=3.0)
        shares.append(primary / PRIMARY.rate)
        at_least(primary + secondary, 0.97 * 2 * PRIMARY.rate, f"{way}: Mbit/s of both, {primary:.1f} and {secondary:.1f}")
    return at_least(min(shares), 0.95, "the primary's use")


@row("R6c", "a connection that offers twice the primary's rate: how busy the primary is, the lesser direction; the secondary (60 ms) carries the rest", goal=">= 0.95", unit="of the primary", on=NORMAL)
def past_the_primarys_rate_the_rest_overflows(made: Chain) -> float:
    return round(_overflowing(made), 3)


@row("R6c", "the same with a secondary that has the shorter round trip (15 ms)", goal=">= 0.95", unit="of the primary", on=QUICK)
def past_the_primarys_rate_the_rest_overflows_to_a_quicker_one(made: Chain) -> float:
    return round(_overflowing(made), 3)


@row("R6c", "a secondary that is capped at 10 Mbit/s in both boxes: what it carries of a bulk transfer, the direction that is further off", goal="10 +- 5 %", unit="Mbit/s", on=CAPPED)
def a_cap_holds(made: Chain) -> float:
    rates = []
    for way in ("down", "up"):
        with punctual(made):
            _, secondary = _offered(made, way, 60.0, 5.0, settle=3.0)
        # The emulator counts Ethernet frames, the cap IP packets.
        rates.append(secondary * 1500 / 1514)
    worst = max(rates, key=lambda rate: abs(rate - CAP))
    assert abs(worst - CAP) <= 0.05 * CAP, f"Mbit/s: {rates}"
    return round(worst, 2)


@row("R6c", "virtual time: 0.8 and 2 times the primary's rate and caps of 2 and 10 Mbit/s, both directions, secondaries at 15 and 60 ms", goal="pass")
def policy_in_virtual_time() -> str:
    return rust_test("apps", "policy")


@row("R6b", "virtual time: the secondary's rate goes 40, 5, 40 Mbit/s; goodput within a tenth of what one TCP reaches on each path", goal="pass")
def a_step_is_followed_in_virtual_time() -> str:
    return rust_test("mptcp", "m29_a_step_of_the_secondarys_rate")


@row("R6b", "the secondary falls from 40 to 5 Mbit/s and comes back in mid-transfer: octets intact, and goodput 6 s after it is back, of the sum of both links", goal=">= 0.80", unit="of the sum", on=NORMAL, limit=90, fresh=True)
def a_step_of_the_secondarys_rate(made: Chain) -> float:
    result: dict = {}
    transfer = threading.Thread(target=lambda: result.update(moved=move(made, "down", 20.0)), daemon=True)
    transfer.start()
    for after, rate in ((4.0, 5.0), (4.0, 40.0)):
        time.sleep(after)
        made.reshape(LINK2, rate=rate)
    time.sleep(6.0)
    before = made.carried(LINK1)["down"]["sent_octets"] + made.carried(LINK2)["down"]["sent_octets"]
    begin = time.monotonic()
    time.sleep(4.0)
    after_octets = made.carried(LINK1)["down"]["sent_octets"] + made.carried(LINK2)["down"]["sent_octets"]
    rate = (after_octets - before) * 8 / (time.monotonic() - begin) / 1e6
    transfer.join(peer.PATIENCE_S)
    assert result["moved"].exact, "other octets"
    return round(at_least(rate / (PRIMARY.rate + SECONDARY.rate), 0.8, "of the sum"), 3)


@row("P11", "virtual time: boxes with opposite costs, each sends by its own", goal="pass")
def each_box_has_its_own_policy() -> str:
    return rust_test("apps", "each_side_keeps_to_its_own_policy")


@row("P1", "virtual time: at 95, 100 and 105 % of the primary's rate for a minute each, the secondary comes into use no more than once a second", goal="pass")
def at_the_limit_nothing_flaps() -> str:
    return rust_test("mptcp", "m29_at_its_limit_the_overflow_does_not_flap")
