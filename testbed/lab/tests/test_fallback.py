"""Middleboxes: MPTCP options vanish, on a SYN, on its answer, or in the middle of the stream."""

from __future__ import annotations

import threading
import time

from .. import counters, peer
from ..capture import RST, read
from ..topology import V4
from .case import HagCase

SYN_ONLY = ("--tcp-flags", "SYN,ACK", "SYN")
SYN_ACK = ("--tcp-flags", "SYN,ACK", "SYN,ACK")
NOT_SYN = ("--tcp-flags", "SYN", "NONE")


class Fallback(HagCase):
    """The client's netfilter strips option 30 (TCPOPTSTRIP), as a middlebox next to it would."""

    def strip(self, *, out: tuple[str, ...] = (), back: tuple[str, ...] = (), device: str = "c1") -> None:
        """Strips matching segments that leave (`out`) or come (`back`) by `device` until the test ends."""
        for chain, way, match in (("POSTROUTING", "-o", out), ("PREROUTING", "-i", back)):
            if not match:
                continue
            rule = (chain, way, device, "-p", "tcp", *match, "-j", "TCPOPTSTRIP", "--strip-options", "30")
            self.made.client.run("iptables", "-w", "-t", "mangle", "-A", *rule)
            self.addCleanup(self.made.client.run, "iptables", "-w", "-t", "mangle", "-D", *rule)

    def assert_plain(self) -> None:
        """The connection went on as plain TCP on one path, and the wire is right."""
        self.assertEqual(self.moved().get(counters.JOINS, 0), 0)
        self.assert_wire_right()
        self.assert_nothing_left()

    def test_stripped_from_the_syn(self) -> None:
        self.strip(out=SYN_ONLY)
        self.download(1_000_000)
        self.upload(1_000_000)
        self.assert_plain()

    def test_stripped_from_the_syn_ack(self) -> None:
        self.strip(back=SYN_ACK)
        self.download(1_000_000)
        self.upload(1_000_000)
        self.assert_plain()

    def test_stripped_after_the_handshake(self) -> None:
        self.strip(out=NOT_SYN, back=NOT_SYN)
        self.download(1_000_000)
        self.upload(1_000_000)
        self.assert_plain()

    def test_stripped_from_data_of_the_server_only(self) -> None:
        self.strip(back=NOT_SYN)
        self.download(1_000_000)
        self.assert_plain()

    def test_stripped_from_data_of_the_client_only(self) -> None:
        self.strip(out=NOT_SYN)
        self.upload(1_000_000)
        self.assert_plain()

    def test_stripped_mid_stream_on_the_second_path(self) -> None:
        data = peer.payload(12_000_000, 11)
        with peer.listening(self.made.server, peer.sends(data)) as server, self.call() as conn:
            threading.Timer(0.7, lambda: self.strip(out=NOT_SYN, back=NOT_SYN, device="c2")).start()
            got = peer.read_all(conn)
            conn.close()
            server.join()
        self.same(data, got)
        self.assertEqual(server.peers, [V4.client1])
        self.finish_captures()
        resets = [packet for packet in read(self.files["c2"]) if packet.flags & RST]
        self.assertTrue(resets, "a subflow that loses its mappings must be reset")
        self.assert_nothing_left()

    def test_stripped_mid_stream_on_the_only_path_never_corrupts(self) -> None:
        self.made.client.ip("mptcp limits set subflows 0 add_addr_accepted 0")
        self.addCleanup(self.made.client.ip, "mptcp limits set subflows 2 add_addr_accepted 2")
        data = peer.payload(6_000_000, 12)
        with peer.listening(self.made.server, peer.sends(data)) as server, self.call() as conn:
            got = bytearray()
            started = time.monotonic()
            stripped = False
            try:
                while chunk := conn.recv(peer.CHUNK):
                    got += chunk
                    if not stripped and time.monotonic() - started > 0.7:
                        self.strip(out=NOT_SYN, back=NOT_SYN)
                        stripped = True
                self.same(data, bytes(got))
            except ConnectionError:
                # A reset is right too (RFC 8684 3.7); what was delivered until then must be the stream's beginning.
                self.assertTrue(data.startswith(bytes(got)), "what was delivered differs from what was sent")
            conn.close()
            server.join()
        self.assert_nothing_left()
