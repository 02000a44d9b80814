"""Judges of captures of the chain, shared by the rows, the demo, and the check that breaks packets to see whether they notice."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address, ip_network
from pathlib import Path

from .capture import ACK, SYN, Packet
from .chainconfig import V4, V6
from .frames import Frame, frames

HOSTS = (ip_network("10.10.0.0/24"), ip_network("fd00:10::/64"))


def is_host(address: str) -> bool:
    """Whether it is one of the customer's own addresses."""
    return any(ip_address(address) in network for network in HOSTS)


def foreign_sources(on_p: Path, on_x: Path) -> list[str]:
    """Packets that carry another network's source (BCP 38): H's on X, the HCPE's secondary address on P."""
    bad = [f"{frame.src} > {frame.dst} on X" for frame in frames(on_x) if is_host(frame.src)]
    bad += [f"{frame.src} > {frame.dst} on P" for frame in frames(on_p) if frame.src in (V4.hcpe2, V6.hcpe2)]
    return bad


def changed(sent: list[Frame], arrived: list[Frame], hops: int) -> list[str]:
    """Packets that did not arrive as they were sent, once each, `hops` hops further."""
    wanted = Counter((frame.without_hops(), frame.hops - hops) for frame in sent)
    got = Counter((frame.without_hops(), frame.hops) for frame in arrived)

    def name(packet: bytes) -> str:
        return f"protocol {packet[9] if packet[0] >> 4 == 4 else packet[6]}, {len(packet)} octets"

    wrong = [f"{name(packet)}: {count} missing or changed" for (packet, _), count in (wanted - got).items()]
    return wrong + [f"{name(packet)}: {count} nobody sent" for (packet, _), count in (got - wanted).items()]


def early(seen: dict[str, list[Packet]], late_s: float) -> list[str]:
    """What each connection sent between H's SYN and S's answer, but the SYN itself once on H's line, P and S's line.

    S's kernel answers at once and the line holds the answer back for `late_s`: S has answered when that is over.
    """
    extra = []
    begun = {packet.sport: packet.at for packet in reversed(seen["h0"]) if packet.flags & (SYN | ACK) == SYN}
    answered = {packet.dport: packet.at + late_s for packet in reversed(seen["s0"]) if packet.flags & (SYN | ACK) == SYN | ACK}
    for name in ("h0", "w1", "s0"):
        syns: dict[int, int] = {}
        for packet in seen[name]:
            port = packet.sport if packet.sport in begun else packet.dport
            if port not in begun or packet.at >= answered.get(port, float("inf")):
                continue
            if packet.flags & (SYN | ACK) == SYN:
                syns[port] = syns.get(port, 0) + 1
                if syns[port] == 1:
                    continue
            if name == "s0" and packet.flags & (SYN | ACK) == SYN | ACK:
                # On its way through the slow line.
                continue
            extra.append(f"{name}: {packet.src}:{packet.sport} > {packet.dst}:{packet.dport} flags {packet.flags:#04x} before S's answer")
    pending = [(begun[port], at) for port, at in answered.items() if port in begun]
    for packet in seen.get("w2", []):
        if packet.flags & SYN and any(start <= packet.at < end for start, end in pending) and not any(end <= packet.at for _, end in pending):
            extra.append(f"w2: {packet.src}:{packet.sport} > {packet.dst}:{packet.dport} joins before S's answer")
    return extra
