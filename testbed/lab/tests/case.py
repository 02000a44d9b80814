"""The frame of a kernel-peer test: scene, box and captures before it, the judges after it."""

from __future__ import annotations

import os
import socket
import tempfile
import unittest
from contextlib import ExitStack
from pathlib import Path

from .. import counters, peer
from ..box import box
from ..capture import captures, read, tshark
from ..hag import Hag
from ..running import ROOT
from ..judge import judge
from ..topology import CORE, V4, V6, Addresses, Scene, scene

BOX = os.environ.get("BRAID_BOX", "hag")
FULL = 65535


class HagCase(unittest.TestCase):
    """One scene and one HAG for a class; captures, counters and judges for each test."""

    shaped = True
    cores: tuple[int, ...] = (0,)
    made: Scene
    running: Hag | None
    _class_stack = ExitStack()

    @classmethod
    def setUpClass(cls) -> None:
        with ExitStack() as stack:
            base = ROOT / "target" / "lab"
            base.mkdir(parents=True, exist_ok=True)
            work = Path(tempfile.mkdtemp(prefix=f"{cls.__name__}-", dir=base))
            cls.made = stack.enter_context(scene(work=work, shaped=cls.shaped))
            # A client that meets a silent server must not turn its MPTCP off for the tests that follow.
            cls.made.client.sysctl(net__mptcp__blackhole_timeout=0)
            cls.running = stack.enter_context(box(cls.made, BOX, cls.cores))
            cls._class_stack = stack.pop_all()

    @classmethod
    def tearDownClass(cls) -> None:
        cls.leave()

    @classmethod
    def leave(cls) -> None:
        """Removes the scene, if there is one."""
        cls._class_stack.close()

    def setUp(self) -> None:
        name = self._testMethodName
        self.folder = self.made.work / name
        self.folder.mkdir()
        self.files: dict[str, Path] = {}
        self._captured = ExitStack()
        wanted = ((self.made.client, "c1", "c1"), (self.made.client, "c2", "c2"), (self.made.line(CORE), "left", "core"))
        self.files = self._captured.enter_context(captures(self.folder, *wanted, snap=FULL))
        self.addCleanup(self._captured.close)
        self._kernel_before = self.made.client.nstat("MPTcpExt")

    # Acting

    def call(self, addresses: Addresses = V4, **options) -> socket.socket:
        """The client's socket, connected to the server."""
        conn = peer.connect(self.made.client, addresses.server, **options)
        self.addCleanup(conn.close)
        return conn

    def download(self, size: int, *, addresses: Addresses = V4, **options) -> bytes:
        """Fetches octets that the server draws, and compares them."""
        data = peer.payload(size, size)
        family = socket.AF_INET6 if addresses is V6 else socket.AF_INET
        with peer.listening(self.made.server, peer.sends(data), family=family) as server:
            with self.call(addresses, **options) as conn:
                got = peer.read_all(conn)
            server.join()
        self.same(data, got)
        self.assertEqual({address.removeprefix("::ffff:") for address in server.peers}, {addresses.client1})
        return got

    def upload(self, size: int, *, addresses: Addresses = V4, **options) -> None:
        """Sends octets and compares the server's digest of them."""
        data = peer.payload(size, size + 1)
        family = socket.AF_INET6 if addresses is V6 else socket.AF_INET
        with peer.listening(self.made.server, peer.digests, family=family) as server:
            with self.call(addresses, **options) as conn:
                conn.sendall(data)
                conn.shutdown(socket.SHUT_WR)
                answer = peer.read_all(conn).decode()
            server.join()
        self.assertEqual(answer, peer.digest(data), "the server read other octets than the client wrote")

    # Judging

    def same(self, wanted: bytes, got: bytes) -> None:
        """Byte-exact; names the first difference."""
        if wanted == got:
            return
        at = next((index for index, pair in enumerate(zip(wanted, got)) if pair[0] != pair[1]), min(len(wanted), len(got)))
        self.fail(f"{len(got)} octets arrived of {len(wanted)}; the first difference is at {at}")

    def moved(self) -> dict[str, int]:
        """The client kernel's MPTCP counters since the test began."""
        return counters.difference(self._kernel_before, self.made.client.nstat("MPTcpExt"))

    def finish_captures(self) -> None:
        """Ends the captures: the files may be read then."""
        self._captured.close()

    def assert_bonded(self, *, joins: int, addresses: Addresses = V4, least_share: float = 0.0) -> None:
        """The client's kernel counted no trouble and so many joins, and the judges find the captures right."""
        moved = self.moved()
        self.assertEqual(counters.trouble(moved), {}, "the client's kernel counted trouble")
        # An IPv6 socket of the kernel joins announced addresses of both families, by the same access.
        allowed = {joins, 2 * joins} if addresses is V6 else {joins}
        self.assertIn(moved.get(counters.JOINS, 0), allowed, f"joins by the client's kernel: {moved}")
        self.assert_wire_right("capable_keys", "add_addr_hmac", *(("join_hmac_a", "join_hmac_b", "join_token") if joins else ()))
        if least_share:
            carried = [sum(packet.payload for packet in read(self.files[name])) for name in ("c1", "c2")]
            self.assertGreaterEqual(min(carried) / max(1, sum(carried)), least_share, f"octets by path: {carried}")

    def assert_wire_right(self, *require: str) -> None:
        """What every capture must show: right checksums, no malformed packet, no MPTCP towards the server, and what the judge says."""
        self.finish_captures()
        leaked = tshark(self.files["core"], "tcp.option_kind == 30", "frame.number", "ip.src", "tcp.flags.str")
        self.assertEqual(leaked, [], "MPTCP options on the core side")
        for name, file in self.files.items():
            # The kernel writes 0xffff where the sum is 0, over IPv6: the same number in ones complement.
            wrong = "_ws.malformed || (tcp.checksum.status == 0 && tcp.checksum != 0xffff) || ip.checksum.status == 0"
            bad = tshark(file, wrong, "frame.number", "ip.src", "ipv6.src")
            self.assertEqual(bad, [], f"malformed packets or wrong checksums on {name}")
        verdict = judge([self.files["c1"], self.files["c2"]], [self.files["core"]], require)
        self.assertTrue(verdict.ok, f"the judge: {verdict.text}")

    def assert_nothing_left(self) -> None:
        """The HAG holds no relay once the connections have ended."""
        if self.running:
            self.assertEqual(self.running.relays_left(), 0, f"relays left: {self.running.connections()}")
            self.assertEqual(self.running.counters()["copied_in_stack"], 0)
