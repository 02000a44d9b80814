//! A [`Lane`]: a queue of a device each way, and receiving from it.

use crate::long;
use crate::mbuf::{Mbuf, RawMbuf};
use crate::mempool::{Mempool, Stash};
use crate::transmit::Sender;
use core::ptr::NonNull;
use dataplane::{BURST, PortStats, Received};
use stack::Slice;
use stack::buf::append;
use std::sync::Arc;

/// A queue in each direction, and the pools that only its worker takes buffers from.
#[derive(Debug)]
pub(crate) struct Lane {
    /// The device's number; it is open as long as the lane is there.
    pub(crate) device: u16,
    pub(crate) queue: u16,
    pub(crate) sender: Sender,
    pub(crate) rx: Arc<Mempool>,
}

impl Lane {
    /// Appends what came to the queue, at most one burst, and counts it.
    pub(crate) fn receive(&mut self, into: &mut Vec<Received<Mbuf>>, counts: &mut PortStats) {
        let mut burst = [core::ptr::null_mut(); BURST];
        // SAFETY: a queue of the open port, used by this thread alone; the array has room for BURST pointers.
        let n = unsafe {
            let burst = burst.as_mut_ptr();
            dpdk_sys::braid_rx_burst(self.device, self.queue, burst, BURST as u16)
        };
        for mbuf in burst
            .into_iter()
            .take(usize::from(n))
            .filter_map(NonNull::new)
        {
            // SAFETY: the device hands over its reference.
            let mbuf = unsafe { RawMbuf::new(mbuf) };
            let checksum = mbuf.checksum();
            let mbuf = if mbuf.is_ours() {
                mbuf
            } else {
                let (len, before) = (mbuf.len(), into.len());
                let Err(chain) = long::cut(mbuf, checksum, into) else {
                    counts.rx_packets += (into.len() - before) as u64;
                    counts.rx_bytes += len as u64;
                    continue;
                };
                let Some(whole) = self.copied(&chain) else {
                    counts.rx_nobuf += 1;
                    continue;
                };
                counts.copied_at_port += len as u64;
                whole
            };
            counts.rx_packets += 1;
            counts.rx_bytes += mbuf.len() as u64;
            append(into, || Received {
                frame: Slice::new(Mbuf::new(mbuf)),
                checksum,
            });
        }
    }

    /// The frame of a chain in one segment that is nobody else's; `None` if no buffer is left. Other chains than those of long
    /// segments are rare, and only a device that hands back what was sent comes with a buffer that its sender still refers to.
    fn copied(&self, chain: &RawMbuf) -> Option<RawMbuf> {
        let mut whole = Stash::one(&self.rx)?;
        whole.append_chain(chain).then_some(whole)
    }
}
