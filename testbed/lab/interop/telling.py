"""What the boxes tell of the paths, and what a restart of one does."""

from __future__ import annotations

import time

from ..bulk import InBackground, move
from ..capture import read
from ..chain import Chain
from ..chainconfig import V4, Setup
from .rows import at_most, punctual, row, rust_test

RATES = {"access1": (20.0, 30.0), "access2": (40.0, 60.0)}
"""Mbit/s and round trip in ms of the emulated links."""


@row("R6a", "how far rate and least round trip of a path are from what its emulator does after 5 s, the worst of both paths", goal="<= 0.05", unit="of the truth", on=Setup())
def paths_are_as_they_are_told(made: Chain) -> float:
    with punctual(made), InBackground(move, made, "down", 7.0) as background:
        time.sleep(5.5)
        # Who sends measures round trips and losses, who receives sees what arrives.
        told = {path["name"]: path for path in made.hag.show("paths")["paths"]}
        arriving = made.hcpe.show("paths")["paths"]
    assert background.result.exact
    assert set(told) == set(RATES), f"paths {sorted(told)}"
    worst = 0.0
    for name, (rate, rtt) in RATES.items():
        path = told[name]
        assert path["state"] == "up" and path["subflows"] >= 1, f"{name}: {path}"
        off = abs(path["rate_out"] * 8 / 1e6 - rate) / rate, abs(path["min_rtt_us"] / 1e3 - rtt) / rtt
        at_most(max(off), 0.05, f"{name}: {path['rate_out'] * 8 / 1e6:.2f} Mbit/s and {path['min_rtt_us'] / 1e3:.2f} ms")
        worst = max(worst, *off)
        assert path["sent"] > 1_000 and path["resent"] < path["sent"] / 10, f"{name}: {path['resent']} of {path['sent']} sent again"
    for path, (rate, _) in zip(arriving, RATES.values(), strict=True):
        off_in = abs(path["rate_in"] * 8 / 1e6 - rate) / rate
        worst = max(worst, at_most(off_in, 0.05, f"{path['name']}: {path['rate_in'] * 8 / 1e6:.2f} Mbit/s"))
    return round(worst, 4)


@row("I-ACC", "payload octets that the boxes' accounts and captures of P and X differ by, for each path and direction", goal="0", unit="octets")
def accounts_are_exact(made: Chain) -> int:
    time.sleep(0.5)
    before = {box.name: _account(box) for box in (made.hcpe, made.hag)}
    with made.capture("w1", "w2", only="tcp", snap=160) as files:
        for way in ("down", "up"):
            assert move(made, way, 0.5).exact
        time.sleep(0.5)
    off = 0
    for number, name in enumerate(("w1", "w2"), start=1):
        inside = (V4.host, V4.hcpe2)
        packets = list(read(files[name]))
        up = sum(packet.payload for packet in packets if packet.src in inside)
        down = sum(packet.payload for packet in packets if packet.dst in inside)
        assert up > 10_000 and down > 10_000, f"{name} carried {up} and {down} octets"
        for box, path in ((made.hcpe, f"wan{number}"), (made.hag, f"access{number}")):
            told = [now - then for now, then in zip(_account(box)[path], before[box.name].get(path, (0, 0)), strict=True)]
            assert told == [up, down], f"{box.name} tells {told} of {path}, captured were {[up, down]}"
            off += abs(told[0] - up) + abs(told[1] - down)
    return off


def _account(box) -> dict[str, tuple[int, int]]:  # noqa: ANN001
    accounts = box.show("accounts")["accounts"]
    mine = next((each["paths"] for each in accounts if each["subscriber"] == V4.host), [])
    return {path["path"]: (path["bytes_up"], path["bytes_down"]) for path in mine}


@row("I-MID", "either box restarted in virtual time: ends of split connections that are not reset at their next segments, plain ones that do not go on", goal="all pass", unit="")
def restarts_of_either_box() -> str:
    return rust_test("apps", "edge_restart")
