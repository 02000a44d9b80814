//! What TCP and ICMP need of IP: protocol numbers and the pseudo header.

use crate::checksum::Sum;
use core::net::IpAddr;

/// Protocol number of ICMP.
pub const ICMP: u8 = 1;
/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of UDP.
pub const UDP: u8 = 17;
/// Next-header value of ICMPv6.
pub const ICMPV6: u8 = 58;
/// Octets of an IPv4 header without options.
pub(crate) const IPV4_MIN: usize = 20;
/// Octets of the fixed IPv6 header.
pub(crate) const IPV6: usize = 40;
/// Octets of an Ethernet header without tags.
pub(crate) const ETHERNET: usize = 14;
/// EtherType of IPv4.
pub(crate) const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub(crate) const ETHERTYPE_ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub(crate) const ETHERTYPE_IPV6: u16 = 0x86dd;

/// Enters in the header of a packet, that of IP with its options or extension headers, that `len` octets follow it. In IPv4 the
/// checksum follows, whatever else of the header has changed. What is too short for a header stays as it is.
pub fn set_length(header: &mut [u8], len: usize) {
    let whole = header.len() + len;
    let field = |len: usize| u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
    match header.first().map(|first| first >> 4) {
        Some(4) if header.len() >= IPV4_MIN => {
            header[2..4].copy_from_slice(&field(whole));
            header[10..12].fill(0);
            let checksum = Sum::of(header).checksum();
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
        },
        // Extension headers count as payload (RFC 8200 3).
        Some(6) if header.len() >= IPV6 => header[4..6].copy_from_slice(&field(whole - IPV6)),
        _ => {},
    }
}

/// The sum of the pseudo header over a payload of `len` octets (RFC 9293 3.1, RFC 8200 8.1).
#[must_use]
pub fn pseudo_header(src: IpAddr, dst: IpAddr, protocol: u8, len: usize) -> Sum {
    Sum::of_words(pseudo_header_words(src, dst, protocol, len))
}

/// What the 32-bit words of the pseudo header add up to, for [`Sum::of_words`].
#[inline]
pub(crate) fn pseudo_header_words(src: IpAddr, dst: IpAddr, protocol: u8, len: usize) -> u64 {
    // Protocol and length lie differently in the two headers; the sum is the same while the length fits 16 bits.
    let len = u16::try_from(len).unwrap_or(u16::MAX);
    words(src) + words(dst) + u64::from(protocol) + u64::from(len)
}

/// The sum of the 32-bit words of an address.
fn words(addr: IpAddr) -> u64 {
    match addr {
        IpAddr::V4(addr) => u64::from(addr.to_bits()),
        IpAddr::V6(addr) => {
            let octets = addr.octets();
            let (words, _) = octets.as_chunks();
            words
                .iter()
                .map(|word| u64::from(u32::from_be_bytes(*word)))
                .sum()
        },
    }
}
