"""A HAG of two workers, each with a queue of every port: the kernel spreads frames over them by a hash of its own."""

from __future__ import annotations

import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

from .. import peer
from ..shell import wait_until
from ..topology import V4, V6
from .case import HagCase

SIZE = 4_000_000

CONNECTIONS = 40


class Cores(HagCase):
    """What comes to the wrong worker is handed over, and nobody notices."""

    cores = tuple(sorted(os.sched_getaffinity(0))[:2])

    def assert_handed_over(self) -> None:
        """Some frames came to the wrong worker, none was lost on the way, and all were taken."""
        counters = self.running.counters()
        self.assertGreater(counters["handed_over"], 0)
        self.assertEqual((counters["handover_full"], counters["drop_no_core"]), (0, 0))
        self.assertEqual(counters["taken_over"], counters["handed_over"])

    def test_transfers_both_ways_over_both_families(self) -> None:
        for addresses in (V4, V6):
            self.download(SIZE, addresses=addresses)
            self.upload(SIZE, addresses=addresses)
        self.assert_nothing_left()
        self.assert_handed_over()

    def test_joins_reach_the_worker_of_their_connection(self) -> None:
        data = peer.payload(30_000, 5)
        before = self.running.counters()

        joined = threading.Event()

        def serve(conn: socket.socket) -> None:
            joined.wait(peer.PATIENCE_S)
            conn.sendall(data)
            peer.read_all(conn)

        def fetch(_number: int) -> bool:
            with peer.connect(self.made.client, V4.server) as conn:
                got = b""
                while len(got) < len(data):
                    got += conn.recv(65_536)
                return got == data

        with peer.listening(self.made.server, serve) as server, ThreadPoolExecutor(CONNECTIONS) as pool:
            fetching = pool.map(fetch, range(CONNECTIONS))
            accepted = lambda: self.running.counters()["join_accepted"] - before["join_accepted"]  # noqa: E731
            wait_until("each connection has its second subflow", lambda: accepted() >= CONNECTIONS, peer.PATIENCE_S)
            joined.set()
            fetched = sum(fetching)
            server.join()
        self.assertEqual(fetched, CONNECTIONS)
        after = self.running.counters()
        moved = {name: after[name] - before[name] for name in after}
        self.assertEqual((moved["join_accepted"], moved["join_no_token"], moved["not_ours_reset"]), (CONNECTIONS, 0, 0), moved)
        # A hash that knows nothing of ours gives half of the joins, and of all else, to the wrong one of two workers.
        ports = self.running.show("ports")["ports"]
        share = after["handed_over"] / sum(port["rx_packets"] for port in ports)
        self.assertGreater(share, 0.2, "frames that were handed over")
        self.assert_bonded(joins=CONNECTIONS)
        self.assert_nothing_left()
        self.assert_handed_over()
