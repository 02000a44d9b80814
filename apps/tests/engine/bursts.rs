//! A burst is taken as its frames would be, one after another: what is read of a frame by the one before it, and what is given
//! to a leg as the text of its segment alone, changes nothing that leaves the box.

use apps::engine::{Engine, EngineConfig, Limits};
use dataplane::app::App;
use dataplane::memory::{MemBuf, linear};
use dataplane::port::Received;
use proptest::prelude::*;
use stack::buf::RxChecksum;
use stack::time::Duration;
use stack::wire::tcp::{Flags, OptBytes};
use stack::{Frame, Instant, PortId, Slice, Tuple};
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
    let edits = prop::collection::vec((0..6_usize, 14..60_usize, any::<u8>()), 0..2);
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

/// A box that relays one connection of TCP.
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

    /// Opens the connection of `peers`.
    fn open(peers: &mut [Peer; 2], timestamps: bool) -> Self {
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
        for (from, flags) in [(0, syn), (1, syn.with(ack)), (0, ack)] {
            let (port, wish) = (peers[from].port, wish(flags, timestamps));
            let frame = peers[from].frame(&wish, &MemBuf::from(Vec::new()));
            let mut due = vec![(port, frame)];
            while let Some((port, frame)) = due.pop() {
                bed.now = bed.now + Duration::from_micros(5);
                bed.take(port, &[(frame, RxChecksum::Unknown)], 1);
                let asked = bed.out.iter().filter_map(scene::arp_reply);
                due.extend(asked.map(|(port, reply)| (PortId(port), reply)));
                for frame in &bed.out {
                    peers.iter_mut().for_each(|peer| peer.note(frame));
                }
            }
        }
        assert_eq!(bed.engine.occupancy().relays, 1);
        bed
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

fn frames(peer: &Peer, train: &Train, timestamps: bool) -> Vec<(Vec<u8>, RxChecksum)> {
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
        let wish = Wish {
            seq: train.start + behind,
            wnd: train.wnd,
            payload: train.len,
            ..wish(Flags::ACK.with(psh), timestamps)
        };
        let mut frame = peer.frame(&wish, &data);
        for &(of, place, value) in &train.edits {
            if of == at {
                frame[place % 54] = value;
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
        trains in prop::collection::vec(train(), 1..20),
    ) {
        let [mut peers, mut others] = [peers(), peers()];
        let mut at_once = Bed::open(&mut peers, timestamps);
        let mut apart = Bed::open(&mut others, timestamps);
        for train in trains {
            let peer = &peers[train.from];
            let frames = frames(peer, &train, timestamps);
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
