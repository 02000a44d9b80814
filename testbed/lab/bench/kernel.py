"""B3 and B5: our box and what a user would pick instead, the kernel's Multipath TCP with haproxy, on the same veths.

    generator's namespace              box's namespace
      g1 (10.1.0.2-)  --- veth ---  a1 (10.1.0.1)
      g2 (10.2.0.2-)  --- veth ---  a2 (10.2.0.1)
      g3 (10.9.0.2)   --- veth ---  c1 (10.9.0.1)

flowgen drives both from its own core. The box's core runs the box and what its interfaces receive: for the kernel soft interrupts,
by RPS; for hag, whose frames AF_XDP takes before those, the interfaces' NAPI threads. What is counted is all that this core does
(spare.py). What the same transfer costs without a proxy (routed by the kernel, or by hag) is subtracted. GSO off: frames leave the
kernel's TCP one by one. GSO on: its segments are cut at the last moment (the generator reads frames), and received ones are merged by
GRO.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..chain import calm
from ..netns import Namespace
from ..running import Running, program, start, stop
from ..shell import PREFERRED, Background, LabError, wait_until
from ..topology import CONGESTION, alone
from .device import Run, await_measuring, cores
from .results import Row
from .spare import Core, watched

WIRES = (("g1", "a1"), ("g2", "a2"), ("g3", "c1"))
REPEATS = 5
SECONDS = 3.0


@dataclass(frozen=True)
class Load:
    """What flowgen does, and the driver of its interfaces."""

    client: dict[str, Any]
    driver: str


# A frame counts against the sender's buffer until the other end of the veth took it. Who sends much waits for that, so the box's core
# does it, whoever is the box: as the same octets come out of each, what it costs is subtracted with the rest.
BULK = Load({"connections": 4, "response": "endless"}, "net_af_packet")
# Boxes send as many frames for a short connection as they see fit: what it takes to receive them is the generator's business.
SHORT = Load({"connections": 400, "request": 64, "response": 64}, "net_af_xdp")
DEFAULT_CONGESTION = Path("/proc/sys/net/ipv4/tcp_congestion_control")


def _threads(named: str) -> list[int]:
    """The kernel's threads whose names begin so."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "comm").read_text().startswith(named):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def _receive_by_threads(space: Namespace, devices: Iterable[str], core: int) -> None:
    """Has a core receive for interfaces with AF_XDP: a veth would do it on the sender's core, at the sender's expense."""
    for device in devices:
        # There is somebody to do it only once a program has opened the interface.
        threaded = ("sh", "-c", f"echo 1 >/sys/class/net/{device}/threaded && echo so")
        wait_until(f"{device} has a thread", lambda: space.run(*threaded, check=False) != "")
        wait_until(f"the thread of {device} runs", lambda: bool(_threads(f"napi/{device}-")))
        for thread in _threads(f"napi/{device}-"):
            os.sched_setaffinity(thread, {core})
            os.setpriority(os.PRIO_PROCESS, thread, PREFERRED)


@contextmanager
def inherited(congestion: str) -> Iterator[None]:
    """Has namespaces that are made meanwhile control congestion so: as our box does, whatever the machine's own default is (BBR
    paces by timers, which cost). A namespace may not choose for itself what is not allowed to everybody."""
    before = DEFAULT_CONGESTION.read_text()
    DEFAULT_CONGESTION.write_text(congestion)
    try:
        yield
    finally:
        DEFAULT_CONGESTION.write_text(before)


@contextmanager
def wires() -> Iterator[tuple[Namespace, Namespace]]:
    """The two namespaces and their veths."""
    prefix = os.environ.get("BRAID_LAB", "braid")
    generator, box = Namespace(f"{prefix}-bench-gen"), Namespace(f"{prefix}-bench-box")
    with alone(prefix):
        try:
            for space in (generator, box):
                space.delete()
                with inherited(CONGESTION):
                    space.create()
                calm(space)
            for here, there in WIRES:
                generator.ip(f"link add {here} type veth peer name {there} netns {box.name}", f"link set {here} arp off")
                for space, device in ((generator, here), (box, there)):
                    space.run("ethtool", "-K", device, "tx", "off", "rx", "off", "gro", "off", "gso", "off", "tso", "off")
                    space.ip(f"link set {device} up")
            # What flowgen's interfaces receive is flowgen's: the kernel there must not answer.
            chains = "\n".join(f"  chain {here} {{ type filter hook ingress device {here} priority 0; policy drop; }}" for here, _ in WIRES)
            generator.run("nft", "-f", "-", stdin=f"table netdev silence {{\n{chains}\n}}\n")
            yield generator, box
        finally:
            for space in (generator, box):
                space.delete()


def _offload(box: Namespace, gso: bool) -> None:
    for _, device in WIRES:
        said = "on" if gso else "off"
        box.run("ethtool", "-K", device, "gso", said, "gro", said, check=False)


def _steer(box: Namespace, core: int) -> None:
    """Has a core take the soft interrupts of the box's interfaces, whoever sends."""
    for _, device in WIRES:
        box.run("sh", "-c", f"echo {1 << core:x} >/sys/class/net/{device}/queues/rx-0/rps_cpus")


HAPROXY = """
global
  nbthread 1
  maxconn 8000
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend access
  bind {bind}
  default_backend core
backend core
  server s 10.9.0.2:80
"""


@contextmanager
def kernel_addresses(box: Namespace, *, mptcp: bool) -> Iterator[None]:
    """The kernel as the box: addresses, routes between them, and an address to join announced if it is to bond."""
    box.ip("addr add 10.1.0.1/24 dev a1", "addr add 10.2.0.1/24 dev a2", "addr add 10.9.0.1/24 dev c1")
    box.sysctl(net__ipv4__ip_forward=1, net__mptcp__enabled=1, net__ipv4__tcp_tw_reuse=1, net__core__somaxconn=8192, net__ipv4__tcp_max_syn_backlog=16384)
    box.sysctl(net__ipv4__ip_local_port_range="1024 65535")
    if mptcp:
        box.ip("mptcp limits set subflows 4 add_addr_accepted 0", "mptcp endpoint add 10.2.0.1 dev a2 signal")
    try:
        yield
    finally:
        box.ip("mptcp endpoint flush", *(f"addr flush dev {device}" for _, device in WIRES))


@contextmanager
def haproxy(box: Namespace, work: Path, core: int) -> Iterator[Background]:
    """haproxy with Multipath TCP towards the clients."""
    file = work / "haproxy.cfg"
    # mptcpize turns its listening sockets, and with them what they accept, into Multipath TCP ones.
    file.write_text(HAPROXY.format(bind=":80"))
    process = box.start(["taskset", "-c", str(core), "mptcpize", "run", "haproxy", "-db", "-f", str(file)], work / "haproxy.log")
    process.prefer()
    try:
        wait_until("haproxy listens", lambda: ":80" in box.run("ss", "-Hltn") or not process.running())
        if not process.running():
            raise LabError(f"haproxy ended:\n{process.output()[-1000:]}")
        yield process
    finally:
        process.stop()


def _hag_file(work: Path, core: int) -> str:
    def port(n: int, name: str, device: str, role: str, address: str) -> dict[str, Any]:
        return {"name": name, "device": f"net_af_xdp{n},iface={device}", "role": role, "addresses": [address]}

    many = {"connections": 200000, "pending": 50000, "joining": 50000}
    config = {
        "worker": {"cores": [core], "polling": "adaptive", "hugepages": "no", "memory_mb": 384},
        "ports": [port(0, "access1", "a1", "access", "10.1.0.1/24"), port(1, "access2", "a2", "access", "10.2.0.1/24"), port(2, "core", "c1", "core", "10.9.0.1/24")],
        "subscribers": ["10.1.0.0/24"],
        "mptcp": {"announce": ["10.99.0.2"]},
        "policy": {"scheduler": "lowest-rtt"},
        # At its highest rate of set-ups a box has too much to do by design.
        "limits": many | {"pending_per_source": 50000, "per_subscriber": many, "protect_established": False},
        "control": {"socket": str(work / "hag.sock")},
        "drain": {"grace": "0s"},
    }
    return json.dumps(config, indent=1)


@contextmanager
def hag(box: Namespace, work: Path, core: int) -> Iterator[Running]:
    """Our box; the kernel keeps still where it lives."""
    chains = "\n".join(f"  chain {there} {{ type filter hook ingress device {there} priority 0; policy drop; }}" for _, there in WIRES)
    box.run("nft", "-f", "-", stdin=f"table netdev silence {{\n{chains}\n}}\n")
    box.ip(*(f"link set {there} arp off" for _, there in WIRES))
    running = start(box, "hag", _hag_file(work, core), work)
    try:
        _receive_by_threads(box, (there for _, there in WIRES), core)
        yield running
    finally:
        stop(running)
        box.run("nft", "delete", "table", "netdev", "silence")
        box.ip(*(f"link set {there} arp on" for _, there in WIRES))


def _generator_file(client: dict[str, Any], to: str, driver: str) -> str:
    def port(n: int, device: str, role: str, address: str, via: str, hosts: int) -> dict[str, Any]:
        return {"name": device, "device": f"{driver}{n},iface={device}", "role": role, "addresses": [address], "hosts": hosts, "gateway": [via]}

    whole = {
        "worker": {"core": cores()[1], "spin": False, "hugepages": False, "memory_mb": 384},
        "ports": [
            port(0, "g1", "client", "10.1.0.2/24", "10.1.0.1", 20),
            port(1, "g2", "client", "10.2.0.2/24", "10.2.0.1", 20),
            port(2, "g3", "server", "10.9.0.2/24", "10.9.0.1", 1),
        ],
        "client": {"to": to, "warmup": "2s", "duration": f"{round(SECONDS * 1000)}ms"} | client,
        "server": {"listen": [80]},
    }
    return json.dumps(whole, indent=1)


def generated(generator: Namespace, work: Path, load: Load, protocol: dict[str, Any], to: str, core: Core) -> Run:
    """One run of flowgen, and what `core`, the box's, was busy meanwhile."""
    file, result = work / "flowgen.yaml", work / "flowgen.json"
    result.unlink(missing_ok=True)
    file.write_text(_generator_file(load.client | protocol, to, load.driver))
    process = generator.start([str(program("flowgen")), "run", "-c", str(file), "-o", str(result)], work / "flowgen.log")
    process.prefer()
    try:
        if load.driver == "net_af_xdp":
            _receive_by_threads(generator, (here for here, _ in WIRES), cores()[1])
        await_measuring(process, 30.0)
        began, _ = time.monotonic(), core.busy()
        time.sleep(SECONDS - 1.3)
        took, cpu = time.monotonic() - began, core.busy()
        process.wait(SECONDS + 30)
    finally:
        process.stop()
    if not result.exists():
        raise LabError(f"flowgen ended:\n{process.output()[-1500:]}")
    return Run(json.loads(result.read_text()), 0.0, cpu, took, process.output()).check()


def _once(box: str, load: Load, gso: bool, work: Path) -> Run:
    """One run: of `hag`, `hag-routed`, `haproxy` or `kernel-routed`."""
    work.mkdir(parents=True, exist_ok=True)
    bonded = box in ("hag", "haproxy")
    protocol = {"protocol": "mptcp", "subflows": 2} if bonded else {"protocol": "tcp"}
    core = cores()[0]
    with wires() as (generator, space), watched(core) as spare:
        _offload(space, gso)
        _steer(space, core)
        if box.startswith("hag"):
            with hag(space, work, core) as running:
                run = generated(generator, work, load, protocol, "10.9.0.2:80", spare)
                run.counters = running.counters()
        else:
            with kernel_addresses(space, mptcp=bonded):
                if bonded:
                    with haproxy(space, work, core):
                        run = generated(generator, work, load, protocol, "10.1.0.1:80", spare)
                        run.counters = space.nstat("MPTcpExt")
                else:
                    run = generated(generator, work, load, protocol, "10.9.0.2:80", spare)
    if bonded:
        joined = run.counters.get("mpjoin_ack_rx", run.counters.get("MPTcpExtMPJoinAckRx", 0))
        connections = run.client["connections"]
        # Long ones came before the measurement, short ones during it.
        expected = max(connections["now"] if load is BULK else connections["established"], 1)
        assert joined >= 0.99 * expected, f"{box}: {joined} joins of {connections}"
    return run


BOXES = ("hag", "hag-routed", "haproxy", "kernel-routed")

Costs = dict[bool, dict[str, list[Run]]]
"""Runs by the setting of GSO and by box."""


def _compared(work: Path, progress, load: Load, settings: tuple[bool, ...]) -> Costs:  # noqa: ANN001
    """Runs of each box under each setting of GSO, in turns."""
    runs: Costs = {gso: {box: [] for box in BOXES} for gso in settings}
    for n in range(REPEATS):
        for gso, boxes in runs.items():
            for box, done in boxes.items():
                progress(f"{box}, GSO {'on' if gso else 'off'}, {n + 1} of {REPEATS}")
                done.append(_once(box, load, gso, work / box))
    return runs


LEAST_PART = 0.02
"""Of a box's cost: two runs are never closer than this, however few there are."""


def _ratios(cost: dict[str, list[float]]) -> list[float]:
    """The kernel's relay over ours, what either takes to forward the same transfer subtracted. What is left of ours may be too
    little to be told from what runs of one box differ by: then it counts as that, so that the ratio is rather too small."""
    ours, routed = cost["hag"], cost["hag-routed"]
    least = max(LEAST_PART * statistics.median(ours), *((max(values) - min(values)) / 2 for values in (ours, routed)))
    pairs = zip(cost["haproxy"], cost["kernel-routed"], ours, routed)
    return [(theirs - theirs_routed) / max(mine - mine_routed, least) for theirs, theirs_routed, mine, mine_routed in pairs]


def _rows(id_: str, what: str, unit: str, scale: float, runs: Costs, per, goal: str) -> list[Row]:  # noqa: ANN001
    rows = []
    peer = "the kernel's Multipath TCP with haproxy (its CUBIC, one thread), same veths"
    for gso, boxes in runs.items():
        cost = {box: [per(run) for run in done] for box, done in boxes.items()}
        name, goal_, said = (f"{id_}/gso", "", "on") if gso else (id_, goal, "off")
        more = {f"{box}_gbps_and_busy": [(round(run.gbps, 2), f"{run.cpu_s / run.seconds:.0%}") for run in done] for box, done in boxes.items()}
        less = f"{what}, less what each takes to forward the same transfer without a proxy, GSO {said}"
        rows.append(Row(name, less, _ratios(cost), "x", peer, goal_, more=more))
        whole = [theirs / mine for theirs, mine in zip(cost["haproxy"], cost["hag"])]
        rows.append(Row(f"{name}.whole", f"{what}, nothing subtracted, GSO {said}", whole, "x", peer))
        for box, values in cost.items():
            rows.append(Row(f"{name}.{box}", f"processor time of {box}, all that its core does, nothing subtracted, GSO {said}", [scale * value for value in values], unit))
    return rows


def throughput(work: Path, progress) -> list[Row]:  # noqa: ANN001
    """B3."""
    runs = _compared(work, progress, BULK, (False, True))
    per = lambda run: (run.cpu_s / run.seconds) / (run.octets / run.client["seconds"])  # noqa: E731
    return _rows("B3", "processor time by relayed octet of the kernel's relay over ours", "ns/KiB", 1e9 * 1024, runs, per, ">= 3")


def setups(work: Path, progress) -> list[Row]:  # noqa: ANN001
    """B5. Segments are short: GSO has nothing to do."""
    runs = _compared(work, progress, SHORT, (False,))
    per = lambda run: (run.cpu_s / run.seconds) / (run.client["connections"]["established"] / run.client["seconds"])  # noqa: E731
    return _rows("B5", "processor time by connection (a join, a request, a clean end) of the kernel's relay over ours", "us/connection", 1e6, runs, per, ">= 5")
