"""Keys and tokens."""

from __future__ import annotations

from .rows import row, rust_test


@row("X8", "keys do not print, secrets compare in every bit, tokens and HMACs have known answers", goal="all pass", unit="")
def keys_stay_secret() -> str:
    names = ("keys_and_hmacs_do_not_print", "secrets_are_the_same_only_in_every_bit", "kat_")
    return ", ".join(f"{name}: {rust_test('mptcp', name)}" for name in names)
