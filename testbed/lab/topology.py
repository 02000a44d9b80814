"""The scene: client, two access networks, the HAG's place, core line and server, each a namespace of its own.

    client --c1-- access1 --h1-- hag --h3-- core --s0-- server
         \\--c2-- access2 --h2--/

`access1`, `access2` and `core` are *lines*: a bridge that joins two veths, with a token bucket on each egress. The HAG
drives h1, h2 and h3 itself, so in its namespace the kernel has no address on them and drops what comes in.
"""

from __future__ import annotations

import fcntl
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .netns import Namespace
from .shell import LabError, run

CONGESTION = "cubic"
"""Congestion control of client and server, set on their routes: the machine's default (often bbr) must not decide."""

QUEUE_MS = 80
"""Longest time a packet waits in a token bucket's queue."""


@dataclass(frozen=True)
class Line:
    """One line of the scene and the names of its ends."""

    name: str
    left: str
    right: str
    rate_mbps: int | None


@dataclass(frozen=True)
class Addresses:
    """The scene's addresses of one family."""

    client1: str
    client2: str
    hag1: str
    hag2: str
    hag3: str
    server: str
    announced: str
    prefix: int
    net1: str
    net2: str


V4 = Addresses("10.1.0.2", "10.2.0.2", "10.1.0.1", "10.2.0.1", "10.9.0.1", "10.9.0.2", "10.99.0.2", 24, "10.1.0.0/24", "10.2.0.0/24")
V6 = Addresses("fd00:1::2", "fd00:2::2", "fd00:1::1", "fd00:2::1", "fd00:9::1", "fd00:9::2", "fd00:99::2", 64, "fd00:1::/64", "fd00:2::/64")

ACCESS1 = Line("access1", "c1", "h1", 20)
ACCESS2 = Line("access2", "c2", "h2", 40)
CORE = Line("core", "h3", "s0", None)
LINES = (ACCESS1, ACCESS2, CORE)
HOSTS = ("client", "hag", "server")
HOME = {"c1": "client", "c2": "client", "h1": "hag", "h2": "hag", "h3": "hag", "s0": "server"}


@dataclass
class Scene:
    """The namespaces while they exist, and a directory for what the run writes."""

    prefix: str
    work: Path
    spaces: dict[str, Namespace] = field(default_factory=dict)

    @property
    def client(self) -> Namespace:
        """The Linux client with two accesses."""
        return self.spaces["client"]

    @property
    def hag(self) -> Namespace:
        """Where our process runs."""
        return self.spaces["hag"]

    @property
    def server(self) -> Namespace:
        """The server in the Internet."""
        return self.spaces["server"]

    def line(self, line: Line) -> Namespace:
        """The namespace of a line."""
        return self.spaces[line.name]

    def cut(self, line: Line, *, dead: bool) -> None:
        """Breaks a line (frames vanish, both ends keep their carrier), or mends it."""
        state = "down" if dead else "up"
        self.line(line).ip(f"link set br0 {state}", *(f"link set {port} {'nomaster' if dead else 'master br0'}" for port in ("left", "right")))


@contextmanager
def scene(prefix: str = "", work: Path | None = None, *, shaped: bool = True) -> Iterator[Scene]:
    """Makes the scene and removes it in the end, whatever ends it: Ctrl-C and SIGTERM too. Leftovers go first."""
    prefix = prefix or os.environ.get("BRAID_LAB", "braid")
    with alone(prefix), terminable():
        work = work or Path(tempfile.mkdtemp(prefix=f"{prefix}-lab-"))
        work.mkdir(parents=True, exist_ok=True)
        made = Scene(prefix, work)
        for name in (*HOSTS, *(line.name for line in LINES)):
            made.spaces[name] = Namespace(f"{prefix}-{name}")
        remove(made)
        try:
            build(made, shaped=shaped)
            yield made
        finally:
            remove(made)


def remove(made: Scene) -> None:
    """Deletes the scene's namespaces and ends what runs in them."""
    for space in made.spaces.values():
        space.delete()


def build(made: Scene, *, shaped: bool) -> None:
    """Makes namespaces, links, rates and addresses."""
    for name, space in made.spaces.items():
        space.create()
        space.sysctl(**{
            "net__ipv6__conf__all__disable_ipv6": 0 if name in ("client", "server") else 1,
            "net__ipv6__conf__default__disable_ipv6": 0 if name in ("client", "server") else 1,
            "net__ipv6__conf__default__accept_ra": 0,
            "net__ipv6__conf__default__router_solicitations": 0,
            "net__ipv4__conf__all__rp_filter": 0,
            "net__ipv4__conf__default__rp_filter": 0,
            "net__ipv4__ip_forward": 0,
        })
    for line in LINES:
        _join(made, line, shaped=shaped)
    _silence(made.hag)
    _client(made.client)
    _server(made.server)


def _join(made: Scene, line: Line, *, shaped: bool) -> None:
    space = made.line(line)
    for here, end in (("left", line.left), ("right", line.right)):
        host = made.spaces[HOME[end]]
        space.ip(f"link add {here} type veth peer name {end} netns {host.name}")
        for owner, device in ((space, here), (host, end)):
            # The HAG reads frames off the wire: they must be whole, of MTU size, with real checksums.
            owner.run("ethtool", "-K", device, "tx", "off", "rx", "off", "gro", "off", "gso", "off", "tso", "off")
            owner.ip(f"link set {device} up")
    space.ip(
        "link add br0 type bridge stp_state 0 mcast_snooping 0 forward_delay 0",
        "link set left master br0",
        "link set right master br0",
        "link set br0 up",
    )
    if shaped and line.rate_mbps:
        for port in ("left", "right"):
            shape(space, port, line.rate_mbps)


def shape(space: Namespace, device: str, rate_mbps: float) -> None:
    """Limits what leaves by `device` to `rate_mbps` of Ethernet frames, with a queue of `QUEUE_MS`."""
    # The bucket holds 4 ms at the rate (a timer tick at 250 Hz), never less than a few frames.
    burst = max(int(rate_mbps * 1e6 / 8 * 0.004), 6 * 1514)
    space.run(
        "tc", "qdisc", "replace", "dev", device, "root", "tbf",
        "rate", f"{rate_mbps}mbit", "burst", f"{burst}b", "latency", f"{QUEUE_MS}ms",
    )  # fmt: skip


def _silence(hag: Namespace) -> None:
    """The kernel must not answer where our process lives: no addresses, no ARP, and every frame dropped after capture."""
    ports = ("h1", "h2", "h3")
    hag.ip(*(f"link set {port} arp off" for port in ports))
    chains = "\n".join(
        f"  chain {port} {{ type filter hook ingress device {port} priority 0; policy drop; }}" for port in ports
    )
    hag.run("nft", "-f", "-", stdin=f"table netdev silence {{\n{chains}\n}}\n")


def _client(client: Namespace) -> None:
    client.ip(
        f"addr add {V4.client1}/{V4.prefix} dev c1",
        f"addr add {V6.client1}/{V6.prefix} dev c1 nodad",
        f"addr add {V4.client2}/{V4.prefix} dev c2",
        f"addr add {V6.client2}/{V6.prefix} dev c2 nodad",
        f"route add default via {V4.hag1} dev c1 congctl {CONGESTION}",
        f"route add {V4.announced}/32 via {V4.hag2} dev c2 congctl {CONGESTION}",
        f"route add default via {V4.hag2} dev c2 table 102 congctl {CONGESTION}",
        f"rule add from {V4.client2} lookup 102",
    )
    client.ip(
        f"route add default via {V6.hag1} dev c1 congctl {CONGESTION}",
        f"route add {V6.announced}/128 via {V6.hag2} dev c2 congctl {CONGESTION}",
        f"route add default via {V6.hag2} dev c2 table 102 congctl {CONGESTION}",
        f"rule add from {V6.client2} lookup 102",
        six=True,
    )
    # No endpoint: the client joins whatever address the HAG announces, from the interface that routing picks.
    client.ip("mptcp limits set subflows 2 add_addr_accepted 2")
    client.sysctl(net__mptcp__enabled=1, net__mptcp__checksum_enabled=0)


def _server(server: Namespace) -> None:
    server.ip(
        f"addr add {V4.server}/{V4.prefix} dev s0",
        f"addr add {V6.server}/{V6.prefix} dev s0 nodad",
        *(f"route add {net} via {V4.hag3} congctl {CONGESTION}" for net in (V4.net1, V4.net2)),
        *(f"route add {net} via {V6.hag3} congctl {CONGESTION}" for net in (V6.net1, V6.net2)),
    )
    server.sysctl(net__mptcp__enabled=0)


@contextmanager
def alone(prefix: str) -> Iterator[None]:
    """Holds the lock of this prefix: two runs must not take each other's namespaces for leftovers."""
    if os.geteuid() != 0:
        raise LabError("the lab makes network namespaces: run it as root")
    lock = os.open(f"/run/{prefix}-lab.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as taken:
            raise LabError(f"another lab run uses the namespaces {prefix}-*: wait for it, or set BRAID_LAB=another-name") from taken
        yield
    finally:
        os.close(lock)


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM and SIGHUP end the run as Ctrl-C does, so that its cleanup happens; a second signal does not cut it short."""

    def stop(number: int, _frame: object) -> None:
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt(signal.Signals(number).name)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def capability() -> str | None:
    """Why this machine cannot make the scene, or nothing."""
    if os.geteuid() != 0:
        return "not root: network namespaces cannot be made"
    try:
        run(["ip", "netns", "list"])
        enabled = Path("/proc/sys/net/mptcp/enabled")
        if not enabled.exists():
            return "this kernel has no MPTCP"
    except LabError as failed:
        return str(failed)
    return None
