#!/usr/bin/env python3
"""Judges captures of MPTCP: recomputes every token, HMAC and DSS checksum, and follows the data of every connection.

Prints JSON and exits 0 if every check holds, 1 if one fails or a required one had nothing to check, 2 if a capture
cannot be read. Shares no code with the stack that it judges: Python's hashlib and hmac stand against it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from connections import Connection, Tracker
from option30 import BadOption, JoinSyn, JoinSynAck, options30, parse, token
from packets import ACK, SYN, CaptureError, Endpoint, Packet, read
from verdict import CHECKS, Verdict

Flow = tuple[Endpoint, Endpoint]


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    checks = "\n".join(f"  {name:22} {what}" for name, what in CHECKS.items())
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=f"checks:\n{checks}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "capture", nargs="*", type=Path, help="pcap or pcapng with MPTCP; several are merged by time (one per path)"
    )
    parser.add_argument(
        "--server",
        action="append",
        default=[],
        type=Path,
        metavar="CAPTURE",
        help="taken on the server's side, where nothing of MPTCP may be seen; its clock is that of the others",
    )
    parser.add_argument(
        "--require",
        action="append",
        default=[],
        metavar="CHECK[=N]",
        help="fail unless this check held at least N times (1)",
    )
    parser.add_argument(
        "--slack-us", type=int, default=0, help="by how much the clocks of captures may differ, microseconds (0)"
    )
    args = parser.parse_args(argv)
    if not args.capture and not args.server:
        parser.error("no capture given")
    for requirement in args.require:
        name, _, count = requirement.partition("=")
        if name not in CHECKS or not (count or "1").isdigit():
            parser.error(f"--require {requirement}: want CHECK or CHECK=N, a check of the list in --help")
    return args


def merged(paths: Iterable[Path]) -> list[Packet]:
    """The packets of several captures in the order of time."""
    return sorted((packet for path in paths for packet in read(path)), key=lambda packet: packet.time_ns)


def answers(packets: Iterable[Packet]) -> dict[Flow, Packet]:
    """The first SYN+ACK of each flow that is no MP_JOIN, by (client, server)."""
    first: dict[Flow, Packet] = {}
    joins: set[Flow] = set()
    for packet in packets:
        if not packet.flags & SYN:
            continue
        join = any(isinstance(option, JoinSyn | JoinSynAck) for option in parsed(packet))
        flow = (packet.dst, packet.src) if packet.flags & ACK else (packet.src, packet.dst)
        if join:
            joins.add(flow)
        elif packet.flags & ACK and flow not in joins:
            first.setdefault(flow, packet)
    return first


def parsed(packet: Packet) -> list[Any]:
    """The options 30 of a packet; none if they are malformed, which another check says."""
    try:
        return [parse(raw) for raw in options30(packet.options)]
    except BadOption:
        return []


def judge_server(client: list[Packet], server: list[Packet], slack_ns: int, verdict: Verdict) -> None:
    """No option 30 at the server, and no client answered before it was."""
    for packet in server:
        try:
            seen = any(True for _ in options30(packet.options))
        except BadOption:
            seen = b"\x1e" in packet.options
        verdict.judge("no_option_30", not seen, f"{packet.where}: {packet.src} to {packet.dst}")
    by_server = answers(server)
    for flow, answer in answers(client).items():
        theirs = by_server.get(flow)
        named = f"{answer.where}: {flow[0]} was answered"
        if theirs is None:
            verdict.judge("syn_ack_after_server", False, f"{named}, {flow[1]} never answered")
        else:
            late = answer.time_ns - theirs.time_ns
            message = f"{named} {-late / 1000:.0f} us before {flow[1]} did ({theirs.where})"
            verdict.judge("syn_ack_after_server", late >= -slack_ns, message)


def described(connection: Connection) -> dict[str, Any]:
    """One connection for the report."""
    return {
        "version": connection.version,
        "tokens": [key and f"{token(connection.version, key):08x}" for key in connection.keys],
        "checksum": connection.checksum,
        "fallback": connection.fallback,
        "data_octets": [stream and (stream.mapped.ends or [0])[-1] for stream in connection.streams],
        "data_fin": [stream is not None and stream.fin is not None for stream in connection.streams],
        "subflows": [
            {
                "kind": flow.kind,
                "opener": str(flow.ends[0]),
                "other": str(flow.ends[1]),
                "opened_by": "initiator" if flow.opener_side == 0 else "responder",
                "join": flow.join_state,
                "octets_from_opener": flow.halves[0].octets if flow.halves[0] else 0,
                "octets_from_other": flow.halves[1].octets if flow.halves[1] else 0,
                "reset": flow.reset,
            }
            for flow in connection.flows
        ],
    }


def judge(args: argparse.Namespace) -> tuple[bool, dict[str, Any]]:
    """Whether all holds, and the report. Raises CaptureError and OSError."""
    verdict = Verdict()
    packets = merged(args.capture)
    tracker = Tracker(verdict)
    for packet in packets:
        tracker.packet(packet)
    slack_ns = args.slack_us * 1000
    tracker.finish(slack_ns)
    if args.server:
        judge_server(packets, merged(args.server), slack_ns, verdict)
    missing = []
    for requirement in args.require:
        name, _, count = requirement.partition("=")
        if verdict.checks[name].passed < int(count or 1):
            missing.append(f"{name}: held {verdict.checks[name].passed} times, want {count or 1}")
    ok = verdict.ok and not missing
    report = {
        "ok": ok,
        "missing": missing,
        "checks": {
            name: {
                "ok": check.failed == 0,
                "passed": check.passed,
                "failed": check.failed,
                "skipped": check.skipped,
                "examples": check.examples,
            }
            for name, check in verdict.checks.items()
        },
        "counts": dict(sorted(verdict.counts.items())),
        "connections": [described(connection) for connection in tracker.connections],
    }
    return ok, report


def main(argv: list[str] | None = None) -> int:
    """The command."""
    args = arguments(argv)
    try:
        ok, report = judge(args)
    except (CaptureError, OSError) as error:
        print(f"mptcp_judge: {error}", file=sys.stderr)
        return 2
    json.dump(report, sys.stdout, indent=2)
    print()
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
