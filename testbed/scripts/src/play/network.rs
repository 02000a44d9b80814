//! The box in virtual time, neighbors that answer whoever asks, and what came for each flow.

use crate::render;
use crate::scene::{Scene, scene};
use crate::script::{Flow, Icmp, Script};
use apps::control::{Command, Reply};
use apps::engine::Occupancy;
use dataplane::memory::linear;
use dataplane::{App, PortReport};
use sim::packet::{Tcp, checksum, is_ip};
use stack::Instant;
use stack::time::Duration;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use testbed::scene::{HOST_MAC, arp_reply, port_mac};

/// The beginning of a script's time.
pub(super) const START: Instant = Instant::from_millis(1_000);

/// Turns of the box at one moment before it counts as one that does not come to rest.
const TURNS_MAX: usize = 1_000;

/// A frame that came for a flow.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) at: Instant,
    pub(super) frame: Vec<u8>,
}

/// Where a flow hangs, and which tuple it has.
struct Place {
    name: String,
    port: usize,
    own: SocketAddr,
    other: SocketAddr,
    isn: u32,
    /// The other end's, once it was seen.
    other_isn: Option<u32>,
}

pub(super) struct Network {
    scene: Scene,
    now: Instant,
    places: Vec<Place>,
    /// What came for each flow and no line has asked for.
    pub(super) got: Vec<VecDeque<Seen>>,
    /// What came for none.
    strays: Vec<String>,
    /// All that passed, in words.
    pub(super) story: Vec<String>,
}

impl Network {
    pub(super) fn new(script: &Script) -> Result<Self, String> {
        let scene = scene(&script.settings)?;
        let place = |flow: &Flow| {
            let port = scene.ports.iter().position(|name| *name == flow.at);
            let none = || {
                format!(
                    "the box has no port {}, but {}",
                    flow.at,
                    scene.ports.join(", ")
                )
            };
            Ok(Place {
                name: flow.name.clone(),
                port: port.ok_or_else(none)?,
                own: flow.own,
                other: flow.other,
                isn: flow.isn,
                other_isn: None,
            })
        };
        let places: Vec<Place> = script
            .flows
            .iter()
            .map(place)
            .collect::<Result<_, String>>()?;
        Ok(Self {
            got: places.iter().map(|_| VecDeque::new()).collect(),
            places,
            scene,
            now: START,
            strays: Vec::new(),
            story: Vec::new(),
        })
    }

    pub(super) const fn now(&self) -> Instant {
        self.now
    }

    /// A segment of `flow` with nothing in it.
    pub(super) fn blank(&self, flow: usize) -> Result<Tcp, String> {
        let place = &self.places[flow];
        if place.other.port() == 0 {
            return Err("the box has sent nothing here yet, and the port is its to choose".into());
        }
        let mac = port_mac(u8::try_from(place.port).unwrap_or(u8::MAX));
        Ok(Tcp::between((HOST_MAC, place.own), (mac, place.other)))
    }

    /// Gives the box a frame from where `flow` hangs.
    pub(super) fn send(&mut self, flow: usize, frame: Vec<u8>) {
        let text = self.words(flow, &frame, true);
        self.tell(flow, ">", &text);
        self.put(self.places[flow].port, frame);
        self.settle();
    }

    fn put(&mut self, port: usize, frame: Vec<u8>) {
        if !self.scene.wires[port].put(frame) {
            self.strays.push("the wire into the box is full".into());
        }
    }

    /// Runs to `until`, or until `enough`.
    pub(super) fn run(&mut self, until: Instant, enough: impl Fn(&Self) -> bool) {
        self.settle();
        while !enough(self) && self.now < until {
            // A deadline that is not met moves time on all the same.
            let least = self.now + Duration::from_micros(10);
            let next = self.scene.worker.next_deadline();
            self.now = next.map_or(until, |at| at.max(least)).min(until);
            self.settle();
        }
    }

    /// Lets the box do all that is due now.
    fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            let moved = self.scene.worker.poll(self.now);
            let answered = self.collect();
            if moved == 0 && !answered {
                return;
            }
        }
        self.strays.push("the box does not come to rest".into());
    }

    /// Takes what the box sent; whether a neighbor had something to answer.
    fn collect(&mut self) -> bool {
        let mut answered = false;
        for port in 0..self.scene.wires.len() {
            while let Some(frame) = self.scene.wires[port].take() {
                if let Some((port, reply)) = arp_reply(&frame) {
                    self.put(port.into(), reply);
                    answered = true;
                    continue;
                }
                self.take(port, linear(&frame));
            }
        }
        answered
    }

    fn take(&mut self, port: usize, frame: Vec<u8>) {
        // Neighbor discovery and the like.
        if !is_ip(&frame) || is_icmpv6(&frame) {
            return;
        }
        let at = self.now;
        let Some(flow) = self.flow_of(port, &frame) else {
            let what = Tcp::parse(&frame).map_or_else(
                || render::hex(&frame),
                |tcp| {
                    format!(
                        "{}:{} > {}:{} {}",
                        tcp.src,
                        tcp.src_port,
                        tcp.dst,
                        tcp.dst_port,
                        render::segment(&tcp, 0, 0)
                    )
                },
            );
            let name = &self.scene.ports[port];
            return self
                .strays
                .push(format!("{} at {name}, of no flow: {what}", clock(at)));
        };
        if let Some(tcp) = Tcp::parse(&frame) {
            let place = &mut self.places[flow];
            place.other = (tcp.src, tcp.src_port).into();
            if tcp.has(sim::packet::SYN) || place.other_isn.is_none() {
                place.other_isn = Some(tcp.seq);
            }
        }
        let text = self.words(flow, &frame, false);
        self.tell(flow, "<", &text);
        self.got[flow].push_back(Seen { at, frame });
    }

    /// Whom a frame is for: who has its tuple, or whose segment an error quotes.
    fn flow_of(&self, port: usize, frame: &[u8]) -> Option<usize> {
        let [own, other] = match Tcp::parse(frame) {
            Some(tcp) => [(tcp.dst, tcp.dst_port), (tcp.src, tcp.src_port)],
            None => quoted(frame)?,
        };
        let [own, other] = [own, other].map(SocketAddr::from);
        self.places.iter().position(|place| {
            let open = place.other.port() == 0 && place.other.ip() == other.ip();
            place.port == port && place.own == own && (place.other == other || open)
        })
    }

    fn words(&self, flow: usize, frame: &[u8], sends: bool) -> String {
        let place = &self.places[flow];
        let bases = (place.isn, place.other_isn.unwrap_or(0));
        let (seq, ack) = if sends { bases } else { (bases.1, bases.0) };
        Tcp::parse(frame).map_or_else(
            || {
                format!(
                    "icmp {}",
                    render::hex(frame.get(34..36).unwrap_or_default())
                )
            },
            |tcp| render::segment(&tcp, seq, ack),
        )
    }

    fn tell(&mut self, flow: usize, way: &str, text: &str) {
        let name = &self.places[flow].name;
        self.story
            .push(format!("{} {name} {way} {text}", clock(self.now)));
    }

    /// What came and no line has asked for, as an error.
    pub(super) fn rest(&mut self) -> Result<(), Vec<String>> {
        let mut wrong = std::mem::take(&mut self.strays);
        for flow in 0..self.places.len() {
            for seen in std::mem::take(&mut self.got[flow]) {
                let words = self.words(flow, &seen.frame, false);
                wrong.push(format!(
                    "{} {} < {words}: no line asks for it",
                    clock(seen.at),
                    self.places[flow].name
                ));
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    /// Whether the box holds nothing, and has a fate for every frame that it was given; else what.
    pub(super) fn empty(&self) -> Result<(), String> {
        let held = self.scene.worker.app().occupancy();
        // An entry in the timer wheel stays until its time (`stack::wheel`), whatever became of its owner.
        let nothing = Occupancy {
            timers: held.timers,
            ..Occupancy::default()
        };
        let frames = self.scene.worker.app().frames();
        if held != nothing {
            Err(format!("it holds {held:?}"))
        } else if !frames.balance() {
            Err(format!("it does not balance: {frames:?}"))
        } else {
            Ok(())
        }
    }

    /// The value of a counter, if there is one of this name.
    pub(super) fn counter(&mut self, name: &str) -> Option<u64> {
        let worker = &mut self.scene.worker;
        let reports: Vec<PortReport> = Vec::new();
        worker.app_mut().ports(&reports);
        let now = self.now;
        match worker
            .app_mut()
            .command(now, Command::ShowCounters, &mut Vec::new())
        {
            Reply::Counters(reply) => reply.counters.get(name).copied(),
            _ => None,
        }
    }
}

/// A moment, for messages.
pub(super) fn clock(at: Instant) -> String {
    let seconds = std::time::Duration::from(at.since(START)).as_secs_f64();
    format!("{seconds:.3}")
}

fn is_icmpv6(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[0x86, 0xdd]) && frame.get(20) == Some(&58)
}

/// Whom an ICMP error over IPv4 is for: source and destination of the segment that it quotes.
fn quoted(frame: &[u8]) -> Option<[(IpAddr, u16); 2]> {
    let quote = frame
        .get(42..66)
        .filter(|_| frame[12..14] == [8, 0] && frame[23] == 1)?;
    let address =
        |at: usize| IpAddr::from([quote[at], quote[at + 1], quote[at + 2], quote[at + 3]]);
    let port = |at: usize| u16::from_be_bytes([quote[at], quote[at + 1]]);
    Some([(address(12), port(20)), (address(16), port(22))])
}

/// The frame of an error, from a router, about the IPv4 packet in the frame `about`, to who sent that.
pub(super) fn icmp(about: &[u8], error: Icmp) -> Vec<u8> {
    const ROUTER: [u8; 4] = [192, 0, 2, 9];
    let [high, low] = error.mtu.to_be_bytes();
    let mut message = vec![error.kind, error.code, 0, 0, 0, 0, high, low];
    message.extend(about.iter().skip(14).take(28));
    let sum = checksum(&[&message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let [len_high, len_low] = u16::try_from(20 + message.len())
        .unwrap_or(u16::MAX)
        .to_be_bytes();
    let mut header = vec![0x45, 0, len_high, len_low, 0, 1, 0, 0, 64, 1, 0, 0];
    header.extend(ROUTER);
    header.extend(about.get(26..30).unwrap_or_default());
    let sum = checksum(&[&header]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    let stations = [about.get(6..12), about.get(..6)].into_iter().flatten();
    [
        &stations.collect::<Vec<_>>().concat()[..],
        &[8, 0],
        &header,
        &message,
    ]
    .concat()
}
