//! [`DpdkPort`]: any device that DPDK drives, as a port of each worker, with a queue each way where it has enough.

use crate::eal::Eal;
use crate::lane::Lane;
use crate::mbuf::Mbuf;
use crate::mempool::Stash;
use crate::open::{self, OpenError, PortConfig, Started};
use crate::spread;
use core::net::IpAddr;
use dataplane::{BufferUse, CoreId, Port, PortInfo, PortStats, Received};
use dpdk_sys::rte_eth_stats;
use stack::Frame;
use std::sync::Arc;

/// A device as one worker has it. Closed when all workers have dropped theirs; its frames may outlive it.
#[derive(Debug)]
pub struct DpdkPort {
    // Before the pools, as fields drop in order: what the device holds must be home when they ask.
    device: Arc<Started>,
    /// None if the device has fewer queues than there are workers.
    lane: Option<Lane>,
    /// Whose queue sends for this worker then.
    sent_by: Option<CoreId>,
    info: PortInfo,
    counts: PortStats,
    takes_tags: bool,
}

impl DpdkPort {
    /// Opens, starts and waits up to two seconds for the link of the device in `config`. A link that stays down is no error:
    /// see [`link_up`](Self::link_up).
    ///
    /// # Errors
    /// [`OpenError`]: which port, why, and what to do.
    pub fn open(eal: Eal, config: &PortConfig) -> Result<Self, OpenError> {
        Self::open_for(eal, config, 1).map(|mut ports| ports.remove(0))
    }

    /// The same for `workers` workers, at least one: the port of each, in their order. Each has a queue of its own each way
    /// if the device has so many; else the first ones have, and send for the others.
    ///
    /// # Errors
    /// [`OpenError`]: which port, why, and what to do.
    pub fn open_for(_: Eal, config: &PortConfig, workers: u16) -> Result<Vec<Self>, OpenError> {
        let workers = workers.max(1);
        let opened = open::open(config, workers)?;
        let queues = opened.device.queues;
        let without = core::iter::repeat_with(|| None);
        let lanes = opened.lanes.into_iter().map(Some).chain(without);
        let port = |(worker, lane): (u16, Option<Lane>)| Self {
            device: Arc::clone(&opened.device),
            sent_by: lane.is_none().then(|| sender_of(worker, queues)),
            lane,
            info: opened.info.clone(),
            counts: PortStats::default(),
            takes_tags: opened.takes_tags,
        };
        Ok((0..workers).zip(lanes).map(port).collect())
    }

    /// Queues that the device has each way: at most one for each worker.
    #[must_use]
    pub fn queues(&self) -> u16 {
        self.device.queues
    }

    /// Whether the device spreads flows over them by a hash that is the same for both directions of a flow.
    #[must_use]
    pub fn hashes(&self) -> bool {
        self.device.hashes
    }

    /// Whether the device says that its link is up.
    #[must_use]
    pub fn link_up(&self) -> bool {
        self.device.link_up()
    }

    /// Whether the device takes the tags that it was asked to take beside the MTU. If not, it drops packets that the MTU
    /// allows when they are tagged.
    #[must_use]
    pub const fn takes_tags(&self) -> bool {
        self.takes_tags
    }

    /// Whether the device sends a frame from several buffers. If not, the port copies the payload of what it cannot send
    /// from where it lies, and counts it as `copied_at_port`.
    #[must_use]
    pub fn sends_chains(&self) -> bool {
        let lane = self.lane.as_ref();
        lane.is_none_or(|lane| lane.sender.sends_chains())
    }

    /// Mbufs that are not home, of the receive and of the transmit pools: held by the app or by the device. Slow.
    #[must_use]
    pub fn missing_buffers(&self) -> (u32, u32) {
        let lane = self.lane.as_ref();
        lane.map_or((0, 0), |lane| (lane.rx.missing(), lane.sender.missing()))
    }

    /// A buffer out of those that the port receives into, with `octets` in it: for payload of our own. `None` if no buffer is
    /// left, or if they do not fit.
    #[must_use]
    pub fn filled(&self, octets: &[u8]) -> Option<Mbuf> {
        let lane = self.lane.as_ref()?;
        let mut raw = Stash::one(&lane.rx)?;
        raw.append([octets]).then(|| Mbuf::new(raw))
    }

    /// Has the device give what TCP sends to a port of an address to this worker's queue, until it is closed (rte_flow);
    /// whether it says that it does. If not, another worker hands it over.
    pub fn attract(&mut self, to: (IpAddr, u16)) -> bool {
        let lane = self.lane.as_ref();
        lane.is_some_and(|lane| spread::steer(self.device.id, to, lane.queue))
    }

    /// The key and the table by which the device spreads flows over its queues, as it tells them; `None` if it does not.
    #[must_use]
    pub fn spread(&self) -> Option<(Vec<u8>, Vec<u16>)> {
        let about = open::about(self.device.id)
            .ok()
            .filter(|_| self.device.hashes)?;
        spread::told(self.device.id, &about)
    }
}

impl Port for DpdkPort {
    type Buf = Mbuf;

    fn info(&self) -> &PortInfo {
        &self.info
    }

    fn receive(&mut self, into: &mut Vec<Received<Mbuf>>) {
        if let Some(lane) = &mut self.lane {
            lane.receive(into, &mut self.counts);
        }
    }

    fn give(&mut self, frames: &mut [Frame<Mbuf>]) {
        match &mut self.lane {
            Some(lane) => lane.sender.give(frames, &mut self.counts),
            None => self.counts.tx_dropped += frames.len() as u64,
        }
    }

    fn flush(&mut self) {
        if let Some(lane) = &mut self.lane {
            lane.sender.flush(&mut self.counts);
        }
    }

    fn waiting(&self) -> usize {
        self.lane.as_ref().map_or(0, |lane| lane.sender.waiting())
    }

    fn sent_by(&self) -> Option<CoreId> {
        self.sent_by
    }

    fn stats(&self) -> PortStats {
        if self.lane.as_ref().is_none_or(|lane| lane.queue != 0) {
            // What the device itself counts is told once, by the first worker.
            return self.counts;
        }
        let mut device = rte_eth_stats::default();
        // SAFETY: the port is open; the struct is ours to fill. If it fails, the zeros stay.
        unsafe { dpdk_sys::rte_eth_stats_get(self.device.id, &raw mut device) };
        PortStats {
            rx_missed: device.imissed,
            rx_nobuf: self.counts.rx_nobuf + device.rx_nombuf,
            tx_dropped: self.counts.tx_dropped + device.oerrors,
            ..self.counts
        }
    }

    fn buffers(&self) -> BufferUse {
        let lane = self.lane.as_ref();
        lane.map_or_else(BufferUse::default, |lane| lane.rx.usage())
    }
}

/// Which worker sends for one that has no queue.
fn sender_of(worker: u16, queues: u16) -> CoreId {
    CoreId(u8::try_from(worker % queues.max(1)).unwrap_or(0))
}
