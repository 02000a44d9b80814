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

    /// Sends `frames` behind what waits, in order, at the latest with the next [`flush`](Self::flush). What they refer to may be
    /// taken from them. Of what the device does not take, a port may let a bounded number wait; what is beyond is counted as
    /// `tx_dropped`.
    fn give(&mut self, frames: &mut [Frame<Self::Buf>]);

    /// Sends what was given and waits, as far as the device takes it.
    fn flush(&mut self) {}

    /// Sends all of `frames` behind what waits, and leaves that empty.
    fn transmit(&mut self, frames: &mut Vec<Frame<Self::Buf>>) {
        self.give(frames);
        frames.clear();
        self.flush();
    }

    /// How many frames wait after a flush, as the device's own queue is full.
    fn waiting(&self) -> usize {
        0
    }

    /// The worker that sends for this one, where the device has too few queues for each to have its own. What is sent
    /// goes to it by a ring then, and [`give`](Self::give) is not called.
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
    /// Octets that the port read by reference to compute the checksum that was left to it, as the device cannot.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffer_use_in_thousandths() {
        assert_eq!(BufferUse { used: 3, size: 4 }.permille(), 750);
        assert_eq!(BufferUse { used: 3, size: 0 }.permille(), 0);
    }
}
