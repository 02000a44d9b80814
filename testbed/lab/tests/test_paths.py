"""Paths that die in the middle of a transfer."""

from __future__ import annotations

import socket
import threading

from .. import peer
from ..topology import ACCESS1, ACCESS2, V4, Line
from .case import HagCase

SIZE = 10_000_000
CUT_AFTER_S = 0.8


class Paths(HagCase):
    """The connection goes on over the path that is left."""

    def cut_soon(self, line: Line) -> None:
        """Makes a line swallow every frame from a moment on, until the test ends."""
        timer = threading.Timer(CUT_AFTER_S, lambda: self.made.cut(line, dead=True))
        timer.start()
        self.addCleanup(self.made.cut, line, dead=False)
        self.addCleanup(timer.cancel)

    def test_download_survives_the_second_path(self) -> None:
        self.cut_soon(ACCESS2)
        self.download(SIZE)

    def test_upload_survives_the_second_path(self) -> None:
        self.cut_soon(ACCESS2)
        self.upload(SIZE)

    def test_download_survives_the_first_path(self) -> None:
        self.cut_soon(ACCESS1)
        self.download(SIZE)

    def test_upload_survives_the_first_path(self) -> None:
        self.cut_soon(ACCESS1)
        self.upload(SIZE)

    def test_a_stalled_reader_stalls_the_sender(self) -> None:
        sent = 0

        def serve(conn: socket.socket) -> None:
            nonlocal sent
            conn.setblocking(True)
            conn.settimeout(1.5)
            block = bytes(1 << 16)
            try:
                while sent < 200_000_000:
                    sent += conn.send(block)
            except TimeoutError:
                pass

        with peer.listening(self.made.server, serve) as server:
            conn = self.made.client.socket(mptcp=True)
            self.addCleanup(conn.close)
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 17)
            conn.settimeout(peer.PATIENCE_S)
            conn.connect((V4.server, 80))
            server.join()
            self.assertLess(sent, 40_000_000, "a reader that reads nothing must stop the sender")
            read = len(peer.read_all(conn))
        self.assertEqual(read, sent)
        self.assert_wire_right()
