use super::*;
use crate::mempool::{Mempool, Stash};
use crate::{Eal, EalConfig};
use dataplane::MemBuf;
use dataplane::headers::{Headers, headers};
use dataplane::memory::linear;
use stack::buf::{Frame, Partial, PortId};
use stack::checksum::Sum;
use stack::wire::ip::set_length;
use stack::wire::tcp::{self, Flags};
use stack::{Header, Tuple};
use testbed::peer::{Peer, Wish};

/// Octets of a buffer, after its headroom.
const ROOM: u16 = 700;
const NUMBER: u32 = u32::MAX - 1_000;

/// A pool of small buffers. EAL starts once a process: each test is one.
fn pool() -> Stash {
    let config = EalConfig {
        hugepages: Some(false),
        memory_mb: 64,
        ..EalConfig::default()
    };
    Eal::init(&config).unwrap();
    Stash::new(Mempool::new(255, ROOM, dpdk_sys::SOCKET_ID_ANY).unwrap())
}

/// `octets` in buffers of their own, as a device fills them.
fn chain(pool: &mut Stash, octets: &[u8]) -> RawMbuf {
    let mut parts = octets.chunks(ROOM.into());
    let mut buffer = |part: &[u8]| {
        let mut buffer = pool.take().unwrap();
        assert!(buffer.append([part]));
        buffer
    };
    let mut whole = buffer(parts.next().unwrap());
    let mut tail = whole.as_ptr();
    for part in parts {
        let part = buffer(part);
        // SAFETY: tail is the last one of the chain.
        tail = unsafe { whole.link(tail, part) };
    }
    whole
}

/// A segment of `text`.
fn segment(ipv4: bool, flags: Flags, text: &[u8]) -> Vec<u8> {
    let wish = Wish::text(0, flags, text.len());
    Peer::somebody(ipv4, NUMBER).frame(&wish, &MemBuf::from(text.to_vec()))
}

/// Whether the TCP checksum of a whole frame is right.
fn is_intact(frame: &[u8], ipv4: bool) -> bool {
    let Tuple { src, dst, .. } = Peer::somebody(ipv4, NUMBER).tuple;
    let l4 =
        Slice::new(MemBuf::from(frame.to_vec())).narrow(if ipv4 { 34 } else { 54 }..usize::MAX);
    tcp::parse(l4, src, dst, 0, RxChecksum::Unknown).is_ok()
}

/// Makes the header checksum of an IPv4 frame right.
fn mend(frame: &mut [u8]) {
    let header = &mut frame[14..34];
    header[10..12].fill(0);
    let checksum = Sum::of(header).checksum();
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
}

fn text() -> Vec<u8> {
    (0..3_001).map(|at| (at % 251) as u8).collect()
}

#[test]
fn each_buffer_of_a_long_segment_becomes_one_of_its_own() {
    let mut pool = pool();
    for ipv4 in [true, false] {
        for (flags, said) in [
            (Flags::ACK.with(Flags::PSH), RxChecksum::Partial),
            (Flags::ACK.with(Flags::FIN), RxChecksum::Good),
            (Flags::ACK, RxChecksum::Unknown),
        ] {
            let whole = segment(ipv4, flags, &text());
            let mut parts = Vec::new();
            cut(chain(&mut pool, &whole), said, &mut parts).unwrap();
            assert_eq!(parts.len(), whole.len().div_ceil(ROOM.into()));
            let mut read = Vec::new();
            for (n, part) in parts.iter().enumerate() {
                assert_eq!(part.checksum, RxChecksum::Partial);
                let bytes = part.frame.bytes();
                let Headers { l3, l4, end } = headers(bytes).unwrap();
                let ends = n + 1 == parts.len();
                assert_eq!(bytes[l4 + 13], if ends { flags.0 } else { Flags::ACK.0 });
                let number = NUMBER.wrapping_add(u32::try_from(read.len()).unwrap());
                assert_eq!(bytes[l4 + 4..l4 + 8], number.to_be_bytes());
                let (at, len) = if ipv4 { (l3 + 2, 14) } else { (l3 + 4, l4) };
                let len = u16::try_from(bytes.len() - len).unwrap();
                assert_eq!(bytes[at..at + 2], len.to_be_bytes());
                assert!(!ipv4 || Sum::of(&bytes[l3..l4]).is_intact());
                // All else is as it was, and the port that sends it on finds the checksum.
                assert_eq!(bytes[..l3], whole[..l3]);
                assert_eq!(bytes[l4 + 18..end], whole[l4 + 18..end]);
                let mut header = Header::default();
                header.push(&bytes[..end]);
                let text = part.frame.slice(end..bytes.len());
                let mut onward = Frame::new(PortId(0), header, [text].into_iter().collect());
                onward.partial = Partial::at(l3, l4);
                assert!(is_intact(&linear(&onward), ipv4), "{ipv4} {n}");
                read.extend_from_slice(&bytes[end..]);
            }
            assert!(read == text(), "{ipv4}: the text differs");
        }
    }
    assert_eq!(pool.missing(), 0);
}

#[test]
fn a_damaged_one_is_one_frame_and_so_is_what_cannot_be_cut() {
    let mut pool = pool();
    let mut parts = Vec::new();
    let whole = || segment(true, Flags::ACK, &text());
    for (said, at) in [(RxChecksum::Unknown, 2_000), (RxChecksum::Bad, 0)] {
        let mut whole = whole();
        whole[at] ^= 1;
        parts.clear();
        cut(chain(&mut pool, &whole), said, &mut parts).unwrap();
        assert_eq!((parts.len(), parts[0].checksum), (1, RxChecksum::Bad));
    }
    parts.clear();
    let mut odd = Vec::new();
    for (at, octet) in [
        // UDP, a fragment, shorter than it says, SYN, RST, URG, an impossible header.
        (23, 17),
        (20, 0x20),
        (16, 0x01),
        (47, 0x02),
        (47, 0x04),
        (47, 0x20),
        (46, 0x40),
    ] {
        let mut whole = whole();
        whole[at] = octet;
        mend(&mut whole);
        odd.push(whole);
    }
    // Damaged where its parts would be given a checksum; with headers of impossible lengths.
    for (at, octet) in [(22, 63), (14, 0x40), (14, 0x41), (14, 0x44)] {
        let mut whole = whole();
        // Where a TCP header would say its length behind an IP header of none, of one word, or of four.
        (whole[26], whole[30], whole[42]) = (0x50, 0x50, 0x50);
        whole[at] = octet;
        odd.push(whole);
    }
    // With all options that there can be, which are more than we write: in a chain, where they would not stand before the others
    // either, and in the first buffer alone.
    for len in [3_001, 400] {
        let mut longest = segment(true, Flags::ACK, &text()[..len]);
        longest.splice(66..66, [1; 28]);
        longest.splice(34..34, [1; 40]);
        (longest[14], longest[86]) = (0x4f, 0xf0);
        let (ip, rest) = longest[14..].split_at_mut(60);
        set_length(ip, rest.len());
        odd.push(longest);
    }
    for whole in odd {
        let kept = cut(chain(&mut pool, &whole), RxChecksum::Good, &mut parts).unwrap_err();
        let octets: Vec<u8> = kept.segments().flatten().copied().collect();
        assert!(octets == whole && parts.is_empty(), "{:02x?}", &whole[..60]);
    }
    // Somebody else refers to a buffer: nobody may write there.
    let held = pool.take().map(Mbuf::new).unwrap();
    let mut whole = chain(&mut pool, &whole()[..700]);
    let mut link = pool.take().unwrap();
    held.attach(&mut link, &(0..0));
    let tail = whole.as_ptr();
    // SAFETY: it is the only one of its chain.
    unsafe { whole.link(tail, link) };
    assert!(!whole.has_room_in_each(66));
    drop((whole, held));
    drop(Slice::new(Mbuf::new(pool.take().unwrap())));
    parts.clear();
    assert_eq!(pool.missing(), 0);
}
