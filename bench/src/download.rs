//! Downloads through a HAG in memory: hosts without a stack feed it pre-built frames, a clock runs around the box alone.

use apps::engine::{Engine, Limits};
use dataplane::app::App;
use dataplane::memory::MemBuf;
use dataplane::port::Received;
use mptcp::WireSeq;
use mptcp::handshake::join::{self, Keys};
use mptcp::option::{Capable, CapableFlags, CapableForm, Dss, MpOption};
use mptcp::{AddrId, Key, Version};
use stack::buf::{RxChecksum, Slice};
use stack::time::Duration;
use stack::wire::tcp::{Flags, OptBytes};
use stack::{Frame, Instant, PortId, SeqNum, Tuple};
use std::net::IpAddr;
use testbed::peer::{Peer, Wish};
use testbed::scene;

/// Octets of payload in each of the server's segments: with DSS and timestamps a frame of 1,500.
pub const SEGMENT: usize = 1420;

/// One relayed flow: an MPTCP client with two subflows, and a plain server.
struct Flow {
    primary: Peer,
    joined: Peer,
    server: Peer,
    /// Where the server's next segment starts; the box acknowledges up to there with delay.
    snd_nxt: SeqNum,
    /// The next data sequence number that the client expects.
    data_ack: u64,
}

/// A HAG with a number of established relays.
pub struct Downloads {
    engine: Engine<MemBuf>,
    flows: Vec<Flow>,
    data: MemBuf,
    now: Instant,
    out: Vec<Frame<MemBuf>>,
    turn: usize,
}

/// What one round of [`Downloads::round`] did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Round {
    /// Segments of payload that reached the client.
    pub segments: u64,
    /// Time spent in the box: their way through it, and that of the client's acknowledgments.
    pub busy: Duration,
    /// Payload octets that were copied on the way.
    pub copied: u64,
}

fn emit(option: impl Into<MpOption>) -> OptBytes {
    let mut bytes = OptBytes::new();
    option.into().emit(&mut bytes).expect("one option fits");
    bytes
}

fn plain(flags: Flags) -> Wish {
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

fn tuple(src: [u8; 4], dst: [u8; 4], src_port: u16, dst_port: u16) -> Tuple {
    Tuple {
        src: IpAddr::from(src),
        dst: IpAddr::from(dst),
        src_port,
        dst_port,
    }
}

impl Downloads {
    /// A HAG with `count` established relays, at most 50,000.
    ///
    /// # Panics
    /// A handshake did not go through: the engine is broken.
    #[must_use]
    pub fn new(count: u16) -> Self {
        let relays = usize::from(count);
        let limits = Limits {
            relays,
            pending: 64,
            ..Limits::default()
        };
        let mut downloads = Self {
            engine: scene::engine(limits),
            flows: Vec::with_capacity(relays),
            data: MemBuf::from(vec![0x55; SEGMENT]),
            now: Instant::from_millis(1),
            out: Vec::new(),
            turn: 0,
        };
        for port in 0..count {
            downloads.open(10_000 + port);
        }
        assert_eq!(
            downloads.engine.occupancy().relays,
            relays,
            "every flow is relayed"
        );
        downloads
    }

    fn input(&mut self, port: u8, frame: Vec<u8>) {
        let received = Received {
            frame: Slice::new(MemBuf::from(frame)),
            checksum: RxChecksum::Unknown,
        };
        self.engine
            .input(self.now, PortId(port), received, &mut self.out);
        self.engine.flush(self.now, &mut self.out);
    }

    /// Sends `wish` as `peer`, and shows all three what comes of it.
    fn exchange(&mut self, flow: &mut Flow, sender: fn(&mut Flow) -> &mut Peer, wish: &Wish) {
        let peer = sender(flow);
        let (port, frame) = (peer.port.0, peer.frame(wish, &self.data));
        self.input(port, frame);
        let asked: Vec<_> = self.out.iter().filter_map(scene::arp_reply).collect();
        for (port, reply) in asked {
            self.input(port, reply);
        }
        for frame in self.out.drain(..) {
            flow.primary.note(&frame);
            flow.joined.note(&frame);
            flow.server.note(&frame);
        }
    }

    fn open(&mut self, port: u16) {
        let (h, x, hag, s) = ([10, 1, 0, 2], [10, 2, 0, 2], [10, 99, 0, 2], [10, 9, 0, 2]);
        let mut flow = Flow {
            primary: Peer::new(0, tuple(h, s, port, 80), 1_000),
            joined: Peer::new(1, tuple(x, hag, port, 80), 2_000),
            server: Peer::new(2, tuple(s, h, 80, port), 3_000),
            snd_nxt: SeqNum(3_001),
            data_ack: 0,
        };
        let (syn, ack) = (Flags::SYN, Flags::ACK);
        let key = Key::new([
            port.to_be_bytes()[0],
            port.to_be_bytes()[1],
            3,
            4,
            5,
            6,
            7,
            8,
        ]);
        let capable = |form| {
            emit(Capable {
                version: 1,
                flags: CapableFlags::HMAC,
                form,
            })
        };

        let mut wish = plain(syn);
        wish.mptcp = capable(CapableForm::Bare);
        self.exchange(&mut flow, |f| &mut f.primary, &wish);
        self.exchange(&mut flow, |f| &mut f.server, &plain(syn.with(ack)));
        let theirs = mptcp::option::parse(&flow.primary.mptcp).flatten().next();
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
        self.exchange(&mut flow, |f| &mut f.primary, &wish);
        flow.data_ack = sender.idsn(Version::V1).0.wrapping_add(1);
        let first = acknowledge(flow.data_ack);
        self.exchange(&mut flow, |f| &mut f.primary, &first);
        self.join(
            &mut flow,
            Keys {
                version: Version::V1,
                local: key,
                remote: sender,
            },
        );
        self.flows.push(flow);
    }

    fn join(&mut self, flow: &mut Flow, keys: Keys) {
        let nonce = 0x0102_0304;
        let mut wish = plain(Flags::SYN);
        wish.mptcp = emit(join::syn(&keys, nonce, AddrId(2), false));
        self.exchange(flow, |f| &mut f.joined, &wish);
        let joined =
            join::syn_ack(&flow.joined.mptcp, &keys, nonce).expect("the box accepts the join");
        let mut wish = plain(Flags::ACK);
        wish.mptcp = emit(joined.ack);
        self.exchange(flow, |f| &mut f.joined, &wish);
    }

    /// One burst of `burst` segments from the server of the next flow, and the client's acknowledgments.
    ///
    /// # Panics
    /// The box did not relay all of them.
    pub fn round(&mut self, burst: usize, clock: impl Fn() -> Duration) -> Round {
        let turn = self.turn;
        self.turn = (turn + 1) % self.flows.len();
        self.now = self.now + Duration::from_micros(20);
        let mut round = Round::default();

        let mut wish = plain(Flags::ACK);
        wish.payload = SEGMENT;
        let octets = u32::try_from(burst * SEGMENT).unwrap_or(0);
        let flow = &mut self.flows[turn];
        flow.server.next = flow.snd_nxt;
        flow.snd_nxt += octets;
        let frames = (0..burst).map(|n| {
            wish.seq = i32::try_from(n * SEGMENT).unwrap_or(0);
            (2, self.flows[turn].server.frame(&wish, &self.data))
        });
        let frames = frames.collect();
        self.timed(&mut round, frames, &clock);

        let mut reached = 0;
        let mut answers = Vec::new();
        for frame in self.out.drain(..) {
            let flow = &mut self.flows[turn];
            let payload = frame.payload.iter().map(Slice::len).sum::<usize>() as u64;
            let copied = dataplane::port::tcp_payload_in_header(frame.header.bytes());
            round.copied += u64::try_from(copied).unwrap_or(u64::MAX);
            reached += payload;
            flow.server.note(&frame);
            flow.primary.note(&frame);
            flow.joined.note(&frame);
        }
        assert_eq!(reached, (burst * SEGMENT) as u64, "every octet was relayed");
        round.segments = burst as u64;
        let flow = &mut self.flows[turn];
        flow.data_ack = flow.data_ack.wrapping_add(reached);
        for peer in [&flow.primary, &flow.joined] {
            answers.push((
                peer.port.0,
                peer.frame(&acknowledge(flow.data_ack), &self.data),
            ));
        }
        self.timed(&mut round, answers, &clock);
        for frame in self.out.drain(..) {
            self.flows[turn].server.note(&frame);
        }
        round
    }

    fn timed(
        &mut self,
        round: &mut Round,
        frames: Vec<(u8, Vec<u8>)>,
        clock: &impl Fn() -> Duration,
    ) {
        let received: Vec<_> = frames
            .into_iter()
            .map(|(port, frame)| {
                let frame = Slice::new(MemBuf::from(frame));
                (
                    PortId(port),
                    Received {
                        frame,
                        checksum: RxChecksum::Unknown,
                    },
                )
            })
            .collect();
        let start = clock();
        for (port, received) in received {
            self.engine.input(self.now, port, received, &mut self.out);
        }
        self.engine.flush(self.now, &mut self.out);
        round.busy += clock() - start;
    }
}

/// A pure acknowledgment of everything seen on its subflow, and of all data before `data_ack`.
fn acknowledge(data_ack: u64) -> Wish {
    let mut wish = plain(Flags::ACK);
    wish.mptcp = emit(Dss {
        data_ack: Some(WireSeq::Full(data_ack)),
        mapping: None,
    });
    wish
}
