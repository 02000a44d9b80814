"""The demo's report: its figures, the conditions they must meet, and the table a person reads."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from .chainconfig import V4
from .limits import Limit, median
from .transfer import Outcome

AGGREGATION_MIN = 0.90
SHARE_MIN = 0.20


@dataclass(frozen=True)
class Check:
    """One condition and what was found."""

    name: str
    ok: bool
    detail: str


@dataclass
class SetUp:
    """What short connections showed."""

    connections: int
    answered: int = 0
    connect_ms: list[float] = field(default_factory=list)
    slow_connect_ms: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)


def report(
    limits: list[Limit], off_connect_ms: list[float], down: Outcome, up: Outcome, setup: SetUp, seen: set[str],
    counters: dict[str, dict[str, int]], left: dict[str, int],
) -> dict:  # fmt: skip
    """Every figure of the run, under the names of report.json."""
    sums = {way: sum(limit.payload_mbps for limit in limits if limit.direction == way) for way in ("down", "up")}
    off = {limit.direction: limit.payload_mbps for limit in reversed(limits) if limit.line == "link1"}
    both = {"down": down, "up": up}
    return {
        "sha256_ok": down.sha256_ok and up.sha256_ok,
        "download_mbps": round(down.mbps, 2),
        "upload_mbps": round(up.mbps, 2),
        "download_seconds": round(down.seconds, 2),
        "upload_seconds": round(up.seconds, 2),
        "off_mbps": {way: round(value, 2) for way, value in off.items()},
        "off_connect_ms": round(median(off_connect_ms), 3),
        "on_connect_ms": round(median(setup.connect_ms), 3),
        "sum_of_paths_mbps": round(min(sums.values()), 2),
        "sum_of_paths_mbps_by_direction": {way: round(value, 2) for way, value in sums.items()},
        "aggregation_down": round(down.mbps / sums["down"], 4),
        "aggregation_up": round(up.mbps / sums["up"], 4),
        "bytes_by_path": {
            way: {"access1": outcome.paths[0].octets, "access2": outcome.paths[1].octets} for way, outcome in both.items()
        },
        "server_saw_client_address": seen == {V4.host},
        "server_saw": sorted(seen),
        "setup_connections": setup.connections,
        "setup_answered": setup.answered,
        "setup_failures": setup.failures,
        "extra_setup_packets": len(setup.extra),
        "extra_setup_packets_seen": setup.extra[:10],
        "foreign_sources": len(setup.foreign),
        "foreign_sources_seen": setup.foreign[:10],
        "setup_overhead_ms": round(median(setup.connect_ms) - median(off_connect_ms), 3),
        "slow_server_connect_ms": [round(value, 1) for value in setup.slow_connect_ms],
        "copied_in_stack": sum(each.get("copied_in_stack", 0) for each in counters.values()),
        "relays_left": sum(left.values()),
        "late_us": round(max(down.late_us, up.late_us)),
        "limits": [
            {"line": limit.line, "direction": limit.direction, "limit_mbps": limit.limit_mbps,
             "payload_mbps": round(limit.payload_mbps, 2), "wire_mbps": round(limit.wire_mbps, 2)}
            for limit in limits
        ],
        "counters": {box: {name: value for name, value in sorted(each.items()) if value} for box, each in counters.items()},
    }  # fmt: skip


def checks(limits: list[Limit], figures: dict, slow_ms: float) -> list[Check]:
    """Every condition of the demo."""
    found = [
        Check(f"limit of {limit.line} {limit.direction}", limit.holds,
              f"{limit.wire_mbps:.1f} Mbit/s on the wire, limit {limit.limit_mbps:.0f}")
        for limit in limits
    ]  # fmt: skip
    found.append(Check("byte-exact", figures["sha256_ok"], "SHA-256 of what arrived"))
    for way, name in (("down", "download"), ("up", "upload")):
        value = figures[f"aggregation_{way}"]
        found.append(Check(f"aggregation {way}", value >= AGGREGATION_MIN, f"{value:.3f} of the proven paths (at least {AGGREGATION_MIN})"))
        carried = figures["bytes_by_path"][way]
        whole = sum(carried.values()) or 1
        least = min(carried.values()) / whole
        found.append(Check(f"both paths {way}", least >= SHARE_MIN, f"the lesser carried {least:.0%} of the {name}"))
    found.append(Check("server saw the host", figures["server_saw_client_address"], f"saw {', '.join(figures['server_saw']) or 'nobody'}"))
    answered = figures["setup_answered"] == figures["setup_connections"]
    found.append(Check("short connections", answered, f"{figures['setup_answered']} of {figures['setup_connections']} answered" + "".join(f"; {why}" for why in figures["setup_failures"][:2])))
    slowest = min(figures["slow_server_connect_ms"], default=0.0)
    found.append(Check("slow server", slowest >= slow_ms, f"connect took {slowest:.1f} ms with the server {slow_ms:.0f} ms late"))
    for name in ("extra_setup_packets", "foreign_sources", "copied_in_stack", "relays_left"):
        found.append(Check(name, figures[name] == 0, f"{figures[name]} (must be 0)"))
    return found


def write(path: Path, figures: dict, found: list[Check]) -> None:
    """Writes report.json."""
    whole = figures | {"checks": [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in found]}
    path.write_text(json.dumps(whole, indent=2) + "\n")


def table(figures: dict, found: list[Check]) -> str:
    """The table at the end."""
    carried = figures["bytes_by_path"]
    sums, off = figures["sum_of_paths_mbps_by_direction"], figures["off_mbps"]
    rows = [("what the host saw", "download", "upload")]
    rows.append(("bonding off, Mbit/s", f"{off['down']:.1f}", f"{off['up']:.1f}"))
    rows.append(("bonding on, Mbit/s", f"{figures['download_mbps']:.1f}", f"{figures['upload_mbps']:.1f}"))
    rows.append(("both links carry, Mbit/s", f"{sums['down']:.1f}", f"{sums['up']:.1f}"))
    rows.append(("aggregation", f"{figures['aggregation_down']:.3f}", f"{figures['aggregation_up']:.3f}"))
    for path in ("access1", "access2"):
        cells = []
        for way in ("down", "up"):
            whole = sum(carried[way].values()) or 1
            cells.append(f"{carried[way][path] / 1e6:.1f} MB ({carried[way][path] / whole:.0%})")
        rows.append((f"by {path}", *cells))
    rows.append(("time, s", f"{figures['download_seconds']:.1f}", f"{figures['upload_seconds']:.1f}"))
    lines = [f"  {name:<26}{down:>18}{up:>18}" for name, down, up in rows]
    connect = f"{figures['off_connect_ms']:.2f} off, {figures['on_connect_ms']:.2f} on"
    lines.append(f"  {'connect takes, ms':<26}{connect:>36}")
    lines.append(f"  {'frames late, 99 %, us':<26}{figures['late_us']:>36}")
    lines.append("")
    lines += [f"  {'ok    ' if check.ok else 'FAILED'}  {check.name:<26}{check.detail}" for check in found]
    return "\n".join(lines)
