"""The data level: subflow octets to data sequence numbers, and what both ends say of them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field

from option30 import Mapping, dss_checksum
from verdict import Verdict

MOD32, MOD64 = 1 << 32, 1 << 64


def expand(low: int, near: int) -> int:
    """The number closest to `near` whose lower 32 bits are `low`."""
    ahead = (low - near) % MOD32
    return near + (ahead - MOD32 if ahead >= MOD32 // 2 else ahead)


class Ranges:
    """A set of integers as disjoint half-open ranges."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []

    def add(self, start: int, end: int) -> None:
        """Adds [start, end)."""
        if start >= end:
            return
        first = bisect_left(self.ends, start)
        last = bisect_right(self.starts, end)
        if first < last:
            start = min(start, self.starts[first])
            end = max(end, self.ends[last - 1])
        self.starts[first:last] = [start]
        self.ends[first:last] = [end]

    def end_from(self, start: int) -> int:
        """The end of the unbroken run that begins at `start`; `start` itself if it is not in the set."""
        at = bisect_right(self.starts, start) - 1
        return max(start, self.ends[at]) if at >= 0 else start

    def within(self, start: int, end: int) -> list[tuple[int, int]]:
        """The parts of [start, end) that are in the set."""
        parts = []
        at = bisect_right(self.ends, start)
        while at < len(self.starts) and self.starts[at] < end:
            parts.append((max(start, self.starts[at]), min(end, self.ends[at])))
            at += 1
        return parts


def gaps(start: int, end: int, parts: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The parts of [start, end) between `parts`."""
    found = []
    for low, high in parts:
        if start < low:
            found.append((start, low))
        start = high
    if start < end:
        found.append((start, end))
    return found


class Stream:
    """All data that one end of a connection sends. Offsets count from its first octet."""

    def __init__(self, name: str, idsn: int) -> None:
        self.name = name
        self.first = idsn + 1
        self.mapped = Ranges()
        self.known = Ranges()
        self.content = bytearray()
        self.sent: list[tuple[int, int]] = []
        """Time and new highest end of what was sent."""
        self.acked: list[tuple[int, int, str]] = []
        """Time, new highest DATA_ACK, and where."""
        self.fin: int | None = None
        self.lossy = False
        """Octets were acknowledged on a subflow that the capture does not hold."""

    def offset(self, number: int, wide: bool) -> int:
        """The offset of a data sequence number, of which `number` may be the lower half."""
        near = self.sent[-1][1] if self.sent else 0
        if wide:
            delta = (number - self.first) % MOD64
            return delta - MOD64 if delta >= MOD64 // 2 else delta
        return expand((number - self.first) % MOD32, near)

    def note_sent(self, time: int, end: int) -> None:
        if not self.sent or end > self.sent[-1][1]:
            self.sent.append((time, end))

    def note_fin(self, offset: int, where: str, verdict: Verdict) -> None:
        """A DATA_FIN after `offset` octets."""
        verdict.judge(
            "data_fin_fixed",
            self.fin in (None, offset),
            f"{where}: {self.name}'s DATA_FIN after {offset} octets, before that after {self.fin}",
        )
        self.fin = offset if self.fin is None else self.fin

    def note_ack(self, time: int, offset: int, where: str) -> None:
        if not self.acked or offset > self.acked[-1][1]:
            self.acked.append((time, offset, where))

    def store(self, offset: int, data: bytes, where: str, verdict: Verdict) -> None:
        """Octets at `offset`: the same number is always the same octet."""
        end = offset + len(data)
        seen = self.known.within(offset, end)
        for low, high in seen:
            verdict.judge(
                "same_octets",
                self.content[low:high] == data[low - offset : high - offset],
                f"{where}: {self.name}'s octets {low} to {high} differ from those sent before",
            )
        if len(self.content) < end:
            self.content.extend(bytes(end - len(self.content)))
        for low, high in gaps(offset, end, seen):
            self.content[low:high] = data[low - offset : high - offset]
        self.known.add(offset, end)

    def finish(self, slack_ns: int, verdict: Verdict) -> None:
        """Judges what needs the whole capture."""
        times = [time for time, _ in self.sent]
        for time, offset, where in self.acked:
            at = bisect_right(times, time + slack_ns) - 1
            limit = self.sent[at][1] if at >= 0 else 0
            message = f"{where}: DATA_ACK {offset} of {self.name}'s data, of which {limit} octets were sent"
            if offset > limit and self.lossy:
                verdict.skip("data_ack_not_ahead")
            else:
                verdict.judge("data_ack_not_ahead", offset <= limit, message)
        if not self.acked:
            return
        octets = min(self.acked[-1][1], self.sent[-1][1] if self.sent else 0)
        if self.fin is not None:
            octets = min(octets, self.fin)
        reached = self.mapped.end_from(0)
        if reached < octets and self.lossy:
            verdict.skip("no_gap")
        else:
            message = f"{self.name}: {octets} octets acknowledged, unbroken only up to {reached}"
            verdict.judge("no_gap", reached >= octets, message)


@dataclass(slots=True)
class Mapped:
    """A mapping in unwrapped numbers: subflow octets [ssn, end) are stream octets from `offset`."""

    ssn: int
    end: int
    offset: int
    wire: Mapping
    dsn64: int
    where: str
    content: bytearray = field(default_factory=bytearray)
    have: Ranges = field(default_factory=Ranges)
    judged: bool = False


class Half:
    """One direction of a subflow, its numbers relative to the initial sequence number."""

    def __init__(self, isn: int) -> None:
        self.isn = isn
        self.last = 0
        self.seen = Ranges()
        self.acked = 0
        self.octets = 0
        self.mappings: list[Mapped] = []
        self.unmapped: list[tuple[int, int, bytes, str]] = []

    def relative(self, seq: int) -> int:
        """Unwraps a sequence number."""
        self.last = expand((seq - self.isn) % MOD32, self.last)
        return self.last

    def note_ack(self, ack: int) -> None:
        self.acked = max(self.acked, expand((ack - self.isn) % MOD32, self.acked))

    @property
    def lossy(self) -> bool:
        """Whether octets were acknowledged that the capture does not hold. A FIN occupies one number."""
        return self.seen.end_from(1) + 1 < self.acked

    def map(self, wire: Mapping, stream: Stream, time: int, where: str, checksums: bool, verdict: Verdict) -> None:
        """A mapping that came with a segment."""
        offset = stream.offset(wire.dsn, wire.wide)
        octets = wire.length - wire.fin
        stream.note_sent(time, offset + wire.length)
        if wire.fin:
            stream.note_fin(offset + octets, where, verdict)
        dsn64 = (stream.first + offset) % MOD64
        if octets == 0:
            if checksums and wire.checksum is not None:
                self._judge_checksum(wire, dsn64, b"", where, verdict)
            return
        ssn = expand(wire.ssn, self.last)
        new = Mapped(ssn, ssn + octets, offset, wire, dsn64, where)
        at = bisect_left(self.mappings, ssn, key=lambda m: m.ssn)
        near = [m for m in self.mappings[max(0, at - 4) : at + 4] if m.ssn < new.end and ssn < m.end]
        for old in near:
            same = old.offset - old.ssn == offset - ssn
            message = f"{where}: subflow octet {max(ssn, old.ssn)} was mapped elsewhere at {old.where}"
            verdict.judge("mapping_fixed", same, message)
        if not any(m.ssn == ssn and m.end == new.end for m in near):
            self.mappings.insert(at, new)
            waiting, self.unmapped = self.unmapped, []
            for piece in waiting:
                self.deliver(*piece, stream, checksums, verdict)

    def deliver(
        self, start: int, length: int, data: bytes, where: str, stream: Stream, checksums: bool, verdict: Verdict
    ) -> None:
        """Payload at relative `start`: `length` octets of which `data` were captured."""
        end = start + length
        at = bisect_right(self.mappings, start, key=lambda m: m.ssn)
        covered = []
        for mapping in self.mappings[max(0, at - 4) :]:
            if mapping.ssn >= end:
                break
            low, high = max(start, mapping.ssn), min(end, mapping.end)
            if low >= high:
                continue
            covered.append((low, high))
            offset = mapping.offset + low - mapping.ssn
            stream.mapped.add(offset, offset + high - low)
            piece = data[low - start : high - start]
            stream.store(offset, piece, where, verdict)
            if checksums and mapping.wire.checksum is not None and not mapping.judged:
                self._fill(mapping, low - mapping.ssn, piece, verdict)
        covered.sort()
        for low, high in gaps(start, end, covered):
            self.unmapped.append((low, high - low, data[low - start : high - start], where))

    def _fill(self, mapping: Mapped, at: int, piece: bytes, verdict: Verdict) -> None:
        """Collects a mapping's octets and judges its checksum once they are whole."""
        size = mapping.end - mapping.ssn
        if not mapping.content:
            mapping.content = bytearray(size)
        mapping.content[at : at + len(piece)] = piece
        mapping.have.add(at, at + len(piece))
        if mapping.have.end_from(0) >= size:
            mapping.judged = True
            self._judge_checksum(mapping.wire, mapping.dsn64, bytes(mapping.content), mapping.where, verdict)
            mapping.content = bytearray()

    @staticmethod
    def _judge_checksum(wire: Mapping, dsn64: int, payload: bytes, where: str, verdict: Verdict) -> None:
        expected = dss_checksum(dsn64, wire.ssn, wire.length, payload)
        message = f"{where}: checksum {wire.checksum:04x}, recomputed {expected:04x}"
        verdict.judge("dss_checksum", wire.checksum == expected, message)

    def finish(self, stream: Stream, plain: bool, verdict: Verdict) -> None:
        """Judges what needs the whole capture; `plain` is a subflow whose data needs no mapping."""
        stream.lossy |= self.lossy
        for mapping in self.mappings:
            if mapping.wire.checksum is not None and not mapping.judged:
                verdict.skip("dss_checksum")
        if not self.unmapped and self.octets:
            verdict.judge("data_is_mapped", True, "")
        for start, length, _, where in self.unmapped:
            if plain or self.lossy:
                verdict.skip("data_is_mapped")
            else:
                message = f"{where}: subflow octets {start} to {start + length} have no mapping"
                verdict.judge("data_is_mapped", False, message)
