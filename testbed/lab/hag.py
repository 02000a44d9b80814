"""Our process in the HAG's place, and what `braidctl` says of it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .live import RttSource
from .shell import Background, LabError, run, wait_until
from .topology import V4, V6, Scene

ROOT = Path(__file__).resolve().parents[2]

CONFIG = """\
name: hag-lab
worker: {{ cores: [0], polling: adaptive, hugepages: auto, memory_mb: 256 }}
ports:
  - {{ name: access1, device: "net_af_packet0,iface=h1", role: access, addresses: ["{v4.hag1}/{v4.prefix}", "{v6.hag1}/{v6.prefix}"], mtu: 1500 }}
  - {{ name: access2, device: "net_af_packet1,iface=h2", role: access, addresses: ["{v4.hag2}/{v4.prefix}", "{v6.hag2}/{v6.prefix}"], mtu: 1500 }}
  - {{ name: core, device: "net_af_packet2,iface=h3", role: core, addresses: ["{v4.hag3}/{v4.prefix}", "{v6.hag3}/{v6.prefix}"], mtu: 1500 }}
routes:
  - {{ to: 0.0.0.0/0, via: {v4.server} }}
  - {{ to: "::/0", via: "{v6.server}" }}
subscribers: ["{v4.net1}", "{v6.net1}"]
mptcp: {{ announce: ["{v4.announced}", "{v6.announced}"], checksum: {checksum} }}
control: {{ socket: {socket} }}
drain: {{ grace: {grace} }}
"""


def program(name: str) -> Path:
    """The built program: release unless `BRAID_PROFILE` says otherwise."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    path = target / os.environ.get("BRAID_PROFILE", "release") / name
    if not path.exists():
        raise LabError(f"{path} is not built: run `make build`")
    return path


@dataclass
class Hag:
    """The running process."""

    process: Background
    socket: Path
    told_to_stop: bool = False

    def show(self, what: str) -> dict:
        """`braidctl show WHAT --json`, without its outermost name."""
        said = json.loads(run([str(program("braidctl")), "--socket", str(self.socket), "show", what, "--json"]))
        return said.get("result", said)

    def counters(self) -> dict[str, int]:
        """Every counter of the HAG."""
        return self.show("counters")["counters"]

    def connections(self) -> list[dict]:
        """The relays there are now."""
        return self.show("connections")["connections"]

    def relays_left(self, patience: float = 6.0) -> int:
        """Relays that remain, pending ones too, once the last connections had time to end."""
        def left() -> int:
            counters = self.counters()
            return counters["relays"] + counters["pending"]

        try:
            wait_until("no relay left", lambda: left() == 0, patience, every=0.25)
        except LabError:
            pass
        return left()

    def tell_to_stop(self) -> None:
        """SIGTERM: it drains and ends by itself."""
        self.told_to_stop = True
        self.process.signal(signal.SIGTERM)

    def answering(self) -> bool:
        """Whether the control socket answers."""
        try:
            self.show("counters")
        except (LabError, json.JSONDecodeError):
            return False
        return True


@contextmanager
def hag(made: Scene, *, checksum: bool = False, grace: str = "10s") -> Iterator[Hag]:
    """Runs the HAG in its namespace; in the end it must stop cleanly."""
    socket = made.work / "hag.sock"
    config = made.work / "hag.yaml"
    config.write_text(CONFIG.format(v4=V4, v6=V6, socket=socket, checksum="true" if checksum else "false", grace=grace))
    process = made.hag.start([str(program("hag")), "run", "-c", str(config)], made.work / "hag.log")
    running = Hag(process, socket)
    try:
        wait_until("the HAG is ready", lambda: not process.running() or (socket.exists() and running.answering()), 20.0, every=0.1)
        if not process.running():
            raise LabError(f"the HAG ended with {process.wait(1)}:\n{process.output()}")
        yield running
    except BaseException:
        process.stop(1.0)
        raise
    died = not process.running() and not running.told_to_stop
    status = process.stop(30.0)
    if died or status != 0:
        raise LabError(f"the HAG {'died' if died else 'did not stop cleanly'} ({status}):\n{process.output()[-2000:]}")


class HagRtt(RttSource):
    """Round trips of the subflows as the HAG measures them: in a download the client, which only receives, measures none.

    In an upload (`sending` is false) it is the HAG that only receives: it then counts subflows alone.
    """

    def __init__(self, running: Hag, ports: dict[str, int], *, sending: bool) -> None:
        self._hag = running
        self._sending = sending
        self._ports = ports
        self._known: dict[int, float] = {}
        self.subflows_seen = 0

    def refresh(self) -> None:
        """Asks `braidctl show connections`."""
        try:
            subflows = [subflow for connection in self._hag.connections() for subflow in connection["subflows"]]
        except (LabError, json.JSONDecodeError):
            return
        self.subflows_seen = max(self.subflows_seen, len(subflows))
        for subflow in subflows:
            path = self._ports.get(subflow["port"])
            if path and subflow["srtt_us"]:
                self._known[path] = subflow["srtt_us"] / 1e3

    def of(self, path: int) -> float | None:
        """Round-trip time of a path in ms, if known."""
        return self._known.get(path) if self._sending else None
