"""B1, B2, B4 and B5 on virtio-user: our box beside DPDK's own forwarding of the same flows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .device import Hag, Run, measured
from .results import Row

REPEATS = 5
SECONDS = 4.0

UP = {"connections": 8, "request": "endless", "response": 0}
DOWN = {"connections": 8, "response": "endless"}
BURSTS = (16, 32, 64, 128)


def relaying(work: Path, progress) -> list[Row]:  # noqa: ANN001
    """B1, B1t and B2: busy cycles by octet, in turns; and whether payload was touched, and segments lost by the box itself."""
    boxes: dict[str, list[Run]] = {"mptcp": [], "plain": [], "testpmd": []}
    for n in range(REPEATS):
        for box, runs in boxes.items():
            progress(f"{box}, {n + 1} of {REPEATS}")
            runs.append(measured(work / box, box, UP, seconds=SECONDS, subflows=2, after=_touched))
            asserted_joins(runs[-1], box)
    cost = {box: [run.cycles_per_octet for run in runs] for box, runs in boxes.items()}
    io, command = "testpmd in io mode on the same devices, its best-known burst", boxes["testpmd"][0].command
    rates = {f"{box}_gbps": [round(run.gbps, 3) for run in runs] for box, runs in boxes.items()}
    more: dict[str, Any] = {"peer_command": command, **rates}
    relayed = [run.counters for box in ("mptcp", "plain") for run in boxes[box]]

    def share(of: str, among: str) -> list[float]:
        """Of all runs together: a single one counts."""
        return [sum(counters[of] for counters in relayed) / sum(counters[among] for counters in relayed)]

    return [
        Row("B1", "Multipath TCP (2 subflows) to TCP: forwarding's busy cycles an octet over ours", quotients(cost["testpmd"], cost["mptcp"]), "ratio", io, ">= 0.5", more=more),
        Row("B1t", "TCP to TCP: forwarding's busy cycles an octet over ours", quotients(cost["testpmd"], cost["plain"]), "ratio", io, ">= 0.6", more=more),
        Row("B2", "what Multipath TCP takes of the TCP relay's throughput", [100 * (1 - p / m) for p, m in zip(cost["plain"], cost["mptcp"])], "%", "our TCP relay", "<= 15"),
        Row("B1.copied", "octets of payload copied, by octet relayed: in the stack or at a port", share("copied", "relayed"), "octets", goal="<= 0"),
        Row("B1.summed", "octets of payload read to be summed, by octet relayed", share("summed", "relayed"), "octets", goal="<= 0.001"),
        Row("B1.dropped", "frames that the box's own ports dropped, of a million sent", [1e6 * each for each in share("dropped", "sent")], "frames", goal="<= 0"),
        *(Row(f"B1.{box}", f"busy cycles of a segment of 1,400 octets, its acknowledgments included: {box}", [1400 * each for each in costs], "cycles") for box, costs in cost.items()),
    ]  # fmt: skip


def _touched(hag: Hag) -> dict[str, float]:
    """What was done with payload since the box began, and what it lost itself."""
    (core,) = hag.show("runtime")["cores"]
    payload, ports = core["payload"], hag.show("ports")["ports"]
    return {
        "relayed": payload["relayed"],
        "copied": payload["copied_in_stack"] + payload["copied_at_port"],
        "summed": payload["summed"],
        "dropped": sum(port["tx_dropped"] for port in ports),
        "sent": sum(port["tx_packets"] for port in ports),
    }


def asserted_joins(run: Run, box: str) -> None:
    """`AssertionError` unless every connection has its second subflow."""
    if box != "mptcp":
        return
    # The counts of the clients begin after the warm-up, in which long connections came.
    joined = run.counters.get("mpjoin_ack_rx", 0)
    assert joined >= run.client["connections"]["now"] > 0, f"{joined} joins for {run.client['connections']['now']} connections"


def quotients(over: list[float], under: list[float]) -> list[float]:
    """Each of neighbors."""
    return [a / b for a, b in zip(over, under)]


def subflows(work: Path, progress) -> list[Row]:  # noqa: ANN001
    """B4: 4 and 8 subflows over one."""
    costs: dict[int, list[float]] = {1: [], 4: [], 8: []}
    for n in range(REPEATS):
        for count, values in costs.items():
            progress(f"{count} subflows, {n + 1} of {REPEATS}")
            values.append(measured(work / "subflows", "mptcp", DOWN, seconds=SECONDS, subflows=count).cycles_per_octet)
    return [
        Row("B4", "goodput of a core with 8 subflows a connection over that with 1", quotients(costs[1], costs[8]), "ratio", "one subflow", ">= 0.9"),
        Row("B4.4", "the same with 4 subflows", quotients(costs[1], costs[4]), "ratio", "one subflow", ">= 0.9"),
    ]


def bursts(work: Path, progress) -> list[Row]:  # noqa: ANN001
    """Which burst suits testpmd best: what it is compared with is not held back."""
    rows = []
    for burst in BURSTS:
        progress(f"testpmd, bursts of {burst}")
        run = measured(work / "testpmd", "testpmd", UP, seconds=SECONDS, burst=burst)
        rows.append(Row(f"B1.burst{burst}", f"testpmd's cycles a segment of 1,400 octets at bursts of {burst}", [1400 * run.cycles_per_octet], "cycles"))
    return rows


def ledger(work: Path, progress) -> list[Row]:  # noqa: ANN001
    """B13: how much of the loop's cycles `braidctl show runtime` explains on a live box, and what they go to."""
    shares, steps = [], {}
    for n in range(REPEATS):
        progress(f"{n + 1} of {REPEATS}")
        run = measured(work, "mptcp", UP, seconds=SECONDS, subflows=2, after=_explained)
        shares.append(run.counters.pop("explained") / 10)
        steps = {name.removeprefix("step "): cycles for name, cycles in run.counters.items() if name.startswith("step ")}
    what = "share of the loop's cycles that the ledger explains, Multipath TCP to TCP"
    return [
        Row("B13", what, shares, "%", goal=">= 90", command="make bench PART=b13; braidctl show runtime"),
        *(Row(f"B13.{name}", f"cycles by frame in {name}", [float(cycles)], "cycles/frame") for name, cycles in steps.items()),
    ]


def _explained(hag: Hag) -> dict[str, float]:
    core, = hag.show("runtime")["cores"]
    return {"explained": core["explained_permille"]} | {f"step {step['step']}": step["cycles_per_frame"] for step in core["steps"]}
