"""Hosts of the kernel-peer tests: a listener with a handler on one side, calls with deadlines on the other."""

from __future__ import annotations

import hashlib
import random
import socket
import threading
from collections.abc import Callable
from contextlib import contextmanager
from collections.abc import Iterator

from .netns import Namespace
from .shell import LabError, wait_until

PATIENCE_S = 30.0
"""Longest that any one socket call of a test waits."""

CHUNK = 1 << 16

Handler = Callable[[socket.socket], None]


def payload(size: int, seed: int) -> bytes:
    """Octets that depend on their place: what is lost, doubled or moved shows."""
    return random.Random(seed).randbytes(size)


def digest(data: bytes) -> str:
    """SHA-256, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def read_all(conn: socket.socket) -> bytes:
    """Everything until the peer's FIN."""
    parts = []
    while chunk := conn.recv(CHUNK):
        parts.append(chunk)
    return b"".join(parts)


def read_exactly(conn: socket.socket, size: int) -> bytes:
    """So many octets; fewer only if the peer ended before."""
    parts = []
    while size and (chunk := conn.recv(min(size, CHUNK))):
        parts.append(chunk)
        size -= len(chunk)
    return b"".join(parts)


class Listener:
    """A server of a few lines: every connection goes to the handler, in a thread of its own."""

    def __init__(self, space: Namespace, family: socket.AddressFamily, port: int, handler: Handler, *, mptcp: bool = False) -> None:
        self._handler = handler
        self._socket = space.socket(family, mptcp=mptcp)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))
        self._socket.listen(512)
        self.peers: list[str] = []
        self.failures: list[str] = []
        self._threads: list[threading.Thread] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                conn, peer = self._socket.accept()
            except OSError:
                return
            conn.settimeout(PATIENCE_S)
            self.peers.append(peer[0])
            thread = threading.Thread(target=self._serve, args=(conn,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _serve(self, conn: socket.socket) -> None:
        try:
            with conn:
                self._handler(conn)
        except OSError as failed:
            self.failures.append(str(failed))

    def close(self) -> None:
        """Stops listening."""
        # Without the shutdown a thread in accept() keeps the socket alive.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def join(self) -> None:
        """Waits until all handlers are done, of one connection at least."""
        wait_until("the server accepts a connection", lambda: bool(self._threads), PATIENCE_S)
        for thread in self._threads:
            thread.join(PATIENCE_S)
            if thread.is_alive():
                raise LabError("a handler of the server hangs")


@contextmanager
def listening(space: Namespace, handler: Handler, *, family: socket.AddressFamily = socket.AF_INET, port: int = 80, mptcp: bool = False) -> Iterator[Listener]:
    """A listener for the time of the block."""
    listener = Listener(space, family, port, handler, mptcp=mptcp)
    try:
        yield listener
    finally:
        listener.close()


def connect(space: Namespace, address: str, *, port: int = 80, mptcp: bool = True, source: str = "", timeout: float = PATIENCE_S) -> socket.socket:
    """A connected socket of a namespace."""
    conn = space.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, mptcp=mptcp)
    conn.settimeout(timeout)
    try:
        if source:
            conn.bind((source, 0))
        conn.connect((address, port))
    except OSError:
        conn.close()
        raise
    conn.settimeout(PATIENCE_S)
    return conn


def sends(data: bytes) -> Handler:
    """A server that sends `data` and closes."""

    def handler(conn: socket.socket) -> None:
        conn.sendall(data)
        conn.shutdown(socket.SHUT_WR)
        read_all(conn)

    return handler


def echoes(conn: socket.socket) -> None:
    """A server that sends back what comes, until the other end closes."""
    while data := conn.recv(CHUNK):
        conn.sendall(data)


def echoed(conn: socket.socket, size: int, seed: int) -> bool:
    """Sends so many octets to a server that `echoes`; whether just those came back."""
    data = payload(size, seed)
    sender = threading.Thread(target=conn.sendall, args=(data,), daemon=True)
    sender.start()
    same = read_exactly(conn, size) == data
    sender.join(PATIENCE_S)
    return same


def digests(conn: socket.socket) -> None:
    """A server that reads all and answers with the SHA-256."""
    conn.sendall(digest(read_all(conn)).encode())


def exchanges(data: bytes) -> Handler:
    """A server that sends `data` while it reads, then answers with the SHA-256 of what it read."""

    def handler(conn: socket.socket) -> None:
        writer = threading.Thread(target=conn.sendall, args=(data,), daemon=True)
        writer.start()
        got = read_all(conn)
        writer.join(PATIENCE_S)
        conn.sendall(digest(got).encode())

    return handler
