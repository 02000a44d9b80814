//! A device that frames come in by and leave by, and what it counts.

use crate::app::CoreId;
use stack::buf::RxChecksum;
use stack::{Frame, PacketBuf, Slice};

/// Most frames that one call of [`Port::receive`] delivers.
pub const BURST: usize = 32;

/// A device of one worker: nothing else receives from it or transmits on it.
pub trait Port {
    /// The buffer that it receives into.
    type Buf: PacketBuf;

    /// What the port is.
    fn info(&self) -> &PortInfo;

    /// Appends at most [`BURST`] received frames to `into`.
    fn receive(&mut self, into: &mut Vec<Received<Self::Buf>>);

    /// Sends all of `frames`, in order, and leaves it empty. What the device does not take is counted as `tx_dropped`.
    fn transmit(&mut self, frames: &mut Vec<Frame<Self::Buf>>);

    /// The worker that sends for this one, where the device has too few queues for each to have its own. What is sent
    /// goes to it by a ring then, and [`transmit`](Self::transmit) is not called.
    fn sent_by(&self) -> Option<CoreId> {
        None
    }

    /// What was counted since the port was opened.
    fn stats(&self) -> PortStats;

    /// How many of the buffers that it receives into are taken.
    fn buffers(&self) -> BufferUse;
}

/// A received frame.
#[derive(Clone, Debug)]
pub struct Received<B> {
    /// The whole frame from its Ethernet header, without frame check sequence.
    pub frame: Slice<B>,
    /// What the device says of the checksums of IP and TCP.
    pub checksum: RxChecksum,
}

/// What a port is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortInfo {
    /// Its name in the configuration.
    pub name: String,
    /// The device behind it, as configured.
    pub device: String,
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// Largest IP packet in octets.
    pub mtu: u16,
    /// Whether TCP checksums are best left to the device.
    pub sums: bool,
}

/// What a port has counted since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Frames received.
    pub rx_packets: u64,
    /// Octets in them.
    pub rx_bytes: u64,
    /// Frames that the device took to send, those that it cuts from a [`train`](crate::train) with them.
    pub tx_packets: u64,
    /// Octets in them.
    pub tx_bytes: u64,
    /// Trains that the device was given to cut into frames.
    pub tx_trains: u64,
    /// Frames that the device dropped as nobody fetched them in time.
    pub rx_missed: u64,
    /// Frames that the device dropped as there was no buffer to receive into.
    pub rx_nobuf: u64,
    /// Frames that the device did not take, or for which there was no buffer to send from.
    pub tx_dropped: u64,
    /// Octets of payload copied by the port, for devices that cannot send from several buffers.
    pub copied_at_port: u64,
    /// Octets of segments that the port read to compute the checksum that was left to it, as the device cannot.
    pub summed_at_port: u64,
    /// Octets of TCP payload that came to the port inside a frame's header instead of by reference.
    pub copied_in_stack: u64,
}

/// Receive buffers of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BufferUse {
    /// Buffers that are not free: held by the app, queued to be sent, or lent to the device to receive into.
    pub used: u32,
    /// All buffers; 0 if the port has no fixed number.
    pub size: u32,
}

impl BufferUse {
    /// Used buffers in thousandths of all; 0 without a fixed number.
    #[must_use]
    pub fn permille(self) -> u32 {
        let share = u64::from(self.used) * 1000 / u64::from(self.size.max(1));
        if self.size == 0 {
            0
        } else {
            u32::try_from(share).unwrap_or(u32::MAX)
        }
    }
}

/// A port as it stands, for the control thread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortReport {
    /// What it is.
    pub info: PortInfo,
    /// What it counted.
    pub stats: PortStats,
    /// Its receive buffers.
    pub buffers: BufferUse,
}

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;
const PROTOCOL_TCP: u8 = 6;

/// Octets of TCP payload that stand in a frame's `header`; 0 if it is not TCP, or ends within its headers.
///
/// Payload is referenced, never copied, so a relay keeps this at 0; every port sums it up as `copied_in_stack`.
#[must_use]
pub fn tcp_payload_in_header(header: &[u8]) -> usize {
    headers(header).map_or(0, |headers| header.len().saturating_sub(headers.end))
}

/// Where in a frame of TCP its headers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// That of IP begins.
    pub l3: usize,
    /// That of TCP begins.
    pub l4: usize,
    /// It ends, with its options.
    pub end: usize,
}

/// Where they are in a frame that begins with `header`; `None` if it is not TCP, or ends within the fixed part of its header.
#[must_use]
pub fn headers(header: &[u8]) -> Option<Headers> {
    let byte = |at: usize| header.get(at).copied();
    let word = |at: usize| Some(u16::from_be_bytes([byte(at)?, byte(at + 1)?]));
    let mut l3 = 14;
    while matches!(word(l3 - 2)?, ETHERTYPE_VLAN | ETHERTYPE_QINQ) {
        l3 += 4;
    }
    let l4 = match word(l3 - 2)? {
        ETHERTYPE_IPV4 if byte(l3 + 9)? == PROTOCOL_TCP && word(l3 + 6)? & 0x1fff == 0 => {
            l3 + usize::from(byte(l3)? & 0x0f) * 4
        },
        ETHERTYPE_IPV6 if byte(l3 + 6)? == PROTOCOL_TCP => l3 + 40,
        _ => return None,
    };
    let end = l4 + usize::from(byte(l4 + 12)? >> 4) * 4;
    Some(Headers { l3, l4, end })
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
        for (name, frame) in [
            ("udp", [ipv4(17, 0, 5), vec![0x50; 60]].concat()),
            ("later fragment", [ipv4(6, 1, 5), vec![0x50; 60]].concat()),
            ("ends in the IP header", ipv4(6, 0, 5)[..20].to_vec()),
            (
                "ends before the data offset",
                [ipv4(6, 0, 5), vec![0; 12]].concat(),
            ),
            ("arp", [vec![0; 12], vec![8, 6], vec![0; 28]].concat()),
            ("empty", vec![]),
        ] {
            assert_eq!(tcp_payload_in_header(&frame), 0, "{name}");
        }
    }

    #[test]
    fn buffer_use_in_thousandths() {
        assert_eq!(BufferUse { used: 3, size: 4 }.permille(), 750);
        assert_eq!(BufferUse { used: 3, size: 0 }.permille(), 0);
    }
}
