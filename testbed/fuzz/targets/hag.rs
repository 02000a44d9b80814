//! The whole input of the HAG: a subscriber, its second line, a server and a stranger, all played by the fuzzer.
//!
//! Each step is a raw frame, or a segment whose numbers are off by what the fuzzer says from those that fit: so it
//! gets through handshakes and into connections. Whatever happens, nothing panics and what is held stays bounded.
#![no_main]

use apps::engine::{Engine, Limits, PerSubscriber};
use dataplane::app::App;
use dataplane::memory::MemBuf;
use dataplane::port::Received;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use stack::buf::{RxChecksum, Slice};
use stack::time::Duration;
use stack::wire::tcp::OptBytes;
use stack::{Frame, Instant, PortId, Tuple};
use std::net::IpAddr;
use testbed::peer::{Peer, Wish};
use testbed::scene;

/// Small, so that the fuzzer reaches them.
const LIMITS: Limits = Limits {
    relays: 4,
    pending: 8,
    pending_per_source: 6,
    per_subscriber: PerSubscriber {
        connections: 12,
        pending: 6,
        joining: 3,
        buffer: 1 << 19,
    },
    joining: 3,
    subflows: 3,
    buffer: 64 << 10,
    buffer_total: 256 << 10,
};

#[derive(Arbitrary, Debug)]
enum Step {
    Raw {
        port: u8,
        bytes: Vec<u8>,
    },
    Segment {
        peer: u8,
        flags: u8,
        off: (i8, i8),
        far: Option<(i32, i32)>,
        wnd: u16,
        shape: Shape,
        payload: u16,
    },
    Wait {
        millis: u16,
    },
    Hours(u8),
}

#[derive(Arbitrary, Debug)]
struct Shape {
    syn_options: bool,
    timestamps: bool,
    sack: Option<(u16, u16)>,
    mptcp: Mptcp,
}

#[derive(Arbitrary, Debug)]
enum Mptcp {
    None,
    /// With a key it is version 0's.
    CapableSyn {
        key: Option<[u8; 8]>,
    },
    CapableAck {
        version: bool,
        key: [u8; 8],
        with_data: bool,
    },
    JoinSyn {
        version: bool,
        token_from: bool,
    },
    Dss {
        dsn: u64,
        ssn: u32,
        len: u16,
        fin: bool,
    },
    Echo,
    Raw(Vec<u8>),
}

impl Mptcp {
    fn bytes(&self, theirs: &OptBytes, payload: u16) -> OptBytes {
        let bytes: Vec<u8> = match self {
            Self::None => vec![],
            Self::CapableSyn { key: None } => vec![30, 4, 0x01, 0x01],
            Self::CapableSyn { key: Some(key) } => [&[30, 12, 0x00, 0x01], &key[..]].concat(),
            Self::CapableAck {
                version,
                key,
                with_data,
            } => {
                let len = if *with_data { 22 } else { 20 };
                let mut option = vec![30, len, u8::from(*version), 0x01];
                option.extend_from_slice(key);
                option.extend_from_slice(theirs.get(4..12).unwrap_or(&[0; 8]));
                if *with_data {
                    option.extend_from_slice(&payload.to_be_bytes());
                }
                option
            },
            Self::JoinSyn {
                version,
                token_from,
            } => {
                let key = mptcp::Key::new(
                    theirs
                        .get(4..12)
                        .and_then(|k| k.try_into().ok())
                        .unwrap_or_default(),
                );
                let token = match (token_from, version) {
                    (false, _) => 5,
                    (true, false) => key.token(mptcp::Version::V0).0,
                    (true, true) => key.token(mptcp::Version::V1).0,
                };
                let mut option = vec![30, 12, 0x10, 2];
                option.extend_from_slice(&token.to_be_bytes());
                option.extend_from_slice(&[1, 2, 3, 4]);
                option
            },
            Self::Dss { dsn, ssn, len, fin } => {
                let mut option = vec![30, 26, 0x20, 0x0f | u8::from(*fin) << 4];
                option.extend_from_slice(theirs.get(4..12).unwrap_or(&[0; 8]));
                option.extend_from_slice(&dsn.to_be_bytes());
                option.extend_from_slice(&ssn.to_be_bytes());
                option.extend_from_slice(&len.to_be_bytes());
                option
            },
            Self::Echo => theirs.to_vec(),
            Self::Raw(bytes) => bytes.clone(),
        };
        bytes.into_iter().take(40).collect()
    }
}

fn peers() -> Vec<Peer> {
    let tuple = |src: &str, dst: &str, src_port, dst_port| Tuple {
        src: src.parse().unwrap_or(IpAddr::from([0; 4])),
        dst: dst.parse().unwrap_or(IpAddr::from([0; 4])),
        src_port,
        dst_port,
    };
    vec![
        Peer::new(0, tuple("10.1.0.2", "10.9.0.2", 4000, 80), 1000),
        Peer::new(2, tuple("10.9.0.2", "10.1.0.2", 80, 4000), 9000),
        Peer::new(1, tuple("10.2.0.2", "10.99.0.2", 4001, 80), 5000),
        Peer::new(0, tuple("fd00:1::2", "fd00:9::2", 4000, 80), 1000),
        Peer::new(2, tuple("fd00:9::2", "fd00:1::2", 80, 4000), 9000),
        Peer::new(1, tuple("fd00:2::2", "fd00:99::2", 4001, 80), 5000),
        Peer::new(2, tuple("10.9.0.3", "10.1.0.2", 4000, 80), 1),
    ]
}

struct Box {
    engine: Engine<MemBuf>,
    now: Instant,
    out: Vec<Frame<MemBuf>>,
}

impl Box {
    fn input(&mut self, port: u8, bytes: Vec<u8>) {
        self.receive(port, bytes);
        let asked: Vec<_> = self.out.iter().filter_map(scene::arp_reply).collect();
        for (port, reply) in asked {
            self.receive(port, reply);
        }
    }

    fn receive(&mut self, port: u8, bytes: Vec<u8>) {
        let received = Received {
            frame: Slice::new(MemBuf::from(bytes)),
            checksum: RxChecksum::Unknown,
        };
        self.engine
            .input(self.now, PortId(port), &mut vec![received], &mut self.out);
        self.flush();
    }

    fn flush(&mut self) {
        self.engine.flush(self.now, &mut self.out);
        assert!(self.out.len() < 20_000, "one step cannot send without end");
    }

    fn wait(&mut self, duration: Duration) {
        let end = self.now + duration;
        for _ in 0..64 {
            match self.engine.next_deadline() {
                Some(at) if at <= end => self.now = at.max(self.now),
                _ => break,
            }
            self.flush();
        }
        self.now = end;
        self.flush();
    }
}

fuzz_target!(|steps: Vec<Step>| {
    let mut hag = Box {
        engine: scene::engine(LIMITS),
        now: Instant::from_millis(1),
        out: Vec::new(),
    };
    let mut peers = peers();
    let data = MemBuf::from(vec![0x55; 1500]);
    for step in steps.iter().take(200) {
        match step {
            Step::Raw { port, bytes } => hag.input(port % 4, bytes.clone()),
            Step::Segment {
                peer,
                flags,
                off,
                far,
                wnd,
                shape,
                payload,
            } => {
                let peer = &peers[usize::from(*peer) % peers.len()];
                let (seq, ack) = far.unwrap_or((off.0.into(), off.1.into()));
                let theirs = peers[usize::from(*flags >> 7) * 2].mptcp;
                let theirs = if peer.mptcp.is_empty() {
                    theirs
                } else {
                    peer.mptcp
                };
                let payload = payload % 1400;
                let wish = Wish {
                    flags: *flags,
                    seq,
                    ack,
                    wnd: *wnd,
                    syn_options: shape.syn_options,
                    timestamps: shape.timestamps,
                    sack: shape.sack,
                    mptcp: shape.mptcp.bytes(&theirs, payload),
                    payload: payload.into(),
                };
                let (port, frame) = (peer.port.0, peer.frame(&wish, &data));
                hag.input(port, frame);
            },
            Step::Wait { millis } => hag.wait(Duration::from_millis((*millis).into())),
            Step::Hours(hours) => hag.wait(Duration::from_secs(u64::from(*hours) * 3600)),
        }
        for frame in hag.out.drain(..) {
            peers.iter_mut().for_each(|peer| peer.note(&frame));
        }
        let held = hag.engine.occupancy();
        assert!(
            held.relays <= 4 && held.pending <= 8,
            "limits hold: {held:?}"
        );
        assert!(held.held <= 1 << 20, "memory is bounded: {held:?}");
    }
});
