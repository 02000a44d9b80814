//! A client with Multipath TCP and two cards, made of the initiator's half of our own protocol crates.

use super::sim::Node;
use super::{CLIENT_MAC, CLIENT_MAC_2};
use dataplane::memory::linear;
use dataplane::{MemBuf, RxChecksum};
use mptcp::connection::{Connection, Event, Limits, Params, SubflowId};
use mptcp::handshake::capable::{self, Terms};
use mptcp::join::{Initiated, OpenJoin};
use mptcp::{AddrId, Key, MpOption, Role, Version};
use stack::ip::{Ingress, InterfaceConfig, IpOut, Net, NetConfig, RouteConfig, TcpArrival};
use stack::tcp::Tcb;
use stack::tcp::handshake::{Offer, OpenVerdict, Opening};
use stack::time::earlier;
use stack::wire::tcp::{Flags, OutSegment, Segment, Timestamps};
use stack::{Frame, Instant, PortId, Rng, SeqNum, Slice, Tally, Tuple};
use std::net::IpAddr;

/// The first subflow before its SYN+ACK.
struct First {
    opening: Opening,
    key: Key,
    /// Of the segments that we send.
    tuple: Tuple,
}

/// A client with one connection.
pub struct MpHost {
    net: Net<MemBuf>,
    rng: Rng,
    tcp: Tally<stack::Counter>,
    mptcp: Tally<mptcp::Counter>,
    first: Option<First>,
    pub connection: Option<Connection<MemBuf>>,
    /// Subflows by the segments that they receive.
    flows: Vec<(Tuple, SubflowId)>,
    joins: Vec<(OpenJoin, Tuple)>,
    incoming: Vec<(PortId, Vec<u8>)>,
    out: Vec<Frame<MemBuf>>,
    /// What is to be sent, and how much of it was.
    pub data: Vec<u8>,
    pub sent: usize,
    /// Most octets of a piece.
    pub piece_max: u32,
    /// Whether to end the stream after `data`.
    pub finish: bool,
    finished: bool,
    /// What came, while `reading`.
    pub got: Vec<u8>,
    pub reading: bool,
    /// Whether to join announced addresses.
    pub joining: bool,
    /// The port to join them at, whatever was announced.
    pub join_port: Option<u16>,
    /// Whether to answer the SYN+ACK at all.
    pub silent: bool,
    /// Changes the token of the next MP_JOIN.
    pub refused: bool,
    /// Bounds of the connection.
    pub limits: Limits,
    /// Addresses that were announced.
    pub announced: Vec<IpAddr>,
    /// The answer to the first SYN carried no MP_CAPABLE.
    pub plain: bool,
    /// Resets received on joins.
    pub joins_refused: usize,
}

impl MpHost {
    pub fn new(seed: u64) -> Self {
        let interface = |port: u8, mac, addresses: [&str; 2]| InterfaceConfig {
            port: PortId(port),
            mac,
            mtu: 1500,
            addresses: addresses.map(|a| a.parse().unwrap()).into(),
        };
        let route = |to: &str, via: &str| RouteConfig {
            to: to.parse().unwrap(),
            via: via.parse().unwrap(),
        };
        let net = Net::new(NetConfig {
            interfaces: vec![
                interface(0, CLIENT_MAC, ["10.1.0.2/24", "fd00:1::2/64"]),
                interface(1, CLIENT_MAC_2, ["10.2.0.2/24", "fd00:2::2/64"]),
            ],
            routes: vec![
                route("0.0.0.0/0", "10.1.0.1"),
                route("::/0", "fd00:1::1"),
                route("10.99.0.2/32", "10.2.0.1"),
                route("fd00:99::2/128", "fd00:2::1"),
            ],
            ..NetConfig::default()
        });
        Self {
            net: net.unwrap(),
            rng: Rng::from_u64(seed),
            tcp: Tally::default(),
            mptcp: Tally::default(),
            first: None,
            connection: None,
            flows: Vec::new(),
            joins: Vec::new(),
            incoming: Vec::new(),
            out: Vec::new(),
            data: Vec::new(),
            sent: 0,
            piece_max: 1400,
            join_port: None,
            finish: false,
            finished: false,
            got: Vec::new(),
            reading: true,
            joining: true,
            silent: false,
            refused: false,
            limits: Limits::default(),
            announced: Vec::new(),
            plain: false,
            joins_refused: 0,
        }
    }

    /// Sends a SYN with MP_CAPABLE from `local_port` to `remote`.
    pub fn connect(&mut self, now: Instant, local_port: u16, remote: (&str, u16)) {
        let dst: IpAddr = remote.0.parse().unwrap();
        let src = if dst.is_ipv4() { super::H } else { super::H6 };
        let tuple = Tuple {
            src: src.parse().unwrap(),
            dst,
            src_port: local_port,
            dst_port: remote.1,
        };
        let key = Key::draw(&mut self.rng);
        let opening = Opening::new(SeqNum(self.rng.u32()), &offer(now), now);
        let upper = MpOption::from(capable::syn(Version::V1, key, Terms::default())).into();
        let syn = opening.syn(now, upper);
        self.first = Some(First {
            opening,
            key,
            tuple,
        });
        self.send(now, &tuple, &syn);
    }

    /// Whether the connection is up.
    pub fn is_up(&self) -> bool {
        self.connection.is_some()
    }

    /// Subflows that live.
    pub fn subflows(&self) -> usize {
        self.connection.as_ref().map_or(0, |c| c.subflows().count())
    }

    /// Cuts the connection off.
    pub fn abort(&mut self, now: Instant) {
        let Self {
            connection,
            rng,
            tcp,
            mptcp,
            ..
        } = self;
        let cx = &mut mptcp::Cx {
            now,
            rng,
            tcp,
            mptcp,
            ledger: &mut stack::Ledger::default(),
        };
        connection.as_mut().unwrap().abort(cx);
    }

    fn send(&mut self, now: Instant, tuple: &Tuple, segment: &OutSegment<MemBuf>) {
        let cx = &mut stack::Cx {
            now,
            rng: &mut self.rng,
            counters: &mut self.tcp,
        };
        let ip = IpOut::default();
        self.net
            .send_tcp(cx, tuple, ip, &mut segment.clone(), &mut self.out);
    }

    fn receive(&mut self, now: Instant, port: PortId, frame: Vec<u8>) {
        let cx = &mut stack::Cx {
            now,
            rng: &mut self.rng,
            counters: &mut self.tcp,
        };
        let frame = Slice::new(MemBuf::from(frame));
        let ingress = self
            .net
            .input(cx, port, frame, RxChecksum::Unknown, &mut self.out);
        if let Ingress::Tcp(TcpArrival { segment, .. }) = ingress {
            self.on_segment(now, &segment);
        }
    }

    fn on_segment(&mut self, now: Instant, segment: &Segment<MemBuf>) {
        if let Some(&(_, id)) = self.flows.iter().find(|(t, _)| *t == segment.tuple) {
            let Self {
                connection,
                rng,
                tcp,
                mptcp,
                ..
            } = self;
            let cx = &mut mptcp::Cx {
                now,
                rng,
                tcp,
                mptcp,
                ledger: &mut stack::Ledger::default(),
            };
            connection.as_mut().unwrap().input(cx, id, segment);
        } else if let Some(at) = self
            .joins
            .iter()
            .position(|(_, tuple)| tuple.reversed() == segment.tuple)
        {
            self.on_join_answer(now, at, segment);
        } else if self
            .first
            .as_ref()
            .is_some_and(|first| first.tuple.reversed() == segment.tuple)
        {
            self.on_answer(now, segment);
        }
    }

    fn on_answer(&mut self, now: Instant, segment: &Segment<MemBuf>) {
        let first = self.first.as_mut().unwrap();
        let mut cx = mptcp::Cx {
            now,
            rng: &mut self.rng,
            tcp: &mut self.tcp,
            mptcp: &mut self.mptcp,
            ledger: &mut stack::Ledger::default(),
        };
        match first.opening.input(&mut cx.stack(), segment) {
            OpenVerdict::Answered(_) if self.silent => {},
            OpenVerdict::Answered(answer) => {
                let asked = Terms::default();
                let options = &segment.options.mptcp;
                let Ok(agreed) = capable::syn_ack(options, Version::V1, first.key, asked) else {
                    self.plain = true;
                    return;
                };
                let params = Params {
                    version: agreed.version,
                    role: Role::Initiator,
                    local: agreed.local.derive(agreed.version),
                    remote_key: agreed.remote,
                    checksum: agreed.checksum,
                    peer_denies_initial_addr: agreed.deny_join_initial,
                    limits: self.limits,
                };
                let ipv6 = segment.tuple.src.is_ipv6();
                let limit = if ipv6 { 1440 } else { 1460 };
                let smss = answer.smss(limit, ipv6);
                let tcb = Tcb::new(&first.opening.agreed(smss).unwrap(), now);
                self.connection = Some(Connection::new(&mut cx, &params, tcb, segment.tuple));
            },
            OpenVerdict::Refused => self.refused = true,
            _ => {},
        }
    }

    fn on_join_answer(&mut self, now: Instant, at: usize, segment: &Segment<MemBuf>) {
        let (mut open, tuple) = self.joins.swap_remove(at);
        let mut cx = mptcp::Cx {
            now,
            rng: &mut self.rng,
            tcp: &mut self.tcp,
            mptcp: &mut self.mptcp,
            ledger: &mut stack::Ledger::default(),
        };
        let connection = self.connection.as_mut().unwrap();
        if segment.flags.has(Flags::RST) {
            self.joins_refused += 1;
        }
        match connection.input_join(&mut cx, &mut open, 1440, segment) {
            Initiated::Established(_) => {},
            Initiated::Waiting(answer) => {
                self.joins.push((open, tuple));
                if let Some(answer) = answer {
                    self.send(now, &tuple, &answer);
                }
            },
            Initiated::Refused(_, answer) => {
                if let Some(answer) = answer {
                    self.send(now, &tuple, &answer);
                }
            },
        }
    }

    /// Opens a subflow from the second card to `dst`.
    pub fn join(&mut self, now: Instant, dst: IpAddr, dst_port: u16) {
        let src = if dst.is_ipv4() {
            "10.2.0.2"
        } else {
            "fd00:2::2"
        };
        let tuple = Tuple {
            src: src.parse().unwrap(),
            dst,
            src_port: 50_000 + u16::try_from(self.rng.below(10_000)).unwrap(),
            dst_port,
        };
        let opening = Opening::new(SeqNum(self.rng.u32()), &offer(now), now);
        let mut cx = mptcp::Cx {
            now,
            rng: &mut self.rng,
            tcp: &mut self.tcp,
            mptcp: &mut self.mptcp,
            ledger: &mut stack::Ledger::default(),
        };
        let connection = self.connection.as_mut().unwrap();
        let Ok(open) = connection.open_join(&mut cx, opening, (dst, dst_port), AddrId(1), false)
        else {
            return;
        };
        let syn = open.syn(now);
        self.joins.push((open, tuple));
        self.send(now, &tuple, &syn);
    }

    fn events(&mut self, now: Instant) {
        while let Some(event) = self.connection.as_mut().and_then(Connection::take_event) {
            match event {
                Event::SubflowOpened { id, tuple } => self.flows.push((tuple, id)),
                Event::SubflowClosed { tuple, .. } => self.flows.retain(|(t, _)| *t != tuple),
                Event::AddressAnnounced { addr, port, .. } => {
                    self.announced.push(addr);
                    let first = self.first.as_ref().unwrap().tuple;
                    if self.joining && addr.is_ipv4() == first.dst.is_ipv4() {
                        let port = self.join_port.or(port);
                        self.join(now, addr, port.unwrap_or(first.dst_port));
                    }
                },
                Event::AddressRemoved { .. } => {},
            }
        }
    }

    fn repeat_syns(&mut self, now: Instant) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if let Some(first) = &mut self.first
            && due(first.opening.next_deadline())
        {
            let capable = capable::syn(Version::V1, first.key, Terms::default());
            let syn = first.opening.syn(now, MpOption::from(capable).into());
            first.opening.sent_again(now);
            let tuple = first.tuple;
            self.send(now, &tuple, &syn);
        }
        for at in 0..self.joins.len() {
            let (open, tuple) = &mut self.joins[at];
            if due(open.next_deadline()) {
                let (syn, tuple) = (open.syn(now), *tuple);
                open.sent_again(now);
                self.send(now, &tuple, &syn);
            }
        }
    }

    fn stream(&mut self, now: Instant) {
        let connection = self.connection.as_mut().unwrap();
        while self.sent < self.data.len() && connection.send_room() > 0 {
            let len = (1 + self.rng.below(self.piece_max)) as usize;
            let end = (self.sent + len).min(self.data.len());
            let piece = self.data[self.sent..end].to_vec();
            connection.send(Slice::new(MemBuf::from(piece)));
            self.sent = end;
        }
        if self.finish && !self.finished && self.sent == self.data.len() {
            connection.finish();
            self.finished = true;
        }
        if self.reading {
            while let Some(piece) = connection.take() {
                self.got.extend_from_slice(piece.bytes());
            }
            connection.set_recv_room(1 << 20);
            if connection.fin_received() {
                connection.accept_fin(now);
            }
        }
    }
}

fn offer(now: Instant) -> Offer {
    Offer {
        mss: Some(1440),
        wscale: Some(7),
        sack: true,
        ts: Some(Timestamps {
            val: u32::try_from(now.as_millis()).unwrap() + 77_000,
            ecr: 0,
        }),
        wnd: 65_535,
        ecn: false,
    }
}

impl Node for MpHost {
    fn deliver(&mut self, _now: Instant, nic: usize, frame: Vec<u8>) {
        self.incoming
            .push((PortId(u8::try_from(nic).unwrap()), frame));
    }

    fn poll(&mut self, now: Instant, out: &mut Vec<(usize, Vec<u8>)>) {
        for (port, frame) in std::mem::take(&mut self.incoming) {
            self.receive(now, port, frame);
            self.events(now);
        }
        self.repeat_syns(now);
        if self.connection.is_some() {
            self.stream(now);
            loop {
                let Self {
                    connection,
                    rng,
                    tcp,
                    mptcp,
                    ..
                } = self;
                let cx = &mut mptcp::Cx {
                    now,
                    rng,
                    tcp,
                    mptcp,
                    ledger: &mut stack::Ledger::default(),
                };
                let connection = connection.as_mut().unwrap();
                if connection.next_deadline().is_some_and(|at| at <= now) {
                    connection.advance(cx);
                }
                let Some(output) = connection.output(cx) else {
                    break;
                };
                self.send(now, &output.tuple, &output.segment);
            }
            self.events(now);
        }
        let cx = &mut stack::Cx {
            now,
            rng: &mut self.rng,
            counters: &mut self.tcp,
        };
        self.net.advance(cx, &mut self.out);
        let frames = self.out.drain(..);
        out.extend(frames.map(|frame| (usize::from(frame.port.0), linear(&frame))));
    }

    fn next_deadline(&mut self, _now: Instant) -> Option<Instant> {
        let connection = self.connection.as_ref().and_then(Connection::next_deadline);
        let syns = self.joins.iter().map(|(open, _)| open.next_deadline());
        let first = self.first.as_ref().and_then(|f| f.opening.next_deadline());
        let own = syns.fold(earlier(connection, first), earlier);
        earlier(own, self.net.next_deadline())
    }
}
