//! A burst is taken as its frames would be, one after another: what is read of a frame by the one before it, and what is given
//! to a leg as the text of its segment alone, changes nothing that leaves the box.

use apps::engine::{Engine, EngineConfig, Limits};
use dataplane::app::App;
use dataplane::memory::{MemBuf, linear};
use dataplane::port::Received;
use mptcp::option::{Capable, CapableFlags, CapableForm, Dss, Mapping, MpOption, parse};
use mptcp::{Key, Version, WireSeq};
use proptest::prelude::*;
use stack::buf::RxChecksum;
use stack::time::Duration;
use stack::wire::tcp::{Flags, OptBytes};
use stack::{Frame, Instant, PortId, SeqNum, Slice, Tuple};
use std::net::IpAddr;
use testbed::peer::{Peer, Wish};
use testbed::scene;

/// Segments in a row of the client's or the server's, most of them each where the one before it ends.
#[derive(Clone, Debug)]
struct Train {
    from: usize,
    count: usize,
    len: usize,
    /// Where the first one starts, from where the box expects it.
    start: i32,
    wnd: u16,
    push: bool,
    good: bool,
    /// Octets that are changed: of which frame, where in it, and to what.
    edits: Vec<(usize, usize, u8)>,
    /// The one that is missing, and the one that comes twice.
    lost: usize,
    twice: usize,
}

fn train() -> impl Strategy<Value = Train> {
    let start = prop_oneof![8 => Just(0), 1 => -2_000..3_000];
    let len = prop_oneof![4 => Just(1_000_usize), 1 => 0..1_400_usize];
    let wnd = prop_oneof![4 => Just(u16::MAX), 1 => 0..9_000_u16];
    let edits = prop::collection::vec((0..6_usize, 14..94_usize, any::<u8>()), 0..2);
    let edits = prop_oneof![3 => Just(Vec::new()), 1 => edits];
    let some = || prop_oneof![4 => Just(9_usize), 1 => 0..6_usize];
    let first = (0..2_usize, 1..7_usize, len, start, wnd);
    let second = (any::<bool>(), any::<bool>(), edits, some(), some());
    (first, second).prop_map(
        |((from, count, len, start, wnd), (push, good, edits, lost, twice))| Train {
            from,
            count,
            len,
            start,
            wnd,
            push,
            good,
            edits,
            lost,
            twice,
        },
    )
}

/// Of the client's Multipath TCP: where data and its first subflow begin, each way.
#[derive(Clone, Copy)]
struct Numbers {
    dsn: u64,
    seq: SeqNum,
    data_ack: u64,
    ack: SeqNum,
}

impl Numbers {
    /// The DSS of a segment of `len` octets so far from what the box expects.
    fn dss(&self, peer: &Peer, distance: i32, len: usize) -> OptBytes {
        let at = peer.next.distance(self.seq) + distance;
        let mapping = Mapping {
            dsn: WireSeq::Full(self.dsn.wrapping_add_signed(at.into())),
            ssn: at.cast_unsigned().wrapping_add(1),
            len: u16::try_from(len).unwrap(),
            checksum: None,
            data_fin: false,
        };
        let acked = u64::from(peer.seen - self.ack);
        emit(Dss {
            data_ack: Some(WireSeq::Full(self.data_ack.wrapping_add(acked))),
            mapping: (len > 0).then_some(mapping),
        })
    }
}

fn emit(option: impl Into<MpOption>) -> OptBytes {
    option.into().into()
}

fn capable(form: CapableForm) -> OptBytes {
    emit(Capable {
        version: 1,
        flags: CapableFlags::HMAC,
        form,
    })
}

fn wish(flags: Flags, timestamps: bool) -> Wish {
    Wish {
        flags: flags.0,
        seq: 0,
        ack: 0,
        wnd: u16::MAX,
        syn_options: flags.has(Flags::SYN),
        timestamps,
        sack: None,
        mptcp: OptBytes::new(),
        payload: 0,
    }
}

/// A box that relays one connection of TCP, whose client may speak Multipath TCP.
struct Bed {
    engine: Engine<MemBuf>,
    now: Instant,
    out: Vec<Frame<MemBuf>>,
}

impl Bed {
    /// Takes `frames` from `port` in bursts of at most `most`, and shows what leaves.
    fn take(&mut self, port: PortId, frames: &[(Vec<u8>, RxChecksum)], most: usize) {
        self.out.clear();
        for frames in frames.chunks(most) {
            let received = |(frame, checksum): &(Vec<u8>, RxChecksum)| Received {
                frame: Slice::new(MemBuf::from(frame.clone())),
                checksum: *checksum,
            };
            let mut burst = frames.iter().map(received).collect();
            self.engine.input(self.now, port, &mut burst, &mut self.out);
        }
        self.engine.flush(self.now, &mut self.out);
    }

    fn sent(&self) -> Vec<(PortId, Vec<u8>)> {
        let sent = self.out.iter();
        sent.map(|frame| (frame.port, linear(frame))).collect()
    }

    /// Opens the connection of `peers`; the numbers of the client if it speaks Multipath TCP.
    fn open(peers: &mut [Peer; 2], timestamps: bool, multipath: bool) -> (Self, Option<Numbers>) {
        let config = EngineConfig {
            accept_plain: true,
            ..scene::config(Limits::default())
        };
        let mut bed = Self {
            engine: Engine::new(config).unwrap(),
            now: Instant::from_millis(1),
            out: Vec::new(),
        };
        let (syn, ack) = (Flags::SYN, Flags::ACK);
        let ours = Key::new([5; 8]);
        let mut numbers = None;
        for (from, flags) in [(0, syn), (1, syn.with(ack)), (0, ack)] {
            let mut wish = wish(flags, timestamps);
            if multipath && flags == syn {
                wish.mptcp = capable(CapableForm::Bare);
            } else if multipath && flags == ack {
                let theirs = parse(&peers[0].mptcp).flatten().next();
                let Some(MpOption::Capable(Capable {
                    form: CapableForm::OneKey { sender },
                    ..
                })) = theirs
                else {
                    panic!("the box answered MP_CAPABLE with {theirs:?}");
                };
                wish.mptcp = capable(CapableForm::TwoKeys {
                    sender: ours,
                    receiver: sender,
                });
                numbers = Some(Numbers {
                    dsn: ours.idsn(Version::V1).0.wrapping_add(1),
                    seq: peers[0].next,
                    data_ack: sender.idsn(Version::V1).0.wrapping_add(1),
                    ack: peers[0].seen,
                });
            }
            bed.send(peers, from, &wish);
        }
        if let Some(numbers) = numbers {
            // What the client acknowledges of the first data shows that options pass.
            let mut first = wish(ack, timestamps);
            first.payload = 100;
            bed.send(peers, 1, &first);
            let mut answer = wish(ack, timestamps);
            answer.mptcp = numbers.dss(&peers[0], 0, 0);
            bed.send(peers, 0, &answer);
        }
        assert_eq!(bed.engine.occupancy().relays, 1);
        (bed, numbers)
    }

    /// Takes what one of `peers` sends, who are shown what comes of it.
    fn send(&mut self, peers: &mut [Peer; 2], from: usize, wish: &Wish) {
        let data = MemBuf::from(vec![7; 100]);
        let mut due = vec![(peers[from].port, peers[from].frame(wish, &data))];
        while let Some((port, frame)) = due.pop() {
            self.now = self.now + Duration::from_micros(5);
            self.take(port, &[(frame, RxChecksum::Unknown)], 1);
            let asked = self.out.iter().filter_map(scene::arp_reply);
            due.extend(asked.map(|(port, reply)| (PortId(port), reply)));
            for frame in &self.out {
                peers.iter_mut().for_each(|peer| peer.note(frame));
            }
        }
    }
}

fn peers() -> [Peer; 2] {
    let [client, server] = [[10, 1, 0, 2], [10, 9, 0, 2]].map(IpAddr::from);
    let tuple = Tuple {
        src: client,
        dst: server,
        src_port: 40_000,
        dst_port: 80,
    };
    [
        Peer::new(0, tuple, 1_000),
        Peer::new(2, tuple.reversed(), 3_000),
    ]
}

fn frames(
    peer: &Peer,
    train: &Train,
    timestamps: bool,
    numbers: Option<&Numbers>,
) -> Vec<(Vec<u8>, RxChecksum)> {
    let checksum = if train.good {
        RxChecksum::Good
    } else {
        RxChecksum::Unknown
    };
    let data = MemBuf::from((0..1_400).map(|at| at as u8).collect::<Vec<_>>());
    let mut frames = Vec::new();
    for at in 0..train.count {
        let ends = train.push && at + 1 == train.count;
        let psh = if ends { Flags::PSH } else { Flags(0) };
        let behind = i32::try_from(at * train.len).unwrap();
        let distance = train.start + behind;
        let dss = numbers.map(|numbers| numbers.dss(peer, distance, train.len));
        let wish = Wish {
            seq: distance,
            wnd: train.wnd,
            payload: train.len,
            mptcp: dss.unwrap_or_default(),
            ..wish(Flags::ACK.with(psh), timestamps)
        };
        let mut frame = peer.frame(&wish, &data);
        for &(of, place, value) in &train.edits {
            if of == at {
                let place = place % frame.len().min(94);
                frame[place] = value;
                frame = scene::repaired(&frame, peer.port.0);
            }
        }
        if at != train.lost {
            frames.push((frame.clone(), checksum));
        }
        if at == train.twice {
            frames.push((frame, checksum));
        }
    }
    frames
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_burst_is_taken_as_its_frames_one_after_another(
        timestamps: bool,
        multipath: bool,
        trains in prop::collection::vec(train(), 1..20),
    ) {
        let [mut peers, mut others] = [peers(), peers()];
        let (mut at_once, numbers) = Bed::open(&mut peers, timestamps, multipath);
        let (mut apart, _) = Bed::open(&mut others, timestamps, multipath);
        for train in trains {
            let peer = &peers[train.from];
            let numbers = numbers.as_ref().filter(|_| train.from == 0);
            let frames = frames(peer, &train, timestamps, numbers);
            let port = peer.port;
            for (bed, most) in [(&mut at_once, 32), (&mut apart, 1)] {
                bed.now = bed.now + Duration::from_millis(1);
                bed.take(port, &frames, most);
            }
            prop_assert_eq!(at_once.sent(), apart.sent(), "{:?}", train);
            for frame in &at_once.out {
                peers.iter_mut().for_each(|peer| peer.note(frame));
            }
        }
    }
}
