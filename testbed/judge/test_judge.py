"""The judge judged: it passes what kernels sent to each other, and every check fails when its subject is broken."""

from __future__ import annotations

import contextlib
import io
import json
import struct
import tempfile
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mptcp_judge
import option30
from craft import CLIENT, KEY_A, KEY_B, RAW_IP, SERVER, Script, option, segment, write
from option30 import AddAddr, Capable, Dss, JoinAck, JoinSyn, JoinSynAck
from packets import ACK, SYN, read
from verdict import CHECKS

CAPTURES = Path(__file__).resolve().parent.parent / "captures"
JOIN = CAPTURES / "v1-kernel618-addaddr-join.pcapng"
CHECKSUM = CAPTURES / "v1-kernel618-checksum.pcap"
FULLMESH = CAPTURES / "v0-kernel54-fullmesh-checksum.pcapng"


def run(*args: str | Path) -> tuple[int, dict[str, Any]]:
    """Exit code and report."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        code = mptcp_judge.main([str(arg) for arg in args])
    return code, json.loads(out.getvalue()) if out.getvalue() else {}


def failing(report: dict[str, Any]) -> set[str]:
    """The checks that failed."""
    return {name for name, check in report["checks"].items() if not check["ok"]}


def find(capture: Path, wanted: Callable[[option30.Option], bool]) -> bytes:
    """The octets of the first option of a capture that is wanted."""
    for packet in read(capture):
        for raw in option30.options30(packet.options):
            if wanted(option30.parse(raw)):
                return raw
    raise AssertionError("no such option")


def flipped(octets: bytes, at: int) -> bytes:
    """The octets with one bit of octet `at` turned."""
    return octets[:at] + bytes([octets[at] ^ 1]) + octets[at + 1 :]


class Temporary(unittest.TestCase):
    """A test with a directory of its own."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)

    def corrupt(self, capture: Path, old: bytes, new: bytes) -> Path:
        """A copy with the first occurrence of `old` replaced."""
        octets = capture.read_bytes()
        self.assertEqual(len(old), len(new))
        self.assertIn(old, octets)
        path = self.directory / capture.name
        path.write_bytes(octets.replace(old, new, 1))
        return path

    def option_flipped(self, capture: Path, wanted: Callable[[option30.Option], bool], at: int) -> Path:
        """A copy with one bit of an option turned."""
        raw = find(capture, wanted)
        return self.corrupt(capture, raw, flipped(raw, at))

    def script(self, script: Script, name: str = "script.pcap") -> Path:
        """A scripted connection as a capture."""
        return write(self.directory / name, script.frames)


class RealCaptures(unittest.TestCase):
    """What kernels sent to each other holds."""

    def test_every_capture_holds(self) -> None:
        captures = sorted(CAPTURES.glob("*.pcap*"))
        self.assertEqual(len(captures), 6)
        for capture in captures:
            with self.subTest(capture.name):
                required = ["join_token", "join_hmac_b", "join_hmac_a", "no_gap=2", "data_ack_not_ahead=10"]
                if not capture.name.startswith("v0"):
                    required.append("add_addr_hmac")
                if "checksum" in capture.name:
                    required.append("dss_checksum=50")
                code, report = run(capture, *(part for name in required for part in ("--require", name)))
                self.assertEqual((code, failing(report), report["missing"]), (0, set(), []))

    def test_the_full_mesh_of_version_0(self) -> None:
        _, report = run(FULLMESH)
        (connection,) = report["connections"]
        self.assertEqual(connection["version"], 0)
        self.assertEqual(connection["data_octets"], [614400, 101])
        self.assertEqual([flow["join"] for flow in connection["subflows"]], [None, *["completed"] * 3])

    def test_a_join_of_the_accepting_side(self) -> None:
        _, report = run(CAPTURES / "v1-kernel618-listener-side-join.pcapng")
        joined = report["connections"][0]["subflows"][1]
        self.assertEqual((joined["opened_by"], joined["join"]), ("responder", "completed"))
        self.assertEqual(joined["other"], "10.12.0.2:7777")

    def test_live_vector_b_is_in_the_capture(self) -> None:
        first = find(CHECKSUM, lambda o: isinstance(o, Capable) and o.length is not None)
        self.assertEqual(first.hex(), "1e1801816028d36faec348fb80bbdf0d6bed5eab00643f2b")


class EachCheckFails(Temporary):
    """For every check a capture in which it, and it alone where that can be, fails."""

    def assert_fails(self, name: str, *args: str | Path, others: set[str] | None = None) -> None:
        code, report = run(*args)
        self.assertEqual((code, failing(report)), (1, {name} | (others or set())))
        self.assertTrue(report["checks"][name]["examples"])

    def test_there_is_a_test_for_every_check(self) -> None:
        tested = {name.removeprefix("test_fails_").split("__")[0] for name in dir(self) if "test_fails_" in name}
        self.assertEqual(tested, set(CHECKS))

    def test_fails_join_token(self) -> None:
        # The data of a subflow that belongs to nobody is missing in the connection.
        for capture in (JOIN, FULLMESH):
            broken = self.option_flipped(capture, lambda o: isinstance(o, JoinSyn), 7)
            self.assert_fails("join_token", broken, others={"no_gap", "data_ack_not_ahead"})

    def test_fails_join_hmac_b(self) -> None:
        for capture in (JOIN, FULLMESH):
            for at in (4, 11):
                broken = self.option_flipped(capture, lambda o: isinstance(o, JoinSynAck), at)
                self.assert_fails("join_hmac_b", broken)

    def test_fails_join_hmac_b__nonce(self) -> None:
        broken = self.option_flipped(JOIN, lambda o: isinstance(o, JoinSynAck), 15)
        self.assert_fails("join_hmac_b", broken, others={"join_hmac_a"})

    def test_fails_join_hmac_a(self) -> None:
        for capture in (JOIN, FULLMESH):
            for at in (4, 23):
                self.assert_fails("join_hmac_a", self.option_flipped(capture, lambda o: isinstance(o, JoinAck), at))

    def test_fails_add_addr_hmac(self) -> None:
        for at in (3, 4, 15):
            broken = self.option_flipped(JOIN, lambda o: isinstance(o, AddAddr) and not o.echo, at)
            self.assert_fails("add_addr_hmac", broken)

    def test_fails_dss_checksum(self) -> None:
        def last(o: option30.Option) -> bool:
            return isinstance(o, Dss) and o.mapping is not None

        raw = find(FULLMESH, last)
        self.assert_fails("dss_checksum", self.corrupt(FULLMESH, raw, flipped(raw, len(raw) - 1)))
        first = find(CHECKSUM, lambda o: isinstance(o, Capable) and o.length is not None)
        self.assert_fails("dss_checksum", self.corrupt(CHECKSUM, first, flipped(first, 23)))

    def test_fails_dss_checksum__payload(self) -> None:
        payload = next(packet.payload for packet in read(CHECKSUM) if len(packet.payload) > 500)
        self.assert_fails("dss_checksum", self.corrupt(CHECKSUM, payload, flipped(payload, 17)))

    def test_fails_dss_checksum__data_fin(self) -> None:
        raw = find(CHECKSUM, lambda o: isinstance(o, Dss) and o.mapping is not None and o.mapping.fin)
        self.assert_fails("dss_checksum", self.corrupt(CHECKSUM, raw, flipped(raw, len(raw) - 1)))

    def test_fails_capable_keys(self) -> None:
        broken = self.option_flipped(JOIN, lambda o: isinstance(o, Capable) and len(o.keys) == 2, 19)
        self.assert_fails("capable_keys", broken)

    def test_fails_capable_flags(self) -> None:
        raw = find(JOIN, lambda o: isinstance(o, Capable) and len(o.keys) == 2)
        for flags in (0x81, 0x41):
            broken = self.corrupt(JOIN, raw, raw[:3] + bytes([flags]) + raw[4:])
            self.assert_fails("capable_flags", broken)

    def test_fails_capable_answer(self) -> None:
        script = Script().up(0, b"", flags=SYN)
        script.down(1, option(b"\x01\x01" + KEY_B), flags=SYN | ACK)
        self.assert_fails("capable_answer", self.script(script))

    def test_fails_capable_answer__plain_retry(self) -> None:
        script = Script().up(0, option(b"\x01\x01"), flags=SYN).up(0, b"", flags=SYN)
        script.down(1, option(b"\x01\x01" + KEY_B), flags=SYN | ACK)
        self.assert_fails("capable_answer", self.script(script))

    def test_fails_capable_answer__version_0_without_the_key(self) -> None:
        script = Script().up(0, option(b"\x01\x01"), flags=SYN)
        script.down(1, option(b"\x00\x01" + KEY_B), flags=SYN | ACK)
        self.assert_fails("capable_answer", self.script(script))

    def test_fails_checksum_form(self) -> None:
        for checksum, given in ((False, 0x1234), (True, None)):
            script = Script(checksum=checksum).begin()
            script.up(1, script.dss(0, 1, 5, checksum=given), b"hello")
            self.assert_fails("checksum_form", self.script(script))

    def test_fails_option_form(self) -> None:
        raw = find(JOIN, lambda o: isinstance(o, Dss) and o.mapping is None)
        broken = self.corrupt(JOIN, raw, raw[:3] + bytes([raw[3] ^ 2]) + raw[4:])
        self.assert_fails("option_form", broken)

    def test_fails_mapping_fixed(self) -> None:
        script = Script().begin()
        script.up(1, script.dss(0, 1, 10), b"hello").up(6, script.dss(1, 1, 10), b"world")
        self.assert_fails("mapping_fixed", self.script(script))

    def test_fails_same_octets(self) -> None:
        script = Script().begin()
        script.up(1, script.dss(0, 1, 5), b"hello").up(6, script.dss(0, 6, 5), b"hallo")
        self.assert_fails("same_octets", self.script(script))

    def test_fails_data_is_mapped(self) -> None:
        script = Script().begin()
        script.up(1, script.dss(0, 1, 5), b"hello").up(6, b"", b"world")
        self.assert_fails("data_is_mapped", self.script(script))

    def test_fails_data_fin_fixed(self) -> None:
        script = Script().begin()
        script.up(1, script.dss(0, 1, 6, fin=True), b"hello").up(6, script.dss(6, 0, 1, fin=True))
        self.assert_fails("data_fin_fixed", self.script(script))

    def test_fails_data_ack_not_ahead(self) -> None:
        script = Script().begin()
        script.up(1, script.dss(0, 1, 5), b"hello").down(6, script.ack_of(6))
        self.assert_fails("data_ack_not_ahead", self.script(script))

    def test_fails_no_gap(self) -> None:
        script = Script().begin()
        script.up(1, script.dss(0, 1, 5), b"hello").up(6, script.dss(6, 6, 5), b"world")
        script.down(11, script.ack_of(11))
        self.assert_fails("no_gap", self.script(script))

    def plain(self, answered_at: int | None, syn_options: bytes = b"") -> Path:
        """The server's side of a flow, its SYN+ACK at `answered_at` microseconds."""
        frames = [(10**6, segment(CLIENT, SERVER, 7, 0, SYN, syn_options))]
        if answered_at is not None:
            frames.append((answered_at * 1000, segment(SERVER, CLIENT, 9, 8, SYN | ACK)))
        return write(self.directory / "server.pcap", frames)

    def test_fails_no_option_30(self) -> None:
        client = self.script(Script().begin())
        for leak in (option(b"\x01\x01"), b"\x1e\x02"):
            self.assert_fails("no_option_30", client, "--server", self.plain(1900, leak))

    def test_fails_syn_ack_after_server(self) -> None:
        client = self.script(Script().begin())  # its SYN+ACK is at 2000 us
        self.assertEqual(run(client, "--server", self.plain(1900))[0], 0)
        self.assertEqual(run(client, "--server", self.plain(2500), "--slack-us", "500")[0], 0)
        self.assertEqual(run(client, "--server", self.plain(2500), "--slack-us", "499")[0], 1)
        self.assert_fails("syn_ack_after_server", client, "--server", self.plain(2001))
        self.assert_fails("syn_ack_after_server", client, "--server", self.plain(52000))
        self.assert_fails("syn_ack_after_server", client, "--server", self.plain(None))


class WhatIsLegal(Temporary):
    """What must not fail."""

    def test_a_scripted_connection(self) -> None:
        script = Script(checksum=True).begin()
        dsn = (script.idsn + 1) % 2**64
        sums = [option30.dss_checksum(dsn, 1, 5, b"hello"), option30.dss_checksum((dsn + 5) % 2**64, 0, 1, b"")]
        script.up(1, script.dss(0, 1, 5, checksum=sums[0]), b"hello").down(6, script.ack_of(5))
        script.up(6, script.dss(5, 0, 1, fin=True, checksum=sums[1])).down(6, script.ack_of(6))
        code, report = run(self.script(script), "--require", "dss_checksum=2", "--require", "data_is_mapped")
        self.assertEqual((code, failing(report)), (0, set()))

    def test_a_mapping_may_come_after_its_data(self) -> None:
        script = Script().begin().up(6, b"", b"world")
        script.up(1, script.dss(0, 1, 10), b"hello").down(11, script.ack_of(10))
        self.assertEqual(failing(run(self.script(script))[1]), set())

    def test_fallbacks_are_counted_and_need_no_mapping(self) -> None:
        third = Script()
        third.up(0, option(b"\x01\x01"), flags=SYN).down(1, option(b"\x01\x01" + KEY_B), flags=SYN | ACK)
        third.up(1, b"").up(1, b"", b"hello")
        infinite = Script().begin()
        infinite.up(1, infinite.dss(0, 1, 5), b"hello").up(6, infinite.dss(5, 6, 0), b"world").up(11, b"", b"!")
        answer = Script().up(0, option(b"\x01\x01"), flags=SYN).down(1, b"", flags=SYN | ACK).up(1, b"", b"hello")
        for name, script in {"third_ack": third, "infinite_mapping": infinite, "syn_ack": answer}.items():
            with self.subTest(name):
                code, report = run(self.script(script))
                self.assertEqual((code, report["counts"].get(f"fallback_{name}")), (0, 1))

    def test_what_the_capture_missed_is_skipped(self) -> None:
        script = Script().begin()
        script.up(1, script.dss(0, 1, 5), b"hello").down(11, script.ack_of(10))
        code, report = run(self.script(script))
        self.assertEqual((code, report["checks"]["data_ack_not_ahead"]["skipped"]), (0, 1))

    def test_a_refused_join_is_no_failure(self) -> None:
        asked = option(b"\x10\x01" + struct.pack("!II", 0xDEADBEEF, 7))
        script = Script().begin().send(segment(("10.2.0.2", 9), ("10.99.0.2", 80), 1, 0, SYN, asked))
        code, report = run(self.script(script))
        self.assertEqual((code, report["counts"]["syn_mp_join"]), (0, 1))


class Reading(Temporary):
    """Every file format and link type gives the same packets."""

    def test_link_types_and_byte_orders(self) -> None:
        for client, server, ethertype in (
            (CLIENT, SERVER, b"\x08\x00"),
            (("fd00:1::2", 40000), ("fd00:9::2", 80), b"\x86\xdd"),
        ):
            ip = segment(client, server, 1, 0, SYN, option(b"\x01\x01"), b"data")
            links = {
                RAW_IP: ip,
                1: bytes(12) + ethertype + ip + bytes(6),
                113: bytes(14) + ethertype + ip,
                276: ethertype + bytes(18) + ip,
            }
            links_tagged = [*links.items(), (1, bytes(12) + b"\x88\xa8\x00\x05\x81\x00\x00\x06" + ethertype + ip)]
            for link, frame in links_tagged:
                for order in "<>":
                    for nano in (True, False):
                        path = write(self.directory / "a.pcap", [(1_500_000_000_123_456_000, frame)], link, order, nano)
                        (packet,) = read(path)
                        self.assertEqual(packet.time_ns, 1_500_000_000_123_456_000)
                        self.assertEqual((str(packet.src.addr), packet.src.port), client)
                        self.assertEqual((str(packet.dst.addr), packet.dst.port), server)
                        self.assertEqual((packet.options, packet.payload), (option(b"\x01\x01"), b"data"))

    def test_a_cut_packet_keeps_its_length(self) -> None:
        frame = segment(CLIENT, SERVER, 1, 0, ACK, b"", b"x" * 100)[:60]
        (packet,) = read(write(self.directory / "a.pcap", [(0, frame)]))
        self.assertEqual((packet.length, packet.payload), (100, b"x" * 20))

    def test_octets_of_any_kind_do_not_stop_the_reader(self) -> None:
        whole = segment(CLIENT, SERVER, 1, 0, SYN, option(b"\x01\x01" + KEY_A))
        frames = [(n, whole[:n]) for n in range(len(whole))]
        self.assertEqual(len(list(read(write(self.directory / "a.pcap", frames)))), 0)
        noise = [(n, flipped(whole, n)) for n in range(len(whole))]
        code, _ = run(write(self.directory / "b.pcap", noise))
        self.assertIn(code, (0, 1))


    def test_an_option_of_any_length_parses_or_is_bad(self) -> None:
        for first in range(256):
            for length in range(2, 41):
                for fill in (0x00, 0xFF):
                    with contextlib.suppress(option30.BadOption):
                        option30.parse(bytes([30, length, first] + [fill] * 37)[:length])


class CommandLine(Temporary):
    """Exit codes and messages."""

    def test_a_file_that_is_no_capture(self) -> None:
        path = self.directory / "x"
        path.write_text("hello, world")
        self.assertEqual(run(path)[0], 2)
        self.assertEqual(run(self.directory / "absent")[0], 2)

    def test_a_requirement_that_nothing_met(self) -> None:
        code, report = run(self.script(Script().begin()), "--require", "join_hmac_a")
        self.assertEqual((code, report["ok"], len(report["missing"])), (1, False, 1))

    def test_a_wrong_requirement_and_no_capture(self) -> None:
        for args in (["--require", "nothing", "x"], ["--require", "no_gap=x", "x"], []):
            with self.assertRaises(SystemExit) as raised:
                run(*args)
            self.assertEqual(raised.exception.code, 2)

    def test_help_names_every_check(self) -> None:
        out = io.StringIO()
        with contextlib.redirect_stdout(out), self.assertRaises(SystemExit) as raised:
            mptcp_judge.main(["--help"])
        self.assertEqual(raised.exception.code, 0)
        for name in CHECKS:
            self.assertIn(name, out.getvalue())


if __name__ == "__main__":
    unittest.main()
