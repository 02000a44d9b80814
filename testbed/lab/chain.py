"""The whole chain: host, HCPE, access networks, HAG and server, each a namespace of its own.

    host h0 --lan-- l0 hcpe w1 --link1-- a1 hag c1 --core-- s0 server
                            w2 --link2-- a2
                           (w3 --link3-- a3)

Host and server are kernels without MPTCP. `lan`, `core` and the links are *lines*: namespaces with two veths, `left`
(towards the host) and `right`, joined by a bridge or by the link emulator, which runs there as a process of its own. The
boxes drive their interfaces themselves, so in their namespaces the kernel has no address and drops what comes in. Capture
beside them, on a line's end: what a box sends does not pass its own interface's taps.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import running
from .capture import captures
from .chainconfig import V4, V6, Setup, config
from .linkbox import reports
from .netns import Namespace
from .running import Running
from .shell import Background, LabError, wait_until
from .topology import CONGESTION, Line, alone, terminable

LAN = Line("lan", "h0", "l0", None)
LINKS = tuple(Line(f"link{n}", f"w{n}", f"a{n}", None) for n in (1, 2, 3))
LINK1, LINK2, LINK3 = LINKS
CORE = Line("core", "c1", "s0", None)
HOME = {"h0": "host", "l0": "hcpe", "w": "hcpe", "a": "hag", "c1": "hag", "s0": "server"}


@dataclass
class Chain:
    """The namespaces while they exist, the boxes that run in them, and a directory for what the run writes."""

    prefix: str
    work: Path
    setup: Setup
    spaces: dict[str, Namespace] = field(default_factory=dict)
    boxes: dict[str, Running] = field(default_factory=dict)
    emulators: dict[str, Background] = field(default_factory=dict)
    known: dict[str, Any] = field(default_factory=dict)
    plugged: dict[str, tuple[Namespace, str]] = field(default_factory=dict)
    ends: ExitStack = field(default_factory=ExitStack)
    """What is to be done when the chain goes, the last first."""

    @property
    def host(self) -> Namespace:
        """The customer's host, H."""
        return self.spaces["host"]

    @property
    def server(self) -> Namespace:
        """The server in the Internet, S."""
        return self.spaces["server"]

    @property
    def hcpe(self) -> Running:
        """The running HCPE."""
        return self.boxes["hcpe"]

    @property
    def hag(self) -> Running:
        """The running HAG."""
        return self.boxes["hag"]

    @property
    def lines(self) -> tuple[Line, ...]:
        """The lines of this chain, from the host to the server."""
        return (LAN, *LINKS[: len(self.setup.links)], CORE)

    def line(self, line: Line) -> Namespace:
        """The namespace of a line."""
        return self.spaces[line.name]

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What `make` returned the first time: rows of one chain share what is costly to measure."""
        if name not in self.known:
            self.known[name] = make()
        return self.known[name]

    # Lines

    def cut(self, line: Line, *, dead: bool) -> None:
        """Breaks a line (frames vanish, both ends keep their carrier), or mends it."""
        shape = self.setup.shape(line.name)
        if shape:
            if dead:
                self.emulators.pop(line.name).stop()
            elif line.name not in self.emulators:
                self._emulate(line)
            return
        state = "down" if dead else "up"
        self.line(line).ip(f"link set br0 {state}", *(f"link set {port} {'nomaster' if dead else 'master br0'}" for port in ("left", "right")))

    def unplug(self, line: Line, *, dead: bool) -> None:
        """Takes the carrier from both ends of a line, or gives it back."""
        if dead:
            self.cut(line, dead=True)
        self.line(line).ip(*(f"link set {port} {'down' if dead else 'up'}" for port in ("left", "right")))
        if not dead:
            self.cut(line, dead=False)

    def reshape(self, line: Line, **options: Any) -> None:
        """Runs a line's emulator anew with other options; frames under way are lost."""
        self.setup = self.setup.with_link(line.name, **options)
        if line.name in self.emulators:
            self.emulators.pop(line.name).stop()
        self._emulate(line)

    def become_router(self, line: Line, left: tuple[str, ...], right: tuple[str, ...], *routes: str) -> Namespace:
        """Makes a bridged line a kernel that routes between its ends: their addresses (10.2.0.1/24), and routes (`10.9.0.2 via
        10.8.0.1`), of both families."""
        space = self.line(line)
        space.ip("link set br0 down", "link del br0")
        space.sysctl(**{f"net__ipv6__conf__{name}__disable_ipv6": 0 for name in ("all", "left", "right")})
        lines = [f"addr add {address} dev {end}{' nodad' if ':' in address else ''}" for end, addresses in (("left", left), ("right", right)) for address in addresses]
        lines += [f"route replace {route}" for route in routes]
        space.ip(*(line for line in lines if ":" not in line))
        space.ip(*(line for line in lines if ":" in line), six=True)
        space.sysctl(net__ipv4__ip_forward=1, net__ipv6__conf__all__forwarding=1)
        return space

    def _emulate(self, line: Line) -> None:
        shape = self.setup.shape(line.name)
        assert shape
        command = [str(running.program("braid-link")), "left", "right", "--json", *shape.options()]
        log = self.work / f"{line.name}-{sum(1 for _ in self.work.glob(f'{line.name}-*.log'))}.log"
        process = self.line(line).start(command, log)
        process.prefer()
        self.emulators[line.name] = process
        wait_until(f"the emulator of {line.name}", lambda: "are joined" in process.output() or not process.running(), timeout=5.0)
        if not process.running():
            raise LabError(f"braid-link ended at once: {process.output().strip()}")

    def carried(self, line: Line) -> dict[str, dict]:
        """What the emulator of a line says of each direction, `up` (towards the server) and `down`."""
        said = reports(self.emulators[line.name])
        return {"up": said["ways"][0], "down": said["ways"][1]}

    def lateness_us(self) -> float:
        """How late 99 of 100 frames were at most since this was asked last, over all emulated links."""
        ways = [way for line in self.lines if line.name in self.emulators for way in self.carried(line).values()]
        return max((way["recent_us"]["p99"] for way in ways), default=0.0)

    # Looking on

    def tap(self, name: str) -> tuple[Namespace, str]:
        """Where to capture what passes an interface of the chain: `h0`, `l0`, `w1`, `a1`, `w2`, `a2`, `c1`, `s0`; or a plug."""
        if name in self.plugged:
            return self.plugged[name]
        if name in ("h0", "s0"):
            return self.spaces[HOME[name]], name
        for line in self.lines:
            if name in (line.left, line.right):
                return self.line(line), "left" if name == line.left else "right"
        raise LabError(f"the chain has no interface {name}")

    @contextmanager
    def capture(self, *names: str, only: str = "", snap: int = 2048, at_once: bool = True, folder: Path | None = None) -> Iterator[dict[str, Path]]:
        """Captures on several interfaces (see `tap`); the files, by name, are complete when the block ends."""
        folder = folder or Path(tempfile.mkdtemp(prefix="capture-", dir=self.work))
        wanted = [(*self.tap(name), name) for name in names]
        with captures(folder, *wanted, snap=snap, only=only, at_once=at_once) as files:
            yield files

    # Boxes

    def start_box(self, name: str) -> Running:
        """Starts a box that was stopped or killed, with the configuration it had."""
        if name in self.boxes and self.boxes[name].process.running():
            raise LabError(f"{name} still runs")
        self.boxes[name] = running.start(self.spaces[name], name, config(name, self.setup, self.work), self.work)
        return self.boxes[name]

    def stop_box(self, name: str) -> None:
        """Ends a box; `LabError` if it does not stop cleanly."""
        running.stop(self.boxes.pop(name))

    def check_boxes(self) -> None:
        """`LabError` if a box has died."""
        for name, box in self.boxes.items():
            if box.died():
                raise LabError(f"{name} died:\n{box.process.output()[-2000:]}")

    def add_box(self, name: str, kind: str, config: str) -> Running:
        """One more `hcpe` or `hag`, in the namespace `name`; it ends with the chain."""
        self.boxes[name] = running.start(self.spaces[name], name, config, self.work, kind)
        self._end_with_chain(name)
        return self.boxes[name]

    def _end_with_chain(self, name: str) -> None:
        self.ends.push(lambda kind, *_: _end_box(self, name, calm=kind is None))

    # Whatever stands beside it

    def space(self, name: str) -> Namespace:
        """One more namespace, which goes with the chain."""
        space = self.spaces[name] = Namespace(f"{self.prefix}-{name}")
        space.delete()
        space.create()
        return space

    def plug(self, line: Line, space: Namespace, device: str, name: str) -> None:
        """A port of a bridged line, with `device` in `space` at its other end. `tap` knows it as `name`, of 13 letters at most."""
        veth(self.line(line), f"p-{name}", space, device)
        self.line(line).ip(f"link set p-{name} master br0")
        self.plugged[name] = (self.line(line), f"p-{name}")

    def attach(self, name: str, line: Line, four: str, six: str = "", *, via4: str = "", via6: str = "") -> Namespace:
        """One more host on a bridged line (`lan`, `core`), with addresses such as 10.10.0.3/24 and default routes."""
        space = self.space(name)
        device = f"{name[:8]}0"
        self.plug(line, space, device, name[:8])
        addressed(space, device, four, six, via4, via6)
        return space


@contextmanager
def chain(setup: Setup, prefix: str = "", work: Path | None = None) -> Iterator[Chain]:
    """Makes the chain, runs its boxes, and removes it all in the end, whatever ends it: Ctrl-C and SIGTERM too."""
    prefix = prefix or os.environ.get("BRAID_LAB", "braid")
    with alone(prefix), terminable():
        work = work or Path(tempfile.mkdtemp(prefix=f"{prefix}-chain-"))
        work.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            made = Chain(prefix, work, setup, ends=stack)
            for name in ("host", "hcpe", "hag", "server", *(line.name for line in made.lines)):
                made.spaces[name] = Namespace(f"{prefix}-{name}")
            for space in made.spaces.values():
                space.delete()
            stack.callback(lambda: [space.delete() for space in made.spaces.values()])
            _build(made)
            stack.callback(lambda: [process.stop() for process in made.emulators.values()])
            for name in ("hag", "hcpe"):
                if name in setup.boxes:
                    made.start_box(name)
                    made._end_with_chain(name)
                else:
                    _kernel_router(made, name)
            yield made


def _end_box(made: Chain, name: str, *, calm: bool) -> None:
    box = made.boxes.pop(name, None)
    if box is None:
        return
    if calm:
        running.stop(box)
    else:
        box.process.stop(1.0)


def _build(made: Chain) -> None:
    for name, space in made.spaces.items():
        space.create()
        calm(space, six=name in ("host", "server"))
    for line in made.lines:
        _join(made, line)
    for name, ports in (("hcpe", _ports(made, "hcpe")), ("hag", _ports(made, "hag"))):
        silence(made.spaces[name], ports)
    addressed(made.host, "h0", f"{V4.host}/24", f"{V6.host}/64", V4.lan, V6.lan)
    addressed(made.server, "s0", f"{V4.server}/24", f"{V6.server}/64", V4.core, V6.core)


def calm(space: Namespace, *, six: bool = False) -> None:
    """The kernel does nothing there by itself: no IPv6 (unless `six`), no router's advertisements, no forwarding."""
    space.sysctl(**{
        "net__ipv6__conf__all__disable_ipv6": int(not six),
        "net__ipv6__conf__default__disable_ipv6": int(not six),
        "net__ipv6__conf__default__accept_ra": 0,
        # Without a wait for the link-local address: a router asks for its neighbors from there.
        "net__ipv6__conf__default__accept_dad": 0,
        "net__ipv6__conf__default__router_solicitations": 0,
        "net__ipv4__conf__all__rp_filter": 0,
        "net__ipv4__conf__default__rp_filter": 0,
        "net__ipv4__ip_forward": 0,
    })


def _ports(made: Chain, box: str) -> list[str]:
    links = range(1, len(made.setup.links) + 1)
    return ["l0", *(f"w{n}" for n in links)] if box == "hcpe" else [*(f"a{n}" for n in links), "c1"]


def veth(space: Namespace, here: str, far: Namespace, there: str) -> None:
    space.ip(f"link add {here} type veth peer name {there} netns {far.name}")
    for owner, device in ((space, here), (far, there)):
        # The boxes read frames off the wire: they must be whole, of MTU size, with real checksums.
        owner.run("ethtool", "-K", device, "tx", "off", "rx", "off", "gro", "off", "gso", "off", "tso", "off")
        owner.ip(f"link set {device} up")


def _join(made: Chain, line: Line) -> None:
    space = made.line(line)
    for here, end in (("left", line.left), ("right", line.right)):
        veth(space, here, made.spaces[HOME.get(end) or HOME[end[0]]], end)
    if made.setup.shape(line.name):
        # The emulator carries what the kernel sees there, so the kernel itself must not answer.
        space.ip("link set left arp off", "link set right arp off")
        made._emulate(line)
        return
    space.ip(
        "link add br0 type bridge stp_state 0 mcast_snooping 0 forward_delay 0",
        "link set left master br0",
        "link set right master br0",
        "link set br0 up",
    )


def silence(space: Namespace, ports: list[str]) -> None:
    """The kernel must not answer where a box lives: no addresses, no ARP, and every frame dropped after capture."""
    space.ip(*(f"link set {port} arp off" for port in ports))
    chains = "\n".join(f"  chain {port} {{ type filter hook ingress device {port} priority 0; policy drop; }}" for port in ports)
    space.run("nft", "-f", "-", stdin=f"table netdev silence {{\n{chains}\n}}\n")


def addressed(space: Namespace, device: str, four: str, six: str, via4: str, via6: str) -> None:
    space.sysctl(net__mptcp__enabled=0)
    if four:
        space.ip(f"addr add {four} dev {device}", *([f"route add default via {via4} dev {device} congctl {CONGESTION}"] if via4 else []))
    if six:
        space.sysctl(net__ipv6__conf__all__disable_ipv6=0, **{f"net__ipv6__conf__{device}__disable_ipv6": 0})
        space.ip(f"addr add {six} dev {device} nodad", *([f"route add default via {via6} dev {device} congctl {CONGESTION}"] if via6 else []), six=True)


def _kernel_router(made: Chain, box: str) -> None:
    """The kernel routes in a box's place, on the primary path: the customer's plain router, or the network without a HAG."""
    space = made.spaces[box]
    ports = _ports(made, box)
    space.run("nft", "delete", "table", "netdev", "silence")
    space.sysctl(**{f"net__ipv6__conf__{port}__disable_ipv6": 0 for port in ("all", *ports)})
    for port in ports:
        four, six = _router_address(port)
        space.ip(f"link set {port} arp on", f"addr add {four}/24 dev {port}", f"addr add {six}/64 dev {port} nodad")
    space.sysctl(net__ipv4__ip_forward=1, net__ipv6__conf__all__forwarding=1)
    if box == "hcpe":
        space.ip("route add default via 10.1.0.1 dev w1")
        space.ip("route add default via fd00:1::1 dev w1", six=True)
    else:
        space.ip("route add 10.10.0.0/24 via 10.1.0.2 dev a1", f"route add default via {V4.server} dev c1")
        space.ip("route add fd00:10::/64 via fd00:1::2 dev a1", f"route add default via {V6.server} dev c1", six=True)


def _router_address(port: str) -> tuple[str, str]:
    if port == "l0":
        return V4.lan, V6.lan
    if port == "c1":
        return V4.core, V6.core
    last = 2 if port[0] == "w" else 1
    return f"10.{port[1]}.0.{last}", f"fd00:{port[1]}::{last}"

