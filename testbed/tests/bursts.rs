//! A burst is taken as its frames are one by one: what was read ahead of one says nothing that the frame before it changed.

use apps::engine::{Engine, EngineConfig, Limits};
use dataplane::memory::{MemBuf, linear};
use dataplane::port::Received;
use dataplane::{App, RxChecksum};
use stack::buf::chain_len;
use stack::time::Duration;
use stack::wire::tcp::{Flags, OptBytes};
use stack::{Frame, Instant, PortId, Slice, Tuple};
use testbed::peer::{Peer, Wish};
use testbed::scene;

/// The port of the box that servers hang on.
const CORE: PortId = PortId(2);

/// A box, and how it is given its frames.
struct Bed {
    engine: Engine<MemBuf>,
    one_by_one: bool,
    now: Instant,
    data: MemBuf,
}

impl Bed {
    fn new(one_by_one: bool) -> Self {
        let config = EngineConfig {
            accept_plain: true,
            ..scene::config(Limits::default())
        };
        Self {
            engine: Engine::new(config).expect("the scene resolves"),
            one_by_one,
            now: Instant::from_millis(1),
            data: MemBuf::from(vec![0x55; 1_000]),
        }
    }

    /// What comes of frames that come in by `port` in one turn.
    fn turn(&mut self, port: PortId, frames: Vec<Vec<u8>>) -> Vec<Frame<MemBuf>> {
        self.now = self.now + Duration::from_micros(100);
        let mut out = Vec::new();
        let received = frames.into_iter().map(|frame| Received {
            frame: Slice::new(MemBuf::from(frame)),
            checksum: RxChecksum::Unknown,
        });
        let mut burst: Vec<_> = received.collect();
        if self.one_by_one {
            for received in burst {
                self.engine
                    .input(self.now, port, &mut vec![received], &mut out);
            }
        } else {
            self.engine.input(self.now, port, &mut burst, &mut out);
        }
        self.engine.flush(self.now, &mut out);
        out
    }

    /// The segments that `sender` wishes, in one turn; both see what comes of it.
    fn send(&mut self, ends: &mut [Peer; 2], sender: usize, wishes: &[Wish]) -> Vec<Vec<u8>> {
        let peer = &ends[sender];
        let frames = wishes.iter().map(|wish| peer.frame(wish, &self.data));
        let mut out = self.turn(peer.port, frames.collect());
        let asked: Vec<_> = out.iter().filter_map(scene::arp_reply).collect();
        for (port, reply) in asked {
            out.extend(self.turn(PortId(port), vec![reply]));
        }
        for frame in &out {
            ends.iter_mut().for_each(|end| end.note(frame));
        }
        out.iter().map(linear).collect()
    }
}

fn wish(flags: Flags, seq: i32, payload: usize) -> Wish {
    Wish {
        flags: flags.0,
        seq,
        ack: 0,
        wnd: 0xffff,
        syn_options: flags.has(Flags::SYN),
        timestamps: false,
        sack: None,
        mptcp: OptBytes::new(),
        payload,
    }
}

fn ends(port: u16) -> [Peer; 2] {
    let tuple = Tuple {
        src: [10, 1, 0, 2].into(),
        dst: [10, 9, 0, 2].into(),
        src_port: port,
        dst_port: 80,
    };
    [
        Peer::new(0, tuple, 1_000),
        Peer::new(CORE.0, tuple.reversed(), 3_000),
    ]
}

/// All that left in a flow's life.
fn life(one_by_one: bool) -> Vec<Vec<Vec<u8>>> {
    let mut bed = Bed::new(one_by_one);
    let mut flow = ends(10_000);
    let (client, server) = (0, 1);
    let ack = Flags::ACK;
    let mut left = vec![
        bed.send(&mut flow, client, &[wish(Flags::SYN, 0, 0)]),
        bed.send(&mut flow, server, &[wish(Flags::SYN.with(ack), 0, 0)]),
    ];
    // With the first the pending flow becomes a relay, whose data the others are.
    let third = [
        wish(ack, 0, 0),
        wish(ack, 0, 100),
        wish(ack, 100, 100),
        wish(ack, 200, 100),
    ];
    let began = bed.send(&mut flow, client, &third);
    let relayed: usize = began
        .iter()
        .map(|frame| frame.len().saturating_sub(54))
        .sum();
    assert_eq!((relayed, bed.engine.occupancy().relays), (300, 1));
    left.push(began);
    // A SYN of another flow between segments of this one, then its next life's.
    let stranger = ends(10_001);
    let mut mixed: Vec<_> = [wish(ack, 0, 100), wish(ack, 100, 100)]
        .iter()
        .map(|wish| flow[client].frame(wish, &bed.data))
        .collect();
    mixed.insert(
        1,
        stranger[client].frame(&wish(Flags::SYN, 0, 0), &bed.data),
    );
    let out = bed.turn(flow[client].port, mixed);
    assert_eq!(
        out.iter()
            .map(|frame| chain_len(&frame.payload))
            .sum::<usize>(),
        200
    );
    left.push(out.iter().map(linear).collect());
    let fin = bed.send(
        &mut flow,
        server,
        &[wish(ack, 0, 10), wish(ack.with(Flags::FIN), 10, 0)],
    );
    left.push(fin);
    let last = [
        wish(ack.with(Flags::FIN), 0, 0),
        wish(Flags::SYN, 100_000, 0),
    ];
    left.push(bed.send(&mut flow, client, &last));
    left
}

#[test]
fn a_burst_is_taken_as_its_frames_one_by_one() {
    assert_eq!(life(false), life(true));
}
