//! A host without a stack: it sees what the box sends, and answers with numbers that fit, or are off by as much as wished.

use dataplane::memory::{MemBuf, linear};
use stack::buf::{Header, Slice};
use stack::wire::tcp::{self, Flags, OptBytes, Options, OutSegment, SackBlock, Timestamps};
use stack::{Frame, PortId, SeqNum, Tuple};
use std::net::IpAddr;

use crate::scene::{HOST_MAC, port_mac};

/// One end of a connection, played by hand.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The port of the box that it hangs on.
    pub port: PortId,
    /// Of the segments that it sends.
    pub tuple: Tuple,
    /// What the box acknowledged last: where the next segment would start.
    pub next: SeqNum,
    /// The end of what the box sent last.
    pub seen: SeqNum,
    /// The box's last option 30, whole.
    pub mptcp: OptBytes,
    /// The box's last timestamp.
    pub ts: u32,
}

/// How a segment is to look.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Control bits.
    pub flags: u8,
    /// Distance from the sequence number that fits.
    pub seq: i32,
    /// Distance from the acknowledgment number that fits.
    pub ack: i32,
    /// Window field.
    pub wnd: u16,
    /// Whether it has SYN options.
    pub syn_options: bool,
    /// Whether it has timestamps that fit.
    pub timestamps: bool,
    /// A SACK block at these distances from what the peer acknowledges.
    pub sack: Option<(u16, u16)>,
    /// Options of kind 30, raw.
    pub mptcp: OptBytes,
    /// Octets of payload.
    pub payload: usize,
}

impl Wish {
    /// Text of so many octets and with these control bits, whose number is `seq` after the one that fits.
    #[must_use]
    pub fn text(seq: usize, flags: Flags, payload: usize) -> Self {
        Self {
            flags: flags.0,
            seq: i32::try_from(seq).unwrap_or(i32::MAX),
            ack: 0,
            wnd: 0xffff,
            syn_options: false,
            timestamps: true,
            sack: None,
            mptcp: OptBytes::new(),
            payload,
        }
    }
}

impl Peer {
    /// A peer where it does not matter who it is, that sends from the number `first` on.
    #[must_use]
    pub fn somebody(ipv4: bool, first: u32) -> Self {
        let (src, dst) = if ipv4 {
            ([10, 1, 0, 2].into(), [192, 0, 2, 7].into())
        } else {
            let [src, dst] = [0xfd00, 0x2001].map(|net| [net, 0xdb8, 0, 0, 0, 0, 0, 7]);
            (src.into(), dst.into())
        };
        let tuple = Tuple {
            src,
            dst,
            src_port: 8080,
            dst_port: 80,
        };
        Self::new(0, tuple, first)
    }

    /// A peer that has not sent anything.
    #[must_use]
    pub fn new(port: u8, tuple: Tuple, iss: u32) -> Self {
        Self {
            port: PortId(port),
            tuple,
            next: SeqNum(iss),
            seen: SeqNum(0),
            mptcp: OptBytes::new(),
            ts: 0,
        }
    }

    /// Takes note of a segment that the box sent to this peer.
    pub fn note(&mut self, frame: &Frame<MemBuf>) {
        if frame.port != self.port {
            return;
        }
        let bytes = linear(frame);
        let (l4, src, dst) = match bytes.get(12..14) {
            Some([0x08, 0x00]) if bytes.len() >= 34 => (34, v4(&bytes[26..30]), v4(&bytes[30..34])),
            Some([0x86, 0xdd]) if bytes.len() >= 54 => (54, v6(&bytes[22..38]), v6(&bytes[38..54])),
            _ => return,
        };
        let Some(rest) = bytes.get(l4..) else { return };
        let slice = Slice::new(MemBuf::from(rest.to_vec()));
        let good = stack::buf::RxChecksum::Unknown;
        let Ok(segment) = tcp::parse(slice, src, dst, 0, good) else {
            return;
        };
        if segment.tuple != self.tuple.reversed() {
            return;
        }
        self.seen = segment.seq + segment.seq_len();
        if segment.flags.has(Flags::ACK) {
            self.next = segment.ack;
        }
        if !segment.options.mptcp.is_empty() {
            self.mptcp = segment.options.mptcp;
        }
        self.ts = segment.options.ts.map_or(self.ts, |ts| ts.val);
    }

    /// The frame of a segment of this peer.
    #[must_use]
    pub fn frame(&self, wish: &Wish, data: &MemBuf) -> Vec<u8> {
        let mut options = Options {
            mptcp: wish.mptcp,
            ..Options::default()
        };
        if wish.syn_options {
            options.mss = Some(1460);
            options.wscale = Some(7);
            options.sack_permitted = true;
        }
        let ack = self.seen + wish.ack.cast_unsigned();
        if wish.timestamps {
            options.ts = Some(Timestamps {
                val: self.next.0 >> 3,
                ecr: self.ts,
            });
        }
        if let Some((start, len)) = wish.sack {
            let start = ack + u32::from(start);
            options.sack.push(SackBlock {
                start,
                end: start + u32::from(len),
            });
        }
        if tcp::options_len(&options) > tcp::OPTIONS_MAX {
            options.sack.clear();
            options.ts = None;
            options.mptcp.truncate(20);
        }
        let all = || Slice::new(data.clone());
        let payload = (wish.payload > 0).then(|| all().slice(0..wish.payload));
        let segment = OutSegment {
            ect: false,
            seq: self.next + wish.seq.cast_unsigned(),
            ack,
            flags: Flags(wish.flags),
            wnd: wish.wnd,
            options,
            payload,
        };
        let mut l4 = Header::default();
        tcp::emit(&segment, &self.tuple, &mut l4);
        let len = l4.bytes().len() + segment.payload_len();
        let mut header = Header::default();
        header.push(&port_mac(self.port.0));
        header.push(&HOST_MAC);
        ip_header(&self.tuple, len, &mut header);
        header.push(l4.bytes());
        linear(&Frame::new(
            self.port,
            header,
            segment.payload.into_iter().collect(),
        ))
    }
}

fn v4(octets: &[u8]) -> IpAddr {
    IpAddr::from(<[u8; 4]>::try_from(octets).unwrap_or_default())
}

fn v6(octets: &[u8]) -> IpAddr {
    IpAddr::from(<[u8; 16]>::try_from(octets).unwrap_or_default())
}

fn ip_header(tuple: &Tuple, payload: usize, header: &mut Header) {
    let len = |extra: usize| {
        u16::try_from(payload + extra)
            .unwrap_or(u16::MAX)
            .to_be_bytes()
    };
    match (tuple.src, tuple.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            header.push(&[0x08, 0x00]);
            let mut ip = [
                0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            ];
            ip[2..4].copy_from_slice(&len(20));
            ip[12..16].copy_from_slice(&src.octets());
            ip[16..20].copy_from_slice(&dst.octets());
            let checksum = stack::checksum::Sum::of(&ip).checksum();
            ip[10..12].copy_from_slice(&checksum.to_be_bytes());
            header.push(&ip);
        },
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            header.push(&[0x86, 0xdd, 0x60, 0, 0, 0]);
            header.push(&len(0));
            header.push(&[6, 64]);
            header.push(&src.octets());
            header.push(&dst.octets());
        },
        _ => {},
    }
}
