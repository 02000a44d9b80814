"""How the HCPE learns of the HAG's secondary address, and what answers there."""

from __future__ import annotations

from dataclasses import replace

from .. import peer
from ..capture import SYN, read
from ..chain import LINK1, LINK2, Chain
from ..chainconfig import V4
from ..judge import judge
from ..shim import shim
from ..turns import take_turns
from .rows import PLAIN, at_most, row

SIZE = 400_000

HEARD = replace(PLAIN, hcpe={"hag": {"addresses": []}})
"""The HCPE knows HAG@2 from the announcement alone."""
HEARD_0 = replace(HEARD, hcpe={"hag": {"addresses": []}, "mptcp": {"versions": [0]}}, hag={"mptcp": {"versions": [0]}})


def _exchange(made: Chain, port: int) -> None:
    take_turns(made, port, SIZE, pauses=(0.5, 0.5))


def _lost_announcement(made: Chain, port: int) -> float:
    """Seconds from the set-up of a connection, whose first ADD_ADDR is lost, to its join."""
    with shim(made, LINK1, f"lose:add-addr:{port}"), made.capture("w1", "a1", "w2", only="tcp") as files:
        _exchange(made, port)
    opened = [packet.at for packet in read(files["w1"]) if packet.flags & SYN and port in (packet.sport, packet.dport)]
    joins = [packet.at for packet in read(files["w2"]) if packet.flags & SYN and 1 in packet.mptcp]
    sent, came = (sum(3 in packet.mptcp for packet in read(files[name]) if packet.sport == port) for name in ("a1", "w1"))
    assert sent > came, f"of {sent} announcements {came} came: none was lost"
    carried = sum(packet.payload for packet in read(files["w2"]))
    assert opened and joins and carried, f"{len(joins)} joins, {carried} octets on X"
    return joins[0] - opened[0]


@row("P10a", "seconds to the join where the first announcement is lost (version 1, repeated until its echo)", goal="<= 2", unit="s", on=HEARD, fresh=True)
def an_announcement_is_lost(made: Chain) -> float:
    return at_most(_lost_announcement(made, 8300), 2.0, "seconds to the join")


@row("P10a", "seconds to the join where the first announcement is lost (version 0, refreshed)", goal="<= 2", unit="s", on=HEARD_0, fresh=True)
def an_announcement_of_version_0_is_lost(made: Chain) -> float:
    return at_most(_lost_announcement(made, 8301), 2.0, "seconds to the join")


@row("P10b", "joins from X for connections to ports 22, 80, 443 and 65535, their tokens and HMACs recomputed", goal="4", unit="joins")
def joins_are_proven(made: Chain) -> int:
    return _joined_ports(made)


@row("I-ID", "ports of S (22, 80, 443, 65535) whose connections were joined at the HAG's secondary address", goal="4", unit="ports")
def joins_whatever_the_port(made: Chain) -> int:
    return _joined_ports(made)


def _joined_ports(made: Chain) -> int:
    ports = (22, 80, 443, 65535)
    with made.capture("w1", "w2", "s0", only="tcp") as files:
        for port in ports:
            _exchange(made, port)
    joined = {packet.dport for packet in read(files["w2"]) if packet.dst == V4.announced and packet.payload}
    assert joined == set(ports), f"data on X went to ports {sorted(joined)}"
    verdict = judge([files["w1"], files["w2"]], [files["s0"]], ("join_token=4", "join_hmac_a=4", "join_hmac_b=4", "no_option_30"))
    assert verdict.ok, verdict.text
    return len(joined)


PROBED = (22, 23, 53, 80, 179, 443, 830, 3306, 5001, 6653, 8080, 65535)


@row("P5c", "ports of the HAG's secondary address that answered a stranger on X with anything but a reset", goal="0", unit="ports", on=PLAIN, fresh=True)
def nothing_listens_at_the_secondary_address(made: Chain) -> int:
    stranger = made.attach("stranger", LINK2, "10.2.0.9/24", via4="10.2.0.1")
    stranger.sysctl(net__mptcp__enabled=1)
    answered = []
    for port in PROBED:
        try:
            peer.connect(stranger, V4.announced, mptcp=False, port=port, timeout=2.0).close()
            answered.append(port)
        except ConnectionRefusedError:
            pass
        except OSError as wrong:
            answered.append(port)
            print(f"port {port}: {wrong}")
        # One that speaks it gets no further: MP_CAPABLE is answered by nobody there.
        try:
            peer.connect(stranger, V4.announced, mptcp=True, port=port, timeout=2.0).close()
            answered.append(port)
        except ConnectionRefusedError:
            pass
    assert not answered, f"not refused: {sorted(set(answered))}"
    _exchange(made, 8310)
    return 0
