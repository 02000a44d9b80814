"""Whole transfers of one bonded connection, and many short ones."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from .. import peer
from ..topology import V4, V6, Addresses
from .case import HagCase

SIZE = 8_000_000

JOIN_S = 0.3
"""Time for the second path to join: the client's kernel resets a join that is answered after the first DATA_FIN."""

ALL_JOINS_S = 1.0
"""The same where the queues of the access are full meanwhile."""


class Transfer(HagCase):
    """Bytes in, the same bytes out, over both paths."""

    def test_download(self) -> None:
        self.download(SIZE)
        self.assert_bonded(joins=1, least_share=0.2)
        self.assert_nothing_left()

    def test_upload(self) -> None:
        self.upload(SIZE)
        self.assert_bonded(joins=1, least_share=0.2)
        self.assert_nothing_left()

    def both_at_once(self, addresses: Addresses) -> None:
        """The client sends and receives at the same time."""
        down, up = peer.payload(SIZE, 3), peer.payload(SIZE, 4)
        family = socket.AF_INET6 if addresses is V6 else socket.AF_INET
        with peer.listening(self.made.server, peer.exchanges(down), family=family) as server, self.call(addresses) as conn:

            def send() -> None:
                conn.sendall(up)
                time.sleep(ALL_JOINS_S)
                conn.shutdown(socket.SHUT_WR)

            writer = threading.Thread(target=send, daemon=True)
            writer.start()
            got = peer.read_all(conn)
            writer.join(peer.PATIENCE_S)
            server.join()
        self.assertEqual(server.peers, [addresses.client1])
        self.same(down + peer.digest(up).encode(), got)
        self.assert_bonded(joins=1, addresses=addresses, least_share=0.2)
        self.assert_nothing_left()

    def test_both_at_once(self) -> None:
        self.both_at_once(V4)

    def test_both_at_once_over_ipv6(self) -> None:
        self.both_at_once(V6)

    def test_download_over_ipv6(self) -> None:
        self.download(SIZE // 2, addresses=V6)
        self.assert_bonded(joins=1, addresses=V6, least_share=0.2)

    def test_200_short_connections(self) -> None:
        def serve(conn: socket.socket) -> None:
            asked = conn.recv(64)
            conn.sendall(b"answer to " + asked)

        def ask(number: int) -> bool:
            with peer.connect(self.made.client, V4.server) as conn:
                conn.sendall(f"{number}".encode())
                return peer.read_all(conn) == f"answer to {number}".encode()

        with peer.listening(self.made.server, serve) as server, ThreadPoolExecutor(20) as pool:
            answered = sum(pool.map(ask, range(200)))
            server.join()
        self.assertEqual(answered, 200)
        self.assertEqual(set(server.peers), {V4.client1})
        self.assertEqual(self.moved().get("MPTcpExtMPCapableSYNACKRX"), 200)
        self.assert_wire_right()
        self.assert_nothing_left()

    def test_half_close_by_the_client(self) -> None:
        data = peer.payload(SIZE // 4, 7)

        def serve(conn: socket.socket) -> None:
            # The answer begins only once the client's end has been read.
            asked = peer.read_all(conn)
            conn.sendall(data + asked)

        with peer.listening(self.made.server, serve) as server, self.call() as conn:
            conn.sendall(b"the whole question")
            time.sleep(JOIN_S)
            conn.shutdown(socket.SHUT_WR)
            got = peer.read_all(conn)
            server.join()
        self.same(data + b"the whole question", got)
        self.assert_bonded(joins=1)
        self.assert_nothing_left()

    def test_half_close_by_the_server(self) -> None:
        data = peer.payload(SIZE // 4, 8)
        heard: list[str] = []

        def serve(conn: socket.socket) -> None:
            conn.sendall(b"the server is done")
            time.sleep(JOIN_S)
            conn.shutdown(socket.SHUT_WR)
            heard.append(peer.digest(peer.read_all(conn)))

        with peer.listening(self.made.server, serve) as server, self.call() as conn:
            self.assertEqual(peer.read_all(conn), b"the server is done")
            conn.sendall(data)
            conn.shutdown(socket.SHUT_WR)
            server.join()
        self.assertEqual(heard, [peer.digest(data)])
        self.assert_bonded(joins=1)
        self.assert_nothing_left()
