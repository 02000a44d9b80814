//! Which segments a device may get as one, and as what.

use dataplane::headers::headers;
use dataplane::memory::{MemBuf, linear};
use dataplane::train::{coupled, len};
use stack::buf::{Frame, Header, PortId, Slice};
use stack::checksum::Sum;
use stack::wire::tcp::Flags;
use stack::{RxChecksum, Tuple};
use testbed::peer::{Peer, Wish};

const SEGMENT: usize = 100;
const PUSH: Flags = Flags::ACK.with(Flags::PSH);

fn peer(ipv4: bool) -> Peer {
    // The numbers wrap on the way.
    Peer::somebody(ipv4, u32::MAX - 250)
}

/// A segment of `payload` octets as the stack sends one: its headers, and text whose sum is known.
fn segment(ipv4: bool, at: usize, flags: Flags, payload: usize) -> Frame<MemBuf> {
    let text = MemBuf::from(vec![0x55; payload]);
    let whole = peer(ipv4).frame(&Wish::text(at, flags, payload), &text);
    let mut header = Header::default();
    header.push(&whole[..headers(&whole).unwrap().end]);
    let mut text = Slice::new(text);
    text.sum_once();
    Frame::new(PortId(0), header, [text].into_iter().collect())
}

/// Segments of 100 octets in a row, the last of them of `last`, and PSH on it.
fn segments(ipv4: bool, count: usize, last: usize) -> Vec<Frame<MemBuf>> {
    let one = |n: usize| {
        let (flags, len) = if n + 1 == count {
            (PUSH, last)
        } else {
            (Flags::ACK, SEGMENT)
        };
        segment(ipv4, n * SEGMENT, flags, len)
    };
    (0..count).map(one).collect()
}

/// Where the TCP header begins.
fn l4(ipv4: bool) -> usize {
    if ipv4 { 34 } else { 54 }
}

#[test]
fn segments_in_a_row_are_a_train_up_to_one_that_is_short_or_pushed() {
    for ipv4 in [true, false] {
        for last in [1, SEGMENT] {
            let frames = segments(ipv4, 5, last);
            assert_eq!(len(&frames, 64), 5, "{ipv4} {last}");
            let train = coupled(&frames).unwrap();
            assert_eq!((train.segment, train.is_ipv6), (100, !ipv4));
            let (l3, l4) = (14, l4(ipv4));
            let found = (usize::from(train.partial.l3), usize::from(train.partial.l4));
            assert_eq!(found, (l3, l4));
            let bytes = train.header.bytes();
            assert_eq!(bytes.len(), frames[0].header.len());
            assert_eq!(bytes[l4 + 13], PUSH.0, "the last one's PSH");
            let octets = u16::try_from(bytes.len() - l4 + 4 * SEGMENT + last).unwrap();
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
        assert_eq!((len(&frames, 64), len(&frames[3..], 64)), (3, 3));
    }
}

#[test]
fn a_train_is_no_longer_than_its_device_or_a_packet_allows() {
    assert_eq!(len(&segments(true, 9, 1), 4), 4);
    let long = |n: usize| segment(true, n * 9_000, Flags::ACK, 9_000);
    let frames: Vec<_> = (0..20).map(long).collect();
    assert_eq!(len(&frames, 64), 7, "7 x 9,000 octets, and the headers");
    assert!(coupled(&frames[..7]).is_some());
    assert!(coupled(&frames[..8]).is_none());
    assert_eq!(len::<MemBuf>(&[], 64), 0);
    assert_eq!(len(&frames[..1], 64), 1);
}

#[test]
fn what_differs_is_no_train() {
    for ipv4 in [true, false] {
        let (ip, tcp) = (14, l4(ipv4));
        // Each octet but those that a device writes anew: lengths, identification, checksums, PSH and FIN of the last.
        let anew: &[usize] = if ipv4 { &[2, 3, 4, 5, 10, 11] } else { &[4, 5] };
        for at in 0..tcp + 32 {
            let mut frames = segments(ipv4, 2, SEGMENT);
            frames[1].header.bytes_mut()[at] ^= if at == tcp + 13 { 0x20 } else { 0x01 };
            let free = at >= ip && anew.contains(&(at - ip)) || [tcp + 16, tcp + 17].contains(&at);
            assert_eq!(len(&frames, 64), if free { 2 } else { 1 }, "{ipv4} {at}");
        }
        let mut frames = segments(ipv4, 2, SEGMENT);
        frames[1].port = PortId(1);
        assert_eq!(len(&frames, 64), 1, "of another port");
        let mut frames = segments(ipv4, 2, SEGMENT);
        frames[1].payload.clear();
        assert_eq!(len(&frames, 64), 1, "without text");
        let first = || segment(ipv4, 0, Flags::ACK, SEGMENT);
        let frames = [first(), segment(ipv4, 100, Flags::ACK, SEGMENT + 1)];
        assert_eq!(len(&frames, 64), 1, "longer than the first");
        for other in [
            Flags::PSH,
            Flags::FIN,
            Flags::SYN,
            Flags::RST,
            Flags::CWR,
            Flags::ECE,
        ] {
            let flags = Flags::ACK.with(other);
            let frames = [
                segment(ipv4, 0, flags, SEGMENT),
                segment(ipv4, 100, flags, SEGMENT),
            ];
            assert_eq!(len(&frames, 64), 1, "{flags:?}");
        }
    }
}

/// A translator sends on what it has not read: with a checksum that may be wrong, and must stay so.
#[test]
fn what_nobody_has_summed_or_vouches_for_is_no_train() {
    let unread = |frame: &mut Frame<MemBuf>| {
        let text = Slice::new(frame.payload[0].buffer().clone());
        frame.payload = [text].into_iter().collect();
    };
    for which in [0, 1] {
        let mut frames = segments(true, 2, SEGMENT);
        unread(&mut frames[which]);
        assert_eq!(len(&frames, 64), 1, "{which}");
    }
    // A neighbor vouches for it.
    let mut frames = segments(true, 2, SEGMENT);
    frames.iter_mut().for_each(|frame| {
        unread(frame);
        frame.partial = stack::buf::Partial::at(14, 34);
    });
    assert_eq!(len(&frames, 64), 2);
}

#[test]
fn the_segments_of_these_tests_are_whole() {
    for ipv4 in [true, false] {
        let whole = linear(&segment(ipv4, 0, PUSH, SEGMENT));
        let Tuple { src, dst, .. } = peer(ipv4).tuple;
        let text = Slice::new(MemBuf::from(whole)).narrow(l4(ipv4)..usize::MAX);
        let read = stack::wire::tcp::parse(text, src, dst, 0, RxChecksum::Unknown).unwrap();
        assert_eq!(read.payload.len(), SEGMENT);
    }
}
