//! One end of a recording, played by a connection of ours.

use super::reader::Captured;
use bytes::Bytes;
use core::time::Duration as Elapsed;
use mptcp::connection::{Limits, Params};
use mptcp::handshake::capable::{self, Answered, Terms, ThirdAck, Versions};
use mptcp::join::{Initiated, Joined, Joining, OpenJoin};
use mptcp::option::{Capable, CapableFlags, CapableForm, Dss, Join, Prio, parse};
use mptcp::{Connection, Counter, Cx, DataSeq, Key, MpOption, Role, SubflowId, Version};
use stack::tcp::handshake::{AcceptVerdict, Accepting, Offer, OpenVerdict, Opening};
use stack::tcp::{Agreed, Tcb};
use stack::time::Duration;
use stack::wire::tcp::{Flags, OptBytes, Options, OutSegment, Segment, Timestamps};
use stack::{Instant, PacketBuf, Rng, SeqNum, Slice, Tally, Tuple};
use std::collections::{BTreeMap, VecDeque};

/// A recorded payload.
#[derive(Clone, Debug)]
pub(crate) struct Buf(Bytes);

impl PacketBuf for Buf {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

fn slice(octets: &[u8]) -> Slice<Buf> {
    Slice::new(Buf(Bytes::copy_from_slice(octets)))
}

/// A mapping and where its data stood: subflow, sequence number, DSN, SSN, length, checksum, payload.
pub(crate) type Placed = (Tuple, u32, u64, u32, u16, Option<u16>, Vec<u8>);

/// What one end said, as far as keys, random numbers and data decide it. Whether a DSN is written with 32 or 64 bits,
/// and which DATA_ACK goes with it, is each implementation's own affair.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Said {
    /// The octets of each MP_CAPABLE.
    pub(crate) capable: Vec<OptBytes>,
    /// The octets of each MP_JOIN, by subflow.
    pub(crate) joins: Vec<(Tuple, OptBytes)>,
    pub(crate) mappings: Vec<Placed>,
    /// DSN and checksum of the DATA_FIN.
    pub(crate) data_fin: Option<(u64, Option<u16>)>,
}

impl Said {
    pub(crate) fn note(
        &mut self,
        tuple: Tuple,
        seq: u32,
        mptcp: &[u8],
        payload: &[u8],
        idsn: DataSeq,
    ) {
        for option in parse(mptcp).flatten() {
            match option {
                MpOption::Capable(_) => {
                    let octets = OptBytes::from(option);
                    if !self.capable.contains(&octets) {
                        self.capable.push(octets);
                    }
                },
                MpOption::Join(_) => {
                    let join = (tuple, OptBytes::from(option));
                    if !self.joins.contains(&join) {
                        self.joins.push(join);
                        self.joins
                            .sort_by_key(|(tuple, octets)| (*tuple, octets.len()));
                    }
                },
                MpOption::Dss(Dss {
                    mapping: Some(mapping),
                    ..
                }) => {
                    let DataSeq(dsn) = DataSeq::expand(mapping.dsn, idsn);
                    if payload.is_empty() {
                        assert!(mapping.data_fin && mapping.ssn == 0 && mapping.len == 1);
                        let fin = (dsn, mapping.checksum);
                        assert_eq!(*self.data_fin.get_or_insert(fin), fin);
                    } else {
                        assert!(!mapping.data_fin);
                        self.mappings.push((
                            tuple,
                            seq,
                            dsn,
                            mapping.ssn,
                            mapping.len,
                            mapping.checksum,
                            payload.to_vec(),
                        ));
                    }
                },
                _ => {},
            }
        }
    }
}

/// The handshake of the first subflow, until there is a connection.
enum Begin {
    Nothing,
    Opening(Opening),
    Accepting(Box<Accepting>),
    Done,
}

/// A connection of ours in the place of one end of the recording.
pub(crate) struct Player {
    role: Role,
    now: Instant,
    origin: (Instant, Elapsed),
    rng: Rng,
    tcp: Tally<stack::Counter>,
    mptcp: Tally<Counter>,
    /// Ours and the peer's.
    keys: [Key; 2],
    checksum: bool,
    begin: Begin,
    conn: Option<Connection<Buf>>,
    /// By the tuple of the segments that we receive, as all below.
    opens: BTreeMap<Tuple, OpenJoin>,
    joinings: BTreeMap<Tuple, Joining>,
    /// The peer's last window and clock.
    peers: BTreeMap<Tuple, (u16, Option<Timestamps>)>,
    /// Data of the recording that we have yet to say, each with its place; `given` is whether the first is queued.
    waiting: VecDeque<(Tuple, Vec<u8>)>,
    given: bool,
    finish: bool,
    pub(crate) said: Said,
    /// The octets that came out of the connection.
    pub(crate) heard: Vec<u8>,
    /// How often the recorded end acknowledged data that we had not.
    pub(crate) lags: usize,
    acked: Option<DataSeq>,
}

/// Our data options take 12 octets more than the recorded kernel's: the path is taken as so much wider, so that the
/// same data makes the same segments.
const MSS: u16 = 1460 + 12;

impl Player {
    /// Plays the end `role`, with the keys that `segments` show.
    pub(crate) fn new(role: Role, segments: &[Captured]) -> Self {
        let mut options = segments.iter().flat_map(|s| parse(&s.mptcp).flatten());
        let (initiator, responder, checksum) = options
            .find_map(|option| match option {
                MpOption::Capable(Capable {
                    form: CapableForm::TwoKeys { sender, receiver },
                    flags,
                    ..
                }) => Some((sender, receiver, flags.has(CapableFlags::CHECKSUM))),
                _ => None,
            })
            .expect("a third ACK with both keys");
        let start = Instant::from_millis(10_000);
        Self {
            role,
            now: start,
            origin: (start, segments[0].time),
            rng: Rng::from_u64(1),
            tcp: Tally::default(),
            mptcp: Tally::default(),
            keys: match role {
                Role::Initiator => [initiator, responder],
                Role::Responder => [responder, initiator],
            },
            checksum,
            begin: Begin::Nothing,
            conn: None,
            opens: BTreeMap::new(),
            joinings: BTreeMap::new(),
            peers: BTreeMap::new(),
            waiting: VecDeque::new(),
            given: false,
            finish: false,
            said: Said::default(),
            heard: Vec::new(),
            lags: 0,
            acked: None,
        }
    }

    pub(crate) fn conn(&self) -> &Connection<Buf> {
        self.conn.as_ref().expect("a connection")
    }

    pub(crate) fn local_idsn(&self) -> DataSeq {
        self.keys[0].idsn(Version::V0)
    }

    pub(crate) fn remote_idsn(&self) -> DataSeq {
        self.keys[1].idsn(Version::V0)
    }

    /// What we acknowledge in the end, and what the recorded end did.
    pub(crate) fn data_acks(&self) -> (Option<DataSeq>, Option<DataSeq>) {
        (Some(self.conn().data_ack()), self.acked)
    }

    /// Lets time pass until `time` of the recording, with every timer in its turn.
    pub(crate) fn pass_until(&mut self, time: Elapsed) {
        let nanos = u64::try_from((time - self.origin.1).as_nanos()).expect("some seconds");
        let until = self.origin.0 + Duration::from_nanos(nanos);
        while let Some(at) = self.conn.as_ref().and_then(Connection::next_deadline)
            && at <= until
        {
            self.now = self.now.max(at);
            self.with(Connection::advance);
            self.turn();
        }
        self.now = until;
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Connection<Buf>, &mut Cx<'_>) -> T) -> T {
        let mut cx = Cx {
            now: self.now,
            rng: &mut self.rng,
            tcp: &mut self.tcp,
            mptcp: &mut self.mptcp,
            ledger: &mut stack::Ledger::default(),
        };
        act(self.conn.as_mut().expect("a connection"), &mut cx)
    }

    /// What the recorded end said now: ours says the same, if it has to do with the keys or the data.
    pub(crate) fn say(&mut self, segment: &Captured, all: &[Captured]) {
        let option = parse(&segment.mptcp).flatten().next();
        if segment.flags.has(Flags::SYN) {
            let out = match option {
                Some(MpOption::Join(Join::Syn {
                    backup, id, nonce, ..
                })) => {
                    let opening = self.opening(segment);
                    let open = self
                        .with(|conn, cx| conn.open_join_with(cx, opening, id, backup, nonce))
                        .expect("joinable");
                    let out = open.syn(self.now);
                    self.opens.insert(segment.tuple.reversed(), open);
                    out
                },
                Some(MpOption::Join(Join::SynAck { id, nonce, .. })) => {
                    let syn = syn_of(segment, all);
                    let accepting = self.accepting(segment, &syn);
                    let mut joining = self
                        .with(|conn, cx| conn.join_with(cx, &syn, accepting, id, nonce))
                        .expect("joinable");
                    let out = joining.syn_ack(self.now);
                    self.joinings.insert(syn.tuple, joining);
                    out
                },
                _ => self.say_capable(segment, all),
            };
            assert_eq!(out.options, segment.options, "{:?}", segment.tuple);
            return self.note(segment.tuple, &out);
        }
        if segment.len > 0 {
            assert_eq!(segment.len, segment.payload.len(), "whole packets");
            let data = (segment.tuple, segment.payload.clone());
            self.waiting.push_back(data);
        }
        for option in parse(&segment.mptcp).flatten() {
            if let MpOption::Dss(dss) = option {
                self.finish |= dss.mapping.is_some_and(|mapping| mapping.data_fin);
                if let Some(ack) = dss.data_ack {
                    let ack = DataSeq::expand(ack, self.remote_idsn());
                    self.lags += usize::from(self.conn().data_ack() < ack);
                    self.acked = Some(self.acked.map_or(ack, |before| before.max(ack)));
                }
            }
        }
        self.turn();
    }

    /// MP_CAPABLE on a SYN or SYN+ACK of ours.
    fn say_capable(&mut self, segment: &Captured, all: &[Captured]) -> OutSegment<Buf> {
        let terms = Terms {
            checksum: self.checksum,
            deny_join_initial: false,
        };
        let key = self.keys[0];
        if self.role == Role::Initiator {
            let opening = self.opening(segment);
            let upper = MpOption::from(capable::syn(Version::V0, key, terms)).into();
            let out = opening.syn(self.now, upper);
            self.begin = Begin::Opening(opening);
            return out;
        }
        let syn = syn_of(segment, all);
        let asked = capable::request(&syn.options.mptcp, Versions::V1ThenV0).expect("a request");
        let mut accepting = self.accepting(segment, &syn);
        let upper = MpOption::from(capable::answer(&asked, key, terms)).into();
        let out = accepting.syn_ack(self.now, upper);
        self.begin = Begin::Accepting(Box::new(accepting));
        out
    }

    fn opening(&self, syn: &Captured) -> Opening {
        Opening::new(SeqNum(syn.seq), &Offer::of(&received(syn)), self.now)
    }

    fn accepting(&self, syn_ack: &Captured, syn: &Segment<Buf>) -> Accepting {
        let (peer, ours) = (Offer::of(syn), Offer::of(&received(syn_ack)));
        let iss = SeqNum(syn_ack.seq);
        Accepting::new(iss, syn.seq, &peer, &ours, peer.smss(MSS, false), self.now)
    }

    /// What the other recorded end said.
    pub(crate) fn hear(&mut self, segment: &Captured, all: &[Captured]) {
        let mut seg = received(segment);
        self.peers.insert(seg.tuple, (seg.wnd, seg.options.ts));
        if seg.flags == Flags::SYN {
            // Answered when the recorded end answers.
            return;
        }
        if seg.flags.has(Flags::SYN) {
            seg.options.mss = Some(MSS);
        }
        let id = self.subflow(&seg.tuple);
        if let Some((id, snd_nxt)) = id {
            // The kernel ended its subflows together with its data, ours goes on until both ends are acknowledged.
            if seg.ack.distance(snd_nxt) > 0 {
                seg.ack = snd_nxt;
            }
            self.with(|conn, cx| conn.input(cx, id, &seg));
        } else if let Some(mut open) = self.opens.remove(&seg.tuple) {
            let done = self.with(|conn, cx| conn.input_join(cx, &mut open, MSS, &seg));
            assert!(matches!(done, Initiated::Established(_)), "{done:?}");
        } else if let Some(mut joining) = self.joinings.remove(&seg.tuple) {
            let done = self.with(|conn, cx| conn.complete_join(cx, &mut joining, &seg));
            assert!(matches!(done, Joined::Established(_)), "{done:?}");
        } else if self.conn.is_some() {
            // The last segments of a subflow that has ended at ours.
            assert!(self.finish && seg.payload.is_empty(), "{:?}", seg.tuple);
        } else {
            self.hear_first(&seg, all);
        }
        self.turn();
    }

    fn subflow(&self, tuple: &Tuple) -> Option<(SubflowId, SeqNum)> {
        let mut subflows = self.conn.as_ref()?.subflows();
        let found = subflows.find(|subflow| subflow.tuple() == *tuple)?;
        Some((found.id(), found.tcb().snd_nxt()))
    }

    /// The SYN+ACK or the third ACK of the first subflow makes the connection.
    fn hear_first(&mut self, seg: &Segment<Buf>, all: &[Captured]) {
        let terms = Terms {
            checksum: self.checksum,
            deny_join_initial: false,
        };
        let options = &seg.options.mptcp;
        let mut cx = stack::Cx {
            now: self.now,
            rng: &mut self.rng,
            counters: &mut self.tcp,
        };
        let (agreed, remote_key) = match core::mem::replace(&mut self.begin, Begin::Done) {
            Begin::Opening(mut opening) => {
                let OpenVerdict::Answered(offer) = opening.input(&mut cx, seg) else {
                    panic!("the SYN+ACK")
                };
                let settled = capable::syn_ack(options, Version::V0, self.keys[0], terms);
                let settled = settled.expect("agreed");
                assert!(settled.checksum == self.checksum && !settled.deny_join_initial);
                (opening.agreed(offer.smss(MSS, false)), settled.remote)
            },
            Begin::Accepting(mut accepting) => {
                let AcceptVerdict::Established(agreed) = accepting.third_ack(&mut cx, seg) else {
                    panic!("the third ACK")
                };
                let syn = all.iter().find(|s| s.tuple == seg.tuple).expect("the SYN");
                let asked = capable::request(&syn.mptcp, Versions::V0).expect("a request");
                let answered = Answered {
                    version: asked.version,
                    checksum: self.checksum,
                    local: self.keys[0],
                    remote: asked.key,
                };
                let ThirdAck::Established { remote, .. } = capable::third_ack(options, &answered)
                else {
                    panic!("both keys")
                };
                (Some(agreed), remote)
            },
            Begin::Nothing | Begin::Done => panic!("a segment of no subflow: {:?}", seg.tuple),
        };
        assert_eq!(remote_key, self.keys[1]);
        self.connect(seg, &agreed.expect("agreed"));
    }

    fn connect(&mut self, seg: &Segment<Buf>, agreed: &Agreed) {
        let params = Params {
            version: Version::V0,
            role: self.role,
            local: self.keys[0].derive(Version::V0),
            remote_key: self.keys[1],
            checksum: self.checksum,
            peer_denies_initial_addr: false,
            limits: Limits::default(),
        };
        let mut cx = Cx {
            now: self.now,
            rng: &mut self.rng,
            tcp: &mut self.tcp,
            mptcp: &mut self.mptcp,
            ledger: &mut stack::Ledger::default(),
        };
        let tcb = Tcb::new(agreed, self.now);
        let mut conn = Connection::new(&mut cx, &params, tcb, seg.tuple);
        if self.role == Role::Responder {
            conn.input(&mut cx, SubflowId::INITIAL, seg);
        }
        self.conn = Some(conn);
    }

    /// Reads what came, says what the recorded end has said, each piece on its subflow, and fetches what goes out.
    fn turn(&mut self) {
        if self.conn.is_none() {
            return;
        }
        loop {
            let before = self.waiting.len();
            self.read();
            if let Some((tuple, data)) = self.waiting.front().cloned()
                && !self.given
            {
                self.given = true;
                self.steer(&tuple.reversed());
                self.with(|conn, _| conn.send(slice(&data)));
            }
            if self.finish && self.waiting.is_empty() {
                self.with(|conn, _| conn.finish());
            }
            while let Some(out) = self.with(|conn, cx| conn.output(cx)) {
                self.note(out.tuple, &out.segment);
            }
            if self.waiting.is_empty() || self.waiting.len() == before {
                return;
            }
        }
    }

    fn read(&mut self) {
        while let Some(piece) = self.with(|conn, _| conn.take()) {
            self.heard.extend_from_slice(piece.bytes());
        }
        self.with(|conn, cx| {
            conn.set_recv_room(u32::MAX);
            conn.accept_fin(cx.now);
        });
    }

    fn note(&mut self, tuple: Tuple, out: &OutSegment<Buf>) {
        let payload: Vec<u8> = out
            .payload
            .iter()
            .flat_map(|s| s.bytes())
            .copied()
            .collect();
        if self
            .waiting
            .front()
            .is_some_and(|(_, data)| *data == payload)
        {
            self.waiting.pop_front();
            self.given = false;
        }
        let idsn = self.local_idsn();
        self.said
            .note(tuple, out.seq.0, &out.options.mptcp, &payload, idsn);
    }

    /// Lets the peer ask by MP_PRIO for the subflow that the recorded end used.
    fn steer(&mut self, to: &Tuple) {
        let ids: Vec<_> = self.conn().subflows().map(mptcp::Subflow::id).collect();
        for id in ids {
            let subflow = self.conn().subflow(id).expect("it lives");
            let (tuple, tcb) = (subflow.tuple(), subflow.tcb());
            let backup = tuple != *to;
            if subflow.backup() == backup {
                continue;
            }
            let (wnd, ts) = self.peers[&tuple];
            // Another window each time: else it would count as a duplicate acknowledgment.
            let wnd = wnd ^ 1;
            let (seq, ack) = (tcb.rcv_nxt(), tcb.snd_una());
            self.peers.insert(tuple, (wnd, ts));
            let seg = Segment {
                tuple,
                seq,
                ack,
                flags: Flags::ACK,
                wnd,
                options: Options {
                    ts,
                    mptcp: MpOption::Prio(Prio { backup, id: None }).into(),
                    ..Options::default()
                },
                payload: slice(&[]),
                tos: 0,
            };
            self.with(|conn, cx| conn.input(cx, id, &seg));
        }
    }
}

/// The SYN that a recorded SYN+ACK answers.
fn syn_of(syn_ack: &Captured, all: &[Captured]) -> Segment<Buf> {
    let syn = all
        .iter()
        .find(|s| s.tuple == syn_ack.tuple.reversed() && s.flags == Flags::SYN);
    received(syn.expect("the SYN"))
}

/// A recorded segment as its receiver takes it in; its checksum was left to the sender's device.
fn received(captured: &Captured) -> Segment<Buf> {
    Segment {
        tuple: captured.tuple,
        seq: SeqNum(captured.seq),
        ack: SeqNum(captured.ack),
        flags: captured.flags,
        wnd: captured.wnd,
        options: captured.options.clone(),
        payload: slice(&captured.payload),
        tos: 0,
    }
}
