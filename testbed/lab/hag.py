"""Our process in the HAG's place, and what `braidctl` says of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from .live import RttSource
from .running import Running as Hag
from .running import runs
from .shell import LabError
from .topology import V4, V6, Scene

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


@contextmanager
def hag(made: Scene, *, checksum: bool = False, grace: str = "10s") -> Iterator[Hag]:
    """Runs the HAG in its namespace; in the end it must stop cleanly."""
    config = CONFIG.format(v4=V4, v6=V6, socket=made.work / "hag.sock", checksum="true" if checksum else "false", grace=grace)
    with runs(made.hag, "hag", config, made.work) as running:
        yield running


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
