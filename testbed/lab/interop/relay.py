"""How a connection begins, ends and fails across three TCP connections."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from .. import peer
from ..bulk import move
from ..capture import FIN, RST, read
from ..chain import CORE, LAN, LINK1, LINK2, Chain
from ..chainconfig import V4, WIRE, Setup
from ..frames import frames
from ..shell import LabError
from ..shim import shim
from .rows import at_most, row, rust_test

LINGER_NOT = b"\1\0\0\0\0\0\0\0"
"""SO_LINGER of zero seconds: closing resets."""

# Loss of each packet of the handshakes

LOST = {
    LAN: ("syn", "synack", "ack", "data"),
    LINK1: ("syn", "synack", "ack", "data", "add-addr", "answer"),
    LINK2: ("syn", "synack", "ack", "fourth"),
    CORE: ("syn", "synack", "ack", "data"),
}
FIRST_PORT = 8100


def _exchange(made: Chain, port: int, data: bytes) -> float:
    """A short question, a long answer, a pause for joins, and the whole again; the seconds it took."""
    def serve(conn: socket.socket) -> None:
        for _ in range(2):
            assert peer.read_exactly(conn, 8) == b"question"
            conn.sendall(data)

    begin = time.monotonic()
    with peer.listening(made.server, serve, port=port) as server, peer.connect(made.host, V4.server, mptcp=False, port=port) as conn:
        for number in range(2):
            conn.sendall(b"question")
            if peer.read_exactly(conn, len(data)) != data:
                raise LabError("what arrived is not what was sent")
            if not number:
                time.sleep(2.5)
        conn.shutdown(socket.SHUT_WR)
        if peer.read_all(conn):
            raise LabError("more arrived than was sent")
        server.join()
    return time.monotonic() - begin


@row("P8", "packets of the handshakes on LAN, P, X and core that were lost, each in a connection of its own: all recovered, X joined", goal="18", unit="losses", limit=90, fresh=True)
def every_handshake_packet_is_lost_once(made: Chain) -> int:
    data = peer.payload(1_500_000, 8)
    cases = {FIRST_PORT + number: case for number, case in enumerate((line, kind) for line, kinds in LOST.items() for kind in kinds)}
    with ExitStack() as stack:
        files = stack.enter_context(made.capture("w2", only="tcp", snap=134))
        for line in LOST:
            rules = [f"lose:{kind}:{port}" for port, (where, kind) in cases.items() if where is line]
            stack.enter_context(shim(made, line, *rules))
        with ThreadPoolExecutor(6) as pool:
            runs = {port: pool.submit(_exchange, made, port, data) for port in cases}
        failed = []
        for port, run in runs.items():
            try:
                run.result()
            except (OSError, LabError, AssertionError) as wrong:
                failed.append(f"{cases[port][0].name} {cases[port][1]}: {wrong}")
    assert not failed, f"{len(failed)} of {len(cases)}: " + "; ".join(failed)
    carried = {port: 0 for port in cases}
    for packet in read(files["w2"]):
        if packet.payload and packet.sport in carried:
            carried[packet.sport] += packet.payload
    without = [f"{cases[port][0].name} {cases[port][1]}" for port, octets in carried.items() if not octets]
    assert not without, f"X carried nothing after the loss of: {', '.join(without)}"
    return len(cases)


# Back pressure

SMALL = {"limits": {"buffer_per_connection": "1MiB"}}
STALLED = Setup(links=(WIRE, WIRE), hcpe=SMALL, hag=SMALL)
SOCKET = 1 << 17


@row("P6", "octets that the chain takes from a sender whose receiver reads nothing (1 MiB of buffer in each box), the worse direction; then all arrive", goal="<= 3.2", unit="MiB", on=STALLED)
def a_stalled_reader_stalls_the_sender(made: Chain) -> float:
    taken = [_stalled(made, way) for way in ("down", "up")]
    return round(at_most(max(taken) / (1 << 20), 3.2, "MiB taken"), 2)


def _stalled(made: Chain, way: str) -> int:
    go = threading.Event()
    counted: dict[str, int] = {}

    def write(conn: socket.socket) -> None:
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET)
        conn.settimeout(2.0)
        sent = 0
        try:
            while sent < 64 << 20:
                sent += conn.send(bytes(1 << 14))
        except TimeoutError:
            pass
        counted["sent"] = sent
        go.set()
        conn.shutdown(socket.SHUT_WR)

    def drain(conn: socket.socket) -> None:
        if not go.wait(30):
            raise LabError("the sender never stalled")
        counted["held"] = max(sum(c.get("buffered_octets", 0) for c in box.connections()) for box in made.boxes.values())
        got = 0
        conn.settimeout(20.0)
        while chunk := conn.recv(1 << 16):
            got += len(chunk)
        counted["got"] = got

    with peer.listening(made.server, write if way == "down" else drain) as server:
        conn = made.host.socket()
        with conn:
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET)
            conn.settimeout(peer.PATIENCE_S)
            conn.connect((V4.server, 80))
            (drain if way == "down" else write)(conn)
            if way == "up":
                peer.read_all(conn)
            server.join()
    assert counted["got"] == counted["sent"], f"{way}: {counted['got']} octets arrived of {counted['sent']}"
    return counted["sent"]


# Half-close

@row("I-FIN", "half-closed connections that went on the other way for 1.5 s, whole, each direction", goal="2", unit="of 2")
def each_direction_ends_by_itself(made: Chain) -> int:
    data = peer.payload(400_000, 4)
    done = 0
    ends = {"host": threading.Event(), "server": threading.Event()}

    def after_their_end(conn: socket.socket) -> None:
        assert peer.read_all(conn) == b"all there is"
        ends["server"].set()
        for at in range(0, len(data), 100_000):
            time.sleep(0.4)
            conn.sendall(data[at : at + 100_000])

    with made.capture("s0", only="tcp") as files, peer.listening(made.server, after_their_end) as server:
        with peer.connect(made.host, V4.server, mptcp=False) as conn:
            conn.sendall(b"all there is")
            conn.shutdown(socket.SHUT_WR)
            assert ends["server"].wait(1.0), "the end of H's stream did not reach S while S's went on"
            assert peer.read_all(conn) == data
        server.join()
    done += 1
    ended = [packet.at for packet in read(files["s0"]) if packet.flags & FIN and packet.src == V4.host]
    last = [packet.at for packet in read(files["s0"]) if packet.payload and packet.src == V4.server]
    assert ended and ended[0] < last[-1] - 1.0, "S had H's FIN only when its own data was through"

    def ends_first(conn: socket.socket) -> None:
        conn.sendall(b"all there is")
        conn.shutdown(socket.SHUT_WR)
        assert peer.read_all(conn) == data, "S read something else"

    with peer.listening(made.server, ends_first) as server:
        with peer.connect(made.host, V4.server, mptcp=False) as conn:
            assert peer.read_all(conn) == b"all there is"
            for at in range(0, len(data), 100_000):
                time.sleep(0.4)
                conn.sendall(data[at : at + 100_000])
            conn.shutdown(socket.SHUT_WR)
            server.join()
    assert not server.failures, server.failures
    done += 1
    for name, box in made.boxes.items():
        assert box.relays_left() == 0, f"{name} holds relays of connections that have ended"
    return done


# Resets

@row("I-RST", "resets of S, and of H, that reached the far end and freed both boxes; the longer took", goal="<= 0.5", unit="s")
def a_reset_reaches_the_far_end(made: Chain) -> float:
    took = max(_reset(made, "server"), _reset(made, "host"))
    for name, box in made.boxes.items():
        assert box.relays_left() == 0, f"{name} holds relays after a reset"
    return round(at_most(took, 0.5, "seconds"), 3)


def _reset(made: Chain, who: str) -> float:
    at: dict[str, float] = {}
    ready = threading.Event()

    def breaks(conn: socket.socket) -> None:
        ready.wait(5)
        time.sleep(0.5)
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
        at["sent"] = time.monotonic()
        conn.close()

    def suffers(conn: socket.socket) -> None:
        ready.set()
        try:
            while conn.recv(1 << 16):
                pass
            at["end"] = time.monotonic()
        except ConnectionResetError:
            at["reset"] = time.monotonic()

    with peer.listening(made.server, breaks if who == "server" else suffers) as server:
        with peer.connect(made.host, V4.server, mptcp=False) as conn:
            conn.sendall(b"question")
            (suffers if who == "server" else breaks)(conn)
        server.join()
    assert "reset" in at, f"the reset of the {who} arrived as {'a clean end' if 'end' in at else 'nothing'}"
    return at["reset"] - at["sent"]


@row("I-RST", "a subflow on X that somebody resets: the connection goes on, and loses nothing", goal="exact", unit="")
def a_subflow_is_reset(made: Chain) -> str:
    with made.capture("w2", "h0", only="tcp", snap=134) as files, shim(made, LINK2, "reset-after:40"):
        for way in ("down", "up"):
            assert move(made, way, 1.5).exact, f"{way}: other octets"
    resets = [packet for packet in read(files["w2"]) if packet.flags & RST]
    assert resets, "no reset was forged: nothing was put to the test"
    assert not [packet for packet in read(files["h0"]) if packet.flags & RST], "the reset of a subflow reached H"
    return "exact"


@row("I-RST", "FASTCLOSE and resets in virtual time, with losses", goal="all pass", unit="")
def resets_in_virtual_time() -> str:
    return rust_test("mptcp", "closing")


# DSCP

@row("I-DSCP", "packets of a connection with DSCP 46 from H and 10 from S that carry another one, on P, X and at both ends", goal="0", unit="packets")
def dscp_goes_along(made: Chain) -> int:
    answered = peer.payload(2_000_000, 5)

    def serve(conn: socket.socket) -> None:
        conn.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 10 << 2)
        assert peer.read_exactly(conn, 8) == b"question"
        time.sleep(0.1)
        conn.sendall(answered)
        assert peer.read_exactly(conn, len(answered)) == answered

    with made.capture("h0", "w1", "w2", "s0", only="tcp") as files, peer.listening(made.server, serve, port=83) as server:
        conn = made.host.socket()
        conn.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 46 << 2)
        conn.settimeout(peer.PATIENCE_S)
        with conn:
            conn.connect((V4.server, 83))
            conn.sendall(b"question")
            assert peer.read_exactly(conn, len(answered)) == answered
            conn.sendall(answered)
            server.join()
    wrong = []
    for name, file in files.items():
        here = list(frames(file))
        up = [frame for frame in here if frame.src in (V4.host, V4.hcpe2)]
        # S marks only what it sends after it was accepted: its SYN+ACK is not marked yet. The marks of S's own kernel say when.
        down = [frame for frame in here if frame.src in (V4.server, V4.announced) and len(frame.packet) > 500]
        assert name == "w2" or (up and down), f"nothing of the connection on {name}"
        wrong += [f"{name}: {frame.src} > {frame.dst} has DSCP {frame.tos >> 2}" for frame in up if frame.tos >> 2 != 46]
        wrong += [f"{name}: {frame.src} > {frame.dst} has DSCP {frame.tos >> 2}" for frame in down if frame.tos >> 2 != 10]
    assert any(packet.payload for packet in read(files["w2"])), "X carried nothing"
    assert not wrong, f"{len(wrong)} packets, first {wrong[0]}"
    return len(wrong)


# Options that vanish

@row("I-FALL", "connections over a P that strips options from the SYN, the SYN+ACK, the third ACK on, or after 8, 20 and 60 segments: whole, or reset; never wrong", goal="exact or reset", unit="of 6, each both ways")
def options_vanish_on_the_primary(made: Chain) -> str:
    return _strips(made, LINK1, ("strip:syn", "strip:synack", "strip:rest", "strip-after:8", "strip-after:20", "strip-after:60"))


@row("I-FALL", "the same on X: the connection goes on over P", goal="4 exact", unit="")
def options_vanish_on_the_secondary(made: Chain) -> str:
    said = _strips(made, LINK2, ("strip:syn", "strip:synack", "strip-after:4", "strip-after:60"))
    assert said == "4 exact", said
    return said


def _strips(made: Chain, line, rules: tuple[str, ...]) -> str:  # noqa: ANN001
    ended = {"exact": 0, "reset": 0}
    for rule in rules:
        with shim(made, line, rule):
            for way in ("down", "up"):
                try:
                    moved = move(made, way, 0.5)
                except (ConnectionResetError, LabError) as broken:
                    assert "reset" in str(broken).lower(), f"{rule}, {way}: {broken}"
                    assert rule.startswith("strip-after"), f"{rule}, {way}: a fallback during the set-up must not reset"
                    ended["reset"] += 1
                    continue
                assert moved.exact, f"{rule}, {way}: other octets arrived"
                ended["exact"] += 1
        for name, box in made.boxes.items():
            assert box.relays_left() == 0, f"{rule}: {name} holds relays: {box.connections()}"
    return ", ".join(f"{count // 2 if not count % 2 else count / 2} {how}" for how, count in ended.items() if count)
