//! Rewrites an address in the text as application gateways do, with another of another length, and sets sequence and
//! acknowledgment numbers right for all that follows (RFC 3022 4): mappings of Multipath TCP, of which it knows nothing,
//! are then of other octets than they were sent for (RFC 8684 3.3.1).

use super::begin::Beginning;
use super::chance::{Chance, Follower};
use super::segments::cut;
use super::{FlowId, Middlebox, Way, flow_of};
use crate::packet::{ACK, FIN, SYN, Tcp, kind};
use stack::Instant;
use std::collections::BTreeMap;

/// Octets of an address that it rewrites.
pub const ADDRESS: usize = 4;

/// Whether an address stands at the beginning of `octets`: every 4096th place of a random stream has one.
#[must_use]
pub fn is_address(octets: &[u8]) -> bool {
    matches!(octets, [b'@', 0..16, _, _, ..])
}

/// What stands in the place of an address afterwards.
#[must_use]
pub const fn rewritten(longer: bool) -> &'static [u8] {
    if longer { b"#rewritten" } else { b"#" }
}

/// What it has made of one direction of a flow. Places are counted from the first octet of the stream.
struct Stream {
    begins: Beginning,
    /// The end of what has passed: what comes again from before it is rewritten where it was, and nowhere else.
    seen: u32,
    /// Where the addresses stood that it rewrote, in order.
    edits: Vec<u32>,
    follower: Follower,
}

impl Stream {
    fn of(syn: &Tcp) -> Self {
        Self {
            begins: Beginning::of(syn),
            seen: 0,
            edits: Vec::new(),
            follower: Follower::default(),
        }
    }
}

/// The middlebox.
pub struct Gateway {
    ways: [bool; 2],
    longer: bool,
    /// How many addresses of a flow it rewrites in each direction.
    most: usize,
    streams: BTreeMap<(Way, FlowId), Stream>,
    chances: Vec<Chance>,
}

/// Where nothing of a stream is: its SYN, and what is before that.
const BEFORE: u32 = 1 << 31;

impl Gateway {
    /// One that rewrites `most` addresses in what travels the `ways` of each flow, with something longer or shorter.
    #[must_use]
    pub const fn new(ways: [bool; 2], longer: bool, most: usize) -> Self {
        Self {
            ways,
            longer,
            most,
            streams: BTreeMap::new(),
            chances: Vec::new(),
        }
    }

    /// Octets that an address becomes.
    fn len(&self) -> u32 {
        u32::try_from(rewritten(self.longer).len()).unwrap_or(0)
    }

    /// Where the octet that was sent at `place` stands behind the gateway. All of what an address became stands in the
    /// place of its first octet, and nothing in that of the others.
    fn behind(&self, stream: &Stream, place: u32) -> u32 {
        let of = |edit: &u32| match place.checked_sub(*edit) {
            None | Some(0) => 0,
            Some(within) => self.len().wrapping_sub(within.min(ADDRESS as u32)),
        };
        let edits = stream.edits.iter().filter(|_| place < BEFORE);
        edits.map(of).fold(place, u32::wrapping_add)
    }

    /// What was sent of what stands before `place` behind the gateway: of a part of what an address became nothing is, or
    /// with `up` all is.
    fn sent(&self, stream: &Stream, place: u32, up: bool) -> u32 {
        let mut moved = 0_u32;
        for edit in stream.edits.iter().filter(|_| place < BEFORE) {
            let within = place.wrapping_sub(edit.wrapping_add(moved));
            match within {
                0 | BEFORE.. => break,
                _ if within < self.len() => return edit + if up { ADDRESS as u32 } else { 0 },
                _ => moved = moved.wrapping_add(self.len()).wrapping_sub(ADDRESS as u32),
            }
        }
        place.wrapping_sub(moved)
    }

    /// Learns which streams there are.
    fn follow(&mut self, (way, flow): (Way, FlowId), tcp: &Tcp) {
        if let Some(other) = self.streams.get_mut(&(way.turned(), flow)) {
            other.begins.answered(tcp);
        }
        let known = self.streams.get_mut(&(way, flow));
        if known.map_or_else(|| tcp.has(SYN), |stream| stream.begins.travels(tcp)) {
            self.streams.insert((way, flow), Stream::of(tcp));
        }
    }

    /// Finds addresses in what has not passed before.
    fn look(&mut self, key: (Way, FlowId), tcp: &Tcp) {
        let most = if self.ways[key.0.index()] {
            self.most
        } else {
            0
        };
        let Some(stream) = self.streams.get_mut(&key) else {
            return;
        };
        let at = tcp.seq.wrapping_sub(stream.begins.first);
        // An end that passes before the data that it follows has its place from then on.
        if at >= BEFORE || tcp.payload.is_empty() && !tcp.has(FIN) {
            return;
        }
        for (place, octets) in (at..).zip(tcp.payload.windows(ADDRESS)) {
            let is_new = place >= stream.seen && stream.edits.len() < most;
            if is_new && is_address(octets) {
                stream.edits.push(place);
                stream.seen = place + ADDRESS as u32;
            }
        }
        stream.seen = stream.seen.max(at + tcp.payload.len() as u32);
    }

    fn rewrite(&self, stream: &Stream, tcp: &mut Tcp) {
        let at = tcp.seq.wrapping_sub(stream.begins.first);
        if at >= BEFORE {
            return;
        }
        let mut payload = Vec::with_capacity(tcp.payload.len() + 64);
        for (place, octet) in (at..).zip(&tcp.payload) {
            match stream
                .edits
                .iter()
                .find(|edit| place.wrapping_sub(**edit) < ADDRESS as u32)
            {
                None => payload.push(*octet),
                Some(edit) if *edit == place => payload.extend(rewritten(self.longer)),
                Some(_) => {},
            }
        }
        tcp.payload = payload;
        tcp.seq = stream.begins.first.wrapping_add(self.behind(stream, at));
    }

    fn acknowledge(&self, stream: &Stream, tcp: &mut Tcp) {
        let back = |number: u32, up: bool| {
            let place = self.sent(stream, number.wrapping_sub(stream.begins.first), up);
            stream.begins.first.wrapping_add(place)
        };
        if tcp.has(ACK) {
            tcp.ack = back(tcp.ack, false);
        }
        for (_, range) in tcp.ranges().into_iter().filter(|(k, _)| *k == kind::SACK) {
            for block in tcp.options[range.start + 2..range.end].chunks_exact_mut(8) {
                for (edge, up) in block.chunks_exact_mut(4).zip([true, false]) {
                    let number = u32::from_be_bytes([edge[0], edge[1], edge[2], edge[3]]);
                    edge.copy_from_slice(&back(number, up).to_be_bytes());
                }
            }
        }
    }
}

impl Middlebox for Gateway {
    fn pass(&mut self, _now: Instant, way: Way, frame: Vec<u8>, out: &mut Vec<(Way, Vec<u8>)>) {
        let Some(mut tcp) = Tcp::parse(&frame) else {
            return out.push((way, frame));
        };
        let flow = flow_of(&tcp, way);
        self.follow((way, flow), &tcp);
        if tcp.has(SYN) {
            return out.push((way, frame));
        }
        self.look((way, flow), &tcp);
        let (seq, sent) = (tcp.seq, tcp.payload.clone());
        let len = sent.len();
        if let Some(stream) = self.streams.get(&(way, flow)) {
            self.rewrite(stream, &mut tcp);
        }
        if let Some(stream) = self.streams.get_mut(&(way, flow)) {
            let [at, behind] = [seq, tcp.seq].map(|seq| seq.wrapping_sub(stream.begins.first));
            if at < BEFORE {
                let follower = &mut stream.follower;
                follower.pass((at, &sent), (behind, &tcp), &mut self.chances);
            }
        }
        if let Some(stream) = self.streams.get(&(way.turned(), flow)) {
            self.acknowledge(stream, &mut tcp);
        }
        // What became longer may not fit into one packet any more.
        if tcp.payload.len() > len {
            out.extend(cut(tcp, len).map(|part| (way, part.frame())));
        } else {
            out.push((way, tcp.frame()));
        }
    }

    fn chances(&mut self) -> Vec<Chance> {
        std::mem::take(&mut self.chances)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    const END: u32 = 20_000;

    /// Seed 113699: data that was lost came after its end had passed, became longer, and ran over that.
    #[test]
    fn nothing_is_rewritten_before_an_end_that_has_passed() {
        let ends = ["10.0.0.1:1", "10.0.0.2:2"]
            .map(|end| ([0; 6], end.parse::<SocketAddr>().expect("an end")));
        for ends_first in [false, true] {
            let mut gateway = Gateway::new([true; 2], true, 100);
            let mut pass = |flags, seq, payload: &[u8]| {
                let mut segment = Tcp::between(ends[0], ends[1]);
                (segment.flags, segment.seq) = (flags, seq);
                segment.payload = payload.to_vec();
                let mut out = Vec::new();
                gateway.pass(
                    Instant::from_millis(0),
                    Way::Forth,
                    segment.frame(),
                    &mut out,
                );
                let of = |(_, frame): &(Way, Vec<u8>)| Tcp::parse(frame).expect("a segment");
                out.iter().map(of).collect::<Vec<_>>()
            };
            pass(SYN, 999, b"");
            if ends_first {
                assert_eq!(pass(FIN | ACK, 1_010, b"")[0].seq, 1_010);
            }
            let data = pass(ACK, 1_000, b"..@\x01ab....");
            let len: usize = data.iter().map(|part| part.payload.len()).sum();
            let end = pass(FIN | ACK, 1_010, b"")[0].seq;
            assert_eq!(1_000 + len, end as usize);
            assert_eq!(len == 10, ends_first);
        }
    }

    /// What is cut anew and sent again is rewritten as it was, and nothing is acknowledged of which a part is missing.
    #[test]
    fn one_stream_leaves_however_its_octets_come() {
        let octets = crate::stream::Stream::new(3, END.into());
        let ends = ["10.0.0.1:1", "10.0.0.2:2"]
            .map(|end| ([0; 6], end.parse::<SocketAddr>().expect("an end")));
        let mut ack = Tcp::between(ends[1], ends[0]);
        ack.flags = ACK;
        let mut segment = Tcp::between(ends[0], ends[1]);
        for longer in [false, true] {
            let mut gateway = Gateway::new([true; 2], longer, 100);
            let mut pass = |way, tcp: &Tcp| {
                let mut out = Vec::new();
                gateway.pass(Instant::from_millis(0), way, tcp.frame(), &mut out);
                let parsed = out
                    .iter()
                    .map(|(_, frame)| Tcp::parse(frame).expect("a segment"));
                parsed.collect::<Vec<_>>()
            };
            let first = u32::MAX - 5_000;
            segment.flags = SYN;
            segment.seq = first - 1;
            pass(Way::Forth, &segment);
            segment.flags = ACK;
            let mut left = vec![None; 2 * END as usize];
            for (from, step) in [(0, 1_400), (700, 3), (1, 997)] {
                for at in (from..END).step_by(step) {
                    segment.payload = vec![0; step.min((END - at) as usize)];
                    octets.fill(at.into(), &mut segment.payload);
                    segment.seq = first.wrapping_add(at);
                    for part in pass(Way::Forth, &segment) {
                        let place = part.seq.wrapping_sub(first) as usize;
                        for (before, octet) in left[place..].iter_mut().zip(part.payload) {
                            assert_eq!(*before.get_or_insert(octet), octet, "{at}");
                        }
                    }
                }
            }
            let len = left.iter().position(Option::is_none).expect("an end");
            assert!(left[len..].iter().all(Option::is_none));
            assert_ne!(len, END as usize, "something is rewritten");
            // Octet by octet what is acknowledged of the one is acknowledged of the other.
            let (mut place, mut at) = (0_u32, 0_u32);
            while at < END {
                let mut sent = [0; ADDRESS];
                octets.fill(at.into(), &mut sent);
                let text = rewritten(longer);
                let is_rewritten = left[place as usize] != Some(sent[0]);
                let (takes, makes): (u32, &[u8]) = if is_rewritten {
                    assert!(is_address(&sent));
                    (ADDRESS as u32, text)
                } else {
                    (1, &sent[..1])
                };
                for octet in makes {
                    assert_eq!(left[place as usize], Some(*octet));
                    ack.ack = first.wrapping_add(place);
                    assert_eq!(pass(Way::Back, &ack)[0].ack, first.wrapping_add(at));
                    place += 1;
                }
                at += takes;
            }
            assert_eq!(place as usize, len);
        }
    }
}
