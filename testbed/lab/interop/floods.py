"""Floods of SYNs from the Internet, and subscribers that ask for too much."""

from __future__ import annotations

import os
import re
import socket
import statistics
import threading
import time
from pathlib import Path

from .. import peer
from ..bulk import move
from ..chain import CORE, LINK3, Chain
from ..chainconfig import PRIMARY, SECONDARY, V4, V6, WIRE, Setup, tree
from ..shell import LabError
from .rows import at_least, punctual, row, rust_test

FLOODED = "10.88.0.9"
"""A subscriber on an access network of its own: what the flood costs is the HAG's work, not another's full access link."""

FLOODS = Setup(
    links=(PRIMARY, SECONDARY, WIRE),
    # The third access network is the flooded subscriber's, not the customer's.
    hcpe={"ports": tree("hcpe", Setup(links=(PRIMARY, SECONDARY)))["ports"], "worker": {"cores": [min(os.sched_getaffinity(0))]}},
    hag={
        # trafgen takes the first core, so the other is for the one that is judged.
        "worker": {"cores": [max(os.sched_getaffinity(0))]},
        "subscribers": ["10.10.0.0/24", "10.1.0.2/32", "fd00:10::/64", "10.88.0.0/24"],
        "routes": [
            {"to": "0.0.0.0/0", "via": V4.server},
            {"to": "10.10.0.0/24", "via": "10.1.0.2"},
            {"to": "10.88.0.0/24", "via": "10.3.0.8"},
            {"to": "::/0", "via": V6.server},
            {"to": "fd00:10::/64", "via": V6.hcpe1},
        ],
    },
)
SECONDS = 4.0
ROUNDS = 3
MUTE = "table netdev mute {{\n  chain in {{ type filter hook ingress device {device} priority 0; policy accept; tcp flags syn drop; }}\n}}\n"
"""Drops SYNs as early as the kernel does at the HAG's ports, so that the generator pays the same for both."""

LEGITIMATE = 200


def _trafgen(to: str, mac: str) -> str:
    """A configuration of trafgen: SYNs with random sources, ports and numbers to `to`, behind the station `mac`."""
    octets = ", ".join(f"0x{part}" for part in mac.split(":"))
    ip = ", ".join(to.split("."))
    return (
        "{\n"
        f"  {octets}, 0x02, 0, 0, 0, 0x99, 0x99, const16(0x0800),\n"
        "  0b01000101, 0, const16(40), drnd(2), const16(0), 64, 6, csumip(14, 33),\n"
        f"  128, drnd(3), {ip},\n"
        "  drnd(2), const16(8000), drnd(4), const32(0), const8(0x50), const8(0x02), const16(64240), csumtcp(14, 34), const16(0),\n"
        "}\n"
    )


class Flood:
    """trafgen in the namespace of a station on the core line, as long as the block lasts."""

    def __init__(self, made: Chain, mac: str, rate: int = 0) -> None:
        self.made, self.rate = made, rate
        self.config = made.work / "flood.trafgen"
        self.config.write_text(_trafgen(FLOODED, mac))

    def __enter__(self) -> "Flood":
        said = ["--rate", f"{self.rate}pps"] if self.rate else []
        command = ["trafgen", "--dev", "flooder0", "--conf", str(self.config), "--cpus", "1", "--no-sock-mem", *said]
        self.before, self.begin = self._sent(), time.monotonic()
        self.process = self.made.spaces["flooder"].start(command, self.made.work / "flood.log")
        time.sleep(0.5)
        if not self.process.running():
            raise LabError(f"trafgen ended: {self.process.output()[-400:]}")
        return self

    def __exit__(self, *_) -> None:  # noqa: ANN002
        self.pps = (self._sent() - self.before) / (time.monotonic() - self.begin)
        self.process.stop(0.3)

    def _sent(self) -> int:
        return int(self.made.spaces["flooder"].run("cat", "/sys/class/net/flooder0/statistics/tx_packets"))


def _stations(made: Chain) -> tuple[str, str]:
    """The MACs of the HAG and of a station beside it on the core line; the flooder is there, and the flooded subscriber, who is silent."""
    if "flooder" not in made.spaces:
        made.attach("flooder", CORE, "10.9.0.7/24")
        made.attach("beside", CORE, "10.9.0.8/24")
        made.attach("flooded", LINK3, "10.3.0.8/24")
        for silent in ("beside", "flooded"):
            made.spaces[silent].run("nft", "-f", "-", stdin=MUTE.format(device=f"{silent}0"))
    hag = made.spaces["hag"].run("cat", "/sys/class/net/c1/address").strip()
    beside = made.spaces["beside"].run("cat", "/sys/class/net/beside0/address").strip()
    return hag, beside


def _memory(made: Chain) -> int:
    text = Path(f"/proc/{made.hag.process.pid}/status").read_text()
    found = re.search(r"^VmRSS:\s+(\d+) kB", text, re.M)
    assert found
    return int(found[1])


def _rate(made: Chain) -> int:
    """Frames a second that the HAG shall be offered: what the generator makes here unhindered."""
    return int(os.environ.get("BRAID_FLOOD_PPS", "0"))


@row("X7", "share of an established transfer's goodput left while the HAG takes a flood of spoofed SYNs, compared with the same flood at another station", goal=">= 0.95", unit="of the goodput", on=FLOODS, limit=120)
def established_goodput_under_a_flood(made: Chain) -> str:
    hag, station = _stations(made)
    rounds = []
    # The generator takes a core, so the links are late whatever is flooded: only the comparison counts.
    for _ in range(ROUNDS):
        with Flood(made, station, _rate(made)) as beside:
            alone = move(made, "down", SECONDS)
        memory = _memory(made)
        with Flood(made, hag, _rate(made)) as at_us:
            under = move(made, "down", SECONDS)
        assert alone.exact and under.exact, "what arrived is not what was sent"
        counters = made.hag.counters()
        assert counters["pending"] <= 2_100, f"{counters['pending']} pending"
        grown = _memory(made) - memory
        assert grown <= 16_384, f"the HAG grew by {grown} kB"
        rounds.append((under.mbps / alone.mbps, at_us.pps, beside.pps))
    share, flood, compared = (statistics.median(figures) for figures in zip(*rounds))
    made.known["flood"] = f"{compared:,.0f} SYNs/s beside, {flood:,.0f} SYNs/s at the HAG"
    at_least(flood / compared, 0.9, "the flood at the HAG, of the one beside")
    return f"{at_least(share, 0.95, 'goodput (' + made.known['flood'] + ')'):.3f}, median of {ROUNDS} ({made.known['flood']})"


@row("X7", "legitimate connections from the Internet that succeed during the flood", goal=">= 0.99", unit="of 200", on=FLOODS, limit=90)
def legitimate_connections_under_a_flood(made: Chain) -> float:
    hag, _ = _stations(made)
    right = 0
    with peer.listening(made.host, peer.sends(b"hello"), port=8000), Flood(made, hag, _rate(made)):
        for _ in range(LEGITIMATE):
            with made.server.socket(socket.AF_INET) as conn:
                conn.settimeout(5)
                try:
                    conn.connect((V4.host, 8000))
                    right += peer.read_all(conn) == b"hello"
                except OSError:
                    pass
    return round(at_least(right / LEGITIMATE, 0.99, "success"), 3)


@row("X7", "a million spoofed SYNs in virtual time: pending entries, timers and flow keys bounded, subscribers still served", goal="all pass")
def floods_in_virtual_time() -> str:
    return rust_test("apps", "floods")


HOSTILE = Setup(
    links=(PRIMARY, SECONDARY),
    hag={"limits": {"per_subscriber": {"connections": 20, "pending": 20, "joining": 20, "buffer": "2MiB"}}},
)


@row("X9", "goodput of one subscriber beside another that holds all it can, of the goodput without", goal=">= 0.90", unit="of the goodput", on=HOSTILE, limit=90)
def beside_a_hostile_subscriber(made: Chain) -> float:
    hostile = made.attach("hostile", made.lines[0], "10.10.0.77/24", via4=V4.lan)
    with punctual(made):
        alone = move(made, "down", SECONDS)
    stop = threading.Event()

    def endless(conn: socket.socket) -> None:
        conn.settimeout(0.2)
        while not stop.is_set():
            try:
                conn.sendall(b"x" * 65536)
            except OSError:
                pass

    conns = []
    with peer.listening(made.server, endless, port=8001):
        try:
            for _ in range(40):
                conn = hostile.socket(socket.AF_INET)
                conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                conn.settimeout(5)
                conn.connect((V4.server, 8001))
                conns.append(conn)
            # They never read: what the server sends is held on the way.
            time.sleep(4)
            counters = made.hag.counters()
            assert counters["relays"] <= 21, f"{counters['relays']} relays"
            assert counters["bypass_limit_connections"] >= 19, f"{counters['bypass_limit_connections']} past the share"
            assert counters["held_octets"] <= 6 << 20, f"{counters['held_octets']} octets are held"
            with punctual(made):
                beside = move(made, "down", SECONDS)
        finally:
            stop.set()
            for conn in conns:
                conn.close()
    assert alone.exact and beside.exact
    return round(at_least(beside.mbps / alone.mbps, 0.90, "goodput"), 3)


@row("X9", "shares of connections, set-ups, joins and buffers, in virtual time", goal="all pass")
def shares_in_virtual_time() -> str:
    names = ("a_subscriber_holds_no_more_than_its_share", "past_its_connections_a_subscriber", "joins_beyond_the_limits", "pending_flows_are_bounded_in_total_and_per_subscriber", "usage_is_counted_by_subscriber")
    return ", ".join(f"{name}: {rust_test('apps', name)}" for name in names)


