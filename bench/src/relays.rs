//! Transfers through a HAG in memory: hosts without a stack feed it pre-built frames, and only the box itself is metered.

use apps::control::{Command, Reply, Runtime};
use apps::engine::{Engine, EngineConfig, Limits, PerSubscriber};
use dataplane::app::App;
use dataplane::memory::{MemBuf, linear};
use dataplane::port::Received;
use mptcp::WireSeq;
use mptcp::crypto::dss_checksum;
use mptcp::handshake::join::{self, Keys};
use mptcp::option::{
    AddAddr, AddAddrProof, Capable, CapableFlags, CapableForm, Dss, Mapping, MpOption,
};
use mptcp::{AddrId, DataSeq, Key, Version};
use stack::buf::{PacketBuf, RxChecksum, Slice};
use stack::checksum::Sum;
use stack::time::Duration;
use stack::wire::tcp::{Flags, OptBytes};
use stack::{Frame, Instant, PortId, SeqNum, Step, Tuple};
use std::net::IpAddr;
use testbed::peer::{Peer, Wish};
use testbed::scene;

/// Octets of payload in each segment: with DSS and timestamps a frame of 1,500.
pub const SEGMENT: usize = 1420;

/// Which way the payload goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the server's TCP to the client: to its two subflows where it has them.
    Download,
    /// From the client, by its two subflows in turn where it has them, to the server's TCP.
    Upload,
}

/// What the box makes of the client's flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flows {
    /// Relays between Multipath TCP, two subflows each, and TCP.
    Multipath,
    /// The same, with DSS checksums.
    Summed,
    /// Relays between TCP and TCP.
    Plain,
    /// None: their packets are routed on.
    Forwarded,
}

/// An end of a TCP connection, and where its next segment starts: the box may acknowledge up to there with delay.
pub(crate) struct Host {
    pub(crate) peer: Peer,
    pub(crate) snd_nxt: SeqNum,
}

impl Host {
    pub(crate) fn new(port: u8, tuple: Tuple, iss: u32) -> Self {
        Self {
            peer: Peer::new(port, tuple, iss),
            snd_nxt: SeqNum(iss) + 1,
        }
    }

    /// The frame of its next segment of data.
    fn segment(&mut self, mptcp: OptBytes, data: &MemBuf) -> (u8, Vec<u8>) {
        let mut wish = plain(Flags::ACK);
        wish.payload = SEGMENT;
        wish.mptcp = mptcp;
        self.peer.next = self.snd_nxt;
        self.snd_nxt += SEGMENT_U32;
        (self.peer.port.0, self.peer.frame(&wish, data))
    }

    /// The frame of a pure acknowledgment of all that it was sent.
    pub(crate) fn acknowledge(&self, mptcp: OptBytes, data: &MemBuf) -> (u8, Vec<u8>) {
        let mut wish = plain(Flags::ACK);
        wish.mptcp = mptcp;
        (self.peer.port.0, self.peer.frame(&wish, data))
    }
}

/// Ports of the box.
const PORTS: usize = 3;

const SEGMENT_U32: u32 = SEGMENT as u32;

/// One flow: a client, and a plain server.
pub(crate) struct Flow {
    /// The client's subflows: the first, and the one that joined; without Multipath TCP one.
    pub(crate) subflows: Vec<Host>,
    pub(crate) server: Host,
    /// The next data sequence number that the client expects.
    pub(crate) data_ack: u64,
    /// The next data sequence number that the client sends.
    pub(crate) dsn: u64,
    /// The sum of a segment's payload, where mappings are checksummed.
    pub(crate) sum: Option<Sum>,
}

impl Flow {
    fn client(&mut self) -> &mut Peer {
        &mut self.subflows[0].peer
    }

    fn joined(&mut self) -> &mut Peer {
        &mut self.subflows[1].peer
    }

    fn server(&mut self) -> &mut Peer {
        &mut self.server.peer
    }

    pub(crate) fn note(&mut self, frame: &Frame<MemBuf>) {
        for host in self.subflows.iter_mut().chain([&mut self.server]) {
            host.peer.note(frame);
        }
    }

    /// The same, unless the frame's ports tell that it is another flow's.
    fn note_own(&mut self, frame: &Frame<MemBuf>) {
        let port = self.client().tuple.src_port.to_be_bytes();
        let ports = frame.header.bytes().get(34..38).unwrap_or(&[]);
        if ports.chunks(2).any(|field| field == port) {
            self.note(frame);
        }
    }

    fn is_multipath(&self) -> bool {
        self.subflows.len() > 1
    }

    /// A pure acknowledgment of everything seen on each subflow, and of all data.
    fn acknowledge(&self, data: &MemBuf) -> Vec<(u8, Vec<u8>)> {
        let dss = || match self.is_multipath() {
            true => acknowledgment(self.data_ack, None),
            false => OptBytes::new(),
        };
        let ack = |host: &Host| host.acknowledge(dss(), data);
        self.subflows.iter().map(ack).collect()
    }

    /// The client's segment `n` of data: on its subflows in turn.
    pub(crate) fn upload(&mut self, n: usize, data: &MemBuf) -> (u8, Vec<u8>) {
        if !self.is_multipath() {
            return self.subflows[0].segment(OptBytes::new(), data);
        }
        let at = n % self.subflows.len();
        let host = &mut self.subflows[at];
        let (dsn, ssn, len) = (self.dsn, host.snd_nxt - SUBFLOW_ISS[at], SEGMENT as u16);
        let mapping = Mapping {
            dsn: WireSeq::Full(dsn),
            ssn,
            len,
            checksum: self
                .sum
                .map(|sum| dss_checksum(DataSeq(dsn), ssn, len, sum)),
            data_fin: false,
        };
        self.dsn = self.dsn.wrapping_add(SEGMENT as u64);
        host.segment(acknowledgment(self.data_ack, Some(mapping)), data)
    }
}

/// Initial sequence numbers of the client's subflows.
pub(crate) const SUBFLOW_ISS: [SeqNum; 2] = [SeqNum(1_000), SeqNum(2_000)];

/// Something that runs the box's share of the work, and meters it.
pub trait Meter: FnMut(&mut dyn FnMut()) {}

impl<M: FnMut(&mut dyn FnMut())> Meter for M {}

/// Client ports of a client address.
const PORTS_OF_CLIENT: u32 = 50_000;

/// A HAG with a number of established flows.
pub struct Relays {
    engine: Box<Engine<MemBuf>>,
    /// What its ports say of the checksums of received frames.
    checksum: RxChecksum,
    flows: Vec<Flow>,
    data: MemBuf,
    now: Instant,
    out: Vec<Frame<MemBuf>>,
    turn: usize,
    /// Frames that left in the last turn of the box.
    moved: usize,
    /// Buffers of the ports: freed between rounds, outside of the box.
    pool: Vec<MemBuf>,
}

/// What one round did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Round {
    /// Segments of payload that reached the other side.
    pub segments: u64,
    /// Payload octets that were copied on the way.
    pub copied: u64,
    /// Payload octets that left without a known sum, so that they were read once more for the checksum.
    pub reread: u64,
}

pub(crate) fn emit(option: impl Into<MpOption>) -> OptBytes {
    let mut bytes = OptBytes::new();
    option.into().emit(&mut bytes).expect("one option fits");
    bytes
}

pub(crate) fn plain(flags: Flags) -> Wish {
    Wish {
        flags: flags.0,
        seq: 0,
        ack: 0,
        wnd: 0xffff,
        syn_options: flags.has(Flags::SYN),
        timestamps: false,
        sack: None,
        mptcp: OptBytes::new(),
        payload: 0,
    }
}

pub(crate) fn tuple(src: [u8; 4], dst: [u8; 4], src_port: u16, dst_port: u16) -> Tuple {
    Tuple {
        src: IpAddr::from(src),
        dst: IpAddr::from(dst),
        src_port,
        dst_port,
    }
}

/// The last octet of client `number`'s address, and its port.
fn client_of(number: u32) -> (u8, u16) {
    let host = u8::try_from(2 + number / PORTS_OF_CLIENT).expect("a host of the network");
    let port = u16::try_from(number % PORTS_OF_CLIENT).expect("a port");
    (host, 10_000 + port)
}

impl Relays {
    /// A HAG with `count` established relays of Multipath TCP, at most ten million, whose ports verify no checksums.
    ///
    /// # Panics
    /// A handshake did not go through: the engine is broken.
    #[must_use]
    pub fn new(count: u32) -> Self {
        Self::metered(count, |work| work())
    }

    /// The same; `meter` is given each share of the box's work, its making first.
    ///
    /// # Panics
    /// A handshake did not go through: the engine is broken.
    pub fn metered(count: u32, meter: impl Meter) -> Self {
        Self::build((Flows::Multipath, RxChecksum::Unknown), count, meter)
    }

    /// A HAG with `count` established flows, at most ten million; its ports say `checksum` of what they receive.
    ///
    /// # Panics
    /// A handshake did not go through: the engine is broken.
    #[must_use]
    pub fn of(kind: Flows, count: u32, checksum: RxChecksum) -> Self {
        Self::build((kind, checksum), count, |work| work())
    }

    fn build((kind, checksum): (Flows, RxChecksum), count: u32, mut meter: impl Meter) -> Self {
        let flows = count as usize;
        let limits = Limits {
            relays: flows,
            pending: 64,
            joining: 64,
            per_subscriber: PerSubscriber {
                connections: flows,
                ..PerSubscriber::default()
            },
            protect_established: false,
            ..Limits::default()
        };
        let config = EngineConfig {
            accept_plain: kind == Flows::Plain,
            ..scene::config(limits)
        };
        let mut engine = None;
        meter(&mut || {
            let made = Engine::new(config.clone()).expect("the scene resolves");
            engine = Some(Box::new(made));
        });
        let mut relayed = Self {
            engine: engine.expect("the meter runs the work"),
            checksum: RxChecksum::Unknown,
            flows: Vec::with_capacity(flows),
            data: MemBuf::from(vec![0x55; SEGMENT]),
            now: Instant::from_millis(1),
            out: Vec::new(),
            turn: 0,
            moved: 0,
            pool: Vec::new(),
        };
        for number in 0..count {
            match kind {
                Flows::Multipath => relayed.open(number, false, &mut meter),
                Flows::Summed => relayed.open(number, true, &mut meter),
                Flows::Plain | Flows::Forwarded => relayed.open_plain(number, &mut meter),
            }
        }
        let relays = if kind == Flows::Forwarded { 0 } else { flows };
        let found = relayed.engine.occupancy().relays;
        assert_eq!(found, relays, "of {flows} {kind:?}");
        // A few keys are drawn each turn until there are enough.
        for _ in 0..1_000 {
            relayed.engine.flush(relayed.now, &mut relayed.out);
        }
        relayed.checksum = checksum;
        relayed
    }

    fn input(&mut self, port: u8, frame: Vec<u8>, meter: &mut impl Meter) {
        self.pool.clear();
        self.now = self.now + Duration::from_micros(5);
        self.run(vec![(port, frame)], meter);
    }

    /// Lets `time` pass in which nobody sends anything.
    pub fn idle(&mut self, time: Duration, mut meter: impl Meter) {
        let until = self.now + time;
        while let Some(at) = self.engine.next_deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            meter(&mut || {
                self.engine.flush(self.now, &mut self.out);
                self.out = Vec::new();
            });
        }
        self.now = until;
    }

    /// Sends `wish` as `peer`, and shows all three what comes of it.
    fn exchange(
        &mut self,
        flow: &mut Flow,
        sender: impl Fn(&mut Flow) -> &mut Peer,
        wish: &Wish,
        meter: &mut impl Meter,
    ) {
        let peer = sender(flow);
        let (port, frame) = (peer.port.0, peer.frame(wish, &self.data));
        self.input(port, frame, meter);
        let asked: Vec<_> = self.out.iter().filter_map(scene::arp_reply).collect();
        for (port, reply) in asked {
            self.input(port, reply, meter);
        }
        for frame in self.out.drain(..) {
            flow.note(&frame);
        }
    }

    fn open(&mut self, number: u32, summed: bool, meter: &mut impl Meter) {
        let (client, port) = client_of(number);
        let (h, x) = ([10, 1, 0, client], [10, 2, 0, client]);
        let (hag, s) = ([10, 99, 0, 2], [10, 9, 0, 2]);
        let [first, second] = SUBFLOW_ISS;
        let mut flow = Flow {
            subflows: vec![
                Host::new(0, tuple(h, s, port, 80), first.0),
                Host::new(1, tuple(x, hag, port, 80), second.0),
            ],
            server: Host::new(2, tuple(s, h, 80, port), 3_000),
            data_ack: 0,
            dsn: 0,
            sum: summed.then(|| Sum::of(self.data.bytes())),
        };
        let (syn, ack) = (Flags::SYN, Flags::ACK);
        let [a, b, c, d] = number.to_be_bytes();
        let key = Key::new([a, b, c, d, 5, 6, 7, 8]);
        let capable = |form| {
            emit(Capable {
                version: 1,
                flags: if summed {
                    CapableFlags::HMAC.with(CapableFlags::CHECKSUM)
                } else {
                    CapableFlags::HMAC
                },
                form,
            })
        };

        let mut wish = plain(syn);
        wish.mptcp = capable(CapableForm::Bare);
        self.exchange(&mut flow, Flow::client, &wish, meter);
        let answer = plain(syn.with(ack));
        self.exchange(&mut flow, Flow::server, &answer, meter);
        let theirs = mptcp::option::parse(&flow.subflows[0].peer.mptcp)
            .flatten()
            .next();
        let Some(MpOption::Capable(Capable {
            form: CapableForm::OneKey { sender },
            ..
        })) = theirs
        else {
            panic!("the box answered MP_CAPABLE with {theirs:?}");
        };
        let mut wish = plain(ack);
        wish.mptcp = capable(CapableForm::TwoKeys {
            sender: key,
            receiver: sender,
        });
        self.exchange(&mut flow, Flow::client, &wish, meter);
        flow.data_ack = sender.idsn(Version::V1).0.wrapping_add(1);
        flow.dsn = key.idsn(Version::V1).0.wrapping_add(1);
        let mut wish = plain(ack);
        wish.mptcp = acknowledgment(flow.data_ack, None);
        self.exchange(&mut flow, Flow::client, &wish, meter);
        let keys = Keys {
            version: Version::V1,
            local: key,
            remote: sender,
        };
        self.join(&mut flow, &keys, meter);
        self.echo(&mut flow, meter);
        self.flows.push(flow);
    }

    fn open_plain(&mut self, number: u32, meter: &mut impl Meter) {
        let (client, port) = client_of(number);
        let (h, s) = ([10, 1, 0, client], [10, 9, 0, 2]);
        let mut flow = Flow {
            subflows: vec![Host::new(0, tuple(h, s, port, 80), SUBFLOW_ISS[0].0)],
            server: Host::new(2, tuple(s, h, 80, port), 3_000),
            data_ack: 0,
            dsn: 0,
            sum: None,
        };
        let (syn, ack) = (Flags::SYN, Flags::ACK);
        self.exchange(&mut flow, Flow::client, &plain(syn), meter);
        self.exchange(&mut flow, Flow::server, &plain(syn.with(ack)), meter);
        self.exchange(&mut flow, Flow::client, &plain(ack), meter);
        self.flows.push(flow);
    }

    fn join(&mut self, flow: &mut Flow, keys: &Keys, meter: &mut impl Meter) {
        let nonce = 0x0102_0304;
        let mut wish = plain(Flags::SYN);
        wish.mptcp = emit(join::syn(keys, nonce, AddrId(2), false));
        self.exchange(flow, Flow::joined, &wish, meter);
        let joined = join::syn_ack(&flow.subflows[1].peer.mptcp, keys, nonce)
            .expect("the box accepts the join");
        let mut wish = plain(Flags::ACK);
        wish.mptcp = emit(joined.ack);
        self.exchange(flow, Flow::joined, &wish, meter);
    }

    /// Echoes the addresses that the box announces, which it repeats until then (RFC 8684 3.4.1): one after the other, as they come.
    fn echo(&mut self, flow: &mut Flow, meter: &mut impl Meter) {
        loop {
            let said = core::mem::take(&mut flow.client().mptcp);
            let mut said = mptcp::option::parse(&said).flatten();
            let Some(MpOption::AddAddr(announced)) = said.next() else {
                return;
            };
            let mut wish = plain(Flags::ACK);
            wish.mptcp = emit(AddAddr {
                proof: AddAddrProof::Echo,
                ..announced
            });
            self.exchange(flow, Flow::client, &wish, meter);
        }
    }

    /// One burst of `burst` segments of payload through the next flow, then the receiver's acknowledgments. `meter` is
    /// given the box's share of the work to run, twice.
    ///
    /// # Panics
    /// The box did not relay all of them.
    pub fn round(&mut self, direction: Direction, burst: usize, meter: impl Meter) -> Round {
        self.round_of(direction, (1, burst), meter)
    }

    /// The same through each of the next `flows`, one after another in the same burst.
    ///
    /// # Panics
    /// The box did not relay all of them.
    pub fn round_of(
        &mut self,
        direction: Direction,
        (flows, burst): (usize, usize),
        mut meter: impl Meter,
    ) -> Round {
        let count = self.flows.len();
        let first = self.turn;
        let turns = || (first..first + flows.min(count)).map(|turn| turn % count);
        self.turn = (first + flows) % count;
        self.now = self.now + Duration::from_micros(20);
        self.pool.clear();

        let mut frames = Vec::new();
        for turn in turns() {
            let (flow, data) = (&mut self.flows[turn], &self.data);
            match direction {
                Direction::Download => {
                    let segments = (0..burst).map(|_| flow.server.segment(OptBytes::new(), data));
                    frames.extend(segments);
                },
                Direction::Upload => frames.extend((0..burst).map(|n| flow.upload(n, data))),
            }
        }
        self.run(frames, &mut meter);

        let (mut reached, mut copied, mut reread) = (0, 0, 0);
        for frame in self.out.drain(..) {
            reached += payload_len(&frame);
            copied += dataplane::headers::tcp_payload_in_header(frame.header.bytes());
            let unknown = frame.payload.iter().filter(|p| p.known_sum().is_none());
            reread += unknown.map(Slice::len).sum::<usize>();
            turns().for_each(|turn| self.flows[turn].note_own(&frame));
        }
        let all = turns().count() * burst;
        assert_eq!(reached, all * SEGMENT, "every octet was relayed");
        let mut answers = Vec::new();
        for turn in turns() {
            let flow = &mut self.flows[turn];
            match direction {
                Direction::Download => {
                    flow.data_ack = flow.data_ack.wrapping_add((burst * SEGMENT) as u64);
                    answers.extend(flow.acknowledge(&self.data));
                },
                Direction::Upload => {
                    answers.push(flow.server.acknowledge(OptBytes::new(), &self.data));
                },
            }
        }
        self.run(answers, &mut meter);
        for frame in self.out.drain(..) {
            turns().for_each(|turn| self.flows[turn].note_own(&frame));
        }
        Round {
            segments: all as u64,
            copied: copied as u64,
            reread: reread as u64,
        }
    }

    fn run(&mut self, frames: Vec<(u8, Vec<u8>)>, meter: &mut impl Meter) {
        let mut bursts = [const { Vec::new() }; PORTS];
        for (port, frame) in frames {
            let buffer = MemBuf::from(frame);
            // A second reference, so that the box neither turns the buffer into a counted one nor frees it.
            self.pool.push(buffer.clone());
            let (frame, checksum) = (Slice::new(buffer), self.checksum);
            bursts[usize::from(port)].push(Received { frame, checksum });
        }
        meter(&mut || self.through_the_box(&mut bursts));
    }

    /// What the cycles of the box went to: those of the hosts between its turns count as idle.
    ///
    /// # Panics
    /// The box answers something else.
    pub fn runtime(&mut self) -> Runtime {
        let (engine, out) = (&mut self.engine, &mut self.out);
        match engine.command(self.now, Command::ShowRuntime, out) {
            Reply::Runtime(runtime) => runtime,
            other => panic!("to show runtime the box answered {other:?}"),
        }
    }

    /// All of the box's work: instruction counters look for this name.
    #[inline(never)]
    fn through_the_box(&mut self, bursts: &mut [Vec<Received<MemBuf>>; PORTS]) {
        if let Some(ledger) = self.engine.ledger() {
            ledger.begin_turn(self.moved);
        }
        for (port, burst) in (0..).map(PortId).zip(bursts) {
            if !burst.is_empty() {
                self.engine.input(self.now, port, burst, &mut self.out);
            }
        }
        self.engine.flush(self.now, &mut self.out);
        self.moved = self.out.len();
        if let Some(ledger) = self.engine.ledger() {
            ledger.enter(Step::Idle);
        }
    }
}

/// Octets of TCP payload in a frame of IPv4 without options: what is routed on has its TCP header by reference, too.
fn payload_len(frame: &Frame<MemBuf>) -> usize {
    let bytes = linear(frame);
    let tcp = bytes.get(34..).unwrap_or(&[]);
    let header = tcp.get(12).map_or(0, |octet| usize::from(octet >> 4) * 4);
    tcp.len().saturating_sub(header)
}

/// A DSS that acknowledges all data before `data_ack`.
pub(crate) fn acknowledgment(data_ack: u64, mapping: Option<Mapping>) -> OptBytes {
    emit(Dss {
        data_ack: Some(WireSeq::Full(data_ack)),
        mapping,
    })
}
