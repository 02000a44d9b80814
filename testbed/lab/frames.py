"""Every IP packet of a capture file, whatever it carries."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .capture import caught
from .tags import untagged


@dataclass(frozen=True, slots=True)
class Frame:
    """One IP packet."""

    at: float
    src: str
    dst: str
    protocol: int
    hops: int
    """TTL or hop limit."""
    tos: int
    """TOS octet or traffic class."""
    packet: bytes
    """From the IP header to the end by its length, as far as it was caught."""

    def without_hops(self) -> bytes:
        """The packet with its TTL (and header checksum), or hop limit, set to zero."""
        data = bytearray(self.packet)
        if data[0] >> 4 == 4:
            data[8] = 0
            data[10:12] = b"\0\0"
        else:
            data[7] = 0
        return bytes(data)


def frames(path: Path) -> Iterator[Frame]:
    """The IP packets of a capture file, in the order of capture; VLAN tags are skipped."""
    for at, frame in caught(path):
        if found := _parse(at, frame):
            yield found


def _parse(at: float, frame: bytes) -> Frame | None:
    frame = untagged(frame)
    kind, packet = frame[12:14], frame[14:]
    if kind == b"\x08\x00" and len(packet) >= 20:
        end = struct.unpack_from("!H", packet, 2)[0]
        source, to = (socket.inet_ntop(socket.AF_INET, packet[at : at + 4]) for at in (12, 16))
        return Frame(at, source, to, packet[9], packet[8], packet[1], packet[:end])
    if kind == b"\x86\xdd" and len(packet) >= 40:
        end = 40 + struct.unpack_from("!H", packet, 4)[0]
        source, to = (socket.inet_ntop(socket.AF_INET6, packet[at : at + 16]) for at in (8, 24))
        return Frame(at, source, to, packet[6], packet[7], struct.unpack_from("!H", packet)[0] >> 4 & 0xFF, packet[:end])
    return None
