"""What a chain is made of: addresses, the shape of its links, and the configurations of its boxes.

Configurations are trees of Python; what differs from the usual is laid over them: `Setup(hcpe={"mptcp": {"versions": [0]}})`.
"""

from __future__ import annotations

import copy
import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Ends:
    """The chain's addresses of one family."""

    host: str
    lan: str
    server: str
    core: str
    hcpe1: str
    hcpe2: str
    announced: str


V4 = Ends("10.10.0.2", "10.10.0.1", "10.9.0.2", "10.9.0.1", "10.1.0.2", "10.2.0.2", "10.99.0.2")
V6 = Ends("fd00:10::2", "fd00:10::1", "fd00:9::2", "fd00:9::1", "fd00:1::2", "fd00:2::2", "fd00:99::2")


@dataclass(frozen=True)
class Link:
    """An access network: rate each way in Mbit/s, round-trip time in ms, queue in octets, loss in percent each way."""

    rate: float = 0.0
    rtt: float = 0.0
    queue: int = 0
    """0: one product of bandwidth and round-trip time, and never under 10 frames."""
    loss: float = 0.0
    more: tuple[str, ...] = ()
    """Further options of braid-link."""

    @property
    def bdp(self) -> int:
        """Octets of one product of bandwidth and round-trip time."""
        return int(self.rate * 1e6 / 8 * self.rtt / 1e3)

    def options(self) -> list[str]:
        """The command line of braid-link."""
        said = [f"--delay={self.rtt / 2}ms"]
        if self.rate:
            said += [f"--rate={self.rate}mbit", f"--queue={self.queue or max(self.bdp, 15_000)}"]
        if self.loss:
            said.append(f"--loss={self.loss}%")
        return [*said, *self.more]


WIRE = Link()
"""No emulation: a bridge."""

PRIMARY = Link(20, 30)
SECONDARY = Link(40, 60)
QUICK_SECONDARY = Link(40, 15)


@dataclass(frozen=True)
class Setup:
    """A chain: its links (the first is the primary), which boxes are ours, and what their configurations have else."""

    links: tuple[Link, ...] = (PRIMARY, SECONDARY)
    boxes: tuple[str, ...] = ("hcpe", "hag")
    """Where a box of ours is missing, the kernel routes on the primary path."""
    hcpe: dict[str, Any] = field(default_factory=dict, hash=False)
    hag: dict[str, Any] = field(default_factory=dict, hash=False)
    primary: str = "46"
    """The families that the primary access network carries."""
    secondary: str = "46"

    def shape(self, line: str) -> Link | None:
        """How the emulator of a line is set; nothing if the line is a bridge."""
        number = int(line[4:]) if line.startswith("link") else 0
        link = self.links[number - 1] if number else WIRE
        return None if link == WIRE else link

    def with_link(self, line: str, **options: Any) -> "Setup":
        """The same with one link otherwise."""
        number = int(line[4:]) - 1
        links = list(self.links)
        links[number] = replace(links[number], **options)
        return replace(self, links=tuple(links))


OVERFLOW = {"policy": {"scheduler": "overflow"}}
"""What a box does when its configuration does not say: the primary first."""


def over(below: Any, above: Any) -> Any:
    """`above` laid over `below`: trees key by key (None takes a key away), lists of named things by name, the rest replaced."""
    if isinstance(below, dict) and isinstance(above, dict):
        whole = dict(below)
        for key, value in above.items():
            if value is None:
                whole.pop(key, None)
            else:
                whole[key] = over(whole[key], value) if key in whole else value
        return whole
    if isinstance(below, list) and isinstance(above, dict):
        return [over(each, above.get(each.get("name"), {})) for each in below]
    return copy.deepcopy(above)


def config(box: str, setup: Setup, work: Path) -> str:
    """The configuration of `hcpe` or `hag`, in JSON, which is YAML too."""
    return written(tree(box, setup), work / f"{box}.sock")


def written(whole: dict[str, Any], socket: Path) -> str:
    """A configuration with its control socket, as text."""
    return json.dumps(over(whole, {"control": {"socket": str(socket)}}), indent=1) + "\n"


def tree(box: str, setup: Setup) -> dict[str, Any]:
    """The same as a tree, but for its control socket."""
    return over(_hcpe(setup) if box == "hcpe" else _hag(setup), setup.hcpe if box == "hcpe" else setup.hag)


def _common(name: str, core: int) -> dict[str, Any]:
    cpus = sorted(os.sched_getaffinity(0))
    worker = {"cores": [cpus[core % len(cpus)]], "polling": "adaptive", "hugepages": "auto", "memory_mb": 256}
    # So that small transfers use every path; rows about policy say otherwise.
    policy = {"scheduler": "lowest-rtt"}
    return {"name": name, "worker": worker, "policy": policy, "control": {}, "drain": {"grace": "1s"}}


def _ports(setup: Setup, letter: str, last: int, names: str) -> list[dict[str, Any]]:
    ports = []
    for number in range(1, len(setup.links) + 1):
        families = setup.primary if number == 1 else setup.secondary
        addresses = [f"10.{number}.0.{last}/24"] * ("4" in families) + [f"fd00:{number}::{last}/64"] * ("6" in families)
        device = f"net_af_packet{number},iface={letter}{number}"
        ports.append({"name": f"{names}{number}", "device": device, "addresses": addresses, "mtu": 1500})
    return ports


def _announced(setup: Setup) -> list[str]:
    return [V4.announced] * ("4" in setup.secondary) + [V6.announced] * ("6" in setup.secondary)


def _hcpe(setup: Setup) -> dict[str, Any]:
    lan = {"name": "lan", "device": "net_af_packet0,iface=l0", "role": "lan", "addresses": [f"{V4.lan}/24", f"{V6.lan}/64"], "mtu": 1500}
    wans = _ports(setup, "w", 2, "wan")
    for number, port in enumerate(wans, start=1):
        port["role"] = "primary" if number == 1 else "secondary"
        if number > 2:
            port["gateway"] = [f"10.{number}.0.1"] * ("4" in setup.secondary) + [f"fd00:{number}::1"] * ("6" in setup.secondary)
    routes = [{"to": "0.0.0.0/0", "via": "10.1.0.1"}] * ("4" in setup.primary) + [{"to": "::/0", "via": "fd00:1::1"}] * ("6" in setup.primary)
    routes += [{"to": f"{V4.announced}/32", "via": "10.2.0.1"}] * ("4" in setup.secondary)
    routes += [{"to": f"{V6.announced}/128", "via": "fd00:2::1"}] * ("6" in setup.secondary)
    return _common("hcpe-lab", 1) | {
        "ports": [lan, *wans],
        "routes": routes,
        "hosts": ["10.10.0.0/24", "fd00:10::/64"],
        # So that the server can open connections, too; rows about the firewall raise it.
        "firewall": {"inbound": "accept"},
        "hag": {"addresses": _announced(setup), "prefixes": ["10.99.0.0/24", "fd00:99::/64"]},
        "mptcp": {},
    }


def _hag(setup: Setup) -> dict[str, Any]:
    ports = _ports(setup, "a", 1, "access")
    for port in ports:
        port["role"] = "access"
    core = {"name": "core", "device": "net_af_packet0,iface=c1", "role": "core", "addresses": [f"{V4.core}/24", f"{V6.core}/64"], "mtu": 1500}
    routes = [{"to": "0.0.0.0/0", "via": V4.server}, {"to": "::/0", "via": V6.server}]
    if "4" in setup.primary:
        routes.append({"to": "10.10.0.0/24", "via": V4.hcpe1})
    if "6" in setup.primary:
        routes.append({"to": "fd00:10::/64", "via": V6.hcpe1})
    return _common("hag-lab", 0) | {
        "ports": [*ports, core],
        "routes": routes,
        "subscribers": ["10.10.0.0/24", "10.1.0.2/32"] * ("4" in setup.primary) + ["fd00:10::/64"] * ("6" in setup.primary),
        "mptcp": {"announce": _announced(setup)},
    }
