"""Our process in the HAG's place, and what `braidctl` says of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .running import Running as Hag
from .running import runs
from .topology import V4, V6, Scene

CONFIG = """\
name: hag-lab
worker: {{ cores: {cores}, polling: adaptive, hugepages: auto, memory_mb: 256 }}
ports:
  - {{ name: access1, device: "net_af_packet0,iface=h1", role: access, addresses: ["{v4.hag1}/{v4.prefix}", "{v6.hag1}/{v6.prefix}"], mtu: 1500 }}
  - {{ name: access2, device: "net_af_packet1,iface=h2", role: access, addresses: ["{v4.hag2}/{v4.prefix}", "{v6.hag2}/{v6.prefix}"], mtu: 1500 }}
  - {{ name: core, device: "net_af_packet2,iface=h3", role: core, addresses: ["{v4.hag3}/{v4.prefix}", "{v6.hag3}/{v6.prefix}"], mtu: 1500 }}
routes:
  - {{ to: 0.0.0.0/0, via: {v4.server} }}
  - {{ to: "::/0", via: "{v6.server}" }}
subscribers: ["{v4.net1}", "{v6.net1}"]
policy: {{ scheduler: lowest-rtt }}
mptcp: {{ announce: ["{v4.announced}", "{v6.announced}"], checksum: {checksum} }}
control: {{ socket: {socket} }}
drain: {{ grace: {grace} }}
"""


@contextmanager
def hag(made: Scene, *, checksum: bool = False, grace: str = "10s", cores: tuple[int, ...] = (0,)) -> Iterator[Hag]:
    """Runs the HAG in its namespace; in the end it must stop cleanly."""
    config = CONFIG.format(v4=V4, v6=V6, socket=made.work / "hag.sock", checksum="true" if checksum else "false", grace=grace, cores=list(cores))
    with runs(made.hag, "hag", config, made.work) as running:
        yield running
