//! Where in a frame the headers of TCP are: for ports, which know nothing of flows.

use stack::wire::ip::TCP;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;

/// Octets of TCP payload that stand in a frame's `header`; 0 if it is not TCP, or ends within its headers.
///
/// Payload is referenced, never copied, so a relay keeps this at 0; every port sums it up as `copied_in_stack`.
#[must_use]
pub fn tcp_payload_in_header(header: &[u8]) -> usize {
    headers(header).map_or(0, |headers| header.len().saturating_sub(headers.end))
}

/// Where in a frame of TCP its headers are. Each is as long as its kind is at the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// That of IP begins.
    pub l3: usize,
    /// That of TCP begins.
    pub l4: usize,
    /// It ends, with its options.
    pub end: usize,
}

/// Where they are in a frame that begins with `header`, of which no more than lengths and kinds is read; `None` if it is not TCP, if
/// it ends within the fixed part of TCP's header, or if a length cannot be.
#[must_use]
pub fn headers(header: &[u8]) -> Option<Headers> {
    let byte = |at: usize| header.get(at).copied();
    let word = |at: usize| Some(u16::from_be_bytes([byte(at)?, byte(at + 1)?]));
    let mut l3 = 14;
    while matches!(word(l3 - 2)?, ETHERTYPE_VLAN | ETHERTYPE_QINQ) {
        l3 += 4;
    }
    let l4 = match (word(l3 - 2)?, byte(l3)?) {
        (ETHERTYPE_IPV4, first @ 0x45..=0x4f)
            if byte(l3 + 9)? == TCP && word(l3 + 6)? & 0x1fff == 0 =>
        {
            l3 + usize::from(first & 0x0f) * 4
        },
        (ETHERTYPE_IPV6, 0x60..=0x6f) if byte(l3 + 6)? == TCP => l3 + 40,
        _ => return None,
    };
    let tcp = usize::from(byte(l4 + 12)? >> 4) * 4;
    (tcp >= 20).then_some(Headers {
        l3,
        l4,
        end: l4 + tcp,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4(protocol: u8, fragment: u16, ihl_words: u8) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00]);
        let mut ip = vec![0u8; usize::from(ihl_words) * 4];
        ip[0] = 0x40 | ihl_words;
        ip[6..8].copy_from_slice(&fragment.to_be_bytes());
        ip[9] = protocol;
        frame.extend(ip);
        frame
    }

    fn tcp(words: u8) -> Vec<u8> {
        let mut header = vec![0u8; usize::from(words) * 4];
        header[12] = words << 4;
        header
    }

    #[test]
    fn payload_after_the_tcp_header_counts_as_copied() {
        let headers = [ipv4(6, 0, 5), tcp(8)].concat();
        assert_eq!(tcp_payload_in_header(&headers), 0);
        assert_eq!(tcp_payload_in_header(&[&headers[..], b"abc"].concat()), 3);
        let options = [ipv4(6, 0, 7), tcp(5), b"abcd".to_vec()].concat();
        assert_eq!(tcp_payload_in_header(&options), 4);
    }

    #[test]
    fn payload_after_an_ipv6_and_vlan_header_counts_as_copied() {
        let mut frame = vec![0; 12];
        frame.extend([0x81, 0, 0, 7, 0x86, 0xdd]);
        let mut ip = vec![0u8; 40];
        ip[0] = 0x60;
        ip[6] = 6;
        frame.extend(ip);
        frame.extend(tcp(5));
        assert_eq!(tcp_payload_in_header(&frame), 0);
        frame.push(0);
        assert_eq!(tcp_payload_in_header(&frame), 1);
    }

    #[test]
    fn what_is_not_a_whole_tcp_header_counts_nothing() {
        let changed = |at: usize, octet| {
            let mut frame = [ipv4(6, 0, 5), tcp(5), b"text".to_vec()].concat();
            // Where a TCP header would say its length behind an IP header of none, or of four words.
            (frame[26], frame[42]) = (0x50, 0x50);
            frame[at] = octet;
            frame
        };
        assert_eq!(tcp_payload_in_header(&changed(14, 0x45)), 4);
        for (name, frame) in [
            ("udp", [ipv4(17, 0, 5), vec![0x50; 60]].concat()),
            ("later fragment", [ipv4(6, 1, 5), vec![0x50; 60]].concat()),
            ("ends in the IP header", ipv4(6, 0, 5)[..20].to_vec()),
            (
                "ends before the data offset",
                [ipv4(6, 0, 5), vec![0; 12]].concat(),
            ),
            ("an IP header of four words", changed(14, 0x44)),
            ("an IP header of none", changed(14, 0x40)),
            ("another version", changed(14, 0x65)),
            ("a TCP header of four words", changed(46, 0x40)),
            ("arp", [vec![0; 12], vec![8, 6], vec![0; 28]].concat()),
            ("empty", vec![]),
        ] {
            assert_eq!(tcp_payload_in_header(&frame), 0, "{name}");
        }
    }
}
