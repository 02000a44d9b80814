"""Tags of virtual networks (IEEE 802.1Q) before what a frame carries, and where the kernel puts the outer one.

A packet socket gets received frames without their outer tag, which comes beside them as `PACKET_AUXDATA` (packet(7)).
"""

from __future__ import annotations

import socket
import struct

CUSTOMER, SERVICE = 0x8100, 0x88A8
STATIONS = 12
"""Octets of the two Ethernet addresses, after which tags stand."""

SOL_PACKET, PACKET_AUXDATA = 263, 8
AUXDATA = struct.Struct("=IIIHHHH")
TP_STATUS_VLAN_VALID, TP_STATUS_VLAN_TPID_VALID = 0x10, 0x40


def written(ids: tuple[int, ...]) -> bytes:
    """The tags of these networks, the outer first, without priority: a service's and a customer's, or a customer's alone."""
    kinds = (SERVICE, CUSTOMER)[-len(ids) :] if ids else ()
    return b"".join(struct.pack("!HH", kind, number) for kind, number in zip(kinds, ids, strict=True))


def tags_of(frame: bytes) -> bytes:
    """The tags of a frame, as they stand in it."""
    at = STATIONS
    while len(frame) >= at + 4 and int.from_bytes(frame[at : at + 2]) in (CUSTOMER, SERVICE):
        at += 4
    return frame[STATIONS:at]


def untagged(frame: bytes) -> bytes:
    """The frame without its tags."""
    return frame[:STATIONS] + frame[STATIONS + len(tags_of(frame)) :]


def tagged(frame: bytes, tags: bytes) -> bytes:
    """The frame with these tags before what it carries."""
    return frame[:STATIONS] + tags + frame[STATIONS:]


def receive(source: socket.socket) -> bytes:
    """The next frame of a packet socket on which `PACKET_AUXDATA` is set, as it was on the wire."""
    frame, beside, _, _ = source.recvmsg(65535, socket.CMSG_SPACE(AUXDATA.size))
    for level, kind, data in beside:
        if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            status, _, _, _, _, control, protocol = AUXDATA.unpack(data[: AUXDATA.size])
            if status & TP_STATUS_VLAN_VALID:
                known = status & TP_STATUS_VLAN_TPID_VALID
                return tagged(frame, struct.pack("!HH", protocol if known else CUSTOMER, control))
    return frame
