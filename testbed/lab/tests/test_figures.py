"""What the benches print, read as rows of the report."""

from __future__ import annotations

import unittest

from ..bench.memory import told_of_workers
from ..shell import LabError

SAID = """cores 0 and 1; hardware threads of core 0, as the machine says: 0
one 3000000 segments/s, two 5400000: 1.800; two apart 5700000: 1.900; 207038 of 820000 frames handed over
one 2000000 segments/s, two 3200000: 1.600; two apart 3900000: 1.950; 207038 of 820000 frames handed over
one 1000000 segments/s, two 1850000: 1.850; two apart 1850000: 1.850; 207038 of 820000 frames handed over
B12 1.800 (1.600 to 1.850); two apart 1.900 (1.850 to 1.950); 2 runs made anew, as others were on the cores
"""


class Figures(unittest.TestCase):
    """Of an example's output, row by row."""

    def test_workers_stand_beside_what_the_cores_can_do(self) -> None:
        two, apart = told_of_workers(SAID)
        self.assertEqual([two.id, apart.id], ["B12", "B12.apart"])
        self.assertEqual((two.values, two.value, two.met), ([1.8, 1.6, 1.85], 1.8, True))
        self.assertEqual((apart.values, apart.value, apart.met), ([1.9, 1.95, 1.85], 1.9, None))
        self.assertIn("hardware threads of core 0", two.more["said"])

    def test_an_example_that_says_nothing_of_it_is_no_row(self) -> None:
        with self.assertRaises(LabError):
            told_of_workers("B12 needs two cores\n")
