//! A TCP segment in transit that is longer than the link takes that it came by: a neighbor on the same machine has left it
//! to a device to be cut (TCP segmentation offload), and told nobody where. It goes on in parts, as a device would have
//! sent it: for the next link it is too long, and an error about that would tell its sender, whose segments are short
//! enough, nothing.

use super::Net;
use super::forward::{Onward, decrement_ttl, headers};
use super::output::{Hop, chain_of, push_link};
use super::packet::Packet;
use crate::buf::{Frame, Header, PacketBuf, Partial};
use crate::checksum::Sum;
use crate::tally::Ended;
use crate::wire::ip::{TCP, pseudo_header};
use crate::wire::tcp::Flags;
use crate::wire::tcp::part::{make_part, may_be_cut};
use crate::{Counter, Cx};
use arrayvec::ArrayVec;

const DONT_FRAGMENT: u8 = 0x40;
/// Octets of a TCP header at most.
const TCP_MAX: usize = 60;

/// Where the TCP header of a segment that can be cut ends in `tcp`, of `packet`; `None` if it cannot.
fn text_at<B: PacketBuf>(packet: &Packet<B>, tcp: &[u8]) -> Option<usize> {
    let whole = packet.is_plain() && packet.protocol == TCP;
    // Fragments of one packet would be told apart by an identification of their own.
    let alone = packet.src.is_ipv6() || packet.ip_header().get(6)? & DONT_FRAGMENT != 0;
    let end = usize::from(tcp.get(12)? >> 4) * 4;
    let plain = end >= 20 && end < tcp.len() && may_be_cut(Flags(*tcp.get(13)?));
    // Its parts get checksums of our making: what is wrong must stay so.
    let sum = || pseudo_header(packet.src, packet.dst, TCP, tcp.len()).then(Sum::of(tcp));
    (whole && alone && plain && sum().is_intact()).then_some(end)
}

impl<B: PacketBuf> Net<B> {
    /// Passes `packet`, which is longer than `hop` takes, on in parts, if it is such a segment.
    #[cold]
    pub(super) fn send_cut(
        &mut self,
        cx: &mut Cx<'_>,
        packet: &Packet<B>,
        (hop, changed): (&Hop, Option<&Onward>),
        out: &mut Vec<Frame<B>>,
    ) -> Option<Ended> {
        let own = usize::from(self.interface(packet.port)?.mtu);
        if packet.len() <= own {
            return None;
        }
        let data = packet.l4_slice();
        let end = text_at(packet, data.bytes())?;
        let (ip, head) = headers(packet, changed);
        let room = own.min(hop.mtu.into()).checked_sub(ip.len() + end);
        let room = room.filter(|room| *room > 0)?;
        let mut tcp = ArrayVec::<u8, TCP_MAX>::new();
        tcp.try_extend_from_slice(data.bytes().get(..end)?).ok()?;
        tcp.get_mut(..head.len())?.copy_from_slice(head);
        let dst = changed.map_or(packet.dst, |changed| changed.dst);
        let len = data.len() - end;
        let mut ended = None;
        for at in (0..len).step_by(room) {
            let part = data.slice(end + at..end + (at + room).min(len));
            let mut header = Header::default();
            push_link(&mut header, hop, dst);
            let last = at + part.len() == len;
            let l3 = header.len();
            let partial = push_headers(&mut header, (ip, &tcp), at, (part.len(), last));
            if !hop.crossing {
                decrement_ttl(header.bytes_mut().get_mut(l3..)?);
            }
            let frame = Frame {
                partial,
                ..Frame::new(hop.port, header, chain_of(part))
            };
            // As with fragments: the packet's fate is that of the first.
            if ended.is_none() {
                let fate = if hop.crossing {
                    Counter::Bridged
                } else {
                    Counter::Forwarded
                };
                let original = (packet.clone(), fate);
                ended = Some(self.transmit_on(cx, hop, frame, original, out));
            } else {
                self.transmit(cx, hop, frame, out);
            }
        }
        ended
    }
}

/// Appends the headers of a part whose text begins `at` octets after the first and has `len`, whose checksum is left to the port.
fn push_headers(
    header: &mut Header,
    (ip, tcp): (&[u8], &[u8]),
    at: usize,
    (len, last): (usize, bool),
) -> Option<Partial> {
    let l3 = header.len();
    header.push(ip);
    let l4 = header.len();
    header.push(tcp);
    let (ip, tcp) = header.bytes_mut().get_mut(l3..)?.split_at_mut(ip.len());
    make_part(ip, tcp, (at, len), last);
    Partial::at(l3, l4)
}
