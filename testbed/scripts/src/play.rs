//! Plays a script: the hosts' side of the timeline, and the box in between.

mod network;

use crate::names::Names;
use crate::option::{Scope, differences, written};
use crate::render;
use crate::script::{Event, Flow, Icmp, Line, Packet, Script, Segment};
use network::{Network, Seen, icmp};
use sim::packet::{PSH, SYN, Tcp, kind};
use sim::stream::Stream;
use stack::time::Duration;
use std::fmt;

/// What did not go as a script says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    line: usize,
    text: String,
    wrong: Vec<String>,
    /// All that was sent before, a line each.
    story: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "line {}: {}", self.line, self.text)?;
        for wrong in &self.wrong {
            writeln!(f, "  {wrong}")?;
        }
        writeln!(f, "so far:")?;
        self.story
            .iter()
            .try_for_each(|line| writeln!(f, "  {line}"))
    }
}

impl std::error::Error for Failure {}

/// Plays `script` to its end.
///
/// # Errors
/// The first line that did not hold, what came instead, and the story so far.
pub fn play(script: &Script) -> Result<(), Failure> {
    let failure = |line: &Line, wrong: Vec<String>, story: Vec<String>| Failure {
        line: line.number,
        text: line.text.clone(),
        wrong,
        story,
    };
    let network = Network::new(script);
    let first = script.lines.first();
    let network = network.map_err(|why| Failure {
        line: first.map_or(0, |line| line.number),
        text: "the scene".into(),
        wrong: vec![why],
        story: Vec::new(),
    })?;
    let mut player = Player {
        script,
        network,
        names: Names::new(&script.keys, &script.nonces),
        ends: script.flows.iter().map(End::new).collect(),
        before: Duration::ZERO,
    };
    for line in &script.lines {
        if let Err(wrong) = player.line(line) {
            return Err(failure(line, wrong, player.network.story));
        }
    }
    Ok(())
}

/// What a flow knows of its connection.
struct End {
    isn: u32,
    /// The initial sequence number of the other end, once it was seen.
    other: Option<u32>,
    /// The last timestamp from there.
    last_ts: u32,
    /// The last segment that it got.
    got: Option<Vec<u8>>,
    /// What it sends, and what it gets.
    streams: [Stream; 2],
}

impl End {
    fn new(flow: &Flow) -> Self {
        // The octets of a direction are the same on every flow of it.
        let up = Stream::new(1, u64::MAX);
        let down = Stream::new(2, u64::MAX);
        let from_client = ["access1", "access2", "lan"].contains(&&*flow.at);
        Self {
            isn: flow.isn,
            other: None,
            last_ts: 0,
            got: None,
            streams: if from_client { [up, down] } else { [down, up] },
        }
    }
}

struct Player<'a> {
    script: &'a Script,
    network: Network,
    names: Names,
    ends: Vec<End>,
    /// When the line before was to happen.
    before: Duration,
}

impl Player<'_> {
    fn line(&mut self, line: &Line) -> Result<(), Vec<String>> {
        let base = if line.at.relative {
            self.before
        } else {
            Duration::ZERO
        };
        let (first, last) = (base + line.at.first, base + line.at.last);
        self.before = last;
        if let Event::Gets(flow, packet) = &line.event {
            return self.gets(*flow, packet, first, last);
        }
        let moment = network::START + first;
        if moment < self.network.now() {
            return Err(vec![format!(
                "it is {} already",
                network::clock(self.network.now())
            )]);
        }
        self.network.run(moment, |_| false);
        match &line.event {
            Event::Sends(flow, packet) => self.sends(*flow, packet).map_err(|why| vec![why]),
            Event::Counts(name, value) => self.counts(name, *value),
            Event::Empty => self.network.empty().map_err(|held| vec![held]),
            Event::End => self.network.rest(),
            Event::Gets(..) => Ok(()),
        }
    }

    fn counts(&mut self, name: &str, value: u64) -> Result<(), Vec<String>> {
        match self.network.counter(name) {
            None => Err(vec![format!("the box has no counter {name}")]),
            Some(count) if count == value => Ok(()),
            Some(count) => Err(vec![format!("it is {count}")]),
        }
    }

    fn sends(&mut self, flow: usize, packet: &Packet) -> Result<(), String> {
        let frame = match packet {
            Packet::Segment(segment) => self.segment(flow, segment)?,
            Packet::Icmp(error) => {
                let about = self.ends[flow].got.as_deref();
                let about =
                    about.ok_or("the box has sent nothing here that an error could be about")?;
                icmp(about, *error)
            },
        };
        self.network.send(flow, frame);
        Ok(())
    }

    /// The frame of a segment that a flow sends.
    fn segment(&mut self, flow: usize, wish: &Segment) -> Result<Vec<u8>, String> {
        let end = &self.ends[flow];
        let mut tcp = self.network.blank(flow)?;
        tcp.flags = wish.flags;
        tcp.seq = end.isn.wrapping_add(wish.seq);
        if let Some(ack) = wish.ack {
            let other = end
                .other
                .ok_or("the box has sent nothing here yet: `ack` counts from nothing")?;
            tcp.ack = other.wrapping_add(ack);
        }
        tcp.wnd = wish.wnd.unwrap_or(u16::MAX);
        tcp.urgent = wish.urgent.unwrap_or(0);
        if let Some(options) = &wish.options {
            let mut scope = self.scope(flow, true);
            tcp.options = written(options, &mut scope)?;
        }
        tcp.payload = vec![0; wish.len as usize];
        let position = self.position(flow, true, &tcp);
        self.ends[flow].streams[0].fill(position, &mut tcp.payload);
        if let (true, Some(first)) = (wish.damaged, tcp.payload.first_mut()) {
            *first ^= 0xff;
        }
        Ok(tcp.frame())
    }

    fn scope(&mut self, flow: usize, sends: bool) -> Scope<'_> {
        let keys = self.script.flows[flow].keys.as_ref();
        let keys = keys.map(|[own, boxs]| {
            if sends {
                [&**own, boxs]
            } else {
                [&**boxs, own]
            }
        });
        let end = &self.ends[flow];
        Scope {
            names: &mut self.names,
            version: self.script.settings.version,
            keys,
            stream: end.streams[usize::from(!sends)],
            sack_base: if sends {
                end.other.unwrap_or(0)
            } else {
                end.isn
            },
            last_ts: end.last_ts,
        }
    }

    /// Where in its direction's stream the payload of `tcp` belongs: as a mapping in it says, else as its number says.
    fn position(&self, flow: usize, sends: bool, tcp: &Tcp) -> u64 {
        let end = &self.ends[flow];
        let base = if sends {
            end.isn
        } else {
            end.other.unwrap_or(0)
        };
        let relative = tcp.seq.wrapping_sub(base);
        let by_number = u64::from(relative.saturating_sub(1));
        let Some([own, boxs]) = &self.script.flows[flow].keys else {
            return by_number;
        };
        let sender = if sends { own } else { boxs };
        let version = self.script.settings.version;
        let mapped = mapping(tcp).zip(self.names.idsn(version, sender).ok());
        mapped.map_or(by_number, |((dsn, ssn, short), idsn)| {
            let octets = dsn.wrapping_sub(idsn).wrapping_sub(1);
            let octets = if short {
                octets & u64::from(u32::MAX)
            } else {
                octets
            };
            octets.wrapping_add(u64::from(relative.wrapping_sub(ssn)))
        })
    }

    fn gets(
        &mut self,
        flow: usize,
        packet: &Packet,
        first: Duration,
        last: Duration,
    ) -> Result<(), Vec<String>> {
        let tolerance = self.script.settings.tolerance;
        let (earliest, latest) = (
            network::START + first.saturating_sub(tolerance),
            network::START + last + tolerance,
        );
        self.network
            .run(latest, |network| !network.got[flow].is_empty());
        let Some(seen) = self.network.got[flow].pop_front() else {
            return Err(vec!["nothing came".into()]);
        };
        let mut wrong = Vec::new();
        if seen.at < earliest || latest < seen.at {
            wrong.push(format!("it came at {}", network::clock(seen.at)));
        }
        match packet {
            Packet::Segment(segment) => wrong.extend(self.compare(flow, segment, &seen)),
            Packet::Icmp(error) => wrong.extend(compare_icmp(*error, &seen)),
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    /// What differs between the segment that is expected and the one that came.
    fn compare(&mut self, flow: usize, expected: &Segment, seen: &Seen) -> Vec<String> {
        let Some(tcp) = Tcp::parse(&seen.frame) else {
            return vec!["what came is no TCP segment".into()];
        };
        self.note(flow, &tcp, &seen.frame);
        let end = &self.ends[flow];
        let other = end.other.unwrap_or(0);
        let mut wrong = Vec::new();
        // Whether data is pushed matters only where a line says so.
        let heeded = if expected.flags & PSH == 0 {
            !PSH
        } else {
            u8::MAX
        };
        if expected.flags != tcp.flags & heeded {
            wrong.push(format!("flags are {}", render::flags(tcp.flags)));
        }
        let near = |number: u32, base: u32| number.wrapping_sub(base).cast_signed();
        let mut differs = |what: &str, is: i64, wanted: i64| {
            if is != wanted {
                wrong.push(format!("{what} is {is}, not {wanted}"));
            }
        };
        differs(
            "seq",
            near(tcp.seq, other).into(),
            expected.seq.cast_signed().into(),
        );
        differs(
            "length",
            i64::try_from(tcp.payload.len()).unwrap_or(0),
            expected.len.into(),
        );
        if let Some(ack) = expected.ack {
            differs(
                "ack",
                near(tcp.ack, end.isn).into(),
                ack.cast_signed().into(),
            );
        }
        if let Some(wnd) = expected.wnd {
            differs("win", tcp.wnd.into(), wnd.into());
        }
        if let Some(urgent) = expected.urgent {
            differs("urg", tcp.urgent.into(), urgent.into());
        }
        if tcp.has(SYN)
            && let Some(sees) = self.script.flows[flow].sees
        {
            differs("the initial sequence number", tcp.seq.into(), sees.into());
        }
        if let Some(options) = &expected.options {
            let mut scope = self.scope(flow, false);
            wrong.extend(differences(options, &render::options(&tcp), &mut scope));
        }
        let position = self.position(flow, false, &tcp);
        let mut wanted = vec![0; tcp.payload.len()];
        self.ends[flow].streams[1].fill(position, &mut wanted);
        let pairs = wanted.iter().zip(&tcp.payload);
        if let Some(at) = pairs.into_iter().position(|(wanted, is)| wanted != is) {
            wrong.push(format!(
                "octet {at} of the payload is not octet {} of the stream",
                position + at as u64
            ));
        }
        wrong
    }

    /// What a flow learns from a segment.
    fn note(&mut self, flow: usize, tcp: &Tcp, frame: &[u8]) {
        let end = &mut self.ends[flow];
        if tcp.has(SYN) || end.other.is_none() {
            end.other = Some(tcp.seq);
        }
        if let Some([_, _, val @ .., _, _, _, _]) = tcp.option(kind::TIMESTAMPS) {
            end.last_ts = val
                .iter()
                .fold(0, |number, octet| number << 8 | u32::from(*octet));
        }
        end.got = Some(frame.to_vec());
    }
}

/// DSN, SSN and whether the DSN is only a lower half, of the mapping in `tcp`. That in MP_CAPABLE begins the stream.
fn mapping(tcp: &Tcp) -> Option<(u64, u32, bool)> {
    for option in render::options(tcp) {
        let [kind::MPTCP, _, subtype, flags, rest @ ..] = option else {
            continue;
        };
        if subtype & 0xf0 != 0x20 || flags & 4 == 0 {
            continue;
        }
        let ack = match flags & 3 {
            0 => 0,
            1 => 4,
            _ => 8,
        };
        let dsn_len = if flags & 8 != 0 { 8 } else { 4 };
        let fields = rest.get(ack..ack + dsn_len + 4)?;
        let fold = |octets: &[u8]| {
            octets
                .iter()
                .fold(0_u64, |n, octet| n << 8 | u64::from(*octet))
        };
        let ssn = u32::try_from(fold(&fields[dsn_len..])).ok()?;
        return Some((fold(&fields[..dsn_len]), ssn, dsn_len == 4));
    }
    None
}

fn compare_icmp(expected: Icmp, seen: &Seen) -> Vec<String> {
    match seen.frame.get(34..36) {
        Some(&[kind, code]) if seen.frame[23] == 1 => {
            let same = (kind, code) == (expected.kind, expected.code);
            let wrong = (!same).then(|| format!("it is of type {kind}, code {code}"));
            wrong.into_iter().collect()
        },
        _ => vec!["what came is no ICMP error".into()],
    }
}
