"""Captures made up for tests: TCP segments of a scripted MPTCP connection, written as pcap."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

import option30
from packets import ACK, SYN

KEY_A, KEY_B = bytes.fromhex("0102030405060708"), bytes.fromhex("1112131415161718")
CLIENT, SERVER = ("10.1.0.2", 40000), ("10.9.0.2", 80)
RAW_IP = 101


def option(content: bytes) -> bytes:
    """Option 30 around subtype and body."""
    return bytes([30, 2 + len(content)]) + content


def segment(
    src: tuple[str, int],
    dst: tuple[str, int],
    seq: int,
    ack: int,
    flags: int,
    options: bytes = b"",
    payload: bytes = b"",
) -> bytes:
    """An IP packet with a TCP segment; checksums are left out, nobody here reads them."""
    options += b"\x01" * (-len(options) % 4)
    offset = (20 + len(options)) // 4 << 4
    tcp = struct.pack("!HHIIBBHHH", src[1], dst[1], seq % 2**32, ack % 2**32, offset, flags, 1000, 0, 0)
    tcp += options + payload
    a, b = ip_address(src[0]), ip_address(dst[0])
    if a.version == 6:
        return struct.pack("!IHBB", 6 << 28, len(tcp), 6, 64) + a.packed + b.packed + tcp
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0) + a.packed + b.packed + tcp


def write(path: Path, frames: list[tuple[int, bytes]], link: int = RAW_IP, order: str = "<", nano: bool = True) -> Path:
    """A pcap of frames with their time in nanoseconds."""
    unit = 1 if nano else 1000
    parts = [struct.pack(order + "IHHIIII", 0xA1B23C4D if nano else 0xA1B2C3D4, 2, 4, 0, 0, 65535, link)]
    for time, frame in frames:
        parts.append(struct.pack(order + "IIII", time // 10**9, time % 10**9 // unit, len(frame), len(frame)) + frame)
    path.write_bytes(b"".join(parts))
    return path


@dataclass
class Script:
    """One client's connection of version 1, packet by packet, 1 ms apart."""

    frames: list[tuple[int, bytes]] = field(default_factory=list)
    checksum: bool = False
    idsn: int = option30.idsn(1, KEY_A)
    idsn_back: int = option30.idsn(1, KEY_B)

    def send(self, frame: bytes) -> Script:
        self.frames.append(((len(self.frames) + 1) * 10**6, frame))
        return self

    def up(self, seq: int, options: bytes, payload: bytes = b"", flags: int = ACK) -> Script:
        """From the client; `seq` counts from its SYN."""
        return self.send(segment(CLIENT, SERVER, 1000 + seq, 5001, flags, options, payload))

    def down(self, ack: int, options: bytes, flags: int = ACK) -> Script:
        """From the server, without data; `ack` counts from the client's SYN."""
        seq = 5000 if flags & SYN else 5001
        return self.send(segment(SERVER, CLIENT, seq, 1000 + ack, flags, options))

    def begin(self) -> Script:
        """The handshake."""
        flags = 0x81 if self.checksum else 0x01
        self.up(0, option(bytes([1, flags])), flags=SYN)
        self.down(1, option(bytes([1, flags]) + KEY_B), flags=SYN | ACK)
        return self.up(1, option(bytes([1, flags]) + KEY_A + KEY_B))

    def dss(self, at: int, ssn: int, length: int, fin: bool = False, checksum: int | None = None) -> bytes:
        """A mapping of the client's stream octet `at`."""
        body = struct.pack("!BBQIH", 0x20, 0x0C | (0x10 if fin else 0), (self.idsn + 1 + at) % 2**64, ssn, length)
        return option(body if checksum is None else body + struct.pack("!H", checksum))

    def ack_of(self, octets: int) -> bytes:
        """A DATA_ACK of the client's first `octets` octets."""
        return option(struct.pack("!BBQ", 0x20, 0x03, (self.idsn + 1 + octets) % 2**64))
