"""The demo's report: its figures, the conditions they must meet, and the table a person reads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from . import counters
from .handshakes import SetUp
from .limits import Limit
from .transfer import Outcome

AGGREGATION_MIN = 0.90
SHARE_MIN = 0.20


@dataclass(frozen=True)
class Check:
    """One condition and what was found."""

    name: str
    ok: bool
    detail: str


def report(limits: list[Limit], down: Outcome, up: Outcome, setup: SetUp, seen: set[str], hag: dict[str, int] | None, relays_left: int | None) -> dict:
    """Every figure of the run, under the names of report.json."""
    sums = {way: sum(limit.payload_mbps for limit in limits if limit.direction == way) for way in ("down", "up")}
    both = {"down": down, "up": up}
    kernel: dict[str, int] = {}
    for outcome in both.values():
        for name, count in outcome.kernel.items():
            kernel[name] = kernel.get(name, 0) + count
    joins = None if down.joins_hag is None or up.joins_hag is None else down.joins_hag + up.joins_hag
    return {
        "sha256_ok": down.sha256_ok and up.sha256_ok,
        "download_mbps": round(down.mbps, 2),
        "upload_mbps": round(up.mbps, 2),
        "download_seconds": round(down.seconds, 2),
        "upload_seconds": round(up.seconds, 2),
        "sum_of_paths_mbps": round(min(sums.values()), 2),
        "sum_of_paths_mbps_by_direction": {way: round(value, 2) for way, value in sums.items()},
        "aggregation_down": round(down.mbps / sums["down"], 4),
        "aggregation_up": round(up.mbps / sums["up"], 4),
        "bytes_by_path": {
            way: {"access1": outcome.paths[0].octets, "access2": outcome.paths[1].octets} for way, outcome in both.items()
        },
        "joins": joins,
        "joins_by_client_kernel": kernel.get(counters.JOINS, 0),
        "server_saw_client_address": len(seen) == 1 and seen == {"10.1.0.2"},
        "server_saw": sorted(seen),
        "setup_connections": setup.connections,
        "setup_answered": setup.answered,
        "setup_failures": setup.failures,
        "extra_setup_packets": setup.extra_packets,
        "extra_setup_packets_seen": setup.extra[:10],
        "setup_overhead_ms": round(setup.overhead_ms, 3),
        "setup_first_byte_overhead_ms": round(setup.first_byte_overhead_ms, 3),
        "slow_server_connect_ms": [round(value, 1) for value in setup.slow_connect_ms],
        "copied_in_stack": hag.get("copied_in_stack") if hag else None,
        "relays_left": relays_left,
        "limits": [
            {"line": limit.line, "direction": limit.direction, "limit_mbps": limit.limit_mbps,
             "payload_mbps": round(limit.payload_mbps, 2), "wire_mbps": round(limit.wire_mbps, 2)}
            for limit in limits
        ],
        "client_kernel_counters": dict(sorted(kernel.items())),
        "hag_counters": {name: value for name, value in sorted((hag or {}).items()) if value},
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
    found.append(Check("server saw the client", figures["server_saw_client_address"], f"saw {', '.join(figures['server_saw']) or 'nobody'}"))
    answered = figures["setup_answered"] == figures["setup_connections"]
    found.append(Check("short connections", answered, f"{figures['setup_answered']} of {figures['setup_connections']} answered" + "".join(f"; {why}" for why in figures["setup_failures"][:2])))
    slowest = min(figures["slow_server_connect_ms"], default=0.0)
    found.append(Check("slow server", slowest >= slow_ms, f"connect took {slowest:.1f} ms with the server {slow_ms:.0f} ms late"))
    for name in ("extra_setup_packets", "copied_in_stack", "relays_left"):
        found.append(Check(name, figures[name] == 0, f"{figures[name]} (must be 0)"))
    joins, kernel = figures["joins"], figures["joins_by_client_kernel"]
    found.append(Check("joins", joins == kernel and kernel > 0, f"{joins} by the HAG, {kernel} by the client's kernel"))
    bad = counters.trouble(figures["client_kernel_counters"])
    found.append(Check("client kernel's counters", not bad, ", ".join(f"{name} {count}" for name, count in bad.items()) or "no fallback, reset or checksum error"))
    return found


def write(path: Path, figures: dict, found: list[Check]) -> None:
    """Writes report.json."""
    whole = figures | {"checks": [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in found]}
    path.write_text(json.dumps(whole, indent=2) + "\n")


def table(figures: dict, found: list[Check]) -> str:
    """The table at the end."""
    carried = figures["bytes_by_path"]
    sums = figures["sum_of_paths_mbps_by_direction"]
    rows = [("", "download", "upload")]
    rows.append(("goodput, Mbit/s", f"{figures['download_mbps']:.1f}", f"{figures['upload_mbps']:.1f}"))
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
    lines.append(f"  {'set-up beyond plain TCP, ms':<26}{figures['setup_overhead_ms']:>17.2f}")
    lines.append("")
    lines += [f"  {'ok    ' if check.ok else 'FAILED'}  {check.name:<26}{check.detail}" for check in found]
    return "\n".join(lines)
