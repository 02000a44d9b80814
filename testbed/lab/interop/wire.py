"""What of IP and TCP crosses the boxes: ICMP, TTL, congestion marks, options, fragments, tags."""

from __future__ import annotations

import socket
import struct
import threading
import time

from .. import peer
from ..bulk import PORT, move
from ..capture import SYN, read, tcp_options
from ..chain import Chain
from ..chainconfig import V4, V6, WIRE, Setup
from ..shell import LabError
from .rows import row, rust_test

ACK, ECE, CWR = 0x10, 0x40, 0x80

# P3, I-ENC


@row("P3", "a bump in the wire: frames cross as they came, subscribers' TCP is split in place, own addresses are answered", goal="all pass")
def a_bump_in_the_wire() -> str:
    return rust_test("apps", "bump")


@row("P3", "a router's hop, between a kernel host and a kernel server: one hop further, own addresses answer", goal="2", unit="hops")
def a_routers_hop(made: Chain) -> int:
    with made.host.entered(), socket.socket() as conn:
        conn.settimeout(5)
        with peer.listening(made.server, peer.sends(b"hop"), port=8700):
            conn.connect((V4.server, 8700))
            assert peer.read_all(conn) == b"hop"
    made.host.run("ping", "-c", "1", "-W", "2", "10.1.0.1")
    return len([hop for hop in _hops(made) if hop])


@row("I-ENC", "802.1Q and QinQ on ports and across a bump in the wire, other networks dropped, the MTU beside the tags", goal="all pass")
def tags() -> str:
    return f"ports: {rust_test('apps', 'attach')}, tags: {rust_test('stack', 'ip::link')}"


# I-LAG


@row("I-LAG", "boxes of several workers behind devices that spread frames badly: flows, joins, errors and fragments find their core", goal="all pass")
def several_workers() -> str:
    return f"engines: {rust_test('apps', 'several')}, rings: {rust_test('dataplane', 'several')}, hash: {rust_test('stack', 'rss')}"


# ICMP and TTL


def _hops(made: Chain, family: socket.AddressFamily = socket.AF_INET) -> list[str]:
    """Who says that a SYN's TTL of 1, 2 and 3 ran out; empty where nobody did."""
    said: list[str] = []
    for ttl in (1, 2, 3):
        with made.host.entered():
            heard = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
            conn = socket.socket(family)
        with heard, conn:
            heard.settimeout(1.0)
            conn.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
            conn.settimeout(0.8)
            try:
                conn.connect((V4.server, 9))
            except OSError:
                pass
            found = ""
            try:
                while not found:
                    packet, (source, _) = heard.recvfrom(2048)
                    if packet[20] == 11:
                        found = source
            except TimeoutError:
                pass
            said.append(found)
    return said


@row("I-TTL", "who shows itself to SYNs of TTL 1, 2 and 3: each box once, then S is reached", goal="10.10.0.1, 10.1.0.1, none")
def each_box_is_one_hop(made: Chain) -> str:
    hops = _hops(made)
    assert hops == [V4.host.rsplit(".", 1)[0] + ".1", "10.1.0.1", ""], f"{hops}"
    return ", ".join(hop or "none" for hop in hops)


@row("I-ICMP2", "seconds until connect() at H fails because the HAG finds nobody at S's address: told, not timed out", goal="< 10", unit="s", limit=30)
def nobody_at_the_address(made: Chain) -> float:
    with made.host.entered(), socket.socket() as conn:
        conn.settimeout(15)
        begin = time.monotonic()
        try:
            conn.connect((V4.server.rsplit(".", 1)[0] + ".77", 80))
            raise AssertionError("somebody answered")
        except OSError as refused:
            assert refused.errno in (111, 113), f"{refused}"
    took = time.monotonic() - begin
    assert took < 10, f"{took:.1f} s"
    return round(took, 2)


@row("I-ICMP2", "errors of the set-up pass to H and free what was held", goal="all pass")
def set_up_errors() -> str:
    return rust_test("apps", "unreachable")


@row("I-ICMP1", "path MTUs on legs and subflows by ICMP, none believed that was not caused; black holes without ICMP", goal="all pass")
def path_mtus() -> str:
    return f"with ICMP: {rust_test('apps', 'relay_icmp')}, without: {rust_test('stack', 'black_hole')}"


# Options


def _syn_acks(made: Chain, port: int) -> tuple[int, dict[int, bytes]]:
    """Flags and options of the SYN+ACK that H gets from a server that sends it a few octets."""
    with made.capture("h0", only=f"tcp port {port}") as files:
        with peer.listening(made.server, peer.sends(b"options"), port=port), peer.connect(made.host, V4.server, mptcp=False, port=port) as conn:
            assert peer.read_all(conn) == b"options"
        time.sleep(0.2)
    answers = [packet for packet in read(files["h0"]) if packet.flags & SYN and packet.flags & ACK]
    assert answers, "no SYN+ACK was seen"
    return answers[0].flags, dict(tcp_options(answers[0].options))


@row("I-ECN", "H's and S's settings of ECN that ended as they would without us", goal="4", unit="of 4")
def ecn_is_what_both_want(made: Chain) -> int:
    right = 0
    try:
        for number, (host, server) in enumerate(((1, 1), (1, 0), (0, 1), (0, 0))):
            made.host.sysctl(**{"net.ipv4.tcp_ecn": host})
            made.server.sysctl(**{"net.ipv4.tcp_ecn": server})
            flags, _ = _syn_acks(made, 8710 + number)
            assert bool(flags & ECE) == bool(host and server), f"host {host}, server {server}: flags {flags:#x}"
            right += 1
    finally:
        for space in (made.host, made.server):
            space.sysctl(**{"net.ipv4.tcp_ecn": 2})
    return right


@row("I-ECN", "marks are answered on their leg and never cross; accurate ECN is offered as the classic one", goal="all pass")
def marks_stay_on_their_leg() -> str:
    return f"box: {rust_test('apps', 'wire_options')}, TCP: {rust_test('stack', 'tcp::tests::ecn')}"


@row("I-OPT", "sets of options of S after which H was offered just those", goal="4", unit="of 4")
def options_are_what_both_want(made: Chain) -> int:
    right = 0
    names = {"net.ipv4.tcp_sack": 4, "net.ipv4.tcp_timestamps": 8, "net.ipv4.tcp_window_scaling": 3}
    try:
        for number, off in enumerate((None, *names)):
            for name in names:
                made.server.sysctl(**{name: int(name != off)})
            _, options = _syn_acks(made, 8720 + number)
            for name, kind in names.items():
                assert (kind in options) == (name != off), f"without {off}: H was offered {sorted(options)}"
            assert 30 not in options, "H was offered Multipath TCP"
            right += 1
    finally:
        for name in names:
            made.server.sysctl(**{name: 1})
    return right


@row("I-OPT", "what is signed, or speaks of what no leg can keep, is left alone and counted", goal="all pass")
def signed_is_left_alone() -> str:
    return rust_test("apps", "every_bypass_strips")


@row("I-MSS", "full segments between the boxes for each of H's own, in bulk up and down", goal="<= 1.05", unit="", limit=60)
def one_in_is_one_out(made: Chain) -> float:
    worst = 0.0
    for way, edge in (("up", "h0"), ("down", "h0")):
        with made.capture("h0", "w1", "w2", only=f"tcp", snap=134, at_once=False) as files:
            moved = move(made, way, 1.0)
            assert moved.exact
            time.sleep(0.2)
        source = {"up": V4.host, "down": V4.server}[way]
        outer = sum(packet.payload > 0 and PORT in (packet.sport, packet.dport) and packet.src == source for packet in read(files[edge]))
        middle = sum(packet.payload > 0 and _goes(packet, way) for name in ("w1", "w2") for packet in read(files[name]))
        assert outer > 500, f"only {outer} segments"
        worst = max(worst, middle / outer)
    assert worst <= 1.05, f"{worst:.3f}"
    return round(worst, 3)


def _goes(packet, way: str) -> bool:  # noqa: ANN001
    towards = packet.src == V4.host or packet.src.startswith("10.2.0.2")
    return towards == (way == "up")


@row("I-TFO", "connections with data in their SYN, or a cookie, that brought it exactly once", goal="3", unit="of 3")
def data_in_the_syn(made: Chain) -> int:
    for space in (made.host, made.server):
        space.sysctl(**{"net.ipv4.tcp_fastopen": 0x603})
    right = 0
    try:
        for number in range(3):
            got: list[bytes] = []

            def serve(conn: socket.socket, got: list[bytes] = got) -> None:
                got.append(peer.read_all(conn))

            with made.server.entered():
                listener = socket.socket()
            with listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.setsockopt(socket.IPPROTO_TCP, 23, 16)
                listener.bind((V4.server, 8730 + number))
                listener.listen()
                listener.settimeout(5)
                with made.host.entered():
                    conn = socket.socket()
                with conn:
                    # Blocking: without a cookie the call waits for the handshake, else it would say that it is in progress.
                    conn.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 5, 0))
                    conn.sendto(b"early", 0x20000000, (V4.server, 8730 + number))
                    conn.sendall(b" and late")
                    conn.shutdown(socket.SHUT_WR)
                    answered, _ = listener.accept()
                    with answered:
                        answered.settimeout(5)
                        serve(answered)
            assert got == [b"early and late"], f"{got}"
            right += 1
    finally:
        for space in (made.host, made.server):
            space.sysctl(**{"net.ipv4.tcp_fastopen": 1})
    return right


@row("I-URG", "octets that arrived, in order, of ten with three marked urgent among them", goal="10", unit="octets")
def urgent_in_line(made: Chain) -> int:
    got: list[bytes] = []
    with peer.listening(made.server, lambda conn: got.append(peer.read_all(conn)), port=8740) as server:
        with peer.connect(made.host, V4.server, mptcp=False, port=8740) as conn:
            for piece, flag in ((b"abc", 0), (b"D", socket.MSG_OOB), (b"ef", 0), (b"G", socket.MSG_OOB), (b"h", 0), (b"I", socket.MSG_OOB), (b"j", 0)):
                conn.send(piece, flag)
                time.sleep(0.05)
            conn.shutdown(socket.SHUT_WR)
            conn.recv(1)
        server.join()
    assert got == [b"abcDefGhIj"], f"{got}"
    return len(got[0])


PROBING = Setup(links=(WIRE, WIRE), hag={"timeouts": {"keepalive": "1s"}})


@row("I-TMO", "seconds after which H hears that S fell silent, with probes every second", goal="<= 8", unit="s", on=PROBING, limit=60, fresh=True)
def a_dead_server_is_told(made: Chain) -> float:
    held: list[socket.socket] = []
    done = threading.Event()

    def serve(conn: socket.socket) -> None:
        held.append(conn)
        conn.sendall(b"here")
        done.wait(40)

    with peer.listening(made.server, serve, port=8750):
        with peer.connect(made.host, V4.server, mptcp=False, port=8750) as conn:
            assert peer.read_exactly(conn, 4) == b"here"
            time.sleep(1.5)
            made.server.ip("link set s0 down")
            begin = time.monotonic()
            conn.settimeout(20)
            try:
                said = conn.recv(1)
                raise LabError(f"H read {said!r} in the place of a reset")
            except ConnectionResetError:
                took = time.monotonic() - begin
            finally:
                done.set()
                made.server.ip("link set s0 up")
    assert took <= 8, f"{took:.1f} s"
    return round(took, 2)


@row("I-TMO", "silent ends are probed, dead ones passed on, live ones kept however idle", goal="all pass")
def probes() -> str:
    return f"{rust_test('stack', 'keepalive')}, timeouts: {rust_test('apps', 'relay_timeouts')}"


# Fragments and headers


@row("I-FRAG", "TCP in fragments on split and other flows, in any order; overlaps deliver nothing; bounded", goal="all pass")
def tcp_fragments() -> str:
    return rust_test("apps", "fragments")


@row("I-FRAG", "octets of one UDP datagram in three fragments (IPv6: on a packet socket the kernel joins those of IPv4) that S answered", goal="4000", unit="octets")
def udp_fragments(made: Chain) -> int:
    data = peer.payload(4000, 4)
    with made.server.entered():
        sink = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with made.host.entered():
        source = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with sink, source:
        sink.bind((V6.server, 7010))
        for end in (sink, source):
            end.settimeout(5)
        source.sendto(data, (V6.server, 7010))
        said, whence = sink.recvfrom(65535)
        sink.sendto(said, whence)
        back = source.recv(65535)
    assert back == data
    return len(back)


@row("I-EXT", "segments and SYNs with IPv4 options: taken on split flows, passed on otherwise, counted; none lost", goal="all pass")
def ip_options() -> str:
    return rust_test("apps", "ip_options")


@row("I-EXT", "UDP datagrams with IPv4 options, and with IPv6 destination options, that S answered", goal="2", unit="datagrams")
def options_in_transit(made: Chain) -> int:
    answered = 0
    padding = b"\x00\x00\x01\x04\x00\x00\x00\x00"
    for family, address, level, option, value in (
        (socket.AF_INET, V4.server, socket.IPPROTO_IP, socket.IP_OPTIONS, bytes([7, 7, 4, 0, 0, 0, 0, 0])),
        (socket.AF_INET6, "fd00:9::2", socket.IPPROTO_IPV6, socket.IPV6_DSTOPTS, padding),
    ):
        with made.server.entered():
            sink = socket.socket(family, socket.SOCK_DGRAM)
        with made.host.entered():
            source = socket.socket(family, socket.SOCK_DGRAM)
        with sink, source:
            sink.bind((address, 7020))
            for end in (sink, source):
                end.settimeout(5)
            source.setsockopt(level, option, value)
            source.sendto(struct.pack("!I", 7), (address, 7020))
            said, whence = sink.recvfrom(100)
            sink.sendto(said, whence)
            answered += source.recv(100) == said
    return answered
