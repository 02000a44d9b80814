//! Boxes with a rule taken out, to see that the simulator notices.
//!
//! No rule is taken out of the product: a shim at a box's ports makes it look, to the network and to the box itself, as if
//! it did not keep the rule. A box that did not verify checksums, for one, is a box to which every segment comes with a
//! right one. So nothing in the product is there for this check, and nothing that it finds can be due to how it was built.
//!
//! Shims stand at every port of every box.

use crate::middlebox::{FlowId, Middlebox, Way, flow_of};
use crate::packet::{self, ACK, FIN, RST, SYN, Tcp, dss, is_data_fin, kind};
use stack::Instant;
use std::collections::{BTreeMap, BTreeSet};

/// A rule that can be taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// RFC 9293 3.1: a segment with a wrong checksum is dropped.
    Checksum,
    /// RFC 6298 5.4: what is not acknowledged is sent again.
    Retransmission,
    /// RFC 9293 3.10.7.4: what arrives beyond a gap waits for the gap to close.
    Reassembly,
    /// RFC 9293 3.10.7.4: the end of a stream comes after all of it.
    FinInOrder,
    /// RFC 9293 3.4: an acknowledgment covers what arrived without a gap, and no more.
    CumulativeAck,
    /// RFC 5961 3.2: of resets only one with exactly the next number is believed.
    ExactReset,
    /// RFC 5961 4.2: a SYN in a connection is asked about, and does not end it.
    ChallengedSyn,
    /// RFC 8684 3.3.3: a DATA_FIN that is not acknowledged is sent again.
    DataFinAgain,
    /// RFC 8684 3.3.1: a mapping whose checksum is wrong is refused.
    DssChecksum,
    /// RFC 8684 3.7: where options do not come back the connection goes on as TCP.
    Fallback,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Checksum,
        Self::Retransmission,
        Self::Reassembly,
        Self::FinInOrder,
        Self::CumulativeAck,
        Self::ExactReset,
        Self::ChallengedSyn,
        Self::DataFinAgain,
        Self::DssChecksum,
        Self::Fallback,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Checksum => "checksum",
            Self::Retransmission => "retransmission",
            Self::Reassembly => "reassembly",
            Self::FinInOrder => "fin-in-order",
            Self::CumulativeAck => "cumulative-ack",
            Self::ExactReset => "exact-reset",
            Self::ChallengedSyn => "challenged-syn",
            Self::DataFinAgain => "data-fin-again",
            Self::DssChecksum => "dss-checksum",
            Self::Fallback => "fallback",
        }
    }

    /// A shim that takes it out of the box at a link's first end, or at its second if `far`.
    #[must_use]
    pub fn shim(self, far: bool) -> Box<dyn Middlebox> {
        Box::new(Shim {
            rule: self,
            far,
            next: BTreeMap::new(),
            highest: BTreeMap::new(),
            ended: BTreeSet::new(),
            multipath: BTreeSet::new(),
        })
    }
}

struct Shim {
    rule: Rule,
    far: bool,
    /// What the box expects next of each flow: what it acknowledged last.
    next: BTreeMap<FlowId, u32>,
    /// For each direction of each flow the end of what was seen.
    highest: BTreeMap<(Way, FlowId), u32>,
    /// Flows on which a DATA_FIN has left.
    ended: BTreeSet<FlowId>,
    /// Flows whose SYN+ACK had an MP_CAPABLE, or an MP_JOIN, whoever sent it.
    multipath: BTreeSet<FlowId>,
}

/// Whether `a` comes after `b`.
const fn is_after(a: u32, b: u32) -> bool {
    a != b && a.wrapping_sub(b) < 1 << 31
}

impl Shim {
    /// What the box gets instead of `tcp`; `None` if nothing.
    fn gets(&mut self, mut tcp: Tcp) -> Option<Tcp> {
        let flow = flow_of(&tcp, Way::Back);
        let next = self.next.get(&flow).copied();
        let beyond = next.filter(|next| is_after(tcp.seq, *next));
        let near = |tcp: &Tcp, next: u32| tcp.seq.wrapping_sub(next) < 1 << 16;
        match (self.rule, beyond) {
            (Rule::Reassembly, Some(next)) if !tcp.payload.is_empty() => tcp.seq = next,
            (Rule::FinInOrder, Some(next)) if tcp.has(FIN) => tcp.seq = next,
            (Rule::ExactReset, Some(next)) if tcp.has(RST) && near(&tcp, next) => tcp.seq = next,
            (Rule::ChallengedSyn, _)
                if tcp.has(SYN) && next.is_some_and(|next| near(&tcp, next)) =>
            {
                // RFC 793 3.9 had it so: whoever sends a SYN into a connection ends it.
                tcp.flags = RST | ACK;
                tcp.seq = next?;
                tcp.options.clear();
            },
            (Rule::DssChecksum, _) => dss_checked(&mut tcp),
            (Rule::Fallback, _) => {
                self.note_multipath(&tcp, flow);
                let bare = tcp.option(kind::MPTCP).is_none() && !tcp.has(SYN) && !tcp.has(RST);
                if bare && self.multipath.contains(&flow) {
                    return None;
                }
            },
            _ => {},
        }
        let end = tcp.seq.wrapping_add(tcp.seq_len());
        let highest = self.highest.entry((Way::Back, flow)).or_insert(end);
        if is_after(end, *highest) || tcp.has(SYN) {
            *highest = end;
        }
        Some(tcp)
    }

    /// What leaves instead of `tcp`, which the box sends; `None` if nothing.
    fn sends(&mut self, mut tcp: Tcp) -> Option<Tcp> {
        let flow = flow_of(&tcp, Way::Forth);
        if tcp.has(ACK) {
            self.next.insert(flow, tcp.ack);
        }
        let end = tcp.seq.wrapping_add(tcp.seq_len());
        let sent = self.highest.get(&(Way::Forth, flow)).copied();
        let again = sent.is_some_and(|sent| !is_after(end, sent));
        if tcp.has(SYN) || !again {
            self.highest.insert((Way::Forth, flow), end);
        }
        match self.rule {
            Rule::Retransmission if again && !tcp.payload.is_empty() => return None,
            Rule::CumulativeAck if tcp.has(ACK) && !tcp.has(SYN) && !tcp.has(RST) => {
                if let Some(all) = self.highest.get(&(Way::Back, flow))
                    && is_after(*all, tcp.ack)
                {
                    tcp.ack = *all;
                    tcp.strip(kind::SACK, false);
                }
            },
            Rule::DataFinAgain
                if is_data_fin(&tcp) && tcp.payload.is_empty() && !self.ended.insert(flow) =>
            {
                return None;
            },
            Rule::Fallback => self.note_multipath(&tcp, flow),
            _ => {},
        }
        Some(tcp)
    }

    fn note_multipath(&mut self, tcp: &Tcp, flow: FlowId) {
        if tcp.has(SYN | ACK) && tcp.option(kind::MPTCP).is_some() {
            self.multipath.insert(flow);
        }
    }
}

impl Middlebox for Shim {
    fn pass(&mut self, _now: Instant, way: Way, frame: Vec<u8>, out: &mut Vec<(Way, Vec<u8>)>) {
        let leaves = (way == Way::Forth) != self.far;
        let frame = match self.rule {
            Rule::Checksum if !leaves => packet::repaired(frame),
            _ => frame,
        };
        let Some(tcp) = Tcp::parse(&frame) else {
            return out.push((way, frame));
        };
        let tcp = if leaves {
            self.sends(tcp)
        } else {
            self.gets(tcp)
        };
        out.extend(tcp.map(|tcp| (way, tcp.frame())));
    }
}

/// Gives the mapping of `tcp` the checksum that its payload has now, where the mapping is of this payload alone.
fn dss_checked(tcp: &mut Tcp) {
    let Some(range) = dss(tcp) else {
        return;
    };
    let flags = tcp.options[range.start + 3];
    let ack = match flags & 3 {
        1 => 4,
        3 => 8,
        _ => 0,
    };
    let dsn_len = if flags & 8 != 0 { 8 } else { 4 };
    let at = range.start + 4 + ack;
    // Mappings with the low half of their number alone cannot be checked here; the boxes write the whole.
    if flags & 4 == 0 || dsn_len != 8 || at + 16 > range.end {
        return;
    }
    let field = &tcp.options[at..at + 14];
    let len =
        usize::from(u16::from_be_bytes([field[12], field[13]])) - usize::from(flags & 0x10 != 0);
    if len != tcp.payload.len() {
        return;
    }
    let sum = packet::checksum(&[field, &[0, 0], &tcp.payload]);
    tcp.options[at + 14..at + 16].copy_from_slice(&sum.to_be_bytes());
}
