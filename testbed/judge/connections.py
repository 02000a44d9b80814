"""Which subflow belongs to which connection, and whether each proved it."""

from __future__ import annotations

from dataclasses import dataclass, field

import option30
from option30 import AddAddr, BadOption, Capable, Dss, JoinAck, JoinSyn, JoinSynAck, Mapping, Other
from packets import ACK, RST, SYN, Endpoint, Packet
from streams import Half, Stream
from verdict import Verdict

CHECKSUM_REQUIRED, EXTENSIBILITY = 0x80, 0x40


class Connection:
    """An MPTCP connection. Side 0 sent the SYN with MP_CAPABLE, side 1 answered it."""

    def __init__(self, version: int, checksum: bool) -> None:
        self.version = version
        self.checksum = checksum
        self.keys: list[bytes | None] = [None, None]
        self.streams: list[Stream | None] = [None, None]
        self.fallback: str | None = None
        self.flows: list[Flow] = []

    def learn(self, side: int, key: bytes) -> None:
        """The key of one side, from which its first data sequence number follows."""
        if self.keys[side] is None:
            self.keys[side] = key
            name = "initiator" if side == 0 else "responder"
            self.streams[side] = Stream(name, option30.idsn(self.version, key))


@dataclass
class Flow:
    """A subflow, or a plain TCP connection. Direction 0 is from the host that sent the SYN."""

    ends: tuple[Endpoint, Endpoint]
    isn: int
    kind: str = "plain"
    last_syn_capable: Capable | None = None
    join_syn: JoinSyn | None = None
    join_nonce: bytes | None = None
    join_state: str | None = None
    connection: Connection | None = None
    opener_side: int = 0
    halves: list[Half | None] = field(default_factory=lambda: [None, None])
    reset: bool = False

    def side(self, direction: int) -> int:
        """The connection's side that sends in `direction`."""
        return self.opener_side ^ direction

    @property
    def initial(self) -> bool:
        return self.kind == "mp_capable"


class Tracker:
    """Follows packets in the order of their capture."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        self.connections: list[Connection] = []
        self.flows: dict[tuple[Endpoint, Endpoint], Flow] = {}
        self.tokens: dict[int, tuple[Connection, int]] = {}

    def packet(self, packet: Packet) -> None:
        """Takes the next packet."""
        self.verdict.counts["packets"] += 1
        options = self._options(packet)
        if packet.flags & SYN:
            flow = self._syn_ack(packet, options) if packet.flags & ACK else self._syn(packet, options)
        else:
            flow = self.flows.get((packet.src, packet.dst))
        if flow is None:
            self.verdict.counts["stray_packets"] += 1
            return
        direction = int(packet.src != flow.ends[0])
        if packet.flags & RST:
            flow.reset = True
            self.verdict.counts["resets"] += 1
        elif not packet.flags & SYN:
            self._third_ack(flow, direction, packet, options)
        if flow.connection is not None:
            self._signals(flow, direction, packet, options)
            self._data(flow, direction, packet, options)

    def _options(self, packet: Packet) -> list[option30.Option]:
        found: list[option30.Option] = []
        try:
            for raw in option30.options30(packet.options):
                found.append(option30.parse(raw))
                self.verdict.judge("option_form", True, "")
        except BadOption as error:
            self.verdict.judge("option_form", False, f"{packet.where}: {error}")
        if found:
            self.verdict.counts["mptcp_packets"] += 1
        for option in found:
            if isinstance(option, Capable) and option.flags & EXTENSIBILITY:
                self.verdict.judge("capable_flags", False, f"{packet.where}: flag B")
        return found

    def _syn(self, packet: Packet, options: list[option30.Option]) -> Flow:
        flow = self.flows.get((packet.src, packet.dst))
        if flow is None or flow.ends[0] != packet.src or flow.isn != packet.seq:
            flow = Flow((packet.src, packet.dst), packet.seq)
            self.flows[(packet.src, packet.dst)] = self.flows[(packet.dst, packet.src)] = flow
            self.verdict.counts["flows"] += 1
            flow.halves[0] = Half(packet.seq)
        flow.last_syn_capable = next((o for o in options if isinstance(o, Capable)), None)
        if flow.last_syn_capable is not None:
            self.verdict.counts["syn_mp_capable"] += 1
        join = next((o for o in options if isinstance(o, JoinSyn)), None)
        if join is not None:
            self.verdict.counts["syn_mp_join"] += 1
            flow.kind, flow.join_syn = "mp_join", join
            flow.join_state = flow.join_state or "asked"
            owner = self.tokens.get(join.token)
            if owner is not None:
                flow.opener_side = 1 - owner[1]
                self._belongs(flow, owner[0])
        return flow

    def _belongs(self, flow: Flow, connection: Connection) -> None:
        if flow.connection is None:
            flow.connection = connection
            connection.flows.append(flow)

    def _syn_ack(self, packet: Packet, options: list[option30.Option]) -> Flow | None:
        flow = self.flows.get((packet.src, packet.dst))
        if flow is None or flow.ends[0] == packet.src:
            return None
        if flow.halves[1] is None or flow.halves[1].isn != packet.seq:
            flow.halves[1] = Half(packet.seq)
        capable = next((o for o in options if isinstance(o, Capable)), None)
        join = next((o for o in options if isinstance(o, JoinSynAck)), None)
        if join is not None and flow.join_syn is not None:
            self._join_answer(flow, packet, flow.join_syn, join)
        elif flow.last_syn_capable is not None and capable is None and flow.connection is None:
            self.verdict.counts["fallback_syn_ack"] += 1
        if capable is not None:
            self._capable_answer(flow, packet, capable)
        return flow

    def _capable_answer(self, flow: Flow, packet: Packet, capable: Capable) -> None:
        asked = flow.last_syn_capable
        # Version 0 needs the key in the SYN (RFC 6824 3.1), so it is no answer to version 1's.
        holds = asked is not None and capable.version <= asked.version and len(capable.keys) == 1
        holds = holds and (capable.version > 0 or len(asked.keys) == 1)
        self.verdict.judge("capable_answer", holds, f"{packet.where}: MP_CAPABLE answers no such SYN")
        if asked is None or not holds or flow.connection is not None:
            return
        self.verdict.counts["connections"] += 1
        connection = Connection(capable.version, asked.wants_checksum or capable.wants_checksum)
        self.connections.append(connection)
        flow.kind = "mp_capable"
        self._belongs(flow, connection)
        self._key(connection, 1, capable.keys[0])
        if asked.keys:
            self._key(connection, 0, asked.keys[0])

    def _key(self, connection: Connection, side: int, key: bytes) -> None:
        connection.learn(side, key)
        self.tokens[option30.token(connection.version, key)] = (connection, side)

    def _join_answer(self, flow: Flow, packet: Packet, asked: JoinSyn, answer: JoinSynAck) -> None:
        where = packet.where
        known = flow.connection is not None
        self.verdict.judge("join_token", known, f"{where}: token {asked.token:08x} is of no key, yet answered")
        flow.join_nonce = answer.nonce
        connection = flow.connection
        if connection is None:
            return
        mac = self._mac(connection, flow.side(1), answer.nonce, asked.nonce)
        if mac is None:
            self.verdict.judge("join_hmac_b", False, f"{where}: answered before both keys were sent")
            return
        holds = mac[:8] == answer.mac
        self.verdict.judge("join_hmac_b", holds, f"{where}: {answer.mac.hex()}, recomputed {mac[:8].hex()}")
        flow.join_state = "answered"

    @staticmethod
    def _mac(connection: Connection, side: int, mine: bytes, theirs: bytes) -> bytes | None:
        sender, receiver = connection.keys[side], connection.keys[1 - side]
        if sender is None or receiver is None:
            return None
        return option30.join_mac(connection.version, sender, receiver, mine, theirs)

    def _third_ack(self, flow: Flow, direction: int, packet: Packet, options: list[option30.Option]) -> None:
        connection = flow.connection
        if connection is None or direction == 1:
            return
        for option in options:
            if isinstance(option, Capable) and flow.initial:
                self._keys_again(connection, packet, option)
            elif isinstance(option, JoinAck) and flow.join_syn is not None and flow.join_nonce is not None:
                mac = self._mac(connection, flow.side(0), flow.join_syn.nonce, flow.join_nonce)
                holds = mac == option.mac
                self.verdict.judge("join_hmac_a", holds, f"{packet.where}: {option.mac.hex()} is not the HMAC")
                if holds and flow.join_state != "completed":
                    flow.join_state = "completed"
                    self.verdict.counts["joins_completed"] += 1
        waits = flow.initial and connection.fallback is None and connection.keys[0] is None
        if waits and not options:
            connection.fallback = "third ACK"
            self.verdict.counts["fallback_third_ack"] += 1

    def _keys_again(self, connection: Connection, packet: Packet, capable: Capable) -> None:
        where = packet.where
        holds = len(capable.keys) == 2 and capable.keys[1] == connection.keys[1]
        if holds and connection.keys[0] is not None:
            holds = capable.keys[0] == connection.keys[0]
        self.verdict.judge("capable_keys", holds, f"{where}: not the keys of the handshake")
        flags = capable.wants_checksum == connection.checksum and capable.version == connection.version
        self.verdict.judge("capable_flags", flags, f"{where}: flags {capable.flags:#04x} confirm something else")
        if len(capable.keys) == 2 and connection.keys[0] is None:
            self._key(connection, 0, capable.keys[0])

    def _signals(self, flow: Flow, direction: int, packet: Packet, options: list[option30.Option]) -> None:
        """ADD_ADDR and what is only counted."""
        counts, connection = self.verdict.counts, flow.connection
        names = {
            option30.REMOVE_ADDR: "remove_addr",
            option30.PRIO: "mp_prio",
            option30.FAIL: "mp_fail",
            option30.FASTCLOSE: "fastclose",
            option30.TCPRST: "mp_tcprst",
        }
        for option in options:
            if isinstance(option, Other):
                counts[names.get(option.subtype, "unknown_subtypes")] += 1
            elif isinstance(option, AddAddr):
                counts["add_addr_echo" if option.echo else "add_addr"] += 1
                if option.mac is None or connection is None:
                    continue
                side = flow.side(direction)
                sender, receiver = connection.keys[side], connection.keys[1 - side]
                if sender is None or receiver is None:
                    self.verdict.skip("add_addr_hmac")
                    continue
                mac = option30.add_addr_mac(sender, receiver, option)
                message = f"{packet.where}: {option.mac.hex()}, recomputed {mac.hex()}"
                self.verdict.judge("add_addr_hmac", mac == option.mac, message)

    def _data(self, flow: Flow, direction: int, packet: Packet, options: list[option30.Option]) -> None:
        connection = flow.connection
        mine, theirs = flow.halves[direction], flow.halves[1 - direction]
        if connection is None or mine is None:
            return
        if theirs is not None and packet.flags & ACK:
            theirs.note_ack(packet.ack)
        start = mine.relative(packet.seq) + bool(packet.flags & SYN)
        mine.seen.add(start, start + packet.length)
        mine.octets += packet.length
        side = flow.side(direction)
        stream, peer = connection.streams[side], connection.streams[1 - side]
        if stream is None or connection.fallback is not None:
            return
        for option in options:
            if isinstance(option, Dss) and option.ack is not None and peer is not None:
                peer.note_ack(packet.time_ns, peer.offset(*option.ack), packet.where)
            mapping = self._mapping(option, stream)
            if mapping is None:
                continue
            if mapping.length == 0 and not mapping.fin:
                connection.fallback = "infinite mapping"
                self.verdict.counts["fallback_infinite_mapping"] += 1
                return
            form = (mapping.checksum is not None) == connection.checksum
            self.verdict.judge("checksum_form", form, f"{packet.where}: checksum {mapping.checksum}")
            mine.map(mapping, stream, packet.time_ns, packet.where, connection.checksum, self.verdict)
        if packet.length and not packet.flags & RST:
            mine.deliver(
                start, packet.length, packet.payload, packet.where, stream, connection.checksum, self.verdict
            )

    @staticmethod
    def _mapping(option: option30.Option, stream: Stream) -> Mapping | None:
        """The mapping in a DSS, or in the MP_CAPABLE of the first data."""
        if isinstance(option, Dss):
            return option.mapping
        if isinstance(option, Capable) and option.length is not None:
            return Mapping(stream.first, True, 1, option.length, option.checksum, False)
        return None

    def finish(self, slack_ns: int) -> None:
        """Judges what needs the whole capture."""
        for connection in self.connections:
            for flow in connection.flows:
                for direction in (0, 1):
                    half, stream = flow.halves[direction], connection.streams[flow.side(direction)]
                    if half is not None and stream is not None:
                        half.finish(stream, connection.fallback is not None, self.verdict)
            for stream in connection.streams:
                if stream is not None and connection.fallback is None:
                    stream.finish(slack_ns, self.verdict)
