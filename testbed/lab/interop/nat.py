"""Hosts behind one public address, hosts with addresses of their own, and what stands before both."""

from __future__ import annotations

import http.server
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .. import peer
from ..bulk import move
from ..capture import read
from ..chain import Chain
from ..chainconfig import V4, V6, WIRE, Link, Setup
from ..frames import Frame, frames
from ..netns import Namespace
from ..shell import LabError, wait_until
from .rows import row, rust_test

TCP, UDP, ICMP = 6, 17, 1
FORWARD = 8080
NAT = {"nat": {"inside": ["10.10.0.0/24"], "address": V4.hcpe1, "forwards": [{"protocol": "tcp", "port": FORWARD, "to": f"{V4.host}:80"}]}}
DROP = {"firewall": {"inbound": "drop"}}
HIDDEN = Setup(links=(Link(20, 10), WIRE), hcpe={**NAT, **DROP})
"""H behind the HCPE's own address, over a primary so narrow that X is needed."""

CLOSED = Setup(links=(WIRE, WIRE), hcpe=DROP)
"""H with addresses of its own behind a firewall that is up."""


@contextmanager
def udp(space: Namespace, address: str = "", port: int = 0) -> Iterator[socket.socket]:
    """A UDP socket of a namespace."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with space.entered():
        made = socket.socket(family, socket.SOCK_DGRAM)
    with made:
        made.settimeout(2.0)
        made.bind((address, port))
        yield made


def hears(sock: socket.socket, patience: float = 2.0) -> tuple[bytes, tuple] | None:
    """The next datagram and whence it came; nothing if none comes."""
    sock.settimeout(patience)
    try:
        return sock.recvfrom(65_535)
    except TimeoutError:
        return None


def second_host(made: Chain) -> Namespace:
    """One more host on the lan."""
    return made.once("second host", lambda: made.attach("other", made.lines[0], "10.10.0.3/24", "fd00:10::3/64", via4=V4.lan, via6=V6.lan))


def seen_at(file: Path) -> list[Frame]:
    """IPv4 packets of a capture."""
    return [frame for frame in frames(file) if ":" not in frame.src]


@row("P5b", "IPv4 sources beside the public address that leave the HCPE on P or reach S, in TCP bonded and not, UDP, ICMP and fragments of two hosts", goal="0", unit="addresses", on=HIDDEN)
def one_address_for_all_hosts(made: Chain) -> int:
    other = second_host(made)
    with made.capture("w1", "w2", "s0", snap=134) as files:
        for space in (made.host, other):
            space.run("ping", "-c", "2", "-i", "0.2", V4.server)
            # The lab's ports get fragments joined by the kernel, as long as the whole fits one of their buffers.
            space.run("ping", "-c", "1", "-s", "1800", V4.server)
            with udp(made.server, V4.server, 7000) as sink, udp(space) as source:
                source.sendto(b"question" * 230, (V4.server, 7000))
                heard = hears(sink)
                assert heard, "the server heard nothing"
                assert heard[1][0] == V4.hcpe1, f"the server saw UDP from {heard[1][0]}"
                sink.sendto(b"answer" * 300, heard[1])
                assert hears(source), "the answer did not come back"
        moved = move(made, "down", 1.5)
        assert moved.exact and set(moved.seen) == {V4.hcpe1}, f"the server saw TCP from {moved.seen}"
    bonded = sum(bool(packet.payload) for packet in read(files["w2"]))
    assert bonded, "nothing went over X: the flow was not bonded"
    strange = {frame.src for name in ("w1", "s0") for frame in seen_at(files[name])} - {V4.hcpe1, V4.server, V4.core, "10.1.0.1"}
    assert not strange, f"{sorted(strange)} showed"
    return len(strange)


@row("P5b", "ports of the public address that two hosts were given at once: bonded TCP, TCP that nobody bonds, UDP and ICMP from equal ports of both", goal="0", unit="ports", on=HIDDEN)
def no_port_for_two(made: Chain) -> int:
    other = second_host(made)
    ports = range(20_000, 20_060)
    held: list[socket.socket] = []
    with made.capture("w1", at_once=False, snap=134) as files, peer.listening(made.server, _waits), udp(made.server, V4.server, 7001) as sink:
        try:
            for port in ports:
                for space in (made.host, other):
                    with space.entered():
                        stream = socket.socket()
                        datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                    held += [stream, datagram]
                    stream.settimeout(10)
                    stream.bind(("", port))
                    stream.connect((V4.server, 80))
                    datagram.bind(("", port))
                    datagram.sendto(b"here", (V4.server, 7001))
                    assert hears(sink), "a datagram was lost"
        finally:
            for sock in held:
                sock.close()
    owners: dict[int, set[str]] = {}
    sources = [(frame.protocol, struct.unpack_from("!H", frame.packet, 20)[0]) for frame in seen_at(files["w1"]) if frame.src == V4.hcpe1 and frame.protocol in (TCP, UDP)]
    for protocol, port in set(sources):
        owners.setdefault(port, set()).add(str(protocol))
    outside = {protocol: {port for kind, port in set(sources) if kind == protocol} for protocol in (TCP, UDP)}
    for protocol, found in outside.items():
        assert len(found) >= 2 * len(ports), f"{len(found)} outer ports for {2 * len(ports)} flows of protocol {protocol}"
    # Where a port is in both protocols, it is one host's: the first had its own number, so only those may be.
    shared = (outside[TCP] & outside[UDP]) - set(ports)
    kept = len(set(ports) & outside[TCP] & outside[UDP])
    assert kept == len(ports), f"only {kept} of {len(ports)} free ports were kept"
    assert not shared, f"{len(shared)} ports were given twice"
    return len(shared)


def _waits(conn: socket.socket) -> None:
    conn.recv(1)


@row("P5b", "hops that a traceroute through NAT names, each once: HCPE, HAG and S", goal="3", unit="hops", on=HIDDEN)
def errors_come_home(made: Chain) -> int:
    with made.host.entered():
        ear = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    hops = []
    with ear, udp(made.host, V4.host, 30_000) as source:
        ear.settimeout(2.0)
        for ttl in range(1, 6):
            source.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
            source.sendto(b"how far", (V4.server, 33_434))
            packet, whence = ear.recvfrom(600)
            quoted = packet[28:]
            assert quoted[12:16] == socket.inet_aton(V4.host) and quoted[16:20] == socket.inet_aton(V4.server), f"{whence[0]} quotes {quoted[:28].hex()}"
            assert struct.unpack_from("!HH", quoted, 20) == (30_000, 33_434), f"{whence[0]} quotes other ports"
            hops.append(whence[0])
            if packet[20] == 3:
                break
    assert hops == [V4.lan, "10.1.0.1", V4.server], f"the way was {hops}"
    return len(hops)


@row("P5b", "datagrams between two hosts by the public address (RFC 4787 REQ-9), each with its public source", goal="2", unit="datagrams", on=HIDDEN)
def hairpin(made: Chain) -> int:
    other = second_host(made)
    with udp(made.server, V4.server, 7002) as sink, udp(made.host) as one, udp(other) as two:
        public = []
        for source in (one, two):
            source.sendto(b"who am I", (V4.server, 7002))
            heard = hears(sink)
            assert heard
            public.append(heard[1])
        crossed = 0
        for source, target, mine, theirs in ((one, two, *public), (two, one, *reversed(public))):
            source.sendto(b"hello", theirs)
            heard = hears(target)
            assert heard, "a host did not hear the other"
            assert heard[1] == mine, f"heard from {heard[1]}, which is {mine} outside"
            crossed += 1
    return crossed


@row("P5b", "requests from the Internet answered by H through a static forward, while its other ports stay silent", goal="5", unit="answers", on=HIDDEN)
def static_forward(made: Chain) -> int:
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"hi")

        def log_message(self, *_: object) -> None:
            pass

    class Web(http.server.ThreadingHTTPServer):
        def server_bind(self) -> None:
            # The library's own asks for the address's name, and nobody here knows any.
            socketserver.TCPServer.server_bind(self)

    with made.host.entered():
        web = Web((V4.host, 80), Page)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    try:
        answers = 0
        for _ in range(5):
            said = made.server.run("curl", "-sS", "--max-time", "5", f"http://{V4.hcpe1}:{FORWARD}/")
            assert said == "hi", f"curl got {said!r}"
            answers += 1
        with made.server.socket() as other:
            other.settimeout(1.0)
            try:
                other.connect((V4.hcpe1, 81))
                raise AssertionError("a port that is not forwarded answers")
            except TimeoutError:
                pass
    finally:
        web.shutdown()
        web.server_close()
    return answers


@row("P5b", "a connection that nobody bonds goes on through the restart of the HCPE and its empty table", on=Setup(links=(WIRE, WIRE), boxes=("hcpe",), hcpe={**NAT, **DROP}))
def plain_flows_survive_a_restart(made: Chain) -> None:
    # Without a HAG the kernel in its place routes to the HCPE's address alone.
    with peer.listening(made.server, peer.echoes):
        with peer.connect(made.host, V4.server, mptcp=False, port=80) as conn:
            _says(conn, b"before")
            made.stop_box("hcpe")
            made.start_box("hcpe")
            _says(conn, b"after")


def _says(conn: socket.socket, words: bytes) -> None:
    conn.settimeout(15)
    conn.sendall(words)
    assert peer.read_exactly(conn, len(words)) == words


@row("P5b", "the table: 60,000 ports at once, mapping, filtering, timers, fragments, errors, hairpin, restarts")
def table() -> str:
    return rust_test("apps", "nat")


@row("P5a", "hosts of the customer's IPv6 prefix that S sees by their own addresses, in bonded TCP, UDP and ICMP", goal="2", unit="hosts", on=HIDDEN)
def hosts_of_the_prefix(made: Chain) -> int:
    other = second_host(made)
    seen = set()
    for space, own in ((made.host, V6.host), (other, "fd00:10::3")):
        space.run("ping", "-6", "-c", "1", V6.server)
        with udp(made.server, V6.server, 7003) as sink, udp(space, own) as source:
            source.sendto(b"question", (V6.server, 7003))
            heard = hears(sink)
            assert heard, "the server heard nothing"
            sink.sendto(b"answer", heard[1][:2])
            assert hears(source), "the answer did not come back"
            whence = {heard[1][0]}
        with peer.listening(made.server, peer.echoes, family=socket.AF_INET6) as listener:
            with peer.connect(space, V6.server, mptcp=False, port=80) as conn:
                _says(conn, b"hello")
            whence |= set(listener.peers)
        assert whence == {own}, f"the server saw {whence}"
        seen |= whence
    return len(seen)


@row("X1", "unasked packets from the Internet that reach a host: SYNs with and without MP_CAPABLE, datagrams, strays", goal="0", unit="packets", on=CLOSED)
def unasked_packets(made: Chain) -> int:
    with made.capture("h0") as files:
        for ends in (V4, V6):
            with made.server.socket(socket.AF_INET6 if ":" in ends.host else socket.AF_INET) as conn:
                conn.settimeout(0.5)
                try:
                    conn.connect((ends.host, 22))
                    raise AssertionError("a host's port answers")
                except TimeoutError:
                    pass
            with udp(made.server, ends.server) as stray:
                for port in (53, 5353, 40_000):
                    stray.sendto(b"unasked", (ends.host, port))
        time.sleep(0.5)
    reached = [frame for frame in frames(files["h0"]) if frame.src in (V4.server, V6.server)]
    assert not reached, f"{len(reached)} packets, first of protocol {reached[0].protocol}"
    dropped = made.hcpe.counters()["firewall_dropped"]
    assert dropped >= 8, f"only {dropped} were dropped by the firewall"
    return len(reached)


@row("X1", "how long an unasked SYN waits for a counterpart from inside before its sender is told (RFC 6092 REC-34)", goal=">= 6", unit="seconds", on=CLOSED)
def a_refusal_waits(made: Chain) -> float:
    with made.server.socket(socket.AF_INET6) as conn:
        conn.settimeout(12)
        begin = time.monotonic()
        try:
            conn.connect((V6.host, 2222))
            raise AssertionError("a host's port answers")
        except OSError as refused:
            waited = time.monotonic() - begin
            assert not isinstance(refused, TimeoutError), "the sender was told nothing"
    assert waited >= 6.0, f"told after {waited:.1f} s"
    return waited


@row("X1", "what a host asked for passes in both families: answers, from whomever, and ICMP errors about what it sent", on=CLOSED)
def asked_packets(made: Chain) -> None:
    for ends in (V4, V6):
        with udp(made.server, ends.server, 7004) as sink, udp(made.server, ends.server, 7005) as third, udp(made.host, ends.host, 30_001) as source:
            source.sendto(b"question", (ends.server, 7004))
            heard = hears(sink)
            assert heard, "the question was lost"
            for answering in (sink, third):
                answering.sendto(b"answer", heard[1][:2])
                assert hears(source), "an answer was lost"
            # Nobody listens there: the host's socket is told so.
            source.connect((ends.server, 7006))
            source.send(b"anybody?")
            wait_until("an ICMP error", lambda: source.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0, 3.0)
    made.server.run("ping", "-6", "-c", "1", V6.host)
    try:
        made.server.run("ping", "-c", "1", "-W", "1", V4.host)
    except LabError:
        return
    raise AssertionError("an IPv4 host answers whom it did not ask")
