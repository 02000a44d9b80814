//! Several queues of one device: how many there are, and how it spreads flows over them.
//!
//! Where the device hashes, it is given the symmetric key and the table that `stack::rss` computes with, so that nearly
//! every frame comes to the core that owns its flow. Where it does not, whoever sends to it chooses the queue, and the
//! worker there steers.

use core::net::IpAddr;
use dpdk_sys::{rte_eth_conf, rte_eth_dev_info, rte_eth_rss_reta_entry64};
use stack::rss;

/// Entries of the table in one of its pieces.
const PIECE: usize = 64;

/// How many queues, in each direction, `workers` workers have.
pub(crate) fn queues(about: &rte_eth_dev_info, workers: u16) -> u16 {
    let most = about.max_rx_queues.min(about.max_tx_queues);
    workers.min(most).max(1)
}

/// Whether the device spreads flows by a hash whose key we choose.
pub(crate) fn hashes(about: &rte_eth_dev_info) -> bool {
    about.flow_type_rss_offloads & dpdk_sys::BRAID_RSS_FLOWS != 0
        && usize::from(about.hash_key_size) <= rss::KEY.len()
}

/// Asks for that. `key` must live until the device is configured.
pub(crate) fn ask(wanted: &mut rte_eth_conf, about: &rte_eth_dev_info, key: &mut [u8; 52]) {
    *key = rss::KEY;
    wanted.rxmode.mq_mode = dpdk_sys::rte_eth_rx_mq_mode(dpdk_sys::BRAID_MQ_RX_RSS);
    let hash = &mut wanted.rx_adv_conf.rss_conf;
    hash.rss_key = key.as_mut_ptr();
    hash.rss_key_len = key_len(about);
    hash.rss_hf = about.flow_type_rss_offloads & dpdk_sys::BRAID_RSS_FLOWS;
}

/// Gives a started device that hashes our key, if it did not take it before, and our table; whether it has both then.
pub(crate) fn fill(id: u16, about: &rte_eth_dev_info, queues: u16) -> bool {
    let ours = |key: &[u8]| rss::KEY.starts_with(key);
    let mut pieces = table(about.reta_size, queues);
    let mut key = rss::KEY;
    let mut hash = dpdk_sys::rte_eth_rss_conf {
        rss_key: key.as_mut_ptr(),
        rss_key_len: key_len(about),
        rss_hf: about.flow_type_rss_offloads & dpdk_sys::BRAID_RSS_FLOWS,
    };
    if told(id, about).is_none_or(|(key, _)| !ours(&key)) {
        // SAFETY: the port exists; the key has as many octets as it says, and is copied.
        unsafe { dpdk_sys::rte_eth_dev_rss_hash_update(id, &raw mut hash) };
    }
    if !pieces.is_empty() {
        // SAFETY: the port exists; the pieces hold as many entries as the device has, and are copied.
        unsafe { dpdk_sys::rte_eth_dev_rss_reta_update(id, pieces.as_mut_ptr(), about.reta_size) };
    }
    told(id, about).is_some_and(|(key, table)| {
        let leads = |(n, queue): (u16, &u16)| *queue == rss::queue(n, queues);
        ours(&key) && (0..).zip(&table).all(leads)
    })
}

/// Octets of a key: most devices take 40; one that does not say takes those.
fn key_len(about: &rte_eth_dev_info) -> u8 {
    match about.hash_key_size {
        0 => 40,
        len => len,
    }
}

/// Has the device give what is sent to a port of an address to a queue; whether it says that it does.
pub(crate) fn steer(id: u16, (address, port): (IpAddr, u16), queue: u16) -> bool {
    let steer = |octets: &[u8]| {
        // SAFETY: the port exists and is started; the octets are read during the call alone.
        unsafe { dpdk_sys::braid_steer(id, octets.as_ptr(), octets.len(), port, queue) == 0 }
    };
    match address {
        IpAddr::V4(address) => steer(&address.octets()),
        IpAddr::V6(address) => steer(&address.octets()),
    }
}

/// The key and the table that the device uses.
pub(crate) fn told(id: u16, about: &rte_eth_dev_info) -> Option<(Vec<u8>, Vec<u16>)> {
    let mut key = vec![0; usize::from(key_len(about))];
    let mut hash = dpdk_sys::rte_eth_rss_conf {
        rss_key: key.as_mut_ptr(),
        rss_key_len: u8::try_from(key.len()).ok()?,
        ..dpdk_sys::rte_eth_rss_conf::default()
    };
    let mut pieces = table(about.reta_size, 1);
    // SAFETY: the port exists; the key has room for as many octets as it says.
    let mut failed = unsafe { dpdk_sys::rte_eth_dev_rss_hash_conf_get(id, &raw mut hash) } < 0;
    if !pieces.is_empty() {
        let into = pieces.as_mut_ptr();
        // SAFETY: the port exists; the pieces hold all entries.
        failed |= unsafe { dpdk_sys::rte_eth_dev_rss_reta_query(id, into, about.reta_size) } < 0;
    }
    let entries = pieces.iter().flat_map(|piece| piece.reta);
    let entries = entries.take(usize::from(about.reta_size)).collect();
    (!failed).then_some((key, entries))
}

/// Entry `n` leads where `stack::rss` says that a hash of `n` leads.
fn table(entries: u16, queues: u16) -> Vec<rte_eth_rss_reta_entry64> {
    let mut all = (0..entries).map(|n| rss::queue(n, queues));
    let pieces = usize::from(entries).div_ceil(PIECE);
    let piece = || {
        let mut piece = rte_eth_rss_reta_entry64::default();
        for (n, (to, from)) in piece.reta.iter_mut().zip(all.by_ref()).enumerate() {
            *to = from;
            piece.mask |= 1 << n;
        }
        piece
    };
    core::iter::repeat_with(piece).take(pieces).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_leads_where_the_hash_of_the_stack_does() {
        for (entries, queues) in [(64, 2), (128, 3), (512, 3)] {
            let pieces = table(entries, queues);
            assert_eq!(pieces.len(), usize::from(entries) / PIECE);
            for hash in 0..entries {
                let piece = &pieces[usize::from(hash) / PIECE];
                assert_eq!(
                    piece.reta[usize::from(hash) % PIECE],
                    rss::queue(hash, queues)
                );
                assert_eq!(piece.mask, u64::MAX);
            }
        }
        assert!(table(0, 2).is_empty());
    }

    #[test]
    fn there_are_as_many_queues_as_the_device_has_each_way() {
        let about = |rx, tx| rte_eth_dev_info {
            max_rx_queues: rx,
            max_tx_queues: tx,
            ..rte_eth_dev_info::default()
        };
        assert_eq!(queues(&about(8, 8), 2), 2);
        assert_eq!(queues(&about(1, 8), 2), 1);
        assert_eq!(queues(&about(8, 1), 4), 1);
        assert_eq!(queues(&about(3, 2), 4), 2);
    }
}
