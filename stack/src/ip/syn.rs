//! A SYN or SYN+ACK in transit, its options edited: what a bypass and the two-step accept send on.

use super::Net;
use super::error::Complaint;
use super::forward::decrement_ttl;
use super::output::{chain_of, push_link};
use super::packet::{SynEdit, TcpArrival};
use crate::buf::{Frame, Header, PacketBuf};
use crate::checksum::Sum;
use crate::tally::Ended;
use crate::wire::ip::{TCP, pseudo_header, set_length};
use crate::wire::tcp::{HEADER_MIN, KIND_MPTCP, OptBytes, kind};
use crate::{Counter, Cx};

/// The flag of accurate ECN, in octet 12 of the header (RFC 9768 3.1). Without it the other two mean what RFC 3168 says.
const AE: u8 = 0x01;

impl<B: PacketBuf> Net<B> {
    /// Routes a segment on with `edit` applied to its options; all others stay verbatim and in order.
    pub fn forward_syn(
        &mut self,
        cx: &mut Cx<'_>,
        arrival: &TcpArrival<B>,
        edit: SynEdit,
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        let packet = &arrival.packet;
        let dst = edit.translation.destination(packet.dst);
        let hop = match self.way_on(cx, packet, dst, out) {
            Ok(hop) => hop,
            Err(ended) => return ended,
        };
        let l4 = packet.l4_bytes();
        let payload = &arrival.segment.payload;
        let options = l4.get(HEADER_MIN..l4.len() - payload.len().min(l4.len()));
        let (Some(fixed), Some(options)) = (l4.first_chunk::<HEADER_MIN>(), options) else {
            return cx.counters.end(Counter::DropMalformed);
        };
        let options = edited(options, edit);
        let tcp_len = HEADER_MIN + options.len();
        let ip = packet.ip_header();
        if ip.len() + tcp_len + payload.len() > usize::from(hop.mtu) {
            self.complain(cx, packet, Complaint::TooBig(hop.mtu), out);
            return cx.counters.end(Counter::DropTooBig);
        }
        let mut header = Header::default();
        push_link(&mut header, &hop, dst);
        header.push(ip);
        let bytes = &mut header.bytes_mut()[hop.link_len()..];
        if !hop.crossing {
            decrement_ttl(bytes);
        }
        let l4_len = tcp_len + payload.len();
        if packet.src.is_ipv4() {
            edit.translation.rewrite_ip(bytes);
        }
        set_length(bytes, l4_len);
        let tcp = header.reserve(tcp_len);
        tcp[..HEADER_MIN].copy_from_slice(fixed);
        tcp[HEADER_MIN..].copy_from_slice(&options);
        tcp[12] = (u8::try_from(tcp_len / 4).unwrap_or(0) << 4) | (fixed[12] & 0x0f);
        if edit.decline_accurate_ecn {
            tcp[12] &= !AE;
        }
        edit.translation.rewrite_ports(tcp);
        tcp[16..18].fill(0);
        let src = edit.translation.source(packet.src);
        let sum = pseudo_header(src, dst, TCP, l4_len)
            .then(Sum::of(tcp))
            .then(payload.sum());
        tcp[16..18].copy_from_slice(&sum.checksum().to_be_bytes());
        let frame = Frame::new(hop.port, header, chain_of(payload.clone()));
        let original = (packet.clone(), Counter::Forwarded);
        self.transmit_on(cx, &hop, frame, original, out)
    }
}

/// `options` after `edit`, padded to whole words. They were parsed before, so their lengths are right.
fn edited(options: &[u8], edit: SynEdit) -> OptBytes {
    let mut out = OptBytes::new();
    let mut keep = |octets: &[u8]| {
        let fits = out.try_extend_from_slice(octets);
        debug_assert!(fits.is_ok(), "no option becomes longer");
    };
    let mut rest = options;
    loop {
        let len = match *rest {
            [] | [kind::END, ..] => break,
            [kind::NOP, ..] => 1,
            [_, len, ..] if len >= 2 => usize::from(len),
            _ => break,
        };
        let Some(option) = rest.get(..len) else {
            break;
        };
        rest = &rest[len..];
        match (option, edit.mss_max) {
            ([KIND_MPTCP, ..], _) if edit.strip_mptcp => {},
            (&[kind::MSS, 4, a, b], Some(max)) => {
                let [a, b] = u16::from_be_bytes([a, b]).min(max).to_be_bytes();
                keep(&[kind::MSS, 4, a, b]);
            },
            _ => keep(option),
        }
    }
    // Without room, without it: the connection is plain TCP.
    out.try_extend_from_slice(&edit.add_mptcp).ok();
    let padding = out.len().next_multiple_of(4) - out.len();
    let fits = out.try_extend_from_slice(&[kind::END; 3][..padding]);
    debug_assert!(fits.is_ok(), "a header's options are whole words");
    out
}
