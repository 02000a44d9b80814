"""The kernel in the HAG's place: a router, or a transparent relay on the kernel's own MPTCP.

The router proves lines and lab without our process. The relay is what one would build without us: it accepts before the
server has answered and its plain side is a connection of its own, so the lab's setup check must (and does) fail on it.
"""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .netns import IPPROTO_MPTCP
from .shell import wait_until
from .topology import V4, V6, Scene

IP_TRANSPARENT = 19
RELAY_PORT = 7001
JOIN_PORT = 7000
CHUNK = 1 << 18


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
    """A router that takes MPTCP connections over IPv4 and carries them to the server as plain TCP."""
    with kernel_router(made):
        hag = made.hag
        hag.ip(
            f"addr add {V4.announced}/32 dev lo",
            "rule add fwmark 1 lookup 100",
            "route add local default dev lo table 100",
            "mptcp limits set subflows 4 add_addr_accepted 0",
            f"mptcp endpoint add {V4.announced} port {JOIN_PORT} signal",
        )
        hag.sysctl(net__mptcp__allow_join_initial_addr_port=0)
        mangle = ("iptables", "-w", "-t", "mangle", "-A", "PREROUTING", "-p", "tcp")
        hag.run(*mangle, "-m", "socket", "--transparent", "-j", "MARK", "--set-mark", "1")
        hag.run(
            *mangle, "-i", "h1", "--syn", "--tcp-option", "30",
            "-j", "TPROXY", "--on-port", str(RELAY_PORT), "--tproxy-mark", "1/1",
        )  # fmt: skip
        relay = hag.start([sys.executable, "-m", "testbed.lab.kernelbox"], made.work / "kernel-relay.log")
        try:
            wait_until("the kernel relay listens", lambda: "listening" in relay.output())
            yield
        finally:
            relay.stop()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while chunk := source.recv(CHUNK):
            sink.sendall(chunk)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for each in (source, sink):
            each.close()


def _serve(client: socket.socket) -> None:
    server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind(client.getpeername())
        server.connect(client.getsockname())
    except OSError:
        client.close()
        return
    up = threading.Thread(target=_pump, args=(client, server), daemon=True)
    up.start()
    _pump(server, client)
    up.join()
    server.close()
    client.close()


def main() -> None:
    """The relay's process."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
    listener.bind(("0.0.0.0", RELAY_PORT))
    listener.listen(512)
    print(f"listening on {RELAY_PORT}, in {Path.cwd()}", flush=True)
    while True:
        client, _ = listener.accept()
        threading.Thread(target=_serve, args=(client,), daemon=True).start()


if __name__ == "__main__":
    main()
