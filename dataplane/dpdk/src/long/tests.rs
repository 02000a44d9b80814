use super::*;
use crate::mempool::{Mempool, Stash};
use crate::{Eal, EalConfig};
use dataplane::memory::linear;
use stack::Slice;
use stack::buf::{Chain, Frame, Partial, PortId};

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

/// A segment of `text`, with a right checksum.
fn segment(ipv4: bool, flags: u8, text: &[u8]) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    let tcp_len = u16::try_from(32 + text.len()).unwrap();
    if ipv4 {
        let [a, b] = (20 + tcp_len).to_be_bytes();
        let mut ip = vec![0x45, 0, a, b, 0, 9, 0x40, 0, 64, 6, 0, 0];
        ip.extend([10, 1, 0, 2, 192, 0, 2, 7]);
        let sum = Sum::of(&ip).checksum();
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes.extend([0x08, 0x00]);
        bytes.extend(ip);
    } else {
        let [a, b] = tcp_len.to_be_bytes();
        bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0, a, b, 6, 64]);
        bytes.extend((0..32).map(|n| 0xf0 + n % 7));
    }
    bytes.extend([0x1f, 0x90, 0, 80]);
    bytes.extend(NUMBER.to_be_bytes());
    bytes.extend([0, 0, 0, 9, 0x80, flags, 0x10, 0, 0, 0, 0, 0]);
    bytes.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    bytes.extend(text);
    let sum = checksum(&bytes);
    let at = bytes.len() - text.len() - 16;
    bytes[at..at + 2].copy_from_slice(&sum);
    bytes
}

/// The TCP checksum of a whole frame.
fn checksum(frame: &[u8]) -> [u8; 2] {
    let (addresses, l4) = if frame[12] == 0x08 {
        (26, 34)
    } else {
        (22, 54)
    };
    let [a, b] = u16::try_from(frame.len() - l4).unwrap().to_be_bytes();
    let pseudo = Sum::of(&frame[addresses..l4]).then(Sum::of(&[0, 6, a, b]));
    let mut tcp = frame[l4..].to_vec();
    tcp[16..18].fill(0);
    pseudo.then(Sum::of(&tcp)).checksum().to_be_bytes()
}

fn text() -> Vec<u8> {
    (0..3_001).map(|at| (at % 251) as u8).collect()
}

#[test]
fn each_buffer_of_a_long_segment_becomes_one_of_its_own() {
    let mut pool = pool();
    for ipv4 in [true, false] {
        for (flags, said) in [
            (0x18, RxChecksum::Partial),
            (0x11, RxChecksum::Good),
            (0x10, RxChecksum::Unknown),
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
                assert_eq!(bytes[l4 + 13], if ends { flags } else { 0x10 });
                let number = NUMBER.wrapping_add(u32::try_from(read.len()).unwrap());
                assert_eq!(bytes[l4 + 4..l4 + 8], number.to_be_bytes());
                let (at, len) = if ipv4 { (l3 + 2, 14) } else { (l3 + 4, l4) };
                let len = u16::try_from(bytes.len() - len).unwrap();
                assert_eq!(bytes[at..at + 2], len.to_be_bytes());
                assert!(!ipv4 || Sum::of(&bytes[l3..l4]).is_intact());
                // All else is as it was, and the port that sends it on finds the checksum.
                assert_eq!(bytes[..l3], whole[..l3]);
                assert_eq!(bytes[l4 + 18..end], whole[l4 + 18..end]);
                let mut onward = Frame {
                    port: PortId(0),
                    header: Header::default(),
                    payload: Chain::new(),
                    partial: Partial::at(l3, l4),
                };
                onward.header.push(&bytes[..end]);
                onward.payload.push(part.frame.slice(end..bytes.len()));
                let sent = linear(&onward);
                assert_eq!(sent[l4 + 16..l4 + 18], checksum(&sent), "{ipv4} {n}");
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
    for (said, at) in [(RxChecksum::Unknown, 2_000), (RxChecksum::Bad, 0)] {
        let mut whole = segment(true, 0x10, &text());
        whole[at] ^= 1;
        parts.clear();
        cut(chain(&mut pool, &whole), said, &mut parts).unwrap();
        assert_eq!((parts.len(), parts[0].checksum), (1, RxChecksum::Bad));
    }
    parts.clear();
    for change in [
        // UDP, a fragment, shorter than it says, SYN, RST, URG, an impossible header.
        (23, 17),
        (20, 0x20),
        (16, 0x01),
        (47, 0x02),
        (47, 0x04),
        (47, 0x20),
        (46, 0x40),
    ] {
        let mut whole = segment(true, 0x10, &text());
        whole[change.0] = change.1;
        let kept = cut(chain(&mut pool, &whole), RxChecksum::Good, &mut parts).unwrap_err();
        let octets: Vec<u8> = kept.segments().flatten().copied().collect();
        assert!(octets == whole && parts.is_empty(), "{change:?}");
    }
    // Somebody else refers to a buffer: nobody may write there.
    let held = pool.take().map(Mbuf::new).unwrap();
    let whole = segment(true, 0x10, &text());
    let mut whole = chain(&mut pool, &whole[..700]);
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
