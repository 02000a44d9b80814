//! Raw frames, written and read without the stack under test.

use std::net::IpAddr;

/// A TCP segment in an Ethernet frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tcp {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub src_port: u16,
    pub dst_port: u16,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub wnd: u16,
    pub options: Vec<u8>,
    pub payload: Vec<u8>,
    pub ttl: u8,
    pub tos: u8,
}

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;

/// The options of a kernel's SYN without MPTCP: MSS 1460, SACK, timestamps, window scale 7.
pub const SYN_OPTIONS: [u8; 20] = [
    2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0x10, 0, 0, 0, 0, 0, 1, 3, 3, 7,
];
/// MP_CAPABLE of version 1 in a SYN, flag H.
pub const MP_CAPABLE: [u8; 4] = [30, 4, 1, 1];

impl Tcp {
    pub fn new(src: &str, src_port: u16, dst: &str, dst_port: u16, flags: u8) -> Self {
        Self {
            src: src.parse().unwrap(),
            dst: dst.parse().unwrap(),
            src_port,
            dst_port,
            seq: 0x1000_0000,
            ack: 0,
            flags,
            wnd: 64_240,
            options: Vec::new(),
            payload: Vec::new(),
            ttl: 64,
            tos: 0,
        }
    }

    /// A client's SYN as the kernel sends it, with MP_CAPABLE.
    pub fn capable_syn(src: &str, src_port: u16, dst: &str) -> Self {
        let mut syn = Self::new(src, src_port, dst, 80, SYN);
        syn.options = [&SYN_OPTIONS[..], &MP_CAPABLE].concat();
        syn
    }

    /// The same without MP_CAPABLE.
    pub fn plain_syn(src: &str, src_port: u16, dst: &str) -> Self {
        let mut syn = Self::new(src, src_port, dst, 80, SYN);
        syn.options = SYN_OPTIONS.to_vec();
        syn
    }

    /// An answer to this segment with `flags` and sequence number `seq`.
    pub fn answer(&self, flags: u8, seq: u32) -> Self {
        let len = self.payload.len() as u32;
        Self {
            src: self.dst,
            dst: self.src,
            src_port: self.dst_port,
            dst_port: self.src_port,
            seq,
            ack: self
                .seq
                .wrapping_add(len)
                .wrapping_add(u32::from(self.flags & SYN != 0))
                .wrapping_add(u32::from(self.flags & FIN != 0)),
            flags,
            options: Vec::new(),
            payload: Vec::new(),
            ..self.clone()
        }
    }

    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The body of the first option of `kind`; none behind an option whose length is nonsense, as random frames have it.
    pub fn option(&self, kind: u8) -> Option<&[u8]> {
        let mut rest = &self.options[..];
        loop {
            match *rest {
                [] | [0, ..] => return None,
                [1, ..] => rest = &rest[1..],
                [k, len, ..] if k == kind => return rest.get(2..usize::from(len)),
                [_, len, ..] if len >= 2 => rest = rest.get(usize::from(len)..)?,
                _ => return None,
            }
        }
    }

    /// The frame, with right checksums.
    pub fn frame(&self, from: [u8; 6], to: [u8; 6]) -> Vec<u8> {
        let mut tcp = Vec::new();
        tcp.extend(self.src_port.to_be_bytes());
        tcp.extend(self.dst_port.to_be_bytes());
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend(self.ack.to_be_bytes());
        let mut options = self.options.clone();
        options.resize(options.len().next_multiple_of(4), 1);
        tcp.push(u8::try_from((20 + options.len()) / 4).unwrap() << 4);
        tcp.push(self.flags);
        tcp.extend(self.wnd.to_be_bytes());
        tcp.extend([0; 4]);
        tcp.extend(options);
        tcp.extend(&self.payload);
        let sum = checksum(&[&pseudo(self.src, self.dst, 6, tcp.len()), &tcp]);
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        ip_frame(
            from,
            to,
            (self.src, self.dst),
            (self.tos, self.ttl),
            6,
            &tcp,
        )
    }

    /// Reads a frame; `None` if it is not TCP. Panics on wrong checksums: nobody may send such.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let packet = Ip::parse(frame)?;
        if packet.protocol != 6 {
            return None;
        }
        let tcp = packet.payload;
        assert_eq!(
            checksum(&[&pseudo(packet.src, packet.dst, 6, tcp.len()), tcp]),
            0,
            "TCP checksum"
        );
        let word = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
        let long = |at: usize| u32::from_be_bytes(tcp[at..at + 4].try_into().unwrap());
        let end = usize::from(tcp[12] >> 4) * 4;
        Some(Self {
            src: packet.src,
            dst: packet.dst,
            src_port: word(0),
            dst_port: word(2),
            seq: long(4),
            ack: long(8),
            flags: tcp[13],
            wnd: word(14),
            options: tcp[20..end].to_vec(),
            payload: tcp[end..].to_vec(),
            ttl: packet.ttl,
            tos: packet.tos,
        })
    }
}

/// An IP packet in an Ethernet frame.
pub struct Ip<'a> {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub protocol: u8,
    pub ttl: u8,
    pub tos: u8,
    pub payload: &'a [u8],
}

impl<'a> Ip<'a> {
    pub fn parse(frame: &'a [u8]) -> Option<Self> {
        let ip = frame.get(14..)?;
        match (frame[12], frame[13]) {
            (0x08, 0x00) => {
                let len = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
                let header = usize::from(ip[0] & 15) * 4;
                assert_eq!(checksum(&[&ip[..header]]), 0, "IPv4 checksum");
                let v4 = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&ip[at..at + 4]).unwrap());
                Some(Self {
                    src: v4(12),
                    dst: v4(16),
                    protocol: ip[9],
                    ttl: ip[8],
                    tos: ip[1],
                    payload: &ip[header..len],
                })
            },
            (0x86, 0xdd) => {
                let len = usize::from(u16::from_be_bytes([ip[4], ip[5]]));
                let v6 = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&ip[at..at + 16]).unwrap());
                Some(Self {
                    src: v6(8),
                    dst: v6(24),
                    protocol: ip[6],
                    ttl: ip[7],
                    tos: (ip[0] << 4) | (ip[1] >> 4),
                    payload: &ip[40..40 + len],
                })
            },
            _ => None,
        }
    }
}

/// An Ethernet frame with an IP packet.
pub fn ip_frame(
    from: [u8; 6],
    to: [u8; 6],
    (src, dst): (IpAddr, IpAddr),
    (tos, ttl): (u8, u8),
    protocol: u8,
    payload: &[u8],
) -> Vec<u8> {
    let mut frame = [to, from].concat();
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            frame.extend([0x08, 0x00]);
            let len = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
            let mut ip = vec![
                0x45, tos, len[0], len[1], 0x12, 0x34, 0x40, 0, ttl, protocol, 0, 0,
            ];
            ip.extend(src.octets());
            ip.extend(dst.octets());
            let sum = checksum(&[&ip]);
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
            frame.extend(ip);
        },
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            frame.extend([0x86, 0xdd]);
            let len = u16::try_from(payload.len()).unwrap().to_be_bytes();
            frame.extend([
                0x60 | (tos >> 4),
                tos << 4,
                0,
                0,
                len[0],
                len[1],
                protocol,
                ttl,
            ]);
            frame.extend(src.octets());
            frame.extend(dst.octets());
        },
        _ => panic!("mixed families"),
    }
    frame.extend(payload);
    frame
}

fn pseudo(src: IpAddr, dst: IpAddr, protocol: u8, len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for address in [src, dst] {
        match address {
            IpAddr::V4(v4) => bytes.extend(v4.octets()),
            IpAddr::V6(v6) => bytes.extend(v6.octets()),
        }
    }
    bytes.extend(u32::try_from(len).unwrap().to_be_bytes());
    bytes.extend([0, 0, 0, protocol]);
    bytes
}

/// The Internet checksum over `parts`, each of even length but the last.
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for pair in parts.concat().chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

/// What a router behind a link answers to a frame that is too big for it.
pub fn too_big(frame: &[u8], mtu: u16) -> Vec<u8> {
    let ip = Ip::parse(frame).unwrap();
    let [low, high] = mtu.to_be_bytes();
    let mut icmp = match ip.src {
        IpAddr::V4(_) => vec![3, 4, 0, 0, 0, 0, low, high],
        IpAddr::V6(_) => vec![2, 0, 0, 0, 0, 0, low, high],
    };
    icmp.extend(&frame[14..14 + 68]);
    let (router, protocol, pseudo): (IpAddr, _, _) = match ip.src {
        IpAddr::V4(_) => ("192.0.2.9".parse().unwrap(), 1, Vec::new()),
        IpAddr::V6(src) => {
            let router: std::net::Ipv6Addr = "2001:db8::9".parse().unwrap();
            let len = u32::try_from(icmp.len()).unwrap().to_be_bytes();
            let pseudo = [&router.octets()[..], &src.octets(), &len, &[0, 0, 0, 58]].concat();
            (router.into(), 58, pseudo)
        },
    };
    let sum = checksum(&[&pseudo, &icmp]);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    let (to, from) = (frame[6..12].try_into(), frame[..6].try_into());
    ip_frame(
        from.unwrap(),
        to.unwrap(),
        (router, ip.src),
        (0, 64),
        protocol,
        &icmp,
    )
}
