"""A transparent relay on the kernel's own sockets (TPROXY, `IP_TRANSPARENT`): TCP on one side, Multipath TCP on the other.

It is what one would build without us. It answers before the far end has, and its opening side is a connection of its own:
what it says of the set-up is nothing, of the data everything. As `hag` it takes Multipath TCP, as `hcpe` it opens it.

Runs as a process: `python3 -m testbed.lab.kernelrelay hag|hcpe`.
"""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .netns import IPPROTO_MPTCP, Namespace
from .shell import wait_until
from .topology import CONGESTION

IPV6_TRANSPARENT = 75
IP_TRANSPARENT = 19
FAMILIES = {socket.AF_INET: (socket.SOL_IP, IP_TRANSPARENT, "0.0.0.0"), socket.AF_INET6: (socket.IPPROTO_IPV6, IPV6_TRANSPARENT, "::")}
PORT = 7001
JOIN_PORT = 7000
"""Announced with the address: the kernel takes a join to no other port than that of the connection's listener."""
CHUNK = 1 << 18


def announcing(space: Namespace, four: str = "", six: str = "") -> None:
    """Has the kernel of a namespace that stands for a HAG announce addresses of its own, and deny joins to the one that a
    connection was opened to (RFC 8684 3.1, C)."""
    space.sysctl(net__mptcp__enabled=1, net__mptcp__allow_join_initial_addr_port=0)
    space.ip("mptcp limits set subflows 4 add_addr_accepted 0")
    for address, length in ((four, 32), (six, 128)):
        if address:
            space.ip(f"addr add {address}/{length} dev lo{' nodad' if ':' in address else ''}", six=":" in address)
            space.ip(f"mptcp endpoint add {address} port {JOIN_PORT} signal")


def joining(space: Namespace) -> None:
    """Has the kernel of a namespace that stands for an HCPE join what is announced, from where its routes say."""
    space.sysctl(net__mptcp__enabled=1)
    space.ip("mptcp limits set subflows 4 add_addr_accepted 4")


@contextmanager
def relaying(space: Namespace, role: str, device: str, log: Path) -> Iterator[None]:
    """Takes the connections that come by `device` while the block runs: all TCP as `hcpe`, those with MPTCP as `hag`."""
    only = ("--tcp-option", "30") if role == "hag" else ()
    space.ip("rule add fwmark 1 lookup 100", "route add local default dev lo table 100")
    space.ip("rule add fwmark 1 lookup 100", "route add local default dev lo table 100", six=True)
    for program in ("iptables", "ip6tables"):
        mangle = (program, "-w", "-t", "mangle", "-A", "PREROUTING", "-p", "tcp")
        # Segments of what was taken already, and answers to what was opened in another's name.
        space.run(*mangle, "-m", "socket", "--transparent", "-j", "MARK", "--set-mark", "1")
        space.run(*mangle, "-i", device, "--syn", *only, "-j", "TPROXY", "--on-port", str(PORT), "--tproxy-mark", "1/1")
    relay = space.start([sys.executable, "-m", "testbed.lab.kernelrelay", role], log)
    try:
        wait_until("the kernel relay listens", lambda: "listening" in relay.output() or not relay.running())
        yield
    finally:
        relay.stop()
        for program in ("iptables", "ip6tables"):
            space.run(program, "-w", "-t", "mangle", "-F", "PREROUTING")
        for six in (False, True):
            space.ip("rule del fwmark 1 lookup 100", "route flush table 100", six=six)


def _socket(family: socket.AddressFamily, protocol: int) -> socket.socket:
    level, transparent, _ = FAMILIES[family]
    made = socket.socket(family, socket.SOCK_STREAM, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(level, transparent, 1)
    _congestion(made)
    return made


def _congestion(made: socket.socket) -> None:
    """As the boxes have it. A Multipath TCP socket has all its subflows use it; a route's says nothing to joined ones."""
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, CONGESTION.encode())


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while chunk := source.recv(CHUNK):
            sink.sendall(chunk)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for each in (source, sink):
            each.close()


def _serve(opener: socket.socket, protocol: int) -> None:
    """Goes on, in the opener's name, to whom it meant to reach."""
    onward = _socket(opener.family, protocol)
    try:
        onward.bind(opener.getpeername())
        onward.connect(opener.getsockname())
    except OSError:
        opener.close()
        onward.close()
        return
    there = threading.Thread(target=_pump, args=(opener, onward), daemon=True)
    there.start()
    _pump(onward, opener)
    there.join()
    onward.close()
    opener.close()


def _accept(listener: socket.socket, protocol: int) -> None:
    while True:
        opener, _ = listener.accept()
        _congestion(opener)
        threading.Thread(target=_serve, args=(opener, protocol), daemon=True).start()


def main() -> None:
    """The relay's process."""
    here, there = (IPPROTO_MPTCP, socket.IPPROTO_TCP) if sys.argv[1] == "hag" else (socket.IPPROTO_TCP, IPPROTO_MPTCP)
    accepting = []
    for family, (_, _, anywhere) in FAMILIES.items():
        listener = _socket(family, here)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((anywhere, PORT))
        listener.listen(512)
        accepting.append(threading.Thread(target=_accept, args=(listener, there), daemon=True))
    print(f"listening on {PORT}, in {Path.cwd()}", flush=True)
    for thread in accepting:
        thread.start()
    for thread in accepting:
        thread.join()


if __name__ == "__main__":
    main()
