"""What the TCP and Multipath TCP machines themselves must do, in virtual time: a day of clocks, a gigabit over 200 ms, losses,
unequal paths, rewritten payload. `make conformance` has all of their rules."""

from __future__ import annotations

from .rows import row, rust_test


def _tests(*names: tuple[str, str]) -> str:
    return ", ".join(f"{name}: {rust_test(package, name)}" for package, name in names)


@row("I-TS", "a day: the clock of each leg goes on from the opener's, comes round, and is in every segment", goal="all pass")
def clocks_for_a_day() -> str:
    return _tests(("apps", "i_ts_"), ("stack", "t12_a_day"))


@row("I-WS", "1 Gbit/s over 200 ms with the opener's scale, and what a relay may hold at the most", goal="all pass")
def windows_grow() -> str:
    return rust_test("apps", "i_ws_")


@row("I-SACK", "losses of 0 to 5 % on either path, in bursts too; what is stalled goes by another", goal="all pass")
def losses_on_either_path() -> str:
    return _tests(("mptcp", "i_sack_"), ("mptcp", "m29_two_subflows_both_ways_at_once"))


@row("I-HOL", "round trips of 1:1 to 1:20, and a path that is a hundred times slower", goal="all pass")
def unequal_paths() -> str:
    return _tests(("mptcp", "i_hol_"), ("mptcp", "bug11_a_path_a_hundred_times_slower"))


@row("I-CSUM", "DSS checksums where they are asked for; a payload that was rewritten on the way is found", goal="all pass")
def rewritten_payload() -> str:
    return _tests(("mptcp", "m17_checksums_on_both_ways"), ("mptcp", "m22_a_changed_octet"))
