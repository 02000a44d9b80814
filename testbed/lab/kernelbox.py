"""The kernel in the HAG's place: a router, or a transparent relay on the kernel's own MPTCP.

The router proves lines and lab without our process. The relay is what one would build without us: it accepts before the
server has answered and its plain side is a connection of its own, so the lab's setup check must (and does) fail on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .kernelrelay import announcing, relaying
from .topology import V4, V6, Scene


@contextmanager
def kernel_router(made: Scene) -> Iterator[None]:
    """Forwards between the HAG's three ports, as any router would."""
    ports = {"h1": (V4.hag1, V6.hag1), "h2": (V4.hag2, V6.hag2), "h3": (V4.hag3, V6.hag3)}
    hag = made.hag
    hag.run("nft", "delete", "table", "netdev", "silence")
    hag.sysctl(**{f"net__ipv6__conf__{port}__disable_ipv6": 0 for port in ("all", *ports)})
    for port, (four, six) in ports.items():
        hag.ip(f"link set {port} arp on", f"addr add {four}/{V4.prefix} dev {port}", f"addr add {six}/{V6.prefix} dev {port} nodad")
    hag.sysctl(net__ipv4__ip_forward=1, net__ipv6__conf__all__forwarding=1)
    yield


@contextmanager
def kernel_relay(made: Scene) -> Iterator[None]:
    """A router that takes MPTCP connections and carries them to the server as plain TCP; joins come over IPv4."""
    with kernel_router(made):
        announcing(made.hag, V4.announced)
        with relaying(made.hag, "hag", "h1", made.work / "kernel-relay.log"):
            yield
