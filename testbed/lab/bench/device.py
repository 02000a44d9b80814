"""The box under test, or what it is compared with, and the generator: each on a core of its own, joined by virtio-user and vhost.

    flowgen (core 1)  vhost --- virtio-user  hag, or testpmd in io mode (core 0)

flowgen opens the sockets and runs both ends; the box under test connects. Packet memory comes from hugepages, which are
reserved for the time of the benchmarks.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..running import program
from ..shell import Background, LabError, run, wait_until

HUGEPAGES = 640
"""Of 2 MiB each: half a GiB for the generator, as much for the box, and some to spare."""

DEVICE_CORE, GENERATOR_CORE = 0, 1


def cores() -> tuple[int, int]:
    """The box's core and the generator's, of those that we may use."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise LabError("there is one core only: the box and the generator need one each")
    return allowed[DEVICE_CORE], allowed[GENERATOR_CORE]


@contextmanager
def hugepages() -> Iterator[None]:
    """Reserves them, and gives them back in the end."""
    file = Path("/proc/sys/vm/nr_hugepages")
    before = int(file.read_text())
    try:
        _reserve(file)
    except OSError as error:
        raise LabError(f"hugepages cannot be reserved ({error}): run as root") from error
    if int(file.read_text()) < HUGEPAGES:
        file.write_text(str(before))
        raise LabError(f"the machine has no {HUGEPAGES} hugepages of 2 MiB left")
    try:
        yield
    finally:
        file.write_text(str(before))


def _reserve(file: Path) -> None:
    for _ in range(5):
        if int(file.read_text()) >= HUGEPAGES:
            return
        file.write_text(str(HUGEPAGES))
        if int(file.read_text()) < HUGEPAGES:
            # What files left in memory lies between: have it dropped, and the rest moved together.
            Path("/proc/sys/vm/drop_caches").write_text("1")
            Path("/proc/sys/vm/compact_memory").write_text("1")
            time.sleep(1.0)


@dataclass
class Run:
    """One run of the generator: its result, and what the box spent meanwhile."""

    report: dict[str, Any]
    cycles: float = 0.0
    """Cycles that the box was busy while it was measured."""
    cpu_s: float = 0.0
    """Seconds of processor time of its process, while it was measured."""
    seconds: float = 0.0
    said: str = ""
    counters: dict[str, float] = field(default_factory=dict)
    command: str = ""
    """The box's command line."""

    @property
    def cycles_per_octet(self) -> float:
        """Busy cycles of the box by octet of payload that arrived. Both are rates, as the times differ by a moment."""
        return (self.cycles / self.seconds) / (self.octets / self.client["seconds"])

    @property
    def octets(self) -> int:
        """Payload that either end received and verified."""
        return sum(self.report[end]["octets_verified"] for end in ("client", "server") if self.report[end])

    @property
    def gbps(self) -> float:
        """The same, per second."""
        return sum(self.report[end]["gbit_per_second"] for end in ("client", "server") if self.report[end])

    @property
    def client(self) -> dict[str, Any]:
        """The clients' half of the report."""
        return self.report["client"]

    def check(self) -> "Run":
        """`LabError` if something failed or was damaged."""
        for end in ("client", "server"):
            half = self.report[end]
            if half and half["pieces_wrong"]:
                raise LabError(f"{half['pieces_wrong']} pieces of payload were wrong at the {end}")
        connections = self.client["connections"]
        if not self.client["requests"]["begun"] and not self.octets:
            raise LabError(f"nothing was established: {connections}\n{self.said[-1500:]}")
        return self


def flowgen_file(ports: list[dict[str, Any]], client: dict[str, Any] | list[dict[str, Any]], *, spin: bool = True, hugepages: bool = True, memory_mb: int = 512) -> dict[str, Any]:
    """A configuration of flowgen with both ends."""
    worker = {"core": cores()[1], "spin": spin, "hugepages": hugepages, "memory_mb": memory_mb}
    return {"worker": worker, "ports": ports, "client": client, "server": {"listen": [80]}}


def cpu_seconds(pid: int) -> float:
    """Processor time of all threads of a process."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except (OSError, IndexError):
            continue
    return total / 1e9


def tsc_hz() -> float:
    """What the kernel measured the time stamp counter to run at."""
    found = re.search(r"cpu MHz\s*:\s*([\d.]+)", Path("/proc/cpuinfo").read_text())
    return float(found.group(1)) * 1e6 if found else 2.6e9


class Box:
    """A box under test that runs."""

    def __init__(self, process: Background) -> None:
        self.process = process

    def spent(self) -> dict[str, float]:
        """What grows while it moves something: cycles by its own count and as the kernel gave them, or packets."""
        raise NotImplementedError


def socket_of(work: Path, name: str) -> Path:
    """A port's socket."""
    return work / f"{name}.sock"


class Hag(Box):
    """Our box on virtio-user."""

    def __init__(self, work: Path, *, plain: bool = False, polling: str = "adaptive", limits: dict[str, Any] | None = None) -> None:
        self.socket = work / "control.sock"
        device = lambda n, name: f"virtio_user{n},path={socket_of(work, name)},queue_size=1024,mac=02:00:00:00:01:0{n}"  # noqa: E731
        config = {
            "worker": {"cores": [cores()[0]], "polling": polling, "hugepages": "yes", "memory_mb": 512},
            "ports": [
                {"name": "access1", "role": "access", "device": device(0, "access1"), "addresses": ["10.1.0.1/24"]},
                {"name": "access2", "role": "access", "device": device(1, "access2"), "addresses": ["10.2.0.1/24"]},
                {"name": "core", "role": "core", "device": device(2, "core"), "addresses": ["10.9.0.1/24"]},
            ],
            "subscribers": ["10.1.0.0/24"],
            "mptcp": {"announce": ["10.99.0.2"]},
            "policy": {"scheduler": "lowest-rtt"},
            "select": {"plain": plain},
            "routes": [{"to": "0.0.0.0/0", "via": "10.9.0.2"}],
            "limits": {
                "connections": 400000, "pending": 100000, "pending_per_source": 100000, "joining": 100000,
                "per_subscriber": {"connections": 400000, "pending": 100000, "joining": 100000}, **(limits or {}),
            },
            "control": {"socket": str(self.socket)},
            "drain": {"grace": "0s"},
        }  # fmt: skip
        file = work / "hag.yaml"
        file.write_text(json.dumps(config, indent=1))
        self.command = [str(program("hag")), "run", "-c", str(file)]
        super().__init__(Background(self.command, work / "hag.log"))
        self.process.prefer()
        wait_until("hag is ready", lambda: self.socket.exists() or not self.process.running(), 20.0)
        if not self.process.running():
            raise LabError(f"hag ended:\n{self.process.output()[-1500:]}")

    def show(self, what: str) -> dict[str, Any]:
        """`braidctl show WHAT`."""
        said = json.loads(run([str(program("braidctl")), "--socket", str(self.socket), "show", what, "--json"]))
        return said.get("result", said)

    def spent(self) -> dict[str, float]:
        # As testpmd counts: cycles of the turns in which something moved.
        core, = self.show("runtime")["cores"]
        return {"busy": core["busy_cycles"], "given": cpu_seconds(self.process.pid) * tsc_hz()}


class Testpmd(Box):
    """DPDK's testpmd, which carries frames from one port to the other and back."""

    def __init__(self, work: Path, *, burst: int) -> None:
        core = cores()[0]
        # Its command line wants a core of its own; the same one does, as nothing is typed while it forwards.
        self.command = [
            "dpdk-testpmd", f"--lcores=0@{core},1@{core}", "--in-memory", "--single-file-segments", "--no-pci", "--no-telemetry", "-m", "384",
            f"--vdev=virtio_user0,path={socket_of(work, 'access1')},queue_size=1024", f"--vdev=virtio_user1,path={socket_of(work, 'core')},queue_size=1024",
            "--", "--forward-mode=io", f"--burst={burst}", "--rxd=1024", "--txd=1024", "--total-num-mbufs=65535", "--record-core-cycles", "--auto-start", "--stats-period=1",
        ]  # fmt: skip
        super().__init__(Background(["stdbuf", "-oL", *self.command], work / "testpmd.log"))
        self.process.prefer()
        wait_until("testpmd forwards", lambda: "Port statistics" in self.process.output() or not self.process.running(), 20.0)
        if not self.process.running():
            raise LabError(f"testpmd ended:\n{self.process.output()[-1500:]}")

    def spent(self) -> dict[str, float]:
        # Told once a second, port after port: the next that it tells is true now.
        told = lambda: re.findall(r"RX-packets: (\d+)", self.process.output())  # noqa: E731
        before = len(told()) // 2
        wait_until("what testpmd tells each second", lambda: len(told()) // 2 > before, 5.0)
        return {"packets": float(sum(int(count) for count in told()[2 * before : 2 * before + 2]))}

    def cycles_per_packet(self) -> float:
        """Ends it; cycles of the polls in which it moved something, by packet."""
        self.process.stop()
        found = re.findall(r"CPU cycles/packet=([\d.]+)", self.process.output())
        if not found:
            raise LabError(f"testpmd told no cycles:\n{self.process.output()[-1500:]}")
        return float(found[-1])


def client_ports(work: Path, *, wire: bool, subflows: int = 1, hosts: int = 20) -> list[dict[str, Any]]:
    """flowgen's ports: over a mere wire both ends are in one network, and there is no second access."""
    def port(n: int, name: str, role: str, address: str, gateway: list[str], hosts: int) -> dict[str, Any]:
        return {"name": name, "device": f"net_vhost{n},iface={socket_of(work, name)}", "role": role, "addresses": [address], "hosts": hosts, "gateway": gateway}

    if wire:
        # testpmd takes no frames without a checksum: flowgen knows the sums, its device would have to read for them.
        ends = [port(0, "access1", "client", "10.9.0.10/24", [], hosts), port(2, "core", "server", "10.9.0.2/24", [], 1)]
        return [end | {"offload": False} for end in ends]
    ports = [port(0, "access1", "client", "10.1.0.2/24", ["10.1.0.1"], hosts), port(1, "access2", "client", "10.2.0.2/24", ["10.2.0.1"], hosts)]
    return [*ports, port(2, "core", "server", "10.9.0.2/24", ["10.9.0.1"], 1)]


class Generator:
    """flowgen, running."""

    def __init__(self, work: Path, config: dict[str, Any]) -> None:
        self.result = work / "flowgen.json"
        self.result.unlink(missing_ok=True)
        file = work / "flowgen.yaml"
        file.write_text(json.dumps(config, indent=1))
        self.process = Background([str(program("flowgen")), "run", "-c", str(file), "-o", str(self.result)], work / "flowgen.log")
        self.process.prefer()

    def await_sockets(self, work: Path, ports: list[dict[str, Any]]) -> None:
        """Waits until the box can connect."""
        there = lambda: all(socket_of(work, port["name"]).exists() for port in ports) or not self.process.running()  # noqa: E731
        wait_until("flowgen's sockets", there, 20.0)
        if not self.process.running():
            raise LabError(f"flowgen ended:\n{self.process.output()[-1500:]}")

    def finish(self, timeout: float) -> dict[str, Any]:
        """Its result, once it has ended by itself."""
        status = self.process.wait(timeout)
        if not self.result.exists():
            raise LabError(f"flowgen ended with {status}:\n{self.process.output()[-1500:]}")
        return json.loads(self.result.read_text())


BURST = 64
"""That of testpmd: `bursts` shows which is its best."""

WARMUP_S = 2.0
"""From the first connection until all are there and windows are open."""


def measured(work: Path, box: str, client: dict[str, Any] | list[dict[str, Any]], *, seconds: float, subflows: int = 1, hosts: int = 20, burst: int = BURST, polling: str = "adaptive", limits: dict[str, Any] | None = None, after: Callable[[Hag], dict[str, float]] | None = None) -> Run:
    """One run: `box` is `mptcp`, `plain`, `routed` (all hag) or `testpmd`. `client` may be several groups. `after` looks at hag once the
    generator has ended."""
    work.mkdir(parents=True, exist_ok=True)
    for old in work.glob("*.sock"):
        old.unlink()
    wire = box == "testpmd"
    protocol = {"protocol": "mptcp", "subflows": subflows} if box == "mptcp" else {"protocol": "tcp"}
    ports = client_ports(work, wire=wire, hosts=hosts)
    every = {"to": "10.9.0.2:80", "warmup": f"{WARMUP_S:.0f}s", "duration": f"{round(seconds * 1000)}ms"} | protocol
    whole = [every | group for group in client] if isinstance(client, list) else every | client
    generator = Generator(work, flowgen_file(ports, whole))
    device: Box | None = None
    try:
        generator.await_sockets(work, ports)
        device = Testpmd(work, burst=burst) if wire else Hag(work, plain=box == "plain", polling=polling, limits=limits or {})
        run_ = _watch(generator, device, seconds)
        if after and isinstance(device, Hag):
            run_.counters |= after(device)
        return run_
    finally:
        generator.process.stop()
        if device:
            device.process.stop()


def await_measuring(process: Background, patience: float) -> None:
    """Waits until flowgen measures; it says so once a second."""
    wait_until("flowgen measures", lambda: "measuring" in process.output() or not process.running(), patience)
    if not process.running():
        raise LabError(f"flowgen ended:\n{process.output()[-1500:]}")


def _watch(generator: Generator, device: Box, seconds: float) -> Run:
    pid = device.process.pid
    await_measuring(generator.process, 120.0)
    spent, cpu, start = device.spent(), cpu_seconds(pid), time.monotonic()
    # Either look waits for up to a second for what testpmd tells.
    time.sleep(max(0.1, seconds - (2.6 if isinstance(device, Testpmd) else 1.3)))
    after = device.spent()
    took, cpu = time.monotonic() - start, cpu_seconds(pid) - cpu
    grown = {name: after[name] - spent[name] for name in after}
    counters = device.show("counters")["counters"] if isinstance(device, Hag) else {}
    report = generator.finish(seconds + 60)
    if isinstance(device, Testpmd):
        # Its cycles are told of its whole life, so by packet: all of them are of one kind.
        grown["cycles"] = grown["packets"] * device.cycles_per_packet()
    else:
        # A turn that was interrupted by other programs has their cycles in it, too.
        grown["cycles"] = min(grown["busy"], grown["given"])
    return Run(report, grown["cycles"], cpu, took, generator.process.output(), counters, " ".join(device.command)).check()
