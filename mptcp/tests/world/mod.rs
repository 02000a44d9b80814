//! Two connections, an initiator and a responder, and up to eight paths between them, in virtual time.
//!
//! Each path has a link each way: rate, delay, drop-tail queue, loss, reordering, outage. Every segment crosses as
//! octets, so that what does not fit a header is lost here too. One seed decides everything.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

pub mod end;
mod link;

pub use end::End;
pub use link::Link;

use mptcp::join::{Initiated, OpenJoin};
use mptcp::{AddrId, Joined, Joining, Outcome, Role};
use stack::buf::RxChecksum;
use stack::buf::{Frame, Header, PortId};
use stack::tcp::handshake::{Accepting, Offer, Opening};
use stack::tcp::{Agreed, Tcb, TsState};
use stack::time::Duration;
use stack::wire::tcp::{Flags, OutSegment, Segment, Timestamps, emit, parse};
use stack::{Instant, PacketBuf, Rng, SeqNum, Slice, Tuple};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

/// The initiator's index.
pub const A: usize = 0;
/// The responder's index.
pub const B: usize = 1;

/// A received packet.
#[derive(Clone, Debug)]
pub struct Buf(pub bytes::Bytes);

impl PacketBuf for Buf {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Octets as a slice.
pub fn slice(octets: Vec<u8>) -> Slice<Buf> {
    Slice::new(Buf(octets.into()))
}

/// A segment under way.
pub struct Transit<'a> {
    /// The end that sent it.
    pub from: usize,
    /// The path it takes.
    pub path: usize,
    /// How many segments that end sent on that path before it.
    pub nth: usize,
    /// The segment; a middlebox may change it.
    pub segment: &'a mut Segment<Buf>,
}

/// A middlebox: sees every segment, and says whether it may pass.
pub type Middlebox = Box<dyn FnMut(Transit<'_>) -> bool>;

/// How the connection begins.
#[derive(Clone, Copy)]
pub struct Setup {
    pub seed: u64,
    pub version: mptcp::Version,
    pub checksum: bool,
    /// Keys of initiator and responder; they decide where the data sequence numbers begin.
    pub keys: [[u8; 8]; 2],
    pub limits: mptcp::connection::Limits,
    pub timestamps: bool,
    /// Shift of the windows that both ends announce.
    pub wscale: u8,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            seed: 1,
            // tests/v0.rs runs all of these tests once more.
            version: if module_path!().starts_with("v0::") {
                mptcp::Version::V0
            } else {
                mptcp::Version::V1
            },
            checksum: false,
            keys: [
                [1, 2, 3, 4, 5, 6, 7, 8],
                [0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18],
            ],
            limits: mptcp::connection::Limits::default(),
            timestamps: true,
            wscale: 7,
        }
    }
}

/// The world of one connection.
pub struct World {
    pub now: Instant,
    pub rng: Rng,
    pub ends: [End; 2],
    /// Per path, the link from A to B and the link from B to A.
    pub paths: Vec<[Link; 2]>,
    /// What all paths have in common, with other connections too if it is given to them: the link from A to B and back.
    pub bottleneck: Option<Rc<RefCell<[Link; 2]>>>,
    pub middlebox: Option<Middlebox>,
    wire: BTreeMap<(Instant, u64), (usize, Segment<Buf>)>,
    order: u64,
    nth: BTreeMap<(usize, usize), usize>,
    opens: BTreeMap<usize, OpenJoin>,
    joinings: BTreeMap<usize, Joining>,
    /// Joins that one side refused.
    pub refused: Vec<mptcp::JoinRefusal>,
    timestamps: bool,
    pub sent_segments: u64,
}

const SMSS: u16 = 1448 + 12;

/// One path, of 10 ms each way.
pub fn one_path(setup: Setup) -> World {
    World::new(setup, vec![Link::pair(0, 10, 0)])
}

impl World {
    /// A connection whose first subflow, on path 0, has just completed its handshake, as both ends see it.
    pub fn new(setup: Setup, paths: Vec<[Link; 2]>) -> Self {
        let mut rng = Rng::from_u64(setup.seed);
        let now = Instant::from_millis(5_000);
        let isns = [SeqNum(rng.u32()), SeqNum(rng.u32())];
        let agreed = |me: usize| Agreed {
            sack: true,
            ts: setup.timestamps.then_some(TsState {
                recent: 5_000,
                offset: 0,
            }),
            snd_wscale: setup.wscale,
            rcv_wscale: setup.wscale,
            rtt: Some(paths[0][0].delay() + paths[0][1].delay()),
            ..Agreed::plain(isns[me], isns[1 - me], SMSS)
        };
        let ends = [Role::Initiator, Role::Responder].map(|role| {
            let me = if role == Role::Initiator { A } else { B };
            let tcb = Tcb::new(&agreed(me), now);
            End::new(now, &mut rng, &setup, role, tcb, tuple(1 - me, 0))
        });
        Self {
            now,
            rng,
            ends,
            paths,
            bottleneck: None,
            middlebox: None,
            wire: BTreeMap::new(),
            order: 0,
            nth: BTreeMap::new(),
            opens: BTreeMap::new(),
            joinings: BTreeMap::new(),
            refused: Vec::new(),
            timestamps: setup.timestamps,
            sent_segments: 0,
        }
    }

    /// Begins to open a subflow on `path`, from A to B.
    pub fn join(&mut self, path: usize) {
        self.join_as(path, false);
    }

    /// The same, asking B to use it only when no other is there if `backup`.
    pub fn join_as(&mut self, path: usize, backup: bool) {
        let iss = SeqNum(self.rng.u32());
        let opening = Opening::new(iss, &self.offer(), self.now);
        let id = AddrId(u8::try_from(path).unwrap());
        let to = tuple(A, path);
        let to = (to.dst, to.dst_port);
        let end = &mut self.ends[A];
        let open = end.with(self.now, &mut self.rng, |conn, cx| {
            conn.open_join(cx, opening, to, id, backup)
        });
        let open = open.expect("joinable");
        let syn = open.syn(self.now);
        self.opens.insert(path, open);
        self.put(A, path, &syn);
    }

    fn offer(&self) -> Offer {
        let val = u32::try_from(self.now.as_millis()).unwrap();
        Offer {
            mss: Some(SMSS),
            wscale: Some(7),
            sack: true,
            ts: self.timestamps.then_some(Timestamps { val, ecr: 0 }),
            wnd: 65_535,
            ecn: false,
        }
    }

    /// Puts a segment of `from` on `path`.
    fn put(&mut self, from: usize, path: usize, segment: &OutSegment<Buf>) {
        self.sent_segments += 1;
        let tuple = tuple(from, path);
        let mut segment = cross(segment, tuple);
        let nth = self.nth.entry((from, path)).or_default();
        let transit = Transit {
            from,
            path,
            nth: *nth,
            segment: &mut segment,
        };
        *nth += 1;
        if let Some(middlebox) = &mut self.middlebox
            && !middlebox(transit)
        {
            return;
        }
        let len = 100 + segment.payload.len();
        let mut at = Some(self.now);
        if let Some(bottleneck) = &self.bottleneck {
            at = bottleneck.borrow_mut()[from].enter(self.now, len, &mut self.rng);
        }
        let own = &mut self.paths[path][from];
        if let Some(at) = at.and_then(|at| own.enter(at, len, &mut self.rng)) {
            self.order += 1;
            self.wire.insert((at, self.order), (1 - from, segment));
        }
    }

    /// Lets an end send what it has to.
    fn turn(&mut self, me: usize) {
        let out = self.ends[me].turn(self.now, &mut self.rng);
        for output in out {
            let path = usize::from(output.tuple.src_port.max(output.tuple.dst_port) - 40_000);
            assert_eq!(output.tuple, tuple(me, path), "the segment's own tuple");
            self.put(me, path, &output.segment);
        }
    }

    fn arrive(&mut self, me: usize, segment: &Segment<Buf>) {
        let path = usize::from(segment.tuple.src_port.max(segment.tuple.dst_port) - 40_000);
        if me == A && self.opens.contains_key(&path) {
            return self.arrive_open(path, segment);
        }
        if me == B && segment.flags.has(Flags::SYN) && !self.joinings.contains_key(&path) {
            return self.arrive_join_syn(path, segment);
        }
        if me == B && self.joinings.contains_key(&path) {
            return self.arrive_joining(path, segment);
        }
        let known = self.ends[me]
            .conn
            .subflows()
            .find(|s| s.tuple() == segment.tuple)
            .map(|s| s.id());
        match known {
            Some(id) => {
                self.ends[me].with(self.now, &mut self.rng, |conn, cx| {
                    conn.input(cx, id, segment)
                });
            },
            None => {
                if let Some(reset) = stack::tcp::reset_for(segment) {
                    self.put(me, path, &reset);
                }
            },
        }
    }

    fn arrive_open(&mut self, path: usize, segment: &Segment<Buf>) {
        let mut open = self.opens.remove(&path).unwrap();
        let done = self.ends[A].with(self.now, &mut self.rng, |conn, cx| {
            conn.input_join(cx, &mut open, SMSS, segment)
        });
        match done {
            Initiated::Established(_) => {},
            Initiated::Waiting(answer) => {
                self.opens.insert(path, open);
                if let Some(answer) = answer {
                    self.put(A, path, &answer);
                }
            },
            Initiated::Refused(why, answer) => {
                self.refused.push(why);
                if let Some(answer) = answer {
                    self.put(A, path, &answer);
                }
            },
        }
    }

    fn arrive_join_syn(&mut self, path: usize, syn: &Segment<Buf>) {
        let peer = Offer::of(syn);
        let smss = peer.smss(SMSS, false);
        let iss = SeqNum(self.rng.u32());
        let accepting = Accepting::new(iss, syn.seq, &peer, &self.offer(), smss, self.now);
        let id = AddrId(u8::try_from(path).unwrap());
        let joined = self.ends[B].with(self.now, &mut self.rng, |conn, cx| {
            conn.join(cx, syn, accepting, id)
        });
        match joined {
            Ok(mut joining) => {
                let answer = joining.syn_ack(self.now);
                self.joinings.insert(path, joining);
                self.put(B, path, &answer);
            },
            Err(why) => {
                self.refused.push(why);
                if let Some(reset) = self.ends[B].conn.refuse_join(syn, why) {
                    self.put(B, path, &reset);
                }
            },
        }
    }

    fn arrive_joining(&mut self, path: usize, segment: &Segment<Buf>) {
        let mut joining = self.joinings.remove(&path).unwrap();
        let done = self.ends[B].with(self.now, &mut self.rng, |conn, cx| {
            conn.complete_join(cx, &mut joining, segment)
        });
        match done {
            Joined::Established(_) => {},
            Joined::Waiting(answer) => {
                self.joinings.insert(path, joining);
                if let Some(answer) = answer {
                    self.put(B, path, &answer);
                }
            },
            Joined::Refused(why, answer) => {
                self.refused.push(why);
                if let Some(answer) = answer {
                    self.put(B, path, &answer);
                }
            },
        }
    }

    /// Handshake timers of joins.
    fn advance_joins(&mut self) {
        let now = self.now;
        let due: Vec<usize> = self
            .opens
            .iter()
            .filter(|(_, o)| o.next_deadline().is_some_and(|at| at <= now))
            .map(|(p, _)| *p)
            .collect();
        for path in due {
            let open = self.opens.get_mut(&path).unwrap();
            open.sent_again(now);
            let syn = open.syn(now);
            self.put(A, path, &syn);
        }
        let due: Vec<usize> = self
            .joinings
            .iter()
            .filter(|(_, j)| j.next_deadline().is_some_and(|at| at <= now))
            .map(|(p, _)| *p)
            .collect();
        for path in due {
            let answer = self.joinings.get_mut(&path).unwrap().syn_ack(now);
            self.put(B, path, &answer);
        }
    }

    fn next_event(&self) -> Option<Instant> {
        let arrival = self.wire.keys().next().map(|key| key.0);
        let ends = self
            .ends
            .iter()
            .filter_map(|end| end.next_deadline(self.now));
        let opens = self.opens.values().filter_map(OpenJoin::next_deadline);
        let joinings = self.joinings.values().filter_map(Joining::next_deadline);
        ends.chain(opens).chain(joinings).chain(arrival).min()
    }

    /// Runs until `done`, at most for `limit`; the time it took.
    pub fn run(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> Duration {
        let start = self.now;
        let mut still = 0;
        loop {
            self.turn(A);
            self.turn(B);
            if done(self) {
                return self.now.since(start);
            }
            let Some(next) = self.next_event() else {
                panic!("nothing will ever happen again: {}", self.describe());
            };
            still = if next <= self.now { still + 1 } else { 0 };
            assert!(still < 10_000, "time stands still: {}", self.describe());
            self.now = self.now.max(next);
            assert!(
                self.now.since(start) < limit,
                "not done in time: {}",
                self.describe()
            );
            while let Some((&key, _)) = self.wire.first_key_value()
                && key.0 <= self.now
            {
                let (me, segment) = self.wire.remove(&key).unwrap();
                self.arrive(me, &segment);
            }
            self.advance_joins();
            for end in &mut self.ends {
                end.advance(self.now, &mut self.rng);
            }
        }
    }

    /// Runs for `time`, whatever happens.
    pub fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            self.turn(A);
            self.turn(B);
            match self.next_event() {
                Some(next) if next <= until => {
                    self.run_one(next);
                },
                _ => break,
            }
        }
        self.now = until;
    }

    fn run_one(&mut self, next: Instant) {
        self.now = self.now.max(next);
        while let Some((&key, _)) = self.wire.first_key_value()
            && key.0 <= self.now
        {
            let (me, segment) = self.wire.remove(&key).unwrap();
            self.arrive(me, &segment);
        }
        self.advance_joins();
        for end in &mut self.ends {
            end.advance(self.now, &mut self.rng);
        }
    }

    /// Lets several connections run for `time` side by side, for what they have in common.
    pub fn pass_together(worlds: &mut [Self], time: Duration) {
        let until = worlds[0].now + time;
        for world in &mut *worlds {
            world.turn(A);
            world.turn(B);
        }
        while let Some(next) = worlds.iter().filter_map(Self::next_event).min()
            && next <= until
        {
            for world in &mut *worlds {
                if world.next_event().is_some_and(|at| at <= next) {
                    world.run_one(next);
                    world.turn(A);
                    world.turn(B);
                }
            }
        }
        for world in worlds {
            world.now = until;
        }
    }

    /// Joins each of `paths` and waits until both ends have the subflows.
    pub fn join_all(&mut self, paths: &[usize]) {
        for &path in paths {
            self.join(path);
        }
        let count = paths.len() + 1;
        self.run(Duration::from_secs(20), |w| {
            w.ends
                .iter()
                .all(|end| end.conn.subflows().count() == count)
        });
    }

    /// Both ends have received all that the other sent, and its end.
    pub fn is_complete(&self) -> bool {
        (0..2).all(|me| self.ends[me].received == self.ends[1 - me].total && self.ends[me].fin_seen)
    }

    /// Both ends have ended.
    pub fn is_closed(&self) -> bool {
        self.ends
            .iter()
            .all(|end| end.conn.outcome() != Outcome::Alive)
    }

    /// Sends `lens` octets from A and from B at once, to the end, and closes.
    pub fn transfer(&mut self, lens: [usize; 2], limit: Duration) -> Duration {
        for (end, len) in self.ends.iter_mut().zip(lens) {
            end.send(len, true);
        }
        let took = self.run(limit, Self::is_complete);
        for end in &self.ends {
            end.assert_intact();
        }
        self.run(Duration::from_secs(60), Self::is_closed);
        for end in &self.ends {
            assert_eq!(end.conn.outcome(), Outcome::Closed, "{}", self.describe());
        }
        took
    }

    /// For messages of failed tests.
    pub fn describe(&self) -> String {
        format!(
            "at {} ms\nA: {}\nB: {}",
            self.now.as_millis(),
            self.ends[A].describe(),
            self.ends[B].describe()
        )
    }
}

/// The tuple of the segments that `from` sends on `path`.
pub fn tuple(from: usize, path: usize) -> Tuple {
    let net = u8::try_from(path + 1).unwrap();
    let a_to_b = Tuple {
        src: IpAddr::V4(Ipv4Addr::new(10, net, 0, 2)),
        dst: IpAddr::V4(Ipv4Addr::new(10, net, 0, 1)),
        src_port: 40_000 + u16::from(net) - 1,
        dst_port: 80,
    };
    if from == A { a_to_b } else { a_to_b.reversed() }
}

/// A segment as octets and back.
pub fn cross(segment: &OutSegment<Buf>, tuple: Tuple) -> Segment<Buf> {
    let mut header = Header::default();
    emit(segment, &tuple, &mut header);
    let frame = Frame::new(
        PortId(0),
        header,
        segment.payload.clone().into_iter().collect(),
    );
    let mut octets = frame.header.bytes().to_vec();
    for piece in &frame.payload {
        octets.extend_from_slice(piece.bytes());
    }
    let parsed =
        parse(slice(octets), tuple.src, tuple.dst, 0, RxChecksum::Unknown).expect("parses");
    assert_eq!(
        parsed.options.mptcp, segment.options.mptcp,
        "the options fit the header"
    );
    parsed
}
