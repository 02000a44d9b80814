"""A connection whose ends take turns: H sends, S answers once it has it all, and both again after a while."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import TypeVar

from . import peer
from .chain import Chain
from .chainconfig import V4

Seen = TypeVar("Seen")


def take_turns(
    made: Chain,
    port: int,
    size: int,
    *,
    address: str = V4.server,
    pauses: tuple[float, float] = (1.0, 0.0),
    mptcp: bool = False,
    look: Callable[[], Seen] = lambda: None,
) -> Seen:
    """Two turns of `size` octets each way, octet by octet what was sent, with seconds of quiet after each: in the first one
    subflows have their time to join. What `look` returns just before the connection is closed. `mptcp` is the server's."""
    data, back = peer.payload(size, port), peer.payload(size, port + 1)

    def serve(conn: socket.socket) -> None:
        for _ in pauses:
            if peer.read_exactly(conn, size) != data:
                raise OSError("what arrived at the server is not what was sent")
            conn.sendall(back)

    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with peer.listening(made.server, serve, family=family, port=port, mptcp=mptcp) as server:
        with peer.connect(made.host, address, mptcp=False, port=port) as conn:
            for pause in pauses:
                conn.sendall(data)
                got = peer.read_exactly(conn, size)
                assert not server.failures, server.failures[0]
                assert got == back, "what arrived is not what was sent"
                time.sleep(pause)
            seen = look()
            conn.shutdown(socket.SHUT_WR)
            assert not peer.read_all(conn), "more arrived than was sent"
        server.join()
    assert not server.failures, server.failures[0]
    return seen
