//! How a device becomes the port of each worker: found, asked about itself, configured, started.

use crate::buffers::{data_room, pool};
use crate::configure;
use crate::device::Device;
use crate::failure::{Failure, check, failure};
use crate::lane::Lane;
use crate::mempool::Mempool;
use crate::spread;
use dataplane::PortInfo;
use dpdk_sys::rte_eth_dev_info;
use std::ffi::CString;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// Octets of tags that a port may ask room for.
const TAGS_MAX: u16 = 8;
/// How long opening waits for the link, and how often it looks.
const LINK_WAIT: (u32, Duration) = (100, Duration::from_millis(20));

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
    /// Receive buffers; see [`buffers_for`](crate::buffers_for). What the app holds back comes out of them, so far more than a burst.
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

/// A started device; stopped, closed and removed when dropped, before the pools that it receives into.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) id: u16,
    device: *mut dpdk_sys::rte_device,
    pub(crate) queues: u16,
    pub(crate) hashes: bool,
    /// One for each receive queue, which it outlives.
    pools: Vec<Arc<Mempool>>,
}

// SAFETY: DPDK allows a queue to be used from any thread, one at a time; each is a Lane's alone, which one thread owns. What
// else is asked of a started device (link, counters) only reads, and it is stopped once no lane is left.
unsafe impl Send for Started {}
// SAFETY: as above.
unsafe impl Sync for Started {}

impl Started {
    /// Whether the device says that its link is up.
    pub(crate) fn link_up(&self) -> bool {
        // SAFETY: the port is open as long as self lives.
        unsafe { dpdk_sys::braid_link_up(self.id) == 1 }
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

/// A device that is open, before its workers have it.
pub(crate) struct Opened {
    pub(crate) device: Arc<Started>,
    /// One for each of its queues.
    pub(crate) lanes: Vec<Lane>,
    pub(crate) info: PortInfo,
    pub(crate) takes_tags: bool,
}

/// Opens, starts and waits for the link of the device in `config`, with a queue each way for each of `workers` workers, which
/// are one at least, if it has so many.
pub(crate) fn open(config: &PortConfig, workers: u16) -> Result<Opened, OpenError> {
    let error = |(reason, advice): Failure| OpenError {
        port: config.name.clone(),
        device: config.device.clone(),
        reason,
        advice,
    };
    try_open(config, workers).map_err(error)
}

fn try_open(config: &PortConfig, workers: u16) -> Result<Opened, Failure> {
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
        configure::for_workers(id, config.mtu, &about, workers)?;
    let rx_room = data_room(config.mtu, device.least_buffer());
    let share = ((config.buffers + 1) / u32::from(started.queues)).max(1024) - 1;
    let pools = (0..started.queues).map(|_| pool(share, rx_room).map(Arc::new));
    started.pools = pools.collect::<Result<_, _>>()?;
    configure::set_up_queues(id, descriptors, &about, &started.pools)?;
    let takes_tags = configure::set_mtu(id, &device, config.mtu, widest)?;
    start(id)?;
    // One that hashes otherwise still has its queues: what comes to the wrong one is handed over.
    started.hashes = started.hashes && spread::fill(id, &about, started.queues);
    let info = PortInfo {
        name: config.name.clone(),
        device: config.device.clone(),
        mac: mac(id)?,
        mtu: config.mtu,
        sums: configure::sums(&about),
    };
    let started = Arc::new(started);
    let lane = |(queue, rx): (u16, &Arc<Mempool>)| {
        let sender = configure::sender(id, queue, config.mtu, descriptors.1, &about)?;
        let rx = Arc::clone(rx);
        Ok(Lane {
            device: id,
            queue,
            sender,
            rx,
        })
    };
    let lanes = (0..).zip(&started.pools).map(lane);
    let lanes = lanes.collect::<Result<Vec<_>, Failure>>()?;
    if !device.is_vhost() {
        started.wait_for_link();
    }
    Ok(Opened {
        device: started,
        lanes,
        info,
        takes_tags,
    })
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

pub(crate) fn about(id: u16) -> Result<rte_eth_dev_info, Failure> {
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
