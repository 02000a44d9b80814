//! What a device is asked for before it starts: queues, offloads, descriptors, the longest packet.

use crate::buffers::{DESCRIPTORS, data_room, pool, tx_buffers};
use crate::device::Device;
use crate::failure::{Failure, check, failure};
use crate::interface;
use crate::mempool::{Mempool, Stash};
use crate::spread;
use crate::transmit::{Abilities, Sender};
use core::ffi::c_int;
use dpdk_sys::{rte_eth_conf, rte_eth_dev_info};
use std::sync::Arc;

/// The longest chain of a train: enough for 64 KiB of packets of usual length.
const CHAIN_MAX: usize = 64;
/// Descriptors of frames that a driver for virtio keeps, although they are sent.
const IN_FLIGHT: u16 = 64;
/// The negative errno of "operation not supported".
const ENOTSUP: c_int = -95;

/// Sets a device up for as many workers as it can: with a hash that spreads flows, with queues that others choose, or with a
/// single one. Queues, whether it hashes, and descriptors as [`configure`] says.
pub(crate) fn for_workers(
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
pub(crate) fn sums(about: &rte_eth_dev_info) -> bool {
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

pub(crate) fn set_up_queues(
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
pub(crate) fn set_mtu(id: u16, device: &Device, mtu: u16, widest: u16) -> Result<bool, Failure> {
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

/// Who sends by queue `queue` of a device that takes `descriptors` frames.
pub(crate) fn sender(
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
