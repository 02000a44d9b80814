"""TCP packets out of pcap and pcapng files, with nothing but the standard library."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from pathlib import Path
from typing import BinaryIO

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16

IPV4, IPV6 = 0x0800, 0x86DD
VLAN_TAGS = (0x8100, 0x88A8, 0x9100)
EXTENSION_HEADERS = (0, 43, 60)  # hop-by-hop, routing, destination options
TCP = 6


class CaptureError(Exception):
    """A file that is no capture, or of a link type that is not read here."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Address and port of one end."""

    addr: IPv4Address | IPv6Address
    port: int

    def __str__(self) -> str:
        return f"[{self.addr}]:{self.port}" if self.addr.version == 6 else f"{self.addr}:{self.port}"


@dataclass(frozen=True, slots=True)
class Packet:
    """A TCP segment as captured."""

    where: str
    """File and number of the packet, as Wireshark counts."""
    time_ns: int
    src: Endpoint
    dst: Endpoint
    seq: int
    ack: int
    flags: int
    options: bytes
    length: int
    """Octets of payload on the wire."""
    payload: bytes
    """Those that were captured: fewer than `length` where the capture cuts packets."""


def read(path: Path) -> Iterator[Packet]:
    """The TCP segments of a capture file, in its order. Raises CaptureError."""
    with path.open("rb") as file:
        for number, (time_ns, link, frame) in enumerate(_frames(file, path), start=1):
            packet = _tcp(f"{path.name}#{number}", time_ns, link, frame)
            if packet is not None:
                yield packet


def _frames(file: BinaryIO, path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Time in nanoseconds, link type and octets of every frame."""
    magic = file.read(4)
    formats = {
        b"\xd4\xc3\xb2\xa1": ("<", 1000),
        b"\xa1\xb2\xc3\xd4": (">", 1000),
        b"\x4d\x3c\xb2\xa1": ("<", 1),
        b"\xa1\xb2\x3c\x4d": (">", 1),
    }
    if magic in formats:
        yield from _pcap(file, *formats[magic])
    elif magic == b"\x0a\x0d\x0d\x0a":
        file.seek(0)
        yield from _pcapng(file, path)
    elif magic:
        raise CaptureError(f"{path}: neither pcap nor pcapng")


def _pcap(file: BinaryIO, order: str, unit_ns: int) -> Iterator[tuple[int, int, bytes]]:
    header = file.read(20)
    if len(header) < 20:
        return
    link = struct.unpack(order + "I", header[16:])[0] & 0x0FFFFFFF
    while len(record := file.read(16)) == 16:
        seconds, fraction, captured, _ = struct.unpack(order + "IIII", record)
        yield seconds * 10**9 + fraction * unit_ns, link, file.read(captured)


def _pcapng(file: BinaryIO, path: Path) -> Iterator[tuple[int, int, bytes]]:
    order = "<"
    interfaces: list[tuple[int, int]] = []  # link type, ticks a second
    while len(head := file.read(8)) == 8:
        if head[:4] == b"\x0a\x0d\x0d\x0a":
            mark = file.read(4)
            order = "<" if mark == b"\x4d\x3c\x2b\x1a" else ">"
            interfaces = []
            file.read(struct.unpack(order + "I", head[4:])[0] - 12)
            continue
        kind, total = struct.unpack(order + "II", head)
        if total < 12:
            raise CaptureError(f"{path}: a block of {total} octets")
        body = file.read(total - 8)
        if len(body) < total - 8:
            return
        if kind == 1:
            link, _, _ = struct.unpack(order + "HHI", body[:8])
            interfaces.append((link, _ticks(body[8:-4], order)))
        elif kind == 6:
            interface, high, low, captured, _ = struct.unpack(order + "IIIII", body[:20])
            link, ticks = interfaces[interface]
            yield ((high << 32) | low) * 10**9 // ticks, link, body[20 : 20 + captured]
        elif kind == 3 and interfaces:
            length = struct.unpack(order + "I", body[:4])[0]
            yield 0, interfaces[0][0], body[4 : min(4 + length, len(body) - 4)]


def _ticks(options: bytes, order: str) -> int:
    """Clock ticks a second: option if_tsresol, microseconds without it."""
    at = 0
    while at + 4 <= len(options):
        code, length = struct.unpack(order + "HH", options[at : at + 4])
        if code == 9 and length == 1:
            value = options[at + 4]
            return 2 ** (value & 0x7F) if value & 0x80 else 10**value
        if code == 0:
            break
        at += 4 + (length + 3) // 4 * 4
    return 10**6


def _tcp(where: str, time_ns: int, link: int, frame: bytes) -> Packet | None:
    """The TCP segment in `frame`, or None if there is none or its headers were not captured."""
    try:
        ethertype, l3 = _network(link, frame)
        if ethertype == IPV4:
            found = _ipv4(l3)
        elif ethertype == IPV6:
            found = _ipv6(l3)
        else:
            return None
        if found is None:
            return None
        src, dst, l4, length = found
        sport, dport, seq, ack, offset, flags = struct.unpack("!HHIIBB", l4[:14])
    except (struct.error, IndexError, AddressValueError):
        return None
    header = (offset >> 4) * 4
    if header < 20 or header > min(length, len(l4)):
        return None
    return Packet(
        where,
        time_ns,
        Endpoint(src, sport),
        Endpoint(dst, dport),
        seq,
        ack,
        flags,
        l4[20:header],
        length - header,
        l4[header:length],
    )


def _network(link: int, frame: bytes) -> tuple[int, bytes]:
    """Ethertype, and what follows the link header."""
    if link == 1:  # Ethernet
        at = 12
        ethertype = struct.unpack("!H", frame[at : at + 2])[0]
        while ethertype in VLAN_TAGS:
            at += 4
            ethertype = struct.unpack("!H", frame[at : at + 2])[0]
        return ethertype, frame[at + 2 :]
    if link == 113:  # Linux cooked
        return struct.unpack("!H", frame[14:16])[0], frame[16:]
    if link == 276:  # Linux cooked, version 2
        return struct.unpack("!H", frame[:2])[0], frame[20:]
    if link in (12, 14, 101, 228, 229):  # IP without a link header
        return (IPV6 if frame[0] >> 4 == 6 else IPV4), frame
    raise CaptureError(f"link type {link} is not read here")


Found = tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address, bytes, int]


def _ipv4(l3: bytes) -> Found | None:
    """Source, destination, TCP header and payload as captured, and their length on the wire."""
    header = (l3[0] & 15) * 4
    total, _, fragment, _, protocol = struct.unpack("!HHHBB", l3[2:10])
    if protocol != TCP or fragment & 0x3FFF:
        return None
    total = total or len(l3)  # 0 where the sender's device was to cut the segment
    return IPv4Address(l3[12:16]), IPv4Address(l3[16:20]), l3[header:total], total - header


def _ipv6(l3: bytes) -> Found | None:
    length, following = struct.unpack("!HB", l3[4:7])
    length = length or len(l3) - 40
    at = 40
    while following in EXTENSION_HEADERS:
        following, words = l3[at], l3[at + 1]
        at += 8 + words * 8
    if following != TCP:
        return None
    return IPv6Address(l3[8:24]), IPv6Address(l3[24:40]), l3[at : 40 + length], 40 + length - at
