"""Bulk transfers over the chain: one TCP connection for a time, judged octet by octet at its end."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from dataclasses import dataclass, field

from . import peer
from .chain import Chain
from .chainconfig import V4, V6
from .shell import LabError

BLOCK = bytes(range(256)) * 256
PORT = 5001
FRAME, PAYLOAD = 1514, 1448
"""Octets of a full Ethernet frame and of the plain TCP payload in it."""


@dataclass
class Moved:
    """One transfer in one direction."""

    octets: int
    seconds: float
    exact: bool
    port: int
    seen: list[str] = field(default_factory=list)
    """The addresses that who was called saw."""

    @property
    def mbps(self) -> float:
        """Goodput from the connection's begin to its last octet, Mbit/s."""
        return self.octets * 8 / self.seconds / 1e6


def carries(*rates_mbps: float, six: bool = False) -> float:
    """TCP payload that links of these rates carry together, each in full frames of plain TCP over IPv4 or IPv6, Mbit/s."""
    return sum(rates_mbps) * (PAYLOAD - 20 * six) / FRAME


def _send(conn: socket.socket, seconds: float, digest: "hashlib._Hash") -> int:
    """Writes for a time, then ends the stream; what it wrote."""
    end = time.monotonic() + seconds
    sent = number = 0
    while time.monotonic() < end:
        # Each block differs from the one before: what is lost, doubled or moved changes the digest.
        block = number.to_bytes(8) + BLOCK[8:]
        conn.sendall(block)
        digest.update(block)
        sent, number = sent + len(block), number + 1
    conn.shutdown(socket.SHUT_WR)
    return sent


def _receive(conn: socket.socket, digest: "hashlib._Hash") -> tuple[int, float]:
    got, last = 0, time.monotonic()
    while chunk := conn.recv(1 << 18):
        digest.update(chunk)
        got, last = got + len(chunk), time.monotonic()
    return got, last


def move(chain: Chain, way: str, seconds: float, *, six: bool = False, port: int = PORT, tos: int = 0, inbound: bool = False) -> Moved:
    """One connection of H to S, or of S to H if it is `inbound`, that carries data `down` (to H) or `up` for a time."""
    there, back = hashlib.sha256(), hashlib.sha256()
    family = socket.AF_INET6 if six else socket.AF_INET
    result: dict[str, float] = {}

    def serve(conn: socket.socket) -> None:
        if (way == "down") != inbound:
            result["sent"] = _send(conn, seconds, there)
            peer.read_all(conn)
        else:
            result["got"], result["last"] = _receive(conn, back)

    ends = V6 if six else V4
    opener, answerer = (chain.server, chain.host) if inbound else (chain.host, chain.server)
    with peer.listening(answerer, serve, family=family, port=port) as server:
        begin = time.monotonic()
        with opener.socket(family) as conn:
            conn.settimeout(peer.PATIENCE_S)
            if tos:
                conn.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)
            conn.connect((ends.host if inbound else ends.server, port))
            local = conn.getsockname()[1]
            if (way == "down") != inbound:
                result["got"], result["last"] = _receive(conn, back)
            else:
                result["sent"] = _send(conn, seconds, there)
                peer.read_all(conn)
        server.join()
        if server.failures:
            raise LabError(f"the server's end: {server.failures[0]}")
    exact = there.digest() == back.digest()
    return Moved(int(result["got"]), result["last"] - begin, exact, local, [address.removeprefix("::ffff:") for address in server.peers])


def both_ways(chain: Chain, seconds: float, **options) -> dict[str, Moved]:
    """A download, then an upload."""
    return {way: move(chain, way, seconds, **options) for way in ("down", "up")}


class InBackground:
    """Runs a call in a thread: `with InBackground(call) as it: ...`, and `it.result` once the block has ended."""

    def __init__(self, call, *args, **options) -> None:  # noqa: ANN001
        self._thread = threading.Thread(target=self._run, args=(call, args, options), daemon=True)
        self.result = None
        self._failed: BaseException | None = None

    def _run(self, call, args, options) -> None:  # noqa: ANN001
        try:
            self.result = call(*args, **options)
        except BaseException as failed:  # noqa: BLE001 (handed on to the one who waits)
            self._failed = failed

    def __enter__(self) -> "InBackground":
        self._thread.start()
        return self

    def __exit__(self, kind, *_) -> None:  # noqa: ANN001
        self._thread.join(peer.PATIENCE_S + 30)
        if kind is None and self._failed:
            raise self._failed
        if kind is None and self._thread.is_alive():
            raise LabError("what ran in the background hangs")
