//! Our IP and TCP against another stack's: smoltcp's sockets, in virtual time over a lossy Ethernet.

use bytes::Bytes;
use core::cell::Cell;
use core::net::IpAddr;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp as theirs;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr};
use stack::buf::{Frame, PacketBuf, PortId, RxChecksum, Slice};
use stack::ip::{Ingress, InterfaceConfig, IpOut, Net, NetConfig};
use stack::tcp::handshake::{AcceptVerdict, Accepting, Offer, OpenVerdict, Opening};
use stack::tcp::isn::IsnGenerator;
use stack::tcp::{State, Tcb};
use stack::wire::tcp::{Flags, OptBytes, OutSegment, Segment, Timestamps};
use stack::{Counter, Cx, Instant, Rng, Tally, Tuple};
use std::collections::VecDeque;

const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const THEIR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// Octets each way.
const OCTETS: usize = 1_000_000;
/// One way.
const DELAY_MS: u64 = 5;
const PORT: PortId = PortId(0);

thread_local! {
    static CLOCK_MS: Cell<u32> = const { Cell::new(0) };
}

#[derive(Clone)]
struct Buf(Bytes);

impl PacketBuf for Buf {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// smoltcp's device: frames in, frames out.
#[derive(Default)]
struct Nic {
    rx: VecDeque<Vec<u8>>,
    tx: Vec<Vec<u8>>,
}

struct Rx(Vec<u8>);
struct Tx<'a>(&'a mut Vec<Vec<u8>>);

impl RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.push(frame);
        result
    }
}

impl Device for Nic {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Rx, Tx<'_>)> {
        let frame = self.rx.pop_front()?;
        Some((Rx(frame), Tx(&mut self.tx)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Tx<'_>> {
        Some(Tx(&mut self.tx))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut caps = DeviceCapabilities::default();
        caps.medium = Medium::Ethernet;
        caps.max_transmission_unit = 1514;
        caps
    }
}

/// The other host.
struct Them {
    nic: Nic,
    iface: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    data: Vec<u8>,
    sent: usize,
    received: Vec<u8>,
}

impl Them {
    fn new(v6: bool, timestamps: bool) -> Self {
        let mut nic = Nic::default();
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(THEIR_MAC)));
        config.random_seed = 7;
        let now = smoltcp::time::Instant::from_millis(0);
        let mut iface = Interface::new(config, &mut nic, now);
        iface.update_ip_addrs(|addrs| {
            let prefix = if v6 { 64 } else { 24 };
            addrs
                .push(IpCidr::new(their_addr(v6).into(), prefix))
                .unwrap();
        });
        let buffer = || theirs::SocketBuffer::new(vec![0; 200_000]);
        let mut socket = theirs::Socket::new(buffer(), buffer());
        // A workspace is built with the features that any of it asks for: without a word the control would depend on them.
        socket.set_congestion_control(theirs::CongestionControl::None);
        socket.set_nagle_enabled(false);
        if timestamps {
            socket.set_tsval_generator(Some(|| CLOCK_MS.get()));
        }
        let mut sockets = SocketSet::new(vec![]);
        let socket = sockets.add(socket);
        Self {
            nic,
            iface,
            sockets,
            socket,
            data: pattern(OCTETS, 3),
            sent: 0,
            received: Vec::new(),
        }
    }

    fn socket(&mut self) -> &mut theirs::Socket<'static> {
        self.sockets.get_mut(self.socket)
    }

    fn poll(&mut self, ms: u64) {
        let now = smoltcp::time::Instant::from_millis(i64::try_from(ms).unwrap());
        self.iface.poll(now, &mut self.nic, &mut self.sockets);
        let socket = self.sockets.get_mut::<theirs::Socket<'_>>(self.socket);
        while socket.can_recv() {
            let received = &mut self.received;
            socket
                .recv(|octets| {
                    received.extend_from_slice(octets);
                    (octets.len(), ())
                })
                .unwrap();
        }
        if socket.may_send() && self.sent < self.data.len() {
            self.sent += socket.send_slice(&self.data[self.sent..]).unwrap();
            if self.sent == self.data.len() {
                socket.close();
            }
        }
        self.iface.poll(now, &mut self.nic, &mut self.sockets);
    }
}

enum Stage {
    Listening,
    Accepting(Accepting),
    Opening(Opening),
    Open(Box<Tcb<Buf>>),
}

/// Our host.
struct Us {
    net: Net<Buf>,
    stage: Stage,
    isn: IsnGenerator,
    tuple: Tuple,
    rng: Rng,
    counters: Tally<Counter>,
    data: Vec<u8>,
    sent: usize,
    received: Vec<u8>,
    finished: bool,
}

impl Us {
    fn new(v6: bool, stage: Stage) -> Self {
        let addresses = vec![
            if v6 { "fd00::1/64" } else { "10.0.0.1/24" }
                .parse()
                .unwrap(),
        ];
        let net = Net::new(NetConfig {
            interfaces: vec![InterfaceConfig {
                port: PORT,
                mac: OUR_MAC,
                mtu: 1500,
                addresses,
            }],
            routes: vec![],
            ..NetConfig::default()
        });
        Self {
            net: net.unwrap(),
            stage,
            isn: IsnGenerator::new([9; 16]),
            tuple: tuple(v6),
            rng: Rng::from_u64(5),
            counters: Tally::default(),
            data: pattern(OCTETS, 4),
            sent: 0,
            received: Vec::new(),
            finished: false,
        }
    }

    fn frame(&mut self, now: Instant, bytes: Vec<u8>, out: &mut Vec<Frame<Buf>>) {
        let mut cx = Cx {
            now,
            rng: &mut self.rng,
            counters: &mut self.counters,
        };
        let frame = Slice::new(Buf(bytes.into()));
        let ingress = self
            .net
            .input(&mut cx, PORT, frame, RxChecksum::Unknown, out);
        if let Ingress::Tcp(arrival) = ingress {
            assert!(arrival.local);
            self.segment(now, &arrival.segment, out);
        }
    }

    fn segment(&mut self, now: Instant, seg: &Segment<Buf>, out: &mut Vec<Frame<Buf>>) {
        let mut cx = Cx {
            now,
            rng: &mut self.rng,
            counters: &mut self.counters,
        };
        let mut answer: Option<OutSegment<Buf>> = None;
        let mut next = None;
        match &mut self.stage {
            Stage::Listening if seg.flags.has(Flags::SYN) => {
                self.tuple = seg.tuple.reversed();
                let peer = Offer::of(seg);
                let iss = self.isn.isn(now, &self.tuple);
                let ours = our_offer(now, self.isn.ts_offset(&self.tuple));
                let smss = peer.smss(1460, false);
                let mut accepting = Accepting::new(iss, seg.seq, &peer, &ours, smss, now);
                answer = Some(accepting.syn_ack(now, OptBytes::new()));
                next = Some(Stage::Accepting(accepting));
            },
            Stage::Listening => {},
            Stage::Accepting(accepting) => match accepting.third_ack(&mut cx, seg) {
                AcceptVerdict::Established(agreed) => {
                    let mut tcb = Tcb::new(&agreed, now);
                    tcb.input(&mut cx, seg);
                    next = Some(Stage::Open(Box::new(tcb)));
                },
                AcceptVerdict::Resend => answer = Some(accepting.syn_ack(now, OptBytes::new())),
                AcceptVerdict::Answer(out) => answer = Some(out),
                AcceptVerdict::Reset | AcceptVerdict::Dropped => {},
            },
            Stage::Opening(opening) => match opening.input(&mut cx, seg) {
                OpenVerdict::Answered(offer) => {
                    let agreed = opening.agreed(offer.smss(1460, false)).unwrap();
                    let mut tcb = Tcb::new(&agreed, now);
                    tcb.request_ack();
                    next = Some(Stage::Open(Box::new(tcb)));
                },
                OpenVerdict::Reset(out) => answer = Some(out),
                OpenVerdict::Refused => panic!("refused"),
                OpenVerdict::Dropped | OpenVerdict::Crossed(_) => {},
            },
            Stage::Open(tcb) => {
                tcb.input(&mut cx, seg);
            },
        }
        if let Some(segment) = answer {
            self.send(now, &segment, out);
        }
        if let Some(stage) = next {
            self.stage = stage;
        }
    }

    fn send(&mut self, now: Instant, segment: &OutSegment<Buf>, out: &mut Vec<Frame<Buf>>) {
        let mut cx = Cx {
            now,
            rng: &mut self.rng,
            counters: &mut self.counters,
        };
        self.net.send_tcp(
            &mut cx,
            &self.tuple,
            IpOut::default(),
            &mut segment.clone(),
            out,
        );
    }

    fn turn(&mut self, now: Instant, out: &mut Vec<Frame<Buf>>) {
        let mut segments = Vec::new();
        let mut cx = Cx {
            now,
            rng: &mut self.rng,
            counters: &mut self.counters,
        };
        self.net.advance(&mut cx, out);
        match &mut self.stage {
            Stage::Listening => {},
            Stage::Accepting(accepting) => {
                if accepting.next_deadline().is_some_and(|at| at <= now) {
                    segments.push(accepting.syn_ack(now, OptBytes::new()));
                }
            },
            Stage::Opening(opening) => {
                if now == Instant::from_millis(1) {
                    segments.push(opening.syn(now, OptBytes::new()));
                } else if opening.next_deadline().is_some_and(|at| at <= now) {
                    opening.sent_again(now);
                    segments.push(opening.syn(now, OptBytes::new()));
                }
            },
            Stage::Open(tcb) => {
                tcb.advance(&mut cx);
                while let Some((_, part)) = tcb.take() {
                    self.received.extend_from_slice(part.bytes());
                }
                tcb.accept_fin();
                tcb.set_recv_room(300_000);
                while self.sent < self.data.len() && tcb.unsent() < 30_000 {
                    let to = (self.sent + 1460).min(self.data.len());
                    let part = Bytes::copy_from_slice(&self.data[self.sent..to]);
                    tcb.send(Slice::new(Buf(part)));
                    self.sent = to;
                }
                if self.sent == self.data.len() && !self.finished {
                    self.finished = true;
                    tcb.finish();
                }
                while let Some(segment) = tcb.output(&mut cx, 0) {
                    segments.push(segment);
                }
            },
        }
        for segment in &segments {
            self.send(now, segment, out);
        }
    }

    fn is_done(&self) -> bool {
        matches!(&self.stage, Stage::Open(tcb) if tcb.fin_sent()
            && matches!(tcb.state(), State::TimeWait | State::Closed) && !tcb.timed_out())
    }
}

fn our_offer(now: Instant, ts_offset: u32) -> Offer {
    let ms = u32::try_from(now.as_millis()).unwrap();
    Offer {
        mss: Some(1460),
        wscale: Some(5),
        sack: true,
        ts: Some(Timestamps {
            val: ms.wrapping_add(ts_offset),
            ecr: 0,
        }),
        wnd: 60_000,
        ecn: false,
    }
}

fn their_addr(v6: bool) -> IpAddr {
    if v6 { "fd00::2" } else { "10.0.0.2" }.parse().unwrap()
}

/// Of what we send.
fn tuple(v6: bool) -> Tuple {
    Tuple {
        src: if v6 { "fd00::1" } else { "10.0.0.1" }.parse().unwrap(),
        dst: their_addr(v6),
        src_port: 40_000,
        dst_port: 80,
    }
}

fn pattern(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .collect()
}

fn linear(frame: &Frame<Buf>) -> Vec<u8> {
    let mut bytes = frame.header.bytes().to_vec();
    for part in &frame.payload {
        bytes.extend_from_slice(part.bytes());
    }
    if let Some((field, checksum)) = frame.checksum() {
        bytes[field].copy_from_slice(&checksum);
    }
    bytes
}

/// Frames under way: when each arrives, in milliseconds.
#[derive(Default)]
struct Lane(VecDeque<(u64, Vec<u8>)>);

impl Lane {
    fn enter(&mut self, ms: u64, frame: Vec<u8>, loss: u32, rng: &mut Rng) {
        if rng.below(10_000) >= loss {
            self.0.push_back((ms + DELAY_MS, frame));
        }
    }

    fn arrived(&mut self, ms: u64) -> Option<Vec<u8>> {
        let due = self.0.front().is_some_and(|(at, _)| *at <= ms);
        if due {
            self.0.pop_front().map(|(_, frame)| frame)
        } else {
            None
        }
    }
}

/// Runs until both have all and have closed; how long that took, in milliseconds.
fn run(name: &str, us: &mut Us, them: &mut Them, loss: u32, seed: u64) -> u64 {
    let mut rng = Rng::from_u64(seed);
    let (mut to_us, mut to_them) = (Lane::default(), Lane::default());
    for ms in 1..600_000 {
        CLOCK_MS.set(u32::try_from(ms).unwrap());
        let now = Instant::from_millis(ms);
        let mut out = Vec::new();
        while let Some(frame) = to_us.arrived(ms) {
            us.frame(now, frame, &mut out);
        }
        us.turn(now, &mut out);
        for frame in out {
            to_them.enter(ms, linear(&frame), loss, &mut rng);
        }
        while let Some(frame) = to_them.arrived(ms) {
            them.nic.rx.push_back(frame);
        }
        them.poll(ms);
        for frame in them.nic.tx.drain(..) {
            to_us.enter(ms, frame, loss, &mut rng);
        }
        let theirs_done = matches!(
            them.socket().state(),
            theirs::State::TimeWait | theirs::State::Closed
        );
        if us.is_done() && theirs_done {
            assert!(us.received == them.data, "{name}: what we received differs");
            assert!(
                them.received == us.data,
                "{name}: what they received differs"
            );
            return ms;
        }
    }
    let state = them.socket().state();
    panic!(
        "{name}: not done; we have {} and sent {}, they have {} and sent {} in {state:?}",
        us.received.len(),
        us.sent,
        them.received.len(),
        them.sent
    );
}

fn we_open(v6: bool, timestamps: bool, loss: u32, seed: u64) -> u64 {
    let now = Instant::from_millis(1);
    let isn = IsnGenerator::new([9; 16]);
    let tuple = tuple(v6);
    let opening = Opening::new(
        isn.isn(now, &tuple),
        &our_offer(now, isn.ts_offset(&tuple)),
        now,
    );
    let mut us = Us::new(v6, Stage::Opening(opening));
    let mut them = Them::new(v6, timestamps);
    them.socket().listen(80).unwrap();
    let name = format!("we open, v6 {v6}, timestamps {timestamps}, loss {loss}, seed {seed}");
    let ms = run(&name, &mut us, &mut them, loss, seed);
    println!("{name}: {ms} ms");
    ms
}

fn they_open(v6: bool, timestamps: bool, loss: u32, seed: u64) -> u64 {
    let mut us = Us::new(v6, Stage::Listening);
    let mut them = Them::new(v6, timestamps);
    let remote = (tuple(v6).src, 80);
    let socket = them.sockets.get_mut::<theirs::Socket<'_>>(them.socket);
    socket
        .connect(them.iface.context(), remote, 50_000)
        .unwrap();
    let name = format!("they open, v6 {v6}, timestamps {timestamps}, loss {loss}, seed {seed}");
    let ms = run(&name, &mut us, &mut them, loss, seed);
    println!("{name}: {ms} ms");
    ms
}

#[test]
fn a_million_octets_each_way_without_loss() {
    for v6 in [false, true] {
        for timestamps in [false, true] {
            for ms in [
                we_open(v6, timestamps, 0, 1),
                they_open(v6, timestamps, 0, 1),
            ] {
                assert!(ms < 3_000, "v6 {v6}, timestamps {timestamps}: {ms} ms");
            }
        }
    }
}

#[test]
fn a_million_octets_each_way_with_loss() {
    for seed in 0..6 {
        let (v6, timestamps) = (seed % 2 == 0, seed % 3 == 0);
        let took = we_open(v6, timestamps, 100, seed);
        assert!(took < 8_000, "seed {seed}: {took} ms");
        let took = they_open(v6, timestamps, 100, seed + 100);
        assert!(took < 8_000, "seed {seed}: {took} ms");
    }
}

#[test]
fn a_bad_line_loses_frames_of_the_handshake_too() {
    for seed in 0..4 {
        we_open(false, true, 1_000, seed);
        they_open(true, false, 1_000, seed);
    }
}

#[test]
fn time_outs_are_not_what_carries_a_clean_transfer() {
    let mut us = Us::new(false, Stage::Listening);
    let mut them = Them::new(false, true);
    let remote = (tuple(false).src, 80);
    let socket = them.sockets.get_mut::<theirs::Socket<'_>>(them.socket);
    socket
        .connect(them.iface.context(), remote, 50_000)
        .unwrap();
    run("clean", &mut us, &mut them, 0, 1);
    assert_eq!(us.counters.get(Counter::TcpRetransmitted), 0);
    assert_eq!(us.counters.get(Counter::DropChecksum), 0);
}
