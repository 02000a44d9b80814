"""The whole chain, quickly: some rows of `make interop` that need no emulated links."""

from __future__ import annotations

import tempfile
import unittest
from contextlib import ExitStack
from pathlib import Path

from ..chain import Chain, chain
from ..chainconfig import WIRE, Setup
from ..interop import addresses, relay, setup
from ..interop.rows import PLAIN
from ..running import ROOT


class ChainCase:
    """One chain for a class; mixed into its test case."""

    on: Setup = PLAIN
    made: Chain
    _stack = ExitStack()

    @classmethod
    def setUpClass(cls) -> None:
        base = ROOT / "target" / "lab"
        base.mkdir(parents=True, exist_ok=True)
        cls._stack = ExitStack()
        cls.made = cls._stack.enter_context(chain(cls.on, work=Path(tempfile.mkdtemp(prefix=f"{cls.__name__}-", dir=base))))

    @classmethod
    def tearDownClass(cls) -> None:
        cls.leave()

    @classmethod
    def leave(cls) -> None:
        """Removes the chain, if there is one."""
        cls._stack.close()

    def tearDown(self) -> None:
        self.made.check_boxes()


class WholeChain(ChainCase, unittest.TestCase):
    """Host, HCPE, HAG and server."""

    def test_both_families_are_bonded_and_the_server_sees_one_address(self) -> None:
        self.assertEqual(addresses.the_server_sees_one_address(self.made), 0)

    def test_the_primary_carries_the_ends_addresses(self) -> None:
        self.assertEqual(addresses.the_primary_carries_the_ends_addresses(self.made), 0)

    def test_nothing_is_sent_before_the_server_answers(self) -> None:
        self.assertEqual(setup.nothing_is_sent_before_the_answer(self.made), 0)

    def test_resets_reach_the_far_end(self) -> None:
        self.assertLess(relay.a_reset_reaches_the_far_end(self.made), 0.5)

    def test_each_direction_ends_by_itself(self) -> None:
        self.assertEqual(relay.each_direction_ends_by_itself(self.made), 2)

    def test_traffic_classes_go_along(self) -> None:
        self.assertEqual(relay.dscp_goes_along(self.made), 0)


class WithoutHag(ChainCase, unittest.TestCase):
    """The network routes around the HAG."""

    on = Setup(links=(WIRE, WIRE), boxes=("hcpe",))

    def test_the_host_keeps_address_and_service(self) -> None:
        self.assertEqual(addresses.the_hag_is_taken_away(self.made), "works")
