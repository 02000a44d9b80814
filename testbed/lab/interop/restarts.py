"""A box that has forgotten its connections: those that were split end soon at both ends, those that were not go on."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import ExitStack
from dataclasses import replace

from .. import peer
from ..chain import Chain
from ..chainconfig import V4, V6
from .rows import PLAIN, at_most, row

SPLIT, WHOLE = 8420, 8421
RULES = {"select": {"exclude": [{"port": WHOLE}]}}
BOTH = replace(PLAIN, hcpe=RULES, hag=RULES)
SOON_MS = 250.0
"""For an end whose next segment is answered."""
AGAIN_MS = SOON_MS + 200.0
"""For one whose segment has to be sent again, first: 200 ms are the kernel's least timeout."""


class Ends:
    """Both sockets of one connection."""

    def __init__(self, made: Chain, stack: ExitStack, address: str, port: int) -> None:
        accepted = threading.Event()

        def serve(conn: socket.socket) -> None:
            self.server = conn
            accepted.set()
            over.wait(peer.PATIENCE_S)

        over = threading.Event()
        stack.enter_context(peer.listening(made.server, serve, family=socket.AF_INET6, port=port))
        stack.callback(over.set)
        self.host = stack.enter_context(peer.connect(made.host, address, mptcp=False, port=port))
        assert accepted.wait(5.0), "S has accepted nothing"

    def says(self, size: int = 200_000) -> None:
        """Data both ways, octet by octet."""
        for source, sink in ((self.host, self.server), (self.server, self.host)):
            data = peer.payload(size, 11)
            sender = threading.Thread(target=source.sendall, args=(data,), daemon=True)
            sender.start()
            assert peer.read_exactly(sink, size) == data, "what arrived is not what was sent"
            sender.join(peer.PATIENCE_S)


def _reset_after(conn: socket.socket) -> float:
    """Milliseconds from an octet that this end sends to the reset that it gets."""
    conn.settimeout(5.0)
    begin = time.monotonic()
    try:
        conn.sendall(b"next")
        got = conn.recv(1)
    except (ConnectionResetError, BrokenPipeError):
        return (time.monotonic() - begin) * 1e3
    raise AssertionError(f"it got {got!r} and no reset")


def _forgets(made: Chain, box: str, first: str) -> list[float]:
    """Milliseconds until each end of a split connection is reset, the one that speaks `first` before the other."""
    then = "server" if first == "host" else "host"
    with ExitStack() as stack:
        split, whole = (Ends(made, stack, V4.server if first == "host" else V6.server, port) for port in (SPLIT, WHOLE))
        split.says()
        whole.says()
        assert len(made.hag.connections()) == len(made.hcpe.connections()) == 1, "only the one is split"
        made.boxes[box].kill()
        made.start_box(box)
        took = [_reset_after(getattr(split, end)) for end in (first, then)]
        whole.says()
    for each in (made.hag, made.hcpe):
        assert each.relays_left() == 0, f"{each.name} keeps a relay"
    return took


def _judged(made: Chain, box: str, answered: str) -> str:
    """What came of it for each end that speaks first, where that of `answered` is to be reset without a second try."""
    took = {first: _forgets(made, box, first) for first in ("host", "server")}
    for first, each in took.items():
        at_most(each[0], SOON_MS if first == answered else AGAIN_MS, f"ms to the reset of the {first}, which speaks first")
        at_most(each[1], SOON_MS, f"ms to the reset of the other end where the {first} speaks first")
    return ", ".join(f"{first} first {each[0]:.0f} and {each[1]:.0f}" for first, each in took.items())


@row("I-MID", "ms from an end's next octet to its reset, after the HAG was killed and started anew; a connection that was not split goes on", goal="<= 250, sent again <= 450", unit="ms", on=BOTH)
def the_hag_forgets(made: Chain) -> str:
    return _judged(made, "hag", "host")


@row("I-MID", "ms from an end's next octet to its reset, after the HCPE was killed and started anew; a connection that was not split goes on", goal="<= 250, sent again <= 450", unit="ms", on=BOTH)
def the_hcpe_forgets(made: Chain) -> str:
    return _judged(made, "hcpe", "server")
