"""Rules of the shim: each takes a frame and says what goes on, when. One class a fault."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from .capture import ACK, FIN, RST, SYN, tcp_options
from .tags import tagged, tags_of, untagged, written

Out = list[tuple[str, float, bytes]]
"""Frames to pass on: the end they came in by (forged answers name the other one), delay in seconds, octets."""


class Segment:
    """A TCP segment inside a frame, open for changes; `frame()` puts lengths and checksums right again."""

    def __init__(self, data: bytes) -> None:
        self._six = data[12:14] == b"\x86\xdd"
        self._l4 = 54 if self._six else 14 + (data[14] & 15) * 4
        self._head = bytearray(data[: self._l4])
        end = 14 + (40 + struct.unpack_from("!H", data, 18)[0] if self._six else struct.unpack_from("!H", data, 16)[0])
        offset = (data[self._l4 + 12] >> 4) * 4
        self.tcp = bytearray(data[self._l4 : self._l4 + 20])
        self.options = bytearray(data[self._l4 + 20 : self._l4 + offset])
        self.payload = bytearray(data[self._l4 + offset : end])

    @property
    def flags(self) -> int:
        """The flags octet."""
        return self.tcp[13]

    def option30(self) -> tuple[int, int] | None:
        """Where the first MPTCP option stands among the options, and its length."""
        at = 0
        while at < len(self.options) and self.options[at]:
            if self.options[at] == 1:
                at += 1
                continue
            length = self.options[at + 1] if at + 1 < len(self.options) else 0
            if length < 2:
                return None
            if self.options[at] == 30:
                return at, length
            at += length
        return None

    def turn_round(self) -> None:
        """Makes it a segment of the other direction: MACs, addresses and ports swapped."""
        head, tcp = self._head, self.tcp
        head[0:6], head[6:12] = head[6:12], head[0:6]
        if self._six:
            head[22:38], head[38:54] = head[38:54], head[22:38]
        else:
            head[26:30], head[30:34] = head[30:34], head[26:30]
        tcp[0:2], tcp[2:4] = tcp[2:4], tcp[0:2]

    def frame(self) -> bytes:
        """The frame, with lengths and checksums of what it carries now."""
        while len(self.options) % 4:
            self.options.append(1)
        self.tcp[12] = (5 + len(self.options) // 4) << 4
        self.tcp[16:18] = b"\0\0"
        body = bytes(self.tcp + self.options + self.payload)
        if self._six:
            struct.pack_into("!H", self._head, 18, len(body))
            pseudo = bytes(self._head[22:54]) + struct.pack("!II", len(body), 6)
        else:
            struct.pack_into("!H", self._head, 16, self._l4 - 14 + len(body))
            self._head[24:26] = b"\0\0"
            struct.pack_into("!H", self._head, 24, checksum(bytes(self._head[14 : self._l4])))
            pseudo = bytes(self._head[26:34]) + struct.pack("!HH", 6, len(body))
        check = checksum(pseudo + body)
        return bytes(self._head) + body[:16] + struct.pack("!H", check) + body[18:]


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def is_tcp(frame: bytes) -> bool:
    """Whether a frame carries a whole TCP segment."""
    if frame[12:14] == b"\x08\x00":
        return len(frame) >= 54 and frame[23] == 6 and not struct.unpack_from("!H", frame, 20)[0] & 0x3FFF
    return frame[12:14] == b"\x86\xdd" and len(frame) >= 74 and frame[20] == 6


class Rule:
    """Passes everything on; subclasses change TCP segments."""

    def pass_on(self, source: str, delay: float, frame: bytes) -> Out:
        """What becomes of a frame that came in by `source`."""
        if not is_tcp(frame):
            return [(source, delay, frame)]
        return self.tcp(source, delay, frame)

    def tcp(self, source: str, delay: float, frame: bytes) -> Out:
        """What becomes of a TCP segment."""
        return [(source, delay, frame)]


@dataclass
class DelaySynAck(Rule):
    """The server is slow: its SYN+ACKs come this much later."""

    seconds: float

    def tcp(self, source: str, delay: float, frame: bytes) -> Out:
        slow = source == "right" and Segment(frame).flags & (SYN | ACK) == SYN | ACK
        return [(source, delay + (self.seconds if slow else 0.0), frame)]


class Strip(Rule):
    """Removes MPTCP options of some segments, as a middlebox does (NOPs in their place)."""

    def __init__(self, which: str) -> None:
        self._which = which

    def tcp(self, source: str, delay: float, frame: bytes) -> Out:
        segment = Segment(frame)
        kind = {SYN: "syn", SYN | ACK: "synack"}.get(segment.flags & (SYN | ACK), "rest")
        if kind != self._which:
            return [(source, delay, frame)]
        while place := segment.option30():
            at, length = place
            segment.options[at : at + length] = b"\x01" * length
        return [(source, delay, segment.frame())]


class WrongHmac(Rule):
    """HMAC-B in the HAG's MP_JOIN SYN+ACK has a bit turned."""

    def tcp(self, source: str, delay: float, frame: bytes) -> Out:
        segment = Segment(frame)
        place = segment.option30()
        if source == "right" and place and place[1] == 16 and segment.options[place[0] + 2] >> 4 == 1:
            segment.options[place[0] + 4] ^= 1
            return [(source, delay, segment.frame())]
        return [(source, delay, frame)]


class FlipByte(Rule):
    """One octet of the stream differs, once, in a segment whose checksums are right."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._left = 40

    def tcp(self, source: str, delay: float, frame: bytes) -> Out:
        if source == self._source and self._left:
            segment = Segment(frame)
            if len(segment.payload) >= 1000:
                self._left -= 1
                if not self._left:
                    segment.payload[500] ^= 0x20
                    return [(source, delay, segment.frame())]
        return [(source, delay, frame)]


class NoJoin(Rule):
    """MP_JOINs of the client never arrive."""

    def tcp(self, source: str, delay: float, frame: bytes) -> Out:
        segment = Segment(frame)
        join = source == "left" and segment.flags & SYN and _is_join(segment)
        return [] if join else [(source, delay, frame)]


class ChecksumOff(Rule):
    """The DSS checksum of the HAG's data is one too high."""

    def tcp(self, source: str, delay: float, frame: bytes) -> Out:
        segment = Segment(frame)
        place = segment.option30()
        if source == "right" and place and segment.options[place[0] + 2] >> 4 == 2:
            at, length = place
            flags = segment.options[at + 3]
            plain = 4 + (8 if flags & 2 else 4) * (flags & 1) + ((8 if flags & 8 else 4) + 6) * (flags >> 2 & 1)
            if flags & 4 and length == plain + 2:
                last = at + length - 2
                value = struct.unpack_from("!H", segment.options, last)[0]
                struct.pack_into("!H", segment.options, last, (value + 1) & 0xFFFF)
                return [(source, delay, segment.frame())]
        return [(source, delay, frame)]


class LeakCapable(Rule):
    """The SYN towards the server carries MP_CAPABLE."""

    def tcp(self, source: str, delay: float, frame: bytes) -> Out:
        segment = Segment(frame)
        if source == "left" and segment.flags & (SYN | ACK) == SYN and not segment.option30():
            segment.options += bytes((30, 4, 1, 1))
            return [(source, delay, segment.frame())]
        return [(source, delay, frame)]


class EarlySynAck(Rule):
    """Somebody answers the client's SYN before the server does."""

    def tcp(self, source: str, delay: float, frame: bytes) -> Out:
        segment = Segment(frame)
        if source == "left" and segment.flags & (SYN | ACK) == SYN and not _is_join(segment):
            answer = Segment(frame)
            answer.turn_round()
            answer.tcp[8:12] = struct.pack("!I", (struct.unpack_from("!I", segment.tcp, 4)[0] + 1) & 0xFFFF_FFFF)
            answer.tcp[4:8] = b"\x12\x34\x56\x78"
            answer.tcp[13] = SYN | ACK
            answer.options = bytearray((2, 4, 5, 0xB4))
            return [("right", delay, answer.frame()), (source, delay, frame)]
        return [(source, delay, frame)]


class Lose(Rule):
    """Loses one packet of the connections of a port, the first of its kind."""

    KINDS = ("syn", "synack", "ack", "data", "add-addr", "fourth", "answer")
    """From the left: SYN, third ACK, first data. From the right: SYN+ACK, ADD_ADDR, ACK of a join's third ACK, first data."""

    def __init__(self, kind: str, port: int) -> None:
        if kind not in self.KINDS:
            raise ValueError(f"no kind of packet is called {kind}")
        self._kind = kind
        self._port = port
        self._left = 1

    def tcp(self, source: str, delay: float, frame: bytes) -> Out:
        if self._left:
            segment = Segment(frame)
            if self._port in struct.unpack_from("!HH", segment.tcp) and self._kind in self._kinds(source, segment):
                self._left -= 1
                return []
        return [(source, delay, frame)]

    @staticmethod
    def _kinds(source: str, segment: Segment) -> set[str]:
        subtypes = {data[0] >> 4 for kind, data in tcp_options(bytes(segment.options)) if kind == 30 and data}
        opening = segment.flags & (SYN | ACK)
        if source == "left":
            if opening == SYN:
                return {"syn"}
            return {"data"} if segment.payload else {"ack"}
        if opening == SYN | ACK:
            return {"synack"}
        found = {"add-addr"} if 3 in subtypes else set()
        return found | ({"answer"} if segment.payload else {"fourth"})


class StripAfter(Rule):
    """Removes MPTCP options from everything that comes after the first `count` segments of a connection, as a middlebox
    does that was restarted (NOPs in their place)."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._seen: dict[bytes, int] = {}

    def tcp(self, source: str, delay: float, frame: bytes) -> Out:
        segment = Segment(frame)
        ports = bytes(segment.tcp[0:4]) if source == "left" else bytes(segment.tcp[2:4] + segment.tcp[0:2])
        self._seen[ports] = self._seen.get(ports, 0) + 1
        if self._seen[ports] <= self._count:
            return [(source, delay, frame)]
        while place := segment.option30():
            at, length = place
            segment.options[at : at + length] = b"\x01" * length
        return [(source, delay, segment.frame())]


class ResetAfter(Rule):
    """After so many segments with payload somebody on the path resets the connection in both directions, once each."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._seen: dict[bytes, int] = {}

    def tcp(self, source: str, delay: float, frame: bytes) -> Out:
        segment = Segment(frame)
        if not segment.payload:
            return [(source, delay, frame)]
        flow = bytes(segment.tcp[0:4])
        self._seen[flow] = self._seen.get(flow, 0) + 1
        out = [(source, delay, frame)]
        if self._seen[flow] == self._count:
            acknowledged = bytes(segment.tcp[8:12])
            after = (struct.unpack_from("!I", segment.tcp, 4)[0] + len(segment.payload)) & 0xFFFF_FFFF
            onward, back = Segment(frame), Segment(frame)
            back.turn_round()
            back.tcp[4:8] = acknowledged
            onward.tcp[4:8] = struct.pack("!I", after)
            for forged, end in ((onward, source), (back, "left" if source == "right" else "right")):
                forged.tcp[13] = RST | ACK
                forged.options, forged.payload = bytearray(), bytearray()
                out.append((end, delay, forged.frame()))
        return out


class LeakHost(Rule):
    """Now and then a packet of X goes on with the host's own address as its source."""

    def __init__(self) -> None:
        self._seen = 0

    def tcp(self, source: str, delay: float, frame: bytes) -> Out:
        self._seen += source == "left"
        if source == "left" and self._seen % 40 == 0 and frame[12:14] == b"\x08\x00":
            leaked = bytearray(frame)
            leaked[26:30] = bytes((10, 10, 0, 2))
            return [(source, delay, frame), (source, delay, Segment(bytes(leaked)).frame())]
        return [(source, delay, frame)]


class Reset(Rule):
    """Resets are lost, or turned into clean ends."""

    def __init__(self, becomes: str) -> None:
        self._becomes = becomes

    def tcp(self, source: str, delay: float, frame: bytes) -> Out:
        segment = Segment(frame)
        if not segment.flags & RST:
            return [(source, delay, frame)]
        if self._becomes == "lost":
            return []
        segment.tcp[13] = FIN | ACK
        return [(source, delay, segment.frame())]


class Translate(Rule):
    """Somebody translates the host's IPv4 address on its way to the server."""

    HOST, PUBLIC = bytes((10, 10, 0, 2)), bytes((10, 1, 0, 2))

    def tcp(self, source: str, delay: float, frame: bytes) -> Out:
        at = 26 if source == "left" else 30
        old, new = (self.HOST, self.PUBLIC) if source == "left" else (self.PUBLIC, self.HOST)
        if frame[12:14] != b"\x08\x00" or frame[at : at + 4] != old:
            return [(source, delay, frame)]
        return [(source, delay, Segment(frame[:at] + new + frame[at + 4 :]).frame())]


class ClearDscp(Rule):
    """DSCP is bleached."""

    def tcp(self, source: str, delay: float, frame: bytes) -> Out:
        if frame[12:14] != b"\x08\x00":
            return [(source, delay, frame)]
        return [(source, delay, Segment(frame[:15] + b"\0" + frame[16:]).frame())]


class TwoSyns(Rule):
    """Each SYN towards the server comes twice."""

    def tcp(self, source: str, delay: float, frame: bytes) -> Out:
        again = source == "left" and Segment(frame).flags & (SYN | ACK) == SYN
        return [(source, delay, frame)] * (2 if again else 1)


class FlipDatagram(Rule):
    """An octet differs in what is not TCP."""

    def pass_on(self, source: str, delay: float, frame: bytes) -> Out:
        if frame[12:14] == b"\x08\x00" and frame[23] in (17, 47, 50, 132) and len(frame) > 300:
            frame = frame[:299] + bytes((frame[299] ^ 1,)) + frame[300:]
        return [(source, delay, frame)]


class Tagged(Rule):
    """One end of the line is in virtual networks, the other knows of none: what comes from there without just these tags
    is dropped, from the others they are taken off, and what goes there gets them."""

    def __init__(self, end: str, ids: tuple[int, ...]) -> None:
        self._end = end
        self._tags = written(ids)

    def pass_on(self, source: str, delay: float, frame: bytes) -> Out:
        if source != self._end:
            return [(source, delay, tagged(frame, self._tags))]
        return [(source, delay, untagged(frame))] if tags_of(frame) == self._tags else []


def _is_join(segment: Segment) -> bool:
    return any(kind == 30 and data and data[0] >> 4 == 1 for kind, data in tcp_options(bytes(segment.options)))


def rule(text: str) -> Rule:
    """The rule that a word on the command line names: `delay-synack:50` (ms), `strip:syn`, `flip:right`, ..."""
    name, _, value = text.partition(":")
    match name:
        case "delay-synack":
            return DelaySynAck(float(value) / 1e3)
        case "strip":
            return Strip(value)
        case "flip":
            return FlipByte(value)
        case "wrong-hmac":
            return WrongHmac()
        case "no-join":
            return NoJoin()
        case "checksum-off":
            return ChecksumOff()
        case "leak-capable":
            return LeakCapable()
        case "early-synack":
            return EarlySynAck()
        case "leak-host":
            return LeakHost()
        case "reset":
            return Reset(value)
        case "translate":
            return Translate()
        case "clear-dscp":
            return ClearDscp()
        case "two-syns":
            return TwoSyns()
        case "flip-datagram":
            return FlipDatagram()
        case "tags":
            end, _, ids = value.partition(":")
            return Tagged(end, tuple(int(number) for number in ids.split(".")))
        case "lose":
            kind, _, port = value.partition(":")
            return Lose(kind, int(port))
        case "strip-after":
            return StripAfter(int(value))
        case "reset-after":
            return ResetAfter(int(value))
    raise ValueError(f"no rule is called {name}")
