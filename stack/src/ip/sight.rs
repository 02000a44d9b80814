//! What a frame shows of its flow before anybody has walked it: for the choice of the core that owns it.

use super::Net;
use super::contents::{Contents, FragmentId};
use super::link::{Tags, link_len};
use super::packet::Packet;
use crate::buf::{PacketBuf, PortId, Slice};
use crate::flow::Tuple;
use crate::wire::ip::{
    ETHERNET, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ICMP, ICMPV6, IPV4_MIN, IPV6, TCP, UDP,
};
use crate::wire::tcp::{Flags, HEADER_MIN};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a frame shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight<'a> {
    /// ARP or neighbor discovery.
    Neighbor,
    /// An IP packet that names its flow.
    Flow(Seen<'a>),
    /// A fragment; what it names if it is the first of its packet.
    Fragment(FragmentId, Option<Seen<'a>>),
    /// Neither: it belongs to no flow.
    Other,
}

/// The flow that a packet names. Nothing of it is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen<'a> {
    /// Addresses and ports: of an ICMP error those of the segment that it quotes; of an ICMP query both ports are its
    /// identifier, of other protocols zero.
    pub tuple: Tuple,
    /// The transport protocol; of an ICMP error that of the packet that it quotes.
    pub protocol: u8,
    /// Whether an ICMP error speaks of the flow.
    pub quoted: bool,
    /// From the TCP header on, if it is a TCP segment.
    pub segment: &'a [u8],
}

/// A frame that is only looked at.
#[derive(Clone, Copy)]
pub(super) struct Borrowed<'a>(pub(super) &'a [u8]);

impl PacketBuf for Borrowed<'_> {
    fn bytes(&self) -> &[u8] {
        self.0
    }
}

/// What `frame` shows, whatever tags it has.
#[must_use]
pub fn sight(frame: &[u8]) -> Sight<'_> {
    let tags = Tags::of_frame(frame);
    let at = link_len(tags);
    let kind = frame.get(at - 2..at).and_then(|kind| kind.first_chunk());
    let rest = frame.get(at..).unwrap_or(&[]);
    let seen = match kind.map(|kind| u16::from_be_bytes(*kind)) {
        Some(ETHERTYPE_ARP) => return Sight::Neighbor,
        Some(ETHERTYPE_IPV4) => plain_ipv4(rest),
        Some(ETHERTYPE_IPV6) => plain_ipv6(rest),
        _ => return Sight::Other,
    };
    seen.map_or_else(|| careful(frame, tags), Sight::Flow)
}

/// The usual packet: TCP or UDP straight behind the header, whole.
fn plain_ipv4(packet: &[u8]) -> Option<Seen<'_>> {
    let (ip, rest) = packet.split_first_chunk::<IPV4_MIN>()?;
    let whole = ip[0] == 0x45 && ip[6] & 0x3f == 0 && ip[7] == 0;
    let addr = |at: usize| IpAddr::V4(Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]));
    whole.then(|| plain(addr(12), addr(16), ip[9], rest))?
}

fn plain_ipv6(packet: &[u8]) -> Option<Seen<'_>> {
    let (ip, rest) = packet.split_first_chunk::<IPV6>()?;
    let addr = |at: usize| {
        let octets: [u8; 16] = core::array::from_fn(|i| ip[at + i]);
        IpAddr::V6(Ipv6Addr::from(octets))
    };
    plain(addr(8), addr(24), ip[6], rest)
}

fn plain(src: IpAddr, dst: IpAddr, protocol: u8, rest: &[u8]) -> Option<Seen<'_>> {
    let &[a, b, c, d] = rest.first_chunk()?;
    matches!(protocol, TCP | UDP).then(|| Seen {
        tuple: Tuple {
            src,
            dst,
            src_port: u16::from_be_bytes([a, b]),
            dst_port: u16::from_be_bytes([c, d]),
        },
        protocol,
        quoted: false,
        segment: if protocol == TCP { rest } else { &[] },
    })
}

/// Addresses and ports as they stand in a frame: of lengths that are known, so that two are compared in a few moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainEnds<'a> {
    /// Of IPv4.
    V4(&'a [u8; 12]),
    /// Of IPv6.
    V6(&'a [u8; 36]),
}

/// The ends of a frame that holds a TCP segment straight behind untagged headers, and no SYN: where those of two frames are the same,
/// [`sight`] shows the same of both, but for the segment.
#[inline]
#[must_use]
pub fn plain_ends(frame: &[u8]) -> Option<PlainEnds<'_>> {
    const SHORTEST: usize = ETHERNET + IPV4_MIN + HEADER_MIN;
    let fixed = frame.first_chunk::<SHORTEST>()?;
    // Ports follow the addresses.
    let (protocol, ends, flags) = match (u16::from_be_bytes([fixed[12], fixed[13]]), fixed[14]) {
        (ETHERTYPE_IPV4, 0x45) if fixed[20] & 0x3f == 0 && fixed[21] == 0 => {
            let ends = fixed[26..].first_chunk()?;
            (fixed[23], PlainEnds::V4(ends), fixed[47])
        },
        (ETHERTYPE_IPV6, _) => {
            let ends = frame[22..].first_chunk()?;
            (fixed[20], PlainEnds::V6(ends), *frame.get(67)?)
        },
        _ => return None,
    };
    (protocol == TCP && !Flags(flags).has(Flags::SYN)).then_some(ends)
}

/// Everything else that is IP.
fn careful(frame: &[u8], tags: Tags) -> Sight<'_> {
    let slice = Slice::new(Borrowed(frame));
    let Some(Ok(packet)) = Net::parse_ip(PortId(0), slice, tags) else {
        return Sight::Other;
    };
    if packet.is_neighbor_discovery() {
        return Sight::Neighbor;
    }
    let segment = packet.tcp_bytes().and_then(|bytes| {
        let end = packet.frame.len();
        frame.get(end - bytes.len()..end)
    });
    let seen = packet.seen().map(|seen| Seen {
        segment: segment.unwrap_or(&[]),
        ..seen
    });
    match (packet.fragment_id(), seen) {
        (Some(id), seen) => Sight::Fragment(id, seen),
        (None, Some(seen)) => Sight::Flow(seen),
        (None, None) => Sight::Other,
    }
}

impl<B: PacketBuf> Packet<B> {
    /// The flow that the packet names, without the segment itself; `None` of a fragment but the first.
    #[must_use]
    pub fn seen(&self) -> Option<Seen<'static>> {
        let (src, dst) = (self.src, self.dst);
        let seen = |tuple, protocol, quoted| {
            Some(Seen {
                tuple,
                protocol,
                quoted,
                segment: &[],
            })
        };
        let between = |src_port, dst_port| Tuple {
            src,
            dst,
            src_port,
            dst_port,
        };
        let icmp = if src.is_ipv6() { ICMPV6 } else { ICMP };
        match self.contents() {
            Contents::Segment { ports, .. } => seen(between(ports.src, ports.dst), TCP, false),
            Contents::Datagram(ports) => seen(between(ports.src, ports.dst), UDP, false),
            Contents::Query { id, .. } => seen(between(id, id), icmp, false),
            Contents::Error(quoted) => {
                let tuple = Tuple {
                    src: quoted.src,
                    dst: quoted.dst,
                    src_port: quoted.ports.src,
                    dst_port: quoted.ports.dst,
                };
                seen(tuple, quoted.protocol, true)
            },
            Contents::LaterFragment => None,
            Contents::Other(protocol) => seen(between(0, 0), protocol, false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4(protocol: u8, fragment: u16, rest: &[u8]) -> Vec<u8> {
        let mut ip = vec![0x45, 0, 0, 0, 0xab, 0xcd, 0, 0, 64, protocol, 0, 0];
        ip.extend([10, 1, 0, 2, 192, 0, 2, 9]);
        let len = u16::try_from(IPV4_MIN + rest.len()).unwrap();
        ip[2..4].copy_from_slice(&len.to_be_bytes());
        ip[6..8].copy_from_slice(&fragment.to_be_bytes());
        let sum = crate::checksum::Sum::of(&ip).checksum();
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        [ip, rest.to_vec()].concat()
    }

    fn ipv6(next: u8, rest: &[u8]) -> Vec<u8> {
        let mut ip = vec![0x60, 0, 0, 0, 0, 0, next, 64];
        ip[4..6].copy_from_slice(&u16::try_from(rest.len()).unwrap().to_be_bytes());
        for last in [2, 9] {
            ip.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
        }
        [ip, rest.to_vec()].concat()
    }

    fn ethernet(tags: &[u8], packet: &[u8]) -> Vec<u8> {
        let kind = if packet[0] >> 4 == 4 {
            [8, 0]
        } else {
            [0x86, 0xdd]
        };
        [&[2; 12], tags, &kind, packet].concat()
    }

    const SEGMENT: [u8; 20] = [
        0x12, 0x34, 1, 0xbb, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0,
    ];

    fn seen(frame: &[u8]) -> Seen<'_> {
        match sight(frame) {
            Sight::Flow(seen) => seen,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_segment_shows_its_flow_behind_tags_options_and_extension_headers() {
        let hop_by_hop = [&[TCP, 0, 1, 4, 0, 0, 0, 0][..], &SEGMENT].concat();
        for (tags, packet) in [
            (&[][..], ipv4(TCP, 0x4000, &SEGMENT)),
            (&[0x81, 0, 0, 7], ipv4(TCP, 0, &SEGMENT)),
            (&[], ipv6(TCP, &SEGMENT)),
            (&[0x88, 0xa8, 0, 7, 0x81, 0, 0, 9], ipv6(0, &hop_by_hop)),
        ] {
            let frame = ethernet(tags, &packet);
            let seen = seen(&frame);
            assert_eq!((seen.tuple.src_port, seen.tuple.dst_port), (0x1234, 443));
            assert_eq!((seen.segment, seen.protocol), (&SEGMENT[..], TCP));
            assert!(!seen.quoted);
        }
    }

    #[test]
    fn an_error_shows_the_flow_that_it_quotes_and_a_query_its_identifier() {
        let quoted = ipv4(TCP, 0, &SEGMENT);
        let error = [&[3, 4, 0, 0, 0, 0, 5, 0][..], &quoted].concat();
        let frame = ethernet(&[], &ipv4(ICMP, 0, &error));
        let seen_in_error = seen(&frame);
        assert!(seen_in_error.quoted);
        assert_eq!(seen_in_error.tuple.src_port, 0x1234);
        assert_eq!(
            (seen_in_error.protocol, seen_in_error.segment.len()),
            (TCP, 0)
        );
        let frame = ethernet(&[], &ipv6(ICMPV6, &[128, 0, 0, 0, 0xbe, 0xef, 0, 1]));
        let query = seen(&frame).tuple;
        assert_eq!((query.src_port, query.dst_port), (0xbeef, 0xbeef));
    }

    #[test]
    fn what_goes_on_shows_the_same_but_for_the_segment() {
        let segment = |port: u8, flags: u8| {
            let mut segment = SEGMENT;
            (segment[1], segment[13]) = (port, flags);
            segment
        };
        let (data, more, other) = (segment(1, 0x10), segment(1, 0x18), segment(2, 0x10));
        let (syn, answer) = (segment(1, 2), segment(1, 0x12));
        let tag = [0x81, 0, 0, 7];
        // Of one flow each, and none goes on after another's; the first two of each may follow each other.
        let flows = [
            [&data, &more, &syn, &answer].map(|segment| ethernet(&[], &ipv4(TCP, 0x4000, segment))),
            [&data, &more, &syn, &answer].map(|segment| ethernet(&[], &ipv6(TCP, segment))),
        ];
        let strangers = [
            ethernet(&[], &ipv4(TCP, 0, &other)),
            ethernet(&[], &ipv6(TCP, &other)),
            ethernet(&[], &ipv4(UDP, 0, &data)),
            ethernet(&[], &ipv6(UDP, &data)),
            ethernet(&[], &ipv4(TCP, 0x2000, &data)),
            ethernet(&[], &ipv4(TCP, 1, &data)),
            ethernet(&tag, &ipv4(TCP, 0, &data)),
            ethernet(&[], &ipv4(TCP, 0, &data))[..53].to_vec(),
            ethernet(&[], &ipv6(TCP, &data))[..67].to_vec(),
        ];
        let goes_on = |frame: &[u8], before: &[u8]| {
            let ends = plain_ends(frame);
            ends.is_some() && ends == plain_ends(before)
        };
        for flow in &flows {
            for (frame, before) in [(0, 0), (0, 1), (1, 0)] {
                assert!(goes_on(&flow[frame], &flow[before]));
            }
        }
        let all: Vec<_> = flows.iter().flatten().chain(&strangers).collect();
        let mut pairs = 0;
        for before in &all {
            for frame in &all {
                if goes_on(frame, before) {
                    let shown = [frame, before].map(|frame| {
                        let Seen { segment, .. } = seen(frame);
                        assert_eq!(segment[13] & 2, 0, "no SYN");
                        Seen {
                            segment: &[],
                            ..seen(frame)
                        }
                    });
                    assert_eq!(shown[0], shown[1]);
                    pairs += 1;
                }
            }
        }
        assert_eq!(
            pairs,
            2 * 4 + 2,
            "either stranger's segment goes on after itself alone"
        );
    }

    #[test]
    fn fragments_are_told_by_what_they_share_and_only_the_first_shows_more() {
        let first = ethernet(&[], &ipv4(UDP, 0x2000, &SEGMENT));
        let later = ethernet(&[], &ipv4(UDP, 3, &SEGMENT));
        let (Sight::Fragment(a, Some(seen)), Sight::Fragment(b, None)) =
            (sight(&first), sight(&later))
        else {
            panic!("{:?} {:?}", sight(&first), sight(&later));
        };
        assert_eq!((a, a.id), (b, 0xabcd));
        assert_eq!(seen.tuple.dst_port, 443);
        let v6 = |offset: u8| [&[TCP, 0, 0, offset, 0, 0, 0, 7][..], &SEGMENT].concat();
        let later = ethernet(&[], &ipv6(44, &v6(0x11)));
        assert!(matches!(sight(&later), Sight::Fragment(id, None) if id.id == 7));
        let first = ethernet(&[], &ipv6(44, &v6(1)));
        assert!(
            matches!(sight(&first), Sight::Fragment(_, Some(seen)) if !seen.segment.is_empty())
        );
    }

    #[test]
    fn what_neighbors_say_is_known_and_the_rest_is_nothing() {
        let arp = [&[0xff; 12][..], &[8, 6], &[0; 28]].concat();
        let ndp = ethernet(&[], &ipv6(ICMPV6, &[135, 0, 0, 0, 0, 0, 0, 0]));
        assert_eq!([sight(&arp), sight(&ndp)], [Sight::Neighbor; 2]);
        let lldp = [&[1; 12][..], &[0x88, 0xcc], &[0; 40]].concat();
        let mut bad = ipv4(1, 0, &SEGMENT);
        bad[10] ^= 1;
        for frame in [&lldp[..], &ethernet(&[], &bad), &arp[..13], &[]] {
            assert_eq!(sight(frame), Sight::Other);
        }
    }
}
