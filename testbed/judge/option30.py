"""MPTCP's option as the RFCs draw it (RFC 8684 3, RFC 6824 3), read independently of the stack under test."""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

CAPABLE, JOIN, DSS, ADD_ADDR, REMOVE_ADDR, PRIO, FAIL, FASTCLOSE, TCPRST = range(9)


class BadOption(Exception):
    """An option whose length or flags no RFC allows."""


@dataclass(frozen=True, slots=True)
class Capable:
    """MP_CAPABLE: version, flags, keys in the order of the option, and the first data's mapping."""

    version: int
    flags: int
    keys: tuple[bytes, ...]
    length: int | None = None
    checksum: int | None = None

    @property
    def wants_checksum(self) -> bool:
        return bool(self.flags & 0x80)


@dataclass(frozen=True, slots=True)
class JoinSyn:
    addr_id: int
    backup: bool
    token: int
    nonce: bytes


@dataclass(frozen=True, slots=True)
class JoinSynAck:
    addr_id: int
    backup: bool
    mac: bytes
    nonce: bytes


@dataclass(frozen=True, slots=True)
class JoinAck:
    mac: bytes


@dataclass(frozen=True, slots=True)
class Mapping:
    """A mapping as it stands: `wide` says whether the DSN has 64 bits."""

    dsn: int
    wide: bool
    ssn: int
    length: int
    checksum: int | None
    fin: bool


@dataclass(frozen=True, slots=True)
class Dss:
    """DATA_ACK with its width, and mapping."""

    ack: tuple[int, bool] | None
    mapping: Mapping | None


@dataclass(frozen=True, slots=True)
class AddAddr:
    addr_id: int
    addr: IPv4Address | IPv6Address
    port: int | None
    echo: bool
    mac: bytes | None


@dataclass(frozen=True, slots=True)
class Other:
    """A subtype of which only the presence counts."""

    subtype: int


Option = Capable | JoinSyn | JoinSynAck | JoinAck | Dss | AddAddr | Other


def options30(raw: bytes) -> Iterator[bytes]:
    """Every whole option 30 among TCP's option octets. Raises BadOption where the octets are no options."""
    at = 0
    while at < len(raw) and raw[at] != 0:
        if raw[at] == 1:
            at += 1
            continue
        if at + 1 >= len(raw) or raw[at + 1] < 2 or at + raw[at + 1] > len(raw):
            raise BadOption(f"TCP option {raw[at]} is cut off")
        if raw[at] == 30:
            yield raw[at : at + raw[at + 1]]
        at += raw[at + 1]


def parse(option: bytes) -> Option:
    """One option 30. Raises BadOption."""
    if len(option) < 3:
        raise BadOption(f"option 30 of {len(option)} octets")
    subtype, nibble = option[2] >> 4, option[2] & 15
    try:
        if subtype == CAPABLE:
            return _capable(option, nibble)
        if subtype == JOIN:
            return _join(option, nibble)
        if subtype == DSS:
            return _dss(option)
        if subtype == ADD_ADDR:
            return _add_addr(option, nibble)
    except (struct.error, IndexError) as error:
        raise BadOption(f"subtype {subtype} cut off: {error}") from error
    lengths = {REMOVE_ADDR: range(4, 41), PRIO: (3, 4), FAIL: (12,), FASTCLOSE: (12,), TCPRST: (4,)}
    if len(option) not in lengths.get(subtype, range(3, 41)):
        raise BadOption(f"subtype {subtype} of {len(option)} octets")
    return Other(subtype)


def _capable(option: bytes, version: int) -> Capable:
    if len(option) not in (4, 12, 20, 22, 24):
        raise BadOption(f"MP_CAPABLE of {len(option)} octets")
    keys = tuple(option[at : at + 8] for at in (4, 12) if len(option) >= at + 8)
    length = struct.unpack("!H", option[20:22])[0] if len(option) >= 22 else None
    checksum = struct.unpack("!H", option[22:24])[0] if len(option) == 24 else None
    return Capable(version, option[3], keys, length, checksum)


def _join(option: bytes, nibble: int) -> JoinSyn | JoinSynAck | JoinAck:
    if len(option) == 12:
        return JoinSyn(option[3], bool(nibble & 1), struct.unpack("!I", option[4:8])[0], option[8:12])
    if len(option) == 16:
        return JoinSynAck(option[3], bool(nibble & 1), option[4:12], option[12:16])
    if len(option) == 24:
        return JoinAck(option[4:24])
    raise BadOption(f"MP_JOIN of {len(option)} octets")


def _dss(option: bytes) -> Dss:
    flags, at = option[3], 4
    ack = None
    if flags & 1:
        wide = bool(flags & 2)
        ack = (struct.unpack_from("!Q" if wide else "!I", option, at)[0], wide)
        at += 8 if wide else 4
    mapping = None
    if flags & 4:
        wide = bool(flags & 8)
        dsn = struct.unpack_from("!Q" if wide else "!I", option, at)[0]
        at += 8 if wide else 4
        ssn, length = struct.unpack_from("!IH", option, at)
        at += 6
        checksum = None
        if len(option) > at:
            checksum = struct.unpack_from("!H", option, at)[0]
            at += 2
        mapping = Mapping(dsn, wide, ssn, length, checksum, bool(flags & 16))
    if at != len(option):
        raise BadOption(f"DSS of {len(option)} octets with flags {flags:#04x}")
    return Dss(ack, mapping)


def _add_addr(option: bytes, nibble: int) -> AddAddr:
    version0 = {(4, 8): 4, (4, 10): 4, (6, 20): 16, (6, 22): 16}
    size = version0.get((nibble, len(option)))
    echo = size is None and bool(nibble & 1)
    if size is None:
        forms = {8: 4, 10: 4, 20: 16, 22: 16} if echo else {16: 4, 18: 4, 28: 16, 30: 16}
        size = forms.get(len(option))
        if size is None:
            raise BadOption(f"ADD_ADDR of {len(option)} octets with flags {nibble:#x}")
    has_mac = (nibble, len(option)) not in version0 and not echo
    end = len(option) - 8 if has_mac else len(option)
    addr = option[4 : 4 + size]
    port = struct.unpack("!H", option[4 + size : end])[0] if end > 4 + size else None
    address = IPv4Address(addr) if size == 4 else IPv6Address(addr)
    return AddAddr(option[3], address, port, echo, option[end:] if has_mac else None)


def digest(version: int, key: bytes) -> bytes:
    """The hash that token and initial data sequence number are cut from."""
    return hashlib.sha1(key).digest() if version == 0 else hashlib.sha256(key).digest()


def token(version: int, key: bytes) -> int:
    """The most significant 32 bits of the hash (RFC 8684 3.2)."""
    return int.from_bytes(digest(version, key)[:4])


def idsn(version: int, key: bytes) -> int:
    """The least significant 64 bits of the hash (RFC 8684 3.1)."""
    return int.from_bytes(digest(version, key)[-8:])


def join_mac(version: int, sender: bytes, receiver: bytes, mine: bytes, theirs: bytes) -> bytes:
    """The leftmost 160 bits of MP_JOIN's HMAC by the owner of key `sender` and nonce `mine` (RFC 8684 3.2)."""
    algorithm = "sha1" if version == 0 else "sha256"
    return hmac.digest(sender + receiver, mine + theirs, algorithm)[:20]


def add_addr_mac(sender: bytes, receiver: bytes, option: AddAddr) -> bytes:
    """The rightmost 64 bits of ADD_ADDR's HMAC (RFC 8684 3.4.1)."""
    message = bytes([option.addr_id]) + option.addr.packed + struct.pack("!H", option.port or 0)
    return hmac.digest(sender + receiver, message, "sha256")[-8:]


def dss_checksum(dsn: int, ssn: int, length: int, payload: bytes) -> int:
    """The DSS checksum over pseudo-header and data (RFC 8684 3.3.1)."""
    octets = struct.pack("!QIHH", dsn, ssn, length, 0) + payload + b"\0" * (len(payload) % 2)
    total = int.from_bytes(octets) % 0xFFFF  # words of 16 bits weigh 1 modulo 2^16 - 1
    return 0xFFFF - (total or 0xFFFF)
