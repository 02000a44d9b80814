"""What is not TCP: on the primary alone, unchanged but for the hops."""

from __future__ import annotations

import socket
import struct
import time

from ..chain import Chain
from ..chainconfig import V4, V6, WIRE, Ends, Setup
from ..frames import frames
from ..mangle import checksum
from ..verdicts import changed
from .rows import row

BOXES = 2
PROTOCOLS = {"UDP": 17, "ESP": 50, "GRE": 47, "SCTP": 132, "6in4": 41, "AH": 51}
GROUP = "239.7.7.7"


def _xdp(names: dict[str, str]) -> dict:
    return {"ports": {port: {"device": f"net_af_xdp{number},iface={device}"} for number, (port, device) in enumerate(names.items())}}


WHOLE = Setup(
    links=(WIRE, WIRE),
    hcpe=_xdp({"lan": "l0", "wan1": "w1", "wan2": "w2"}),
    hag=_xdp({"access1": "a1", "access2": "a2", "core": "c1"}),
)
"""With AF_XDP: DPDK's AF_PACKET ports have the kernel put IPv4 fragments together before the box gets them."""


def _raw(space, family: socket.AddressFamily, protocol: int) -> socket.socket:  # noqa: ANN001
    with space.entered():
        return socket.socket(family, socket.SOCK_RAW, protocol)


def _v4(protocol: int, source: str, to: str, body: bytes, *, ident: int, fragment: int = 0, ttl: int = 64, tos: int = 0) -> bytes:
    head = struct.pack("!BBHHHBBH4s4s", 0x45, tos, 20 + len(body), ident, fragment, ttl, protocol, 0, socket.inet_aton(source), socket.inet_aton(to))
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body


def _packets(source: str, to: str) -> list[bytes]:
    """IPv4 packets of every kind, with contents that nobody on the way understands."""
    made = []
    for number, protocol in enumerate(PROTOCOLS.values()):
        for size in (0, 1, 777, 1480):
            body = bytes((number * 31 + at) & 0xFF for at in range(size))
            if protocol == 17:
                body = struct.pack("!HHHH", 4000 + number, 9, 8 + min(size, 1472), 0) + body[:1472]
            made.append(_v4(protocol, source, to, body, ident=1000 + len(made), tos=0xB8 if size == 777 else 0))
    # Fragments of one datagram, the last one first; the don't-fragment bit kept.
    whole = bytes(at & 0xFF for at in range(3000))
    made += [_v4(17, source, to, whole[at : at + 1480], ident=77, fragment=(0x2000 if at + 1480 < 3000 else 0) | at // 8) for at in (2960, 1480, 0)]
    made.append(_v4(47, source, to, whole[:100], ident=79, fragment=0x4000))
    return made


def _exchange(made: Chain, ends: Ends) -> None:
    for here, source, to in ((made.host, ends.host, ends.server), (made.server, ends.server, ends.host)):
        if ":" in source:
            for number, protocol in enumerate(PROTOCOLS.values()):
                if protocol in (17, 41):
                    continue
                with _raw(here, socket.AF_INET6, protocol) as out:
                    for size in (4, 777, 1400):
                        out.sendto(bytes((number + at) & 0xFF for at in range(size)), (to, 0))
            with here.entered():
                out = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            with out:
                # The last is cut into fragments by the sender, as IPv6 has it.
                for size in (0, 1, 1400, 4000):
                    out.sendto(bytes(size), (to, 9))
        else:
            with _raw(here, socket.AF_INET, socket.IPPROTO_RAW) as out:
                for packet in _packets(source, to):
                    out.sendto(packet, (to, 0))
        here.run("ping", "-c", "2", "-i", "0.2", "-s", "1000", to)
        here.run("ping", "-c", "1", "-s", "3000", to)


@row("P2", "packets of UDP, ICMP, ESP, AH, GRE, SCTP, 6in4 and fragments, both families and ways, that arrive changed, or go by X", goal="0", unit="packets", on=WHOLE)
def not_tcp_passes_untouched(made: Chain) -> int:
    for ends in (V4, V6):
        made.host.run("ping", "-c", "1", ends.server)
    with made.capture("h0", "w2", "s0", only="not tcp and not arp") as files:
        for ends in (V4, V6):
            _exchange(made, ends)
        time.sleep(0.3)
    seen = {name: list(frames(file)) for name, file in files.items()}
    total, wrong = 0, []
    for ends in (V4, V6):
        for source, to, begin, end in ((ends.host, ends.server, "h0", "s0"), (ends.server, ends.host, "s0", "h0")):
            sent = [frame for frame in seen[begin] if (frame.src, frame.dst) == (source, to)]
            arrived = [frame for frame in seen[end] if (frame.src, frame.dst) == (source, to)]
            total += len(sent)
            wrong += changed(sent, arrived, BOXES)
    strange = [frame for frame in seen["w2"] if {frame.src, frame.dst} & {V4.host, V6.host, V4.server, V6.server}]
    assert total > 100, f"only {total} packets were sent"
    assert not wrong and not strange, f"{len(wrong)} of {total} kinds: {'; '.join(wrong[:4])}; {len(strange)} on X"
    return len(wrong) + len(strange)


@row("P2", "datagrams to a multicast group from H, of ten, that do not leave by P unchanged, or go by X", goal="0", unit="packets")
def multicast_goes_by_the_primary(made: Chain) -> int:
    with made.host.entered():
        out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with made.capture("h0", "w1", "w2", only="udp") as files, out:
        out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 8)
        out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(V4.host))
        for number in range(10):
            out.sendto(bytes([number]) * 200, (GROUP, 5000))
        time.sleep(0.3)
    sent, primary, secondary = ([frame for frame in frames(files[name]) if frame.dst == GROUP] for name in ("h0", "w1", "w2"))
    wrong = changed(sent, primary, 1)
    assert len(sent) == 10 and not wrong and not secondary, f"{len(sent)} sent; {'; '.join(wrong[:3])}; {len(secondary)} on X"
    return len(wrong) + len(secondary)
