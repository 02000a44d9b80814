use super::*;
use crate::memory::{MemBuf, linear};
use stack::buf::{Chain, PortId, Slice};
use stack::checksum::Sum;

const SEGMENT: usize = 100;

/// Segments of 100 octets in a row, the last of them of `last`, and PSH on it.
fn segments(ipv4: bool, count: usize, last: usize) -> Vec<Frame<MemBuf>> {
    let one = |n: usize| {
        let len = if n + 1 == count { last } else { SEGMENT };
        let flags = if n + 1 == count { 0x18 } else { 0x10 };
        // The numbers wrap on the way.
        let number = (u32::MAX - 250).wrapping_add(u32::try_from(n * SEGMENT).unwrap());
        frame(ipv4, number, flags, u8::try_from(n).unwrap(), len)
    };
    (0..count).map(one).collect()
}

fn frame(ipv4: bool, number: u32, flags: u8, id: u8, len: usize) -> Frame<MemBuf> {
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    let tcp_len = u16::try_from(32 + len).unwrap();
    if ipv4 {
        let [a, b] = (20 + tcp_len).to_be_bytes();
        let mut ip = vec![0x45, 0, a, b, 0, id, 0x40, 0, 64, 6, 0, 0];
        ip.extend([10, 1, 0, 2, 192, 0, 2, 7]);
        let sum = Sum::of(&ip).checksum();
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes.extend([0x08, 0x00]);
        bytes.extend(ip);
    } else {
        let [a, b] = tcp_len.to_be_bytes();
        bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0, a, b, 6, 64]);
        bytes.extend([0xfd; 32]);
    }
    bytes.extend([0x1f, 0x90, 0, 80]);
    bytes.extend(number.to_be_bytes());
    bytes.extend([0, 0, 0, 9, 0x80, flags, 0x10, 0, id, id, 0, 0]);
    bytes.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    let mut header = Header::default();
    header.push(&bytes);
    let mut payload = Chain::new();
    payload.push(Slice::new(MemBuf::from(vec![id; len])));
    Frame {
        port: PortId(0),
        header,
        payload,
        partial: None,
    }
}

#[test]
fn segments_in_a_row_are_a_train_up_to_one_that_is_short_or_pushed() {
    for ipv4 in [true, false] {
        for last in [1, SEGMENT] {
            let frames = segments(ipv4, 5, last);
            assert_eq!(len(&frames, 64), 5, "{ipv4} {last}");
            let train = coupled(&frames).unwrap();
            assert_eq!((train.segment, train.is_ipv6), (100, !ipv4));
            let (l3, l4) = (train.partial.l3, train.partial.l4);
            assert_eq!((l3, l4), (14, if ipv4 { 34 } else { 54 }));
            let bytes = train.header.bytes();
            assert_eq!(bytes.len(), linear(&frames[0]).len() - SEGMENT);
            assert_eq!(bytes[usize::from(l4) + 13], 0x18, "the last one's PSH");
            let octets = u16::try_from(32 + 4 * SEGMENT + last).unwrap();
            if ipv4 {
                assert_eq!(bytes[16..18], (20 + octets).to_be_bytes());
                assert!(Sum::of(&bytes[14..34]).is_intact());
            } else {
                assert_eq!(bytes[18..20], octets.to_be_bytes());
            }
        }
        // What follows one that is shorter, or has PSH, waits for the next train.
        let mut frames = segments(ipv4, 3, 50);
        frames.extend(segments(ipv4, 3, 50));
        assert_eq!(len(&frames, 64), 3);
        assert_eq!(len(&frames[3..], 64), 3);
    }
}

#[test]
fn a_train_is_no_longer_than_its_device_or_a_packet_allows() {
    assert_eq!(len(&segments(true, 9, 1), 4), 4);
    let long = |n: u32| frame(true, n * 9_000, 0x10, 0, 9_000);
    let frames: Vec<_> = (0..20).map(long).collect();
    assert_eq!(len(&frames, 64), 7, "7 x 9,000 octets, and 52 of headers");
    assert!(coupled(&frames[..7]).is_some());
    assert!(coupled(&frames[..8]).is_none());
    assert_eq!(len::<MemBuf>(&[], 64), 0);
    assert_eq!(len(&frames[..1], 64), 1);
}

#[test]
fn what_differs_is_no_train() {
    for ipv4 in [true, false] {
        let l4 = if ipv4 { 34 } else { 54 };
        let ip = 14;
        // Each octet but those that a device writes anew: lengths, identification, checksums, PSH and FIN of the last.
        let anew: &[usize] = if ipv4 { &[2, 3, 4, 5, 10, 11] } else { &[4, 5] };
        for at in 0..l4 + 32 {
            let mut frames = segments(ipv4, 2, SEGMENT);
            frames[1].header.bytes_mut()[at] ^= if at == l4 + 13 { 0x20 } else { 0x01 };
            let free = at >= ip && anew.contains(&(at - ip)) || [l4 + 16, l4 + 17].contains(&at);
            assert_eq!(len(&frames, 64), if free { 2 } else { 1 }, "{ipv4} {at}");
        }
        let mut frames = segments(ipv4, 2, SEGMENT);
        frames[1].port = PortId(1);
        assert_eq!(len(&frames, 64), 1, "of another port");
        let mut frames = segments(ipv4, 2, SEGMENT);
        frames[1].payload.clear();
        assert_eq!(len(&frames, 64), 1, "without text");
        let frames = [
            frame(ipv4, 0, 0x10, 0, SEGMENT),
            frame(ipv4, 100, 0x10, 1, SEGMENT + 1),
        ];
        assert_eq!(len(&frames, 64), 1, "longer than the first");
        for flags in [0x18, 0x11, 0x12, 0x14, 0x90, 0x50] {
            let frames = [
                frame(ipv4, 0, flags, 0, SEGMENT),
                frame(ipv4, 100, flags, 1, SEGMENT),
            ];
            assert_eq!(len(&frames, 64), 1, "flags {flags:#x}");
        }
    }
}
