"""A HAG that is told to stop: what runs goes on for a while, what is new passes it by."""

from __future__ import annotations

import socket
import time
import unittest

from .. import peer
from ..capture import read
from ..topology import V4
from .case import BOX, HagCase


@unittest.skipUnless(BOX == "hag", "only our process drains")
class Drain(HagCase):
    """SIGTERM with one relay open."""

    def test_new_flows_are_plain_while_draining_even_to_a_server_that_speaks_mptcp(self) -> None:
        self.made.server.sysctl(net__mptcp__enabled=1)
        running = self.running
        assert running is not None

        def echo(conn: socket.socket) -> None:
            while chunk := conn.recv(peer.CHUNK):
                conn.sendall(chunk)

        data = peer.payload(500_000, 13)
        with peer.listening(self.made.server, echo) as old, peer.listening(self.made.server, peer.sends(data), port=8080, mptcp=True) as new:
            held = self.call()
            held.sendall(b"before")
            self.assertEqual(peer.read_exactly(held, 6), b"before")
            time.sleep(0.3)
            running.tell_to_stop()
            time.sleep(0.5)
            joins = self.moved().get("MPTcpExtMPJoinSynAckRx", 0)
            with self.call(port=8080) as conn:
                self.same(data, peer.read_all(conn))
            self.assertEqual(new.peers, [V4.client1])
            self.assertEqual(self.moved().get("MPTcpExtMPJoinSynAckRx", 0), joins, "a bypassed flow was joined")
            self.assertEqual(self.moved().get("MPTcpExtMPCapableFallbackSYNACK", 0), 1, self.moved())
            held.sendall(b"after")
            self.assertEqual(peer.read_exactly(held, 5), b"after")
            held.shutdown(socket.SHUT_WR)
            self.assertEqual(peer.read_all(held), b"")
            held.close()
            old.join()
        self.assertEqual(running.process.wait(15), 0, running.process.output())
        self.finish_captures()
        server_side = [packet for packet in read(self.files["core"]) if 8080 in (packet.sport, packet.dport)]
        self.assertTrue(server_side)
        self.assertEqual([packet for packet in server_side if packet.mptcp], [], "the server must see plain TCP")
        self.assertEqual({packet.src for packet in server_side}, {V4.client1, V4.server})
