"""Further subflows: over either family, opened by either box, and what becomes of them. Both boxes in virtual time."""

from __future__ import annotations

from .rows import row, rust_test


@row("S2-1", "eight secondary accesses, each joining the same address of the HAG's from its own")
def eight_secondaries() -> str:
    return rust_test("apps", "eight_secondaries_join_the_same_address_each_from_its_own")


@row("S2-3", "each mix of families on the primary, the secondary and towards the server carries data by the secondary")
def each_mix_of_families() -> str:
    return rust_test("apps", "each_mix_of_families_carries_data_by_the_secondary")


@row("S2-4", "whatever comes by whichever port: an isolated port's addresses leave by no other, and no others by it")
def isolated_ports() -> str:
    return rust_test("stack", "isolated")


@row("P4b", "a box that does not know the token resets the join, and the HCPE asks it no more for that connection")
def a_join_at_the_wrong_box() -> str:
    return rust_test("apps", "a_reset_ends_joining_for_that_connection_and_no_other")


@row("P10c", "a configured address is joined once options have passed, announced or not")
def without_an_announcement() -> str:
    return rust_test("apps", "as_configured_without_an_announcement")


@row("P12", "who knows whom, in all four cases: one subflow a path, opened by whoever knows")
def all_four_cases() -> str:
    return rust_test("apps", "whoever_knows_the_other_opens_and_one_subflow_a_path_is_the_end")


@row("P12", "the HAG joins what the HCPE announces, if it is to, and ignores it otherwise")
def from_the_hcpes_announcement() -> str:
    return rust_test("apps", "what_the_customers_box_announces_is_joined")


@row("P12", "SYNs of both boxes that cross leave one subflow a path", goal="1", unit="subflow a path")
def syns_that_cross() -> str:
    return rust_test("apps", "syns_that_cross_leave_one_subflow_a_path")


@row("I-CGN", "X behind a NAT that forgets after a minute: joined from inside, kept alive for under half a megabyte a day")
def behind_a_nat() -> str:
    return rust_test("apps", "behind_a_translator")


@row("I-CGN", "an idle subflow is probed; one that died is opened again")
def kept_alive() -> str:
    return rust_test("apps", "an_idle_subflow_is_probed_and_one_that_died_is_opened_again")


@row("I-DYN", "the HCPE's secondary address changes in mid-connection: withdrawn, joined from the new one, no octet lost")
def a_new_address() -> str:
    return rust_test("apps", "a_secondary_address_that_changes_is_withdrawn_and_joined_anew")


@row("I-FAIL", "a secondary that fails for seconds or minutes costs no octet and is used again")
def failed_and_used_again() -> str:
    return rust_test("apps", "a_secondary_that_fails_costs_no_octet_and_is_joined_again")
