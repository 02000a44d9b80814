"""How a flow begins when the server is not as one hopes, and flows that are not bonded."""

from __future__ import annotations

import errno
import socket
import time

from .. import peer
from ..capture import ACK, RST, SYN, read
from ..shim import shim
from ..topology import CORE, V4, V6
from .case import HagCase


class SetUp(HagCase):
    """Refusal, silence and slowness of the server reach the client as they would without us."""

    def deafen(self, verdict: str) -> None:
        """What the server does with segments to port 80 until the test ends."""
        chain = f"chain in {{\n type filter hook input priority 0\n tcp dport 80 {verdict}\n }}"
        self.made.server.run("nft", "-f", "-", stdin=f"table inet deaf {{\n {chain}\n}}\n")
        self.addCleanup(self.made.server.run, "nft", "delete", "table", "inet", "deaf")

    def test_server_refuses(self) -> None:
        begin = time.monotonic()
        with self.assertRaises(ConnectionRefusedError):
            self.call(port=81)
        self.assertLess(time.monotonic() - begin, 0.5)
        self.assert_wire_right()
        self.assert_nothing_left()

    def test_server_refuses_over_ipv6(self) -> None:
        with self.assertRaises(ConnectionRefusedError):
            self.call(V6, port=81)
        self.assert_wire_right()
        self.assert_nothing_left()

    def test_server_unreachable(self) -> None:
        self.deafen("reject with icmpx admin-prohibited")
        # An ICMP error is soft while a SYN is retried: the client may go on, it must learn of it all the same.
        conn = self.made.client.socket(mptcp=True)
        self.addCleanup(conn.close)
        conn.settimeout(4.0)
        with self.assertRaises(OSError) as failed:
            conn.connect((V4.server, 80))
        self.assertIn(failed.exception.errno, (errno.EHOSTUNREACH, errno.EACCES, errno.ENETUNREACH, None), failed.exception)

    def test_server_silent(self) -> None:
        self.deafen("drop")
        with self.assertRaises(TimeoutError):
            self.call(timeout=4.5)
        self.finish_captures()
        answers = [packet for packet in read(self.files["c1"]) if packet.src == V4.server]
        self.assertEqual(answers, [], "somebody answered in the server's place")
        syns = [packet for packet in read(self.files["core"]) if packet.flags & SYN]
        self.assertGreaterEqual(len(syns), 4, "the client's retries must reach the server")
        self.assertTrue(all(packet.mptcp == [] for packet in syns))

    def test_server_slow_by_five_seconds(self) -> None:
        data = peer.payload(300_000, 9)
        with shim(self.made, CORE, "delay-synack:5000"), peer.listening(self.made.server, peer.sends(data)) as server:
            begin = time.monotonic()
            with self.call() as conn:
                self.assertGreaterEqual(time.monotonic() - begin, 4.9)
                got = peer.read_all(conn)
            server.join()
        self.same(data, got)
        self.assertEqual(server.peers, [V4.client1])
        self.finish_captures()
        early = [packet for packet in read(self.files["c1"]) if packet.src == V4.server]
        late = [packet for packet in read(self.files["core"]) if packet.src == V4.server]
        self.assertGreaterEqual(early[0].at, late[0].at, "answered before the server did")
        self.assert_wire_right()
        self.assert_nothing_left()

    def test_reset_by_the_server_reaches_the_client(self) -> None:
        def serve(conn: socket.socket) -> None:
            conn.recv(64)
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

        with peer.listening(self.made.server, serve) as server, self.call() as conn:
            conn.sendall(b"question")
            with self.assertRaises(ConnectionResetError):
                peer.read_all(conn)
            server.join()
        self.assert_wire_right()
        self.assert_nothing_left()

    def test_reset_by_the_client_reaches_the_server(self) -> None:
        with peer.listening(self.made.server, lambda conn: peer.read_all(conn) and None) as server:
            conn = self.call()
            conn.sendall(b"question")
            time.sleep(0.3)
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            conn.close()
            server.join()
        self.assertEqual(server.failures, [str(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))])
        self.assert_wire_right()
        self.assert_nothing_left()

    def test_client_without_mptcp_passes_untouched(self) -> None:
        data = peer.payload(1_000_000, 10)
        with peer.listening(self.made.server, peer.sends(data)) as server, self.call(mptcp=False) as conn:
            self.same(data, peer.read_all(conn))
            conn.shutdown(socket.SHUT_WR)
            server.join()
        self.finish_captures()
        sides = []
        for name in ("c1", "core"):
            sides.append({(p.src, p.dst, p.sport, p.dport, p.seq, p.flags, p.payload, p.options) for p in read(self.files[name])})
        # Data that the line's queue lost was sent by one side only; what reached the client or left it is the same.
        self.assertEqual({p for p in sides[0] - sides[1]}, set(), "segments at the client that the core side never carried")
        opened = [p for p in read(self.files["core"]) if p.flags & (SYN | RST)]
        self.assertEqual([p.flags & (SYN | ACK | RST) for p in opened], [SYN, SYN | ACK])
        self.assert_wire_right()
        self.assert_nothing_left()
