"""What was checked, how often, and what did not hold."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

CHECKS = {
    "option_form": "every option 30 has a length and flags that the RFCs allow",
    "capable_answer": "MP_CAPABLE in a SYN+ACK answers one in the last SYN, in no higher version",
    "capable_keys": "MP_CAPABLE in and after the third ACK repeats both keys",
    "capable_flags": "flag A of the third ACK confirms what was negotiated; flag B is nowhere set",
    "join_token": "the token of an answered MP_JOIN is the hash of the receiver's key",
    "join_hmac_b": "the 8 octets of HMAC in an MP_JOIN SYN+ACK",
    "join_hmac_a": "the 20 octets of HMAC in the third ACK of an MP_JOIN",
    "add_addr_hmac": "the 8 octets of HMAC in an ADD_ADDR of version 1",
    "checksum_form": "mappings have a checksum where negotiated, and nowhere else",
    "dss_checksum": "the checksum of every mapping that was captured whole",
    "mapping_fixed": "a subflow octet keeps its data sequence number",
    "same_octets": "a data sequence number is the same octet whenever it is sent",
    "data_is_mapped": "data of a connection that did not fall back is mapped",
    "data_fin_fixed": "a DATA_FIN keeps its place",
    "data_ack_not_ahead": "a DATA_ACK acknowledges nothing that was not sent",
    "no_gap": "what was acknowledged was sent without a gap",
    "no_option_30": "no packet of the server's captures has an option 30",
    "syn_ack_after_server": "no client is answered before the server answered",
}
"""Every check with what it demands."""

EXAMPLES = 10


@dataclass
class Check:
    """Figures of one check."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    """Cases that the capture does not hold whole."""
    examples: list[str] = field(default_factory=list)


@dataclass
class Verdict:
    """Figures of all checks, and counts of what was seen."""

    checks: dict[str, Check] = field(default_factory=lambda: {name: Check() for name in CHECKS})
    counts: Counter[str] = field(default_factory=Counter)

    def judge(self, name: str, holds: bool, message: str) -> None:
        """Counts a case of check `name`; `message` says what is wrong if it does not hold."""
        check = self.checks[name]
        if holds:
            check.passed += 1
            return
        check.failed += 1
        if len(check.examples) < EXAMPLES:
            check.examples.append(message)

    def skip(self, name: str) -> None:
        """Counts a case that cannot be judged."""
        self.checks[name].skipped += 1

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not any(check.failed for check in self.checks.values())
