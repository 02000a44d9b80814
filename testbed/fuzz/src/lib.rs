//! A box that hosts play with, all of them by the fuzzer.
//!
//! Each step is a raw frame, or a segment whose numbers are off by what the fuzzer says from those that fit: so it
//! gets through handshakes and into connections. Whatever happens, nothing panics and what is held stays bounded.
#![forbid(unsafe_code)]
#![expect(missing_docs, reason = "what a step has is what a frame has")]

use apps::engine::{Engine, Limits, PerSubscriber};
use dataplane::memory::MemBuf;
use dataplane::{App, BURST, Received};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use stack::buf::{RxChecksum, Slice};
use stack::time::Duration;
use stack::wire::tcp::OptBytes;
use stack::{Frame, Instant, PortId, Tuple};
use std::net::SocketAddr;
use std::str::FromStr;
use testbed::peer::{Peer, Wish};
use testbed::scene;

/// Small, so that the fuzzer reaches them.
pub const LIMITS: Limits = Limits {
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
    protect_established: true,
};

/// What happens next.
#[derive(Arbitrary, Debug)]
pub enum Step {
    Raw {
        port: u8,
        bytes: Vec<u8>,
    },
    Segment {
        /// Whether what follows is in the same burst.
        more: bool,
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

/// Which options a segment has.
#[derive(Arbitrary, Debug)]
pub struct Shape {
    syn_options: bool,
    timestamps: bool,
    sack: Option<(u16, u16)>,
    mptcp: Mptcp,
}

/// Its option of Multipath TCP.
#[derive(Arbitrary, Debug)]
pub enum Mptcp {
    None,
    /// With a key it is version 0's, or the answer to one.
    CapableSyn {
        version: bool,
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
            Self::CapableSyn { key: None, .. } => vec![30, 4, 0x01, 0x01],
            Self::CapableSyn {
                version,
                key: Some(key),
            } => {
                // A box that answers in a server's place takes no joins to that one's address.
                let flags = if *version { 0x21 } else { 0x01 };
                [&[30, 12, u8::from(*version), flags], &key[..]].concat()
            },
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

/// A box, and what is between it and its hosts.
struct Box {
    engine: Engine<MemBuf>,
    now: Instant,
    out: Vec<Frame<MemBuf>>,
    /// By port, what is still to become a burst.
    coming: [Vec<Received<MemBuf>>; 3],
}

impl Box {
    /// Takes what has come, and answers who is asked for by ARP.
    fn input(&mut self) {
        self.receive();
        let asked: Vec<_> = self.out.iter().filter_map(scene::arp_reply).collect();
        for (port, reply) in asked {
            self.coming[usize::from(port)].push(received(reply));
            self.receive();
        }
    }

    fn receive(&mut self) {
        for (port, burst) in (0..).map(PortId).zip(&mut self.coming) {
            if !burst.is_empty() {
                self.engine.input(self.now, port, burst, &mut self.out);
            }
        }
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

/// Of segments from the one to the other.
///
/// # Panics
/// These are no addresses with ports.
#[must_use]
pub fn tuple(between: [&str; 2]) -> Tuple {
    let [src, dst] = between.map(|text| SocketAddr::from_str(text).expect("an address and a port"));
    Tuple {
        src: src.ip(),
        dst: dst.ip(),
        src_port: src.port(),
        dst_port: dst.port(),
    }
}

fn received(bytes: Vec<u8>) -> Received<MemBuf> {
    Received {
        frame: Slice::new(MemBuf::from(bytes)),
        checksum: RxChecksum::Unknown,
    }
}

/// Does `steps` to a box of `engine`, within [`LIMITS`], with these hosts around it.
///
/// # Panics
/// It holds or sends what it may not.
pub fn play(engine: Engine<MemBuf>, mut peers: Vec<Peer>, steps: &[Step]) {
    let mut subject = Box {
        engine,
        now: Instant::from_millis(1),
        out: Vec::new(),
        coming: Default::default(),
    };
    let data = MemBuf::from(vec![0x55; 1500]);
    for step in steps.iter().take(200) {
        match step {
            Step::Raw { port, bytes } => {
                let burst = &mut subject.coming[usize::from(port % 3)];
                burst.push(received(bytes.clone()));
                subject.input();
            },
            Step::Segment {
                more,
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
                let frame = peer.frame(&wish, &data);
                let burst = &mut subject.coming[usize::from(peer.port.0)];
                burst.push(received(frame));
                if !more || burst.len() == BURST {
                    subject.input();
                }
            },
            Step::Wait { millis } => subject.wait(Duration::from_millis((*millis).into())),
            Step::Hours(hours) => subject.wait(Duration::from_secs(u64::from(*hours) * 3600)),
        }
        for frame in subject.out.drain(..) {
            peers.iter_mut().for_each(|peer| peer.note(&frame));
        }
        let held = subject.engine.occupancy();
        assert!(
            held.relays <= LIMITS.relays && held.pending <= LIMITS.pending,
            "limits hold: {held:?}"
        );
        assert!(held.held <= 1 << 20, "memory is bounded: {held:?}");
    }
}
