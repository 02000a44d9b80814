//! [`DpdkPort`]: any device that DPDK drives, as a port of each worker, with a queue each way where it has enough.

use crate::device::Device;
use crate::eal::Eal;
use crate::interface;
use crate::long;
use crate::mbuf::{Mbuf, RawMbuf};
use crate::mempool::{HEADROOM, Mempool, OVERHEAD, Stash};
use crate::spread;
use crate::transmit::{Abilities, Sender, WAITING_MAX};
use core::ffi::c_int;
use core::net::IpAddr;
use core::ptr::NonNull;
use dataplane::{BURST, BufferUse, CoreId, Port, PortInfo, PortStats, Received};
use dpdk_sys::{rte_eth_conf, rte_eth_dev_info, rte_eth_stats};
use stack::buf::append;
use stack::{Frame, Slice};
use std::ffi::CString;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// Descriptors asked for in each direction; a device may round them.
const DESCRIPTORS: u16 = 1024;
/// Mbufs to build sent frames in, beyond those that a full transmit queue holds: for what waits for it.
const TX_SPARE: u32 = WAITING_MAX as u32;
/// Least data of a receive buffer: what drivers assume.
const LEAST_DATA: u32 = 2048;
/// Ethernet header, two VLAN tags, frame check sequence.
const FRAME_OVERHEAD: u32 = 14 + 8 + 4;
/// Octets of tags that a port may ask room for.
const TAGS_MAX: u16 = 8;
/// The longest chain of a train: enough for 64 KiB of packets of usual length.
const CHAIN_MAX: usize = 64;
/// Descriptors of frames that a driver for virtio keeps, although they are sent.
const IN_FLIGHT: u16 = 64;
/// How long opening waits for the link, and how often it looks.
const LINK_WAIT: (u32, Duration) = (100, Duration::from_millis(20));
/// The negative errno of "operation not supported".
const ENOTSUP: c_int = -95;

/// Which device to open and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// Its name in the configuration.
    pub name: String,
    /// A PCI address, or a virtual device such as `net_af_packet0,iface=h1`; see [`Device::parse`].
    pub device: String,
    /// Largest IP packet in octets, 68 to 9,600.
    pub mtu: u16,
    /// Octets of tags that such a packet may have before it: the device is asked to take them beside `mtu`. One tag, of 4
    /// octets, devices take anyway (IEEE 802.3 3.2.7, Q-tagged frames): 0 does for it.
    pub tags: u16,
    /// Receive buffers; see [`buffers_for`]. What the app holds back comes out of them, so far more than a burst.
    pub buffers: u32,
}

/// Why a port did not open, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("port {port} (device {device}) did not open: {reason}; {advice}")]
pub struct OpenError {
    /// The port's name.
    pub port: String,
    /// Its device, as configured.
    pub device: String,
    /// What failed.
    pub reason: String,
    /// What to do about it.
    pub advice: String,
}

/// Receive buffers per port when `ports` ports for packets of `mtu` octets, each with a queue for each of `workers`
/// workers, share `memory_mb` MiB. At least 1,023.
#[must_use]
pub fn buffers_for(memory_mb: u32, ports: u32, mtu: u16, workers: u16) -> u32 {
    let each = data_room(mtu, 0) + u32::from(HEADROOM) + OVERHEAD;
    // A fifth stays for EAL itself and what rounding to pages costs.
    let share = u64::from(memory_mb) * 1024 * 1024 * 4 / 5 / u64::from(ports.max(1));
    let sending = u64::from(tx_buffers(DESCRIPTORS)) * u64::from(2 * OVERHEAD + each);
    let sending = sending * u64::from(workers.max(1));
    let buffers = u32::try_from(share.saturating_sub(sending) / u64::from(each));
    // A pool's ring wastes least at one less than a power of two.
    let power = (buffers.unwrap_or(u32::MAX / 2) + 1).next_power_of_two();
    let below = if power == buffers.unwrap_or(0) + 1 {
        power
    } else {
        power / 2
    };
    (below - 1).max(1023)
}

fn data_room(mtu: u16, least: u32) -> u32 {
    (u32::from(mtu) + FRAME_OVERHEAD)
        .next_multiple_of(64)
        .max(LEAST_DATA)
        .max(least)
}

fn tx_buffers(descriptors: u16) -> u32 {
    u32::from(descriptors) + TX_SPARE
}

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

/// A queue in each direction, and the pools that only its worker takes buffers from.
#[derive(Debug)]
struct Lane {
    queue: u16,
    sender: Sender,
    rx: Arc<Mempool>,
}

/// A started device; stopped, closed and removed when dropped, before the pools that it receives into.
#[derive(Debug)]
struct Started {
    id: u16,
    device: *mut dpdk_sys::rte_device,
    queues: u16,
    hashes: bool,
    /// One for each receive queue, which it outlives.
    pools: Vec<Arc<Mempool>>,
}

// SAFETY: DPDK allows a queue to be used from any thread, one at a time; each is a Lane's alone, which one thread owns. What
// else is asked of a started device (link, counters) only reads, and it is stopped once no lane is left.
unsafe impl Send for Started {}
// SAFETY: as above.
unsafe impl Sync for Started {}

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
        let error = |(reason, advice): Failure| OpenError {
            port: config.name.clone(),
            device: config.device.clone(),
            reason,
            advice,
        };
        Self::try_open(config, workers.max(1)).map_err(error)
    }

    fn try_open(config: &PortConfig, workers: u16) -> Result<Vec<Self>, Failure> {
        if !(68..=9600).contains(&config.mtu) {
            return failure(
                format!("its mtu is {}", config.mtu),
                "write one from 68 to 9600",
            );
        }
        let widest = config.mtu + config.tags.min(TAGS_MAX);
        let device = Device::parse(&config.device, widest)
            .map_err(|error| (error.to_string(), "correct the device".to_owned()))?
            .for_workers(workers)
            .for_interface();
        check_interface(&device)?;
        let id = probe(&device)?;
        let about = about(id)?;
        let mut started = Started {
            id,
            device: about.device,
            queues: 1,
            hashes: false,
            pools: Vec::new(),
        };
        let descriptors;
        (started.queues, started.hashes, descriptors) =
            configure_best(id, config.mtu, &about, workers)?;
        let rx_room = data_room(config.mtu, device.least_buffer());
        let share = ((config.buffers + 1) / u32::from(started.queues)).max(1024) - 1;
        let pools = (0..started.queues).map(|_| pool(share, rx_room).map(Arc::new));
        started.pools = pools.collect::<Result<_, _>>()?;
        set_up_queues(id, descriptors, &about, &started.pools)?;
        let takes_tags = set_mtu(id, &device, config.mtu, widest)?;
        start(id)?;
        // One that hashes otherwise still has its queues: what comes to the wrong one is handed over.
        started.hashes = started.hashes && spread::fill(id, &about, started.queues);
        let info = PortInfo {
            name: config.name.clone(),
            device: config.device.clone(),
            mac: mac(id)?,
            mtu: config.mtu,
            sums: sums(&about),
        };
        let started = Arc::new(started);
        let lane = |(queue, rx): (u16, &Arc<Mempool>)| {
            let sender = sender(id, queue, config.mtu, descriptors.1, &about)?;
            let rx = Arc::clone(rx);
            Ok(Some(Lane { queue, sender, rx }))
        };
        let lanes = (0..).zip(&started.pools).map(lane);
        let lanes = lanes.collect::<Result<Vec<_>, Failure>>()?;
        let without = core::iter::repeat_with(|| None);
        let ports = (0..workers).zip(lanes.into_iter().chain(without));
        let ports: Vec<_> = ports
            .map(|(worker, lane)| Self {
                device: Arc::clone(&started),
                sent_by: lane.is_none().then(|| sender_of(worker, started.queues)),
                lane,
                info: info.clone(),
                counts: PortStats::default(),
                takes_tags,
            })
            .collect();
        if let Some(first) = ports.first().filter(|_| !device.is_vhost()) {
            first.wait_for_link();
        }
        Ok(ports)
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
        // SAFETY: the port is open as long as self lives.
        unsafe { dpdk_sys::braid_link_up(self.device.id) == 1 }
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
        let about = about(self.device.id).ok().filter(|_| self.device.hashes)?;
        spread::told(self.device.id, &about)
    }

    fn wait_for_link(&self) {
        let (times, pause) = LINK_WAIT;
        for _ in 0..times {
            if self.link_up() {
                return;
            }
            #[expect(
                clippy::disallowed_methods,
                reason = "opening a port: no worker runs yet"
            )]
            std::thread::sleep(pause);
        }
    }
}

impl Lane {
    /// The frame in one segment that is nobody else's. Other chains than those of long segments are rare, and only a device that hands
    /// back what was sent comes with a buffer that its sender still refers to.
    fn linear(&self, mbuf: RawMbuf) -> Option<(RawMbuf, usize)> {
        if mbuf.is_ours() {
            return Some((mbuf, 0));
        }
        let mut whole = Stash::one(&self.rx)?;
        whole.append_chain(&mbuf).then(|| (whole, mbuf.len()))
    }
}

impl Port for DpdkPort {
    type Buf = Mbuf;

    fn info(&self) -> &PortInfo {
        &self.info
    }

    fn receive(&mut self, into: &mut Vec<Received<Mbuf>>) {
        let Some(lane) = &self.lane else {
            return;
        };
        let mut burst = [core::ptr::null_mut(); BURST];
        // SAFETY: a queue of the open port, used by this thread alone; the array has room for BURST pointers.
        let n = unsafe {
            let burst = burst.as_mut_ptr();
            dpdk_sys::braid_rx_burst(self.device.id, lane.queue, burst, BURST as u16)
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
                match long::cut(mbuf, checksum, into) {
                    Ok(()) => {
                        self.counts.rx_packets += (into.len() - before) as u64;
                        self.counts.rx_bytes += len as u64;
                        continue;
                    },
                    Err(chain) => chain,
                }
            };
            let Some((mbuf, copied)) = lane.linear(mbuf) else {
                self.counts.rx_nobuf += 1;
                continue;
            };
            self.counts.rx_packets += 1;
            self.counts.rx_bytes += mbuf.len() as u64;
            self.counts.copied_at_port += copied as u64;
            append(into, || Received {
                frame: Slice::new(Mbuf::new(mbuf)),
                checksum,
            });
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

fn pool(size: u32, data: u32) -> Result<Mempool, Failure> {
    let data = u16::try_from(data).unwrap_or(u16::MAX - HEADROOM);
    Mempool::new(size, data, dpdk_sys::SOCKET_ID_ANY)
        .map_err(|error| (error.to_string(), "then start again".to_owned()))
}

fn sender(
    id: u16,
    queue: u16,
    mtu: u16,
    descriptors: u16,
    about: &rte_eth_dev_info,
) -> Result<Sender, Failure> {
    let frames = Stash::new(pool(tx_buffers(descriptors), data_room(mtu, 0))?);
    let chains = about.tx_offload_capa & dpdk_sys::BRAID_TX_OFFLOAD_MULTI_SEGS != 0;
    let links = if chains {
        Some(Stash::new(pool(2 * tx_buffers(descriptors), 0)?))
    } else {
        None
    };
    let longest = |named: u16| if named == 0 { usize::MAX } else { named.into() };
    let offers = |ability: u64| about.tx_offload_capa & ability != 0;
    let abilities = Abilities {
        max_segments: longest(about.tx_desc_lim.nb_mtu_seg_max),
        sums: sums(about),
        cuts: if cuts(about) {
            // The header is one of them.
            longest(about.tx_desc_lim.nb_seg_max).min(CHAIN_MAX) - 1
        } else {
            0
        },
        // DPDK's own library of cutting, on which net_tap stands, knows IPv4 alone, and passes on as they are what it does not know.
        cuts_ipv6: !is_of(about, &[b"net_tap"]),
        sums_ip: offers(dpdk_sys::BRAID_TX_OFFLOAD_IPV4_CKSUM),
    };
    Ok(Sender::new((id, queue), frames, links, abilities))
}

impl Drop for Started {
    fn drop(&mut self) {
        // SAFETY: the port is open and nothing uses it any more. What cannot be stopped or removed stays until the
        // process ends, together with the pools that it holds mbufs of.
        unsafe {
            dpdk_sys::rte_eth_dev_stop(self.id);
            dpdk_sys::rte_eth_dev_close(self.id);
            dpdk_sys::rte_dev_remove(self.device);
        }
    }
}

/// What failed, and what to do.
type Failure = (String, String);

fn failure<T>(reason: impl Into<String>, advice: impl Into<String>) -> Result<T, Failure> {
    Err((reason.into(), advice.into()))
}

/// Turns DPDK's return value into a failure.
fn check(what: &str, returned: c_int, advice: &str) -> Result<(), Failure> {
    if returned < 0 {
        return failure(format!("{what}: {}", crate::reason(returned)), advice);
    }
    Ok(())
}

/// A driver says little about an interface that is not there: look first.
fn check_interface(device: &Device) -> Result<(), Failure> {
    let Some(interface) = device.interface() else {
        return Ok(());
    };
    // Unlike /sys, /proc/thread-self shows the network namespace of this thread.
    let Ok(all) = std::fs::read_to_string("/proc/thread-self/net/dev") else {
        return Ok(());
    };
    let names = all
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name.trim());
    let names: Vec<&str> = names.collect();
    if names.contains(&interface) {
        return Ok(());
    }
    failure(
        format!("this network namespace has no interface {interface}"),
        format!("create it, or write one of: {}", names.join(", ")),
    )
}

/// Has EAL find the device, and returns DPDK's number of the port.
fn probe(device: &Device) -> Result<u16, Failure> {
    let name = c_string(device.name())?;
    if !device.is_pci() {
        if port_id(&name).is_some() {
            return failure(
                format!("the name {} is taken by another port", device.name()),
                "give each virtual device a number of its own",
            );
        }
        let args = c_string(device.args())?;
        // SAFETY: EAL runs; the string is NUL-terminated and copied.
        let returned = unsafe { dpdk_sys::rte_dev_probe(args.as_ptr()) };
        check(
            "its driver refused it",
            returned,
            "correct its arguments, run as root (or with CAP_NET_RAW and CAP_NET_ADMIN), and see what DPDK printed above",
        )?;
    }
    port_id(&name).ok_or_else(|| {
        (
            "DPDK has no port of that name".to_owned(),
            if device.is_pci() {
                "bind the device to vfio-pci (dpdk-devbind.py -b vfio-pci ADDRESS) and check the address".to_owned()
            } else {
                "correct the driver's name, and remove a stale socket file if its arguments name one".to_owned()
            },
        )
    })
}

fn c_string(text: &str) -> Result<CString, Failure> {
    CString::new(text).or_else(|_| failure("it holds a NUL octet", "correct the device"))
}

fn port_id(name: &CString) -> Option<u16> {
    let mut id = 0;
    // SAFETY: EAL runs; the name is NUL-terminated; the number is ours to fill.
    let found = unsafe { dpdk_sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &raw mut id) };
    (found == 0).then_some(id)
}

fn about(id: u16) -> Result<rte_eth_dev_info, Failure> {
    let mut about = rte_eth_dev_info::default();
    // SAFETY: a port of that number exists; the struct is ours to fill.
    let returned = unsafe { dpdk_sys::rte_eth_dev_info_get(id, &raw mut about) };
    check(
        "it tells nothing about itself",
        returned,
        "use another device",
    )?;
    Ok(about)
}

fn mac(id: u16) -> Result<[u8; 6], Failure> {
    let mut mac = dpdk_sys::rte_ether_addr::default();
    // SAFETY: as in `about`.
    let returned = unsafe { dpdk_sys::rte_eth_macaddr_get(id, &raw mut mac) };
    check("it has no Ethernet address", returned, "use another device")?;
    Ok(mac.addr_bytes)
}

/// Sets it up for as many workers as it can: with a hash that spreads flows, with queues that others choose, or with a
/// single one. Queues, whether it hashes, and descriptors as [`configure`] says.
fn configure_best(
    id: u16,
    mtu: u16,
    about: &rte_eth_dev_info,
    workers: u16,
) -> Result<(u16, bool, (u16, u16)), Failure> {
    let queues = spread::queues(about, workers);
    let hashes = queues > 1 && spread::hashes(about);
    let mut ways = vec![(queues, hashes), (queues, false), (1, false)];
    ways.dedup();
    let last = ways.len() - 1;
    for (n, (queues, hashes)) in ways.into_iter().enumerate() {
        match configure(id, mtu, about, (queues, hashes)) {
            Err(_) if n < last => {},
            set => return set.map(|descriptors| (queues, hashes, descriptors)),
        }
    }
    failure("it has no way to be set up", "use another device")
}

/// Sets queues, offloads and numbers of descriptors; returns those of receive and transmit.
fn configure(
    id: u16,
    mtu: u16,
    about: &rte_eth_dev_info,
    (queues, hashes): (u16, bool),
) -> Result<(u16, u16), Failure> {
    let mut wanted = rte_eth_conf::default();
    let mut key = [0; 52];
    if hashes {
        spread::ask(&mut wanted, about, &mut key);
    }
    wanted.rxmode.mtu = u32::from(mtu);
    wanted.rxmode.offloads = about.rx_offload_capa & dpdk_sys::BRAID_RX_OFFLOAD_CKSUM;
    wanted.txmode.offloads = about.tx_offload_capa & dpdk_sys::BRAID_TX_OFFLOAD_MULTI_SEGS;
    if sums(about) {
        wanted.txmode.offloads |= dpdk_sys::BRAID_TX_OFFLOAD_TCP_CKSUM;
    }
    if cuts(about) {
        let sums = about.tx_offload_capa & dpdk_sys::BRAID_TX_OFFLOAD_IPV4_CKSUM;
        wanted.txmode.offloads |= CUTTING | sums;
    }
    // SAFETY: the port exists and is stopped; the struct is copied, and so is the key that it points to.
    let returned =
        unsafe { dpdk_sys::rte_eth_dev_configure(id, queues, queues, &raw const wanted) };
    let advice = format!(
        "check that the device takes packets of {mtu} octets (its longest frame is {})",
        about.max_rx_pktlen
    );
    check("its settings were refused", returned, &advice)?;
    let (mut rx, mut tx) = (DESCRIPTORS, DESCRIPTORS);
    // SAFETY: as above; both numbers are ours to change.
    let returned =
        unsafe { dpdk_sys::rte_eth_dev_adjust_nb_rx_tx_desc(id, &raw mut rx, &raw mut tx) };
    check(
        "its queue lengths were refused",
        returned,
        "use another device",
    )?;
    Ok((rx, tx))
}

/// What a device must do to be given trains of segments.
const CUTTING: u64 = dpdk_sys::BRAID_TX_OFFLOAD_MULTI_SEGS
    | dpdk_sys::BRAID_TX_OFFLOAD_TCP_CKSUM
    | dpdk_sys::BRAID_TX_OFFLOAD_TCP_TSO;

/// Whether the device cuts trains into segments.
fn cuts(about: &rte_eth_dev_info) -> bool {
    about.tx_offload_capa & CUTTING == CUTTING && about.tx_desc_lim.nb_seg_max != 1
}

/// Whether TCP checksums are left to the device: to one that hands frames to a neighbor in the same memory, who then takes them as
/// intact, without reading them. A network card would compute what is known already.
fn sums(about: &rte_eth_dev_info) -> bool {
    let shares: [&[u8]; 3] = [b"net_virtio", b"virtio_user", b"net_vhost"];
    about.tx_offload_capa & dpdk_sys::BRAID_TX_OFFLOAD_TCP_CKSUM != 0 && is_of(about, &shares)
}

/// Whether its driver's name begins with one of `names`.
fn is_of(about: &rte_eth_dev_info, names: &[&[u8]]) -> bool {
    if about.driver_name.is_null() {
        return false;
    }
    // SAFETY: the driver's name is a NUL-terminated string that lives as long as the driver.
    let name = unsafe { core::ffi::CStr::from_ptr(about.driver_name) };
    names.iter().any(|known| name.to_bytes().starts_with(known))
}

fn set_up_queues(
    id: u16,
    (rx, tx): (u16, u16),
    about: &rte_eth_dev_info,
    pools: &[Arc<Mempool>],
) -> Result<(), Failure> {
    let mut sending = about.default_txconf;
    if is_of(about, &[b"net_virtio", b"virtio_user"]) {
        // By default nearly all descriptors are used before what was sent is given back. What comes back early is still in the cache.
        sending.tx_free_thresh = tx.saturating_sub(IN_FLIGHT);
    }
    let any = dpdk_sys::SOCKET_ID_ANY.cast_unsigned();
    for (queue, pool) in (0..).zip(pools) {
        // SAFETY: the port is configured with a queue each way for each pool, and stopped; no configuration, or none but for a threshold,
        // asks for the defaults, which include the offloads of the port; the pool outlives the queue, as `Started` keeps it.
        unsafe {
            let (none, pool) = (core::ptr::null(), pool.as_ptr());
            let made = dpdk_sys::rte_eth_rx_queue_setup(id, queue, rx, any, none, pool);
            check(
                "its receive queue was refused",
                made,
                "give the port more buffers, or a device string with smaller frames",
            )?;
            let made = dpdk_sys::rte_eth_tx_queue_setup(id, queue, tx, any, &raw const sending);
            check("its transmit queue was refused", made, "use another device")?;
        }
    }
    Ok(())
}

/// Has the device take packets of `mtu` octets, and of `widest` with their tags; whether it takes these too.
fn set_mtu(id: u16, device: &Device, mtu: u16, widest: u16) -> Result<bool, Failure> {
    // SAFETY: the port exists and is stopped.
    let set = |mtu| unsafe { dpdk_sys::rte_eth_dev_set_mtu(id, mtu) };
    let returned = set(mtu);
    if returned != ENOTSUP {
        check("its mtu was refused", returned, "write a smaller mtu")?;
    }
    if widest == mtu {
        return Ok(true);
    }
    // The driver takes its own idea of the longest frame for the kernel's, whatever the interface's MTU is.
    if let Some(interface) = device.af_packet_interface() {
        return Ok(interface::set_mtu(interface, widest).is_ok());
    }
    Ok(matches!(set(widest), 0 | ENOTSUP))
}

fn start(id: u16) -> Result<(), Failure> {
    // SAFETY: the port and its queues are set up.
    unsafe {
        check(
            "it did not start",
            dpdk_sys::rte_eth_dev_start(id),
            "see what DPDK printed above",
        )?;
        // Neighbor discovery comes by multicast (RFC 4861 7.2.1). Devices that filter nothing refuse; what they do anyway.
        dpdk_sys::rte_eth_allmulticast_enable(id);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_fill_the_memory_that_there_is_and_not_more() {
        for (memory_mb, ports, mtu) in [
            (256, 3, 1500),
            (256, 2, 1500),
            (1024, 3, 1500),
            (1024, 3, 9000),
            (4096, 8, 1500),
        ] {
            let buffers = buffers_for(memory_mb, ports, mtu, 1);
            let each = u64::from(data_room(mtu, 0) + u32::from(HEADROOM) + OVERHEAD);
            let total =
                u64::from(ports) * (u64::from(buffers) + u64::from(tx_buffers(DESCRIPTORS))) * each;
            assert!(
                total < u64::from(memory_mb) << 20,
                "{memory_mb} {ports} {mtu}: {total}"
            );
            assert!((buffers + 1).is_power_of_two(), "{buffers}");
            assert!(buffers >= 4095, "{memory_mb} {ports} {mtu}: {buffers}");
        }
        assert_eq!(buffers_for(0, 0, 1500, 1), 1023);
    }
}
