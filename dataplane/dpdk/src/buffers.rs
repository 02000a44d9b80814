//! How many buffers a port has, and how large they are.

use crate::failure::Failure;
use crate::mempool::{HEADROOM, Mempool, OVERHEAD};
use crate::transmit::WAITING_MAX;

/// Descriptors asked for in each direction; a device may round them.
pub(crate) const DESCRIPTORS: u16 = 1024;
/// Mbufs to build sent frames in, beyond those that a full transmit queue holds: for what waits for it.
const TX_SPARE: u32 = WAITING_MAX as u32;
/// Least data of a receive buffer: what drivers assume.
const LEAST_DATA: u32 = 2048;
/// Ethernet header, two VLAN tags, frame check sequence.
const FRAME_OVERHEAD: u32 = 14 + 8 + 4;

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

/// Octets of data in a buffer for packets of `mtu` octets, at least `least`.
pub(crate) fn data_room(mtu: u16, least: u32) -> u32 {
    (u32::from(mtu) + FRAME_OVERHEAD)
        .next_multiple_of(64)
        .max(LEAST_DATA)
        .max(least)
}

/// Mbufs to build sent frames in, for a queue of so many descriptors.
pub(crate) fn tx_buffers(descriptors: u16) -> u32 {
    u32::from(descriptors) + TX_SPARE
}

/// A pool of `size` buffers, each with room for `data` octets.
pub(crate) fn pool(size: u32, data: u32) -> Result<Mempool, Failure> {
    let data = u16::try_from(data).unwrap_or(u16::MAX - HEADROOM);
    Mempool::new(size, data, dpdk_sys::SOCKET_ID_ANY)
        .map_err(|error| (error.to_string(), "then start again".to_owned()))
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
