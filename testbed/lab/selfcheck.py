"""`make judge-selfcheck`: our packets are broken on purpose, on the way, and the check that guards each thing must fail.

The faults are made by a shim in the line beside the HAG, so the product carries no code for them. A control run without a
fault comes first: all checks must pass there, or a failing check would prove nothing.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from . import counters, handshakes, peer
from .box import box
from .capture import captures, tshark
from .chain import CORE as CHAIN_CORE
from .chain import LAN, LINK1, LINK2, Chain, chain
from .chainconfig import Setup
from .interop import addresses, protocols, relay, setup, versions
from .interop.protocols import WHOLE
from .running import ROOT
from .judge import judge
from .report import Check
from .server import nginx
from .shell import LabError
from .shim import shim
from .topology import ACCESS1, ACCESS2, CORE, V4, Line, Scene, scene

SIZE = 3_000_000
PORT = 8080
PATIENCE_S = 12.0


@dataclass(frozen=True)
class Fault:
    """What is broken, where, and which check must notice."""

    name: str
    lines: tuple[Line, ...]
    rule: str
    noticed_by: str
    checksum: bool = False


FAULTS = (
    Fault("wrong HMAC in the answer to a join", (ACCESS2,), "wrong-hmac", "judge"),
    Fault("a byte of the download flipped", (ACCESS2,), "flip:right", "byte-exact"),
    Fault("a byte of the upload flipped", (CORE,), "flip:left", "byte-exact"),
    Fault("joins off", (ACCESS2,), "no-join", "joins"),
    Fault("DSS checksum off by one", (ACCESS1, ACCESS2), "checksum-off", "judge", checksum=True),
    Fault("DSS checksum off by one", (ACCESS1, ACCESS2), "checksum-off", "kernel counters", checksum=True),
    Fault("MP_CAPABLE leaked to the server", (CORE,), "leak-capable", "core is plain"),
    Fault("early SYN+ACK", (ACCESS1,), "early-synack", "extra_setup_packets"),
)


def transfers(made: Scene) -> bool:
    """A download and an upload; whether both were byte-exact."""
    data = peer.payload(SIZE, 21)

    def serve(conn: socket.socket) -> None:
        conn.sendall(data)
        conn.sendall(peer.digest(peer.read_exactly(conn, SIZE)).encode())

    exact = False
    with peer.listening(made.server, serve, port=PORT):
        try:
            with peer.connect(made.client, V4.server, port=PORT, timeout=PATIENCE_S) as conn:
                conn.settimeout(PATIENCE_S)
                got = peer.read_exactly(conn, SIZE)
                conn.sendall(data)
                exact = got == data and peer.read_all(conn).decode() == peer.digest(data)
        except OSError:
            pass
    return exact


def examine(made: Scene, folder: Path, lines: Iterable[tuple[Line, str]], *, checksum: bool) -> dict[str, Check]:
    """One run with shims in some lines; every check by name."""
    folder.mkdir()
    made.client.sysctl(net__mptcp__checksum_enabled=int(checksum))
    before = made.client.nstat("MPTcpExt")
    wanted = ((made.client, "c1", "c1"), (made.client, "c2", "c2"), (made.server, "s0", "server"))
    with captures(folder, *wanted, snap=65535) as files, ExitStack() as stack:
        for line, rule in lines:
            stack.enter_context(shim(made, line, rule))
        exact = transfers(made)
        time.sleep(0.3)
        moved = counters.difference(before, made.client.nstat("MPTcpExt"))
    extra = _extra(made, folder, list(lines))
    verdict = judge([files["c1"], files["c2"]])
    leaked = tshark(files["server"], "tcp.option_kind == 30")
    bad = counters.trouble(moved)
    joins = moved.get(counters.JOINS, 0)
    found = (
        Check("byte-exact", exact, "what arrived"),
        Check("joins", joins == 1, f"{joins} of 1"),
        Check("kernel counters", not bad, str(bad)),
        Check("judge", verdict.ok, verdict.text),
        Check("core is plain", not leaked, f"{len(leaked)} packets with MPTCP"),
        Check("extra_setup_packets", extra == 0, f"{extra} of 0"),
    )
    return {check.name: check for check in found}


def _extra(made: Scene, folder: Path, lines: list[tuple[Line, str]]) -> int:
    """Set-up packets beyond the SYN, with the server 50 ms late. A fault in the core line gives way to that delay."""
    with ExitStack() as stack:
        for line, rule in lines:
            if line is not CORE:
                stack.enter_context(shim(made, line, rule))
        return handshakes.measure(made, folder, count=1, slow=2, timeout=3.0).extra_packets


@dataclass(frozen=True)
class ChainFault:
    """What is broken on which line of the whole chain, and the row that must not pass then."""

    name: str
    line: Line
    rule: str
    row: Callable[[Chain], object]


CHAIN_FAULTS = (
    ChainFault("the host's address on X", LINK2, "leak-host", addresses.no_foreign_sources),
    ChainFault("the host's address translated", CHAIN_CORE, "translate", addresses.the_server_sees_one_address),
    ChainFault("resets lost before they reach H", LAN, "reset:lost", relay.a_reset_reaches_the_far_end),
    ChainFault("resets made clean ends", LAN, "reset:fin", relay.a_reset_reaches_the_far_end),
    ChainFault("SYN+ACK at H before S's", LAN, "early-synack", setup.nothing_is_sent_before_the_answer),
    ChainFault("two SYNs on P for one of H's", LINK1, "two-syns", setup.nothing_is_sent_before_the_answer),
    ChainFault("DSCP bleached on P", LINK1, "clear-dscp", relay.dscp_goes_along),
    ChainFault("an octet of a datagram flipped", LINK1, "flip-datagram", protocols.not_tcp_passes_untouched),
    ChainFault("joins that never arrive", LINK2, "no-join", addresses.the_server_sees_one_address),
    ChainFault("options stripped on X", LINK2, "strip:syn", relay.dscp_goes_along),
)
VERSION_0_FAULTS = (
    ChainFault("version 0: wrong HMAC in the answer to a join", LINK2, "wrong-hmac", versions.version_0_with_checksums),
    ChainFault("version 0: DSS checksum off by one", LINK1, "checksum-off", versions.version_0_with_checksums),
    ChainFault("version 0: joins that never arrive", LINK2, "no-join", versions.version_0_with_checksums),
)


def whole_chain(work: Path, usual: Setup, faults: tuple[ChainFault, ...]) -> tuple[int, int]:
    """Each row that guards something passes on a sound chain, and does not when it is broken; how many did, and did not."""
    passed = failed = 0
    # A row that waits for what was lost shall not wait long.
    peer.PATIENCE_S = 5.0
    with chain(usual, work=work) as made:
        for row in dict.fromkeys(fault.row for fault in faults):
            said = _fails(row, made)
            passed, failed = passed + (not said), failed + bool(said)
            print(f"  {'FAILED' if said else 'ok':<6}  no fault: {row.__name__} passes{': it says ' + said if said else ''}", flush=True)
        for fault in faults:
            with shim(made, fault.line, fault.rule):
                said = _fails(fault.row, made)
            passed, failed = passed + bool(said), failed + (not said)
            print(f"  {'ok' if said else 'FAILED':<6}  {fault.name}: {fault.row.__name__} {'fails: ' + said if said else 'DID NOT NOTICE'}", flush=True)
    return passed, failed


def _fails(row: Callable[[Chain], object], made: Chain) -> str:
    """Why a row fails; nothing if it passes."""
    try:
        row(made)
    except (AssertionError, LabError, OSError) as noticed:
        return (str(noticed) or type(noticed).__name__).splitlines()[0][:120]
    return ""


def main() -> int:
    """The control run, then every fault."""
    base = ROOT / "target" / "lab"
    base.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="selfcheck-", dir=base))
    passed = failed = 0
    try:
        with scene(work=work) as made, nginx(made), box(made, os.environ.get("BRAID_BOX", "hag")):
            made.client.sysctl(net__mptcp__blackhole_timeout=0)
            for number, checksum in enumerate((False, True)):
                control = examine(made, work / f"control-{number}", (), checksum=checksum)
                wrong = [check for check in control.values() if not check.ok]
                passed, failed = passed + (not wrong), failed + bool(wrong)
                print(f"  {'ok' if not wrong else 'FAILED':<6}  no fault{', with DSS checksums' if checksum else ''}: every check passes", flush=True)
                for check in wrong:
                    print(f"          {check.name}: {check.detail}")
            for number, fault in enumerate(FAULTS):
                found = examine(made, work / f"fault-{number}", [(line, fault.rule) for line in fault.lines], checksum=fault.checksum)
                noticed = not found[fault.noticed_by].ok
                passed, failed = passed + noticed, failed + (not noticed)
                also = [name for name, check in found.items() if not check.ok and name != fault.noticed_by]
                print(f"  {'ok' if noticed else 'FAILED':<6}  {fault.name}: {fault.noticed_by} {'fails' if noticed else 'DID NOT NOTICE'}"
                      + (f"; so do {', '.join(also)}" if also else ""), flush=True)  # fmt: skip
        for name, usual, faults in (("chain", WHOLE, CHAIN_FAULTS), ("chain-0", versions.VERSION_0, VERSION_0_FAULTS)):
            more = whole_chain(work / name, usual, faults)
            passed, failed = passed + more[0], failed + more[1]
    except LabError as stopped:
        print(f"the self-check could not go on: {stopped}", file=sys.stderr)
        failed += 1
    except KeyboardInterrupt:
        print("stopped; namespaces and processes are gone", file=sys.stderr)
        return 130
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
