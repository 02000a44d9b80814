//! What a box may send after what it was given, seen from the wire alone: invariants of sequence numbers (RFC 9293 3.4,
//! 3.8.6; RFC 2018 4) and of data sequence numbers (RFC 8684 3.3), checked at each segment of the flows that it relays.
//!
//! A watcher stands at a box's own ports, before any middlebox on what it sends and behind all of them on what it gets.
//! It knows nothing of what the box thinks.

mod data;
mod stream;

use crate::middlebox::{FlowId, Way, flow_of};
use crate::packet::{self, ACK, FIN, RST, SYN, Tcp, kind};
use data::{Data, Number, Told, first_of, keys_in, token_of, token_of_join};
pub(crate) use data::{Dss, Mapping};
use std::collections::{BTreeMap, BTreeSet};
use stream::{Got, Offer, Sent};

/// One flow as the box sees it: its own end is the near one.
#[derive(Default)]
struct Flow {
    /// Whether the box plays one of its ends, and not only passes its segments on.
    is_relayed: bool,
    sent: Sent,
    got: Got,
    /// The other end's last SYN.
    syn: Option<Tcp>,
    /// Whether a SYN of ours, and of the other end, offered Multipath TCP.
    multipath: [bool; 2],
    /// Whether it goes on as TCP, after an infinite mapping either way (RFC 8684 3.7).
    fallen: bool,
    /// Numbers of segments that were given, to know one that is passed on.
    pairs: BTreeSet<(u32, u32)>,
    /// For each acknowledgment where the parts of segments begin that a device has made, and how long they are: a box that
    /// passes one on may cut it once more.
    parts: BTreeMap<u32, Vec<(u32, u32)>>,
    /// The streams of data that it is part of: what the box sends, and what it gets.
    data: [Option<usize>; 2],
    /// The token of the connection that it is part of, as far as that is known.
    token: Option<u32>,
    /// The keys that were told on it: the box's, and the other end's.
    keys: [Option<Told>; 2],
    offer: Offer,
}

impl Flow {
    fn takes_syn(&mut self, tcp: &Tcp) {
        self.multipath[1] |= tcp.option(kind::MPTCP).is_some();
        self.token = token_of_join(tcp).or(self.token);
        if let Some([theirs, _]) = keys_in(tcp).filter(|_| self.token.is_none()) {
            self.keys[1] = theirs;
        }
        self.got.syn(tcp.seq);
        if !self.got.is_fixed() {
            self.sent.answered(tcp);
        }
    }

    /// The box begins anew where there was a flow before.
    fn begins_anew(&mut self) {
        // It may do so once more for the same SYN, or for one that came before; and what came before may still be passed on.
        let syn = self.syn.take();
        *self = Self {
            syn: syn.clone(),
            got: self.got.anew(),
            pairs: std::mem::take(&mut self.pairs),
            parts: std::mem::take(&mut self.parts),
            ..Self::default()
        };
        if let Some(syn) = syn {
            self.takes_syn(&syn);
        }
    }

    const fn is_multipath(&self) -> bool {
        self.multipath[0] && self.multipath[1]
    }

    /// Finds the streams of its connection, which low halves of numbers alone do not tell: what the box sends, and what it
    /// gets. Notes what joins may name it by, once both keys were told.
    fn find_streams(&mut self, tokens: &mut BTreeMap<u32, [Number; 2]>, all: [&mut Data; 2]) {
        if let (None, [Some(ours), Some(theirs)]) = (self.token, &self.keys) {
            let (firsts, both) = ([ours, theirs].map(first_of), [ours, theirs].map(token_of));
            tokens.extend(both.map(|token| (token, firsts)));
            self.token = Some(both[0]);
        }
        let Some(firsts) = self.token.and_then(|token| tokens.get(&token)) else {
            return;
        };
        for ((stream, data), first) in self.data.iter_mut().zip(all).zip(firsts) {
            *stream = stream.or_else(|| data.stream(*first, None));
        }
    }
}

/// Who sent which SYN, and its number.
type Syn = ((std::net::IpAddr, u16), (std::net::IpAddr, u16), u32);

const fn syn_of(tcp: &Tcp) -> Syn {
    ((tcp.src, tcp.src_port), (tcp.dst, tcp.dst_port), tcp.seq)
}

const fn mirrored(id: FlowId) -> FlowId {
    FlowId {
        near: id.far,
        far: id.near,
    }
}

/// The watcher of one box.
#[derive(Default)]
pub struct Watch {
    flows: BTreeMap<FlowId, Flow>,
    /// SYNs and SYN+ACKs that the box was given.
    syns: BTreeSet<Syn>,
    sent: Data,
    got: Data,
    /// For each token that a join may name the first numbers of what the box sends on the connection, and of what it gets.
    tokens: BTreeMap<u32, [Number; 2]>,
    /// Whether keys may come again, so that numbers do not tell streams of data apart.
    keys_repeat: bool,
}

impl Watch {
    /// From now on keys may come again: streams of data are not looked at.
    pub const fn keys_repeat(&mut self) {
        self.keys_repeat = true;
    }

    /// How often the low half of the numbers of what the box sends came round, and all of them.
    pub const fn rounds(&self) -> (u64, u64) {
        self.sent.rounds
    }

    /// A frame reaches the box.
    pub fn given(&mut self, frame: &[u8]) {
        let Some(tcp) = Tcp::parse(frame).filter(|tcp| !tcp.has(RST)) else {
            return;
        };
        let id = flow_of(&tcp, Way::Back);
        let flow = self.flows.entry(id).or_default();
        if tcp.has(SYN) {
            self.syns.insert(syn_of(&tcp));
            flow.takes_syn(&tcp);
            flow.syn = Some(tcp.clone());
        }
        if tcp.has(ACK) {
            flow.pairs.insert((tcp.seq, tcp.ack));
            flow.sent.acknowledged(tcp.ack, tcp.wnd, tcp.has(SYN));
        }
        let len = tcp.payload.len() as u64;
        let Some(at) = flow.got.take(tcp.seq, len, tcp.has(SYN), tcp.has(FIN)) else {
            return;
        };
        if self.keys_repeat {
            return;
        }
        if let Some([theirs, Some(ours)]) = keys_in(&tcp) {
            // A third ACK acknowledges all before the first octet of the receiver's data, from which on its window counts,
            // by naming both keys (RFC 8684 3.1, 3.3.1).
            if flow.sent.is_before_data(tcp.ack) {
                let window = flow.sent.window(tcp.wnd);
                let ack = first_of(&ours);
                self.sent.acknowledged(flow.data[0], ack, window);
            }
            if flow.keys[0] == Some(ours) {
                flow.keys[1] = theirs;
                flow.token = None;
            }
        }
        flow.find_streams(&mut self.tokens, [&mut self.sent, &mut self.got]);
        let Some(dss) = Dss::of(&tcp) else {
            return self.got.arrived(flow.data[1], id, at, len);
        };
        flow.fallen |= dss.is_infinite();
        if let Some(ack) = dss.ack {
            let window = flow.sent.window(tcp.wnd);
            self.sent.acknowledged(flow.data[0], ack, window);
        }
        if let Some(mapping) = dss.mapping.filter(|mapping| !mapping.is_infinite) {
            let stream = self.got.stream(mapping.dsn, flow.data[1]);
            flow.data[1] = stream;
            self.got.mapped(stream, id, &mapping, at, &flow.got);
        }
        self.got.arrived(flow.data[1], id, at, len);
    }

    /// A device has made `frame` of what reached the box: it may be passed on as such.
    pub fn given_part(&mut self, frame: Vec<u8>) {
        if let Some(tcp) = Tcp::parse(&packet::repaired(frame)) {
            let flow = self.flows.entry(flow_of(&tcp, Way::Back)).or_default();
            let of = flow.parts.entry(tcp.ack).or_default();
            of.push((tcp.seq, tcp.seq_len()));
        }
    }

    /// The box sends a frame. `gave_up` is whether it let go of packets of its own, as a neighbor did not answer: that was sent as
    /// far as it knows, and never seen.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn sends(&mut self, frame: &[u8], gave_up: impl FnOnce() -> bool) -> Result<(), String> {
        let Some(tcp) = Tcp::parse(frame) else {
            return Ok(());
        };
        let id = flow_of(&tcp, Way::Forth);
        if tcp.has(SYN) {
            self.sends_syn(id, &tcp);
        }
        if let (Some(flow), Some([ours, theirs])) = (self.flows.get_mut(&id), keys_in(&tcp)) {
            flow.keys = [ours, theirs.or(flow.keys[1].take())];
            flow.token = None;
        }
        // Its end of the flow is gone, and what comes after this it passes on.
        let gone = tcp.has(RST) || !tcp.has(SYN) && self.is_passed_on(id, &tcp);
        let Some(flow) = self.flows.get_mut(&id).filter(|flow| flow.is_relayed) else {
            return Ok(());
        };
        if gone {
            flow.is_relayed = false;
            return Ok(());
        }
        let wrong = |what: String| format!("{id:?}: {what}");
        if tcp.ecn() == 3 {
            return Err(wrong("a congestion mark crosses (RFC 3168 6.1)".into()));
        }
        if tcp.has(ACK) {
            flow.got.acknowledges(&tcp).map_err(wrong)?;
            if !flow.is_multipath() {
                let shift = flow.sent.shift_of(tcp.has(SYN));
                flow.got.offers(&tcp, shift).map_err(wrong)?;
            }
        }
        if tcp.has(SYN) {
            return Ok(());
        }
        if flow.sent.gap(&tcp).is_some() && gave_up() {
            // From here on nobody knows what the flow is.
            flow.is_relayed = false;
            return Ok(());
        }
        let at = flow.sent.send(&tcp, !flow.is_multipath()).map_err(wrong)?;
        self.sends_data(id, &tcp, at).map_err(wrong)
    }

    /// A SYN tells whether the box plays an end: one that nobody gave to it is its own, and whoever answers in another's
    /// place has opened the other leg, too.
    fn sends_syn(&mut self, id: FlowId, tcp: &Tcp) {
        let is_own = !self.syns.contains(&syn_of(tcp));
        let flow = self.flows.entry(id).or_default();
        if flow.sent.is_other(tcp.seq) {
            flow.begins_anew();
        }
        flow.sent.syn(tcp);
        flow.token = token_of_join(tcp).or(flow.token);
        flow.multipath[0] |= tcp.option(kind::MPTCP).is_some();
        flow.is_relayed = is_own;
        if tcp.has(ACK)
            && let Some(other) = self.flows.get_mut(&mirrored(id))
        {
            other.is_relayed = is_own;
        }
    }

    /// Whether a segment is one that the box was given from the other side, and has passed on as it came.
    fn is_passed_on(&self, id: FlowId, tcp: &Tcp) -> bool {
        let other = self.flows.get(&mirrored(id));
        other.is_some_and(|other| {
            let within = |(seq, len): &(u32, u32)| tcp.seq.wrapping_sub(*seq) < *len;
            let parts = other.parts.get(&tcp.ack);
            other.pairs.contains(&(tcp.seq, tcp.ack))
                || parts.is_some_and(|parts| parts.iter().any(within))
        })
    }

    /// What a segment says about data, whose payload stands at `at` in its flow.
    fn sends_data(&mut self, id: FlowId, tcp: &Tcp, at: u64) -> Result<(), String> {
        let Some(flow) = self.flows.get_mut(&id) else {
            return Ok(());
        };
        let looks = flow.is_multipath() && !self.keys_repeat;
        if looks {
            flow.find_streams(&mut self.tokens, [&mut self.sent, &mut self.got]);
        }
        let Some(dss) = Dss::of(tcp).filter(|_| looks) else {
            return Ok(());
        };
        flow.fallen |= dss.is_infinite();
        if flow.fallen {
            return Ok(());
        }
        if let Some(ack) = dss.ack {
            let shift = flow.sent.shift_of(false);
            let ack = self.got.acknowledges(flow.data[1], ack)?;
            let offers = ack.map_or(Ok(()), |ack| flow.offer.make(ack, tcp.wnd, shift));
            offers.map_err(|what| format!("of data {what}"))?;
        }
        if let Some(mapping) = dss.mapping {
            flow.data[0] = self.sent.stream(mapping.dsn, flow.data[0]);
            mapping.covers(at, tcp)?;
            self.sent
                .sends(flow.data[0], id, &mapping, at, &tcp.payload)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_no_fault_of_a_box_that_gave_packets_up_for_a_silent_neighbor() {
        let end = |last: u8| ([last; 6], ([10, 0, 0, last], 80).into());
        let mut segment = Tcp::between(end(1), end(2));
        (segment.flags, segment.seq) = (SYN, 7);
        let mut watch = Watch::default();
        assert_eq!(watch.sends(&segment.frame(), || false), Ok(()));
        let mut answer = segment.answer(SYN | ACK);
        answer.seq = 100;
        watch.given(&answer.frame());
        (segment.flags, segment.ack) = (ACK, 101);
        let mut sends = |seq, gave_up| {
            segment.seq = seq;
            watch.sends(&segment.frame(), || gave_up)
        };
        assert_eq!(sends(8, false), Ok(()));
        // The FIN before it was never seen.
        let gap = sends(9, false).expect_err("it leaves a gap");
        assert!(gap.contains("gap"), "{gap}");
        assert_eq!(sends(9, true), Ok(()));
        assert_eq!(sends(9, false), Ok(()), "it is judged no more");
    }
}
