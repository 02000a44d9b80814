//! TCP segments out of the captures in testbed/captures, options read by `stack`.
#![allow(dead_code, reason = "each test file uses its part")]

use core::net::IpAddr;
use core::time::Duration;
use pcap_file::DataLink;
use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::{Block, PcapNgReader};
use stack::Tuple;
use stack::wire::tcp::{Flags, OptBytes, Options, parse_options};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// A captured TCP segment.
pub(crate) struct Captured {
    /// Since 1970.
    pub(crate) time: Duration,
    pub(crate) tuple: Tuple,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: Flags,
    pub(crate) wnd: u16,
    pub(crate) options: Options,
    pub(crate) mptcp: OptBytes,
    /// Octets of payload on the wire.
    pub(crate) len: usize,
    /// Those that were captured.
    pub(crate) payload: Vec<u8>,
}

/// A directory of captures: the tree's own, or another one by absolute path.
pub(crate) fn files(dir: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(dir);
    let mut paths: Vec<PathBuf> = fs::read_dir(&dir)
        .expect("a directory of captures")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().contains(".pcap"))
        .collect();
    paths.sort();
    paths
}

/// Every TCP segment of a capture, in order.
pub(crate) fn read(path: &Path) -> Vec<Captured> {
    let file = File::open(path).expect("a capture");
    let mut segments = Vec::new();
    if path
        .extension()
        .is_some_and(|extension| extension == "pcapng")
    {
        let mut reader = PcapNgReader::new(file).expect("a pcapng header");
        let mut links = Vec::new();
        while let Some(block) = reader.next_block() {
            match block.expect("a block") {
                Block::InterfaceDescription(interface) => links.push(interface.linktype),
                Block::EnhancedPacket(packet) => {
                    let link = links[usize::try_from(packet.interface_id).expect("an index")];
                    segments.extend(segment(packet.timestamp, link, &packet.data));
                },
                _ => {},
            }
        }
    } else {
        let mut reader = PcapReader::new(file).expect("a pcap header");
        let link = reader.header().datalink;
        while let Some(packet) = reader.next_raw_packet() {
            let packet = packet.expect("a packet");
            let time = Duration::new(u64::from(packet.ts_sec), packet.ts_frac * 1000);
            segments.extend(segment(time, link, &packet.data));
        }
    }
    segments
}

fn segment(time: Duration, link: DataLink, frame: &[u8]) -> Option<Captured> {
    let (ethertype, l3) = match link {
        DataLink::ETHERNET => (frame.get(12..14)?, frame.get(14..)?),
        DataLink::LINUX_SLL => (frame.get(14..16)?, frame.get(16..)?),
        DataLink::LINUX_SLL2 => (frame.get(..2)?, frame.get(20..)?),
        DataLink::RAW => (&[8, 0][..], frame),
        other => panic!("link type {other:?}"),
    };
    let word = |at: usize| Some(u16::from_be_bytes(*l3.get(at..)?.first_chunk()?));
    let (src, dst, header, total) = match ethertype {
        [0x08, 0x00] if *l3.get(9)? == 6 => {
            let header = usize::from(l3[0] & 15) * 4;
            let total = usize::from(word(2)?);
            (addr::<4>(l3, 12)?, addr::<4>(l3, 16)?, header, total)
        },
        [0x86, 0xdd] if *l3.get(6)? == 6 => (
            addr::<16>(l3, 8)?,
            addr::<16>(l3, 24)?,
            40,
            40 + usize::from(word(4)?),
        ),
        _ => return None,
    };
    let l4 = l3.get(header..total.min(l3.len()))?;
    let fixed: &[u8; 20] = l4.first_chunk()?;
    let tcp_header = usize::from(fixed[12] >> 4) * 4;
    let options = parse_options(l4.get(20..tcp_header)?)?;
    Some(Captured {
        time,
        tuple: Tuple {
            src,
            dst,
            src_port: u16::from_be_bytes([fixed[0], fixed[1]]),
            dst_port: u16::from_be_bytes([fixed[2], fixed[3]]),
        },
        seq: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
        ack: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
        flags: Flags(fixed[13]),
        wnd: u16::from_be_bytes([fixed[14], fixed[15]]),
        mptcp: options.mptcp,
        options,
        len: total - header - tcp_header,
        payload: l4.get(tcp_header..)?.to_vec(),
    })
}

fn addr<const N: usize>(l3: &[u8], at: usize) -> Option<IpAddr>
where
    IpAddr: From<[u8; N]>,
{
    Some(IpAddr::from(*l3.get(at..)?.first_chunk::<N>()?))
}
