"""The client kernel's own MPTCP counters, and which of them speak of trouble."""

from __future__ import annotations

import re

TROUBLE = re.compile(
    r"Fallback|CsumErr|Corruption|NotMatching|InfiniteMap|MPFail|Rst|Fastclose|HMacFailure|Blackhole|Rejected|SynTxCreatSkErr|SynTxBindErr|SynTxConnectErr|NoMatchTCP|Mismatch|FallbackFailed"
)
JOINS = "MPTcpExtMPJoinSynAckRx"


def difference(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """What was counted in between; rows that did not move are left out."""
    return {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)}


def trouble(moved: dict[str, int]) -> dict[str, int]:
    """Fallbacks, resets, checksum and HMAC failures among the counters."""
    return {name: count for name, count in moved.items() if name.startswith("MPTcpExt") and TROUBLE.search(name)}
