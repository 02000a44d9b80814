//! Pools of mbufs.

use crate::mbuf::RawMbuf;
use core::ffi::c_uint;
use core::ptr::NonNull;
use dataplane::BufferUse;
use dpdk_sys::rte_mempool;
use std::ffi::CString;
use std::sync::atomic::{AtomicU32, Ordering};
use thiserror::Error;

/// Mbufs that a core keeps to itself between turns of the pool's ring.
const CACHE: u32 = 256;

/// Octets before the data of every mbuf: room for the headers of a frame whose payload is sent from where it lies.
pub(crate) const HEADROOM: u16 = dpdk_sys::RTE_PKTMBUF_HEADROOM as u16;

/// Octets of one mbuf beside its data: the struct and the pool's own header.
pub(crate) const OVERHEAD: u32 = 128 + 64;

/// Why there is no pool.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "no memory for {buffers} packet buffers of {octets} octets ({reason}): give the worker more memory_mb, or the port fewer buffers"
)]
pub struct PoolError {
    buffers: u32,
    octets: u16,
    reason: String,
}

/// A pool that belongs to one queue.
#[derive(Debug)]
pub(crate) struct Mempool {
    raw: NonNull<rte_mempool>,
    size: u32,
}

// SAFETY: a pool is a multi-producer, multi-consumer ring with caches per EAL core; any thread may use it.
unsafe impl Send for Mempool {}
// SAFETY: as above; what is asked of it through a shared reference only counts, or takes a buffer out of the ring.
unsafe impl Sync for Mempool {}

impl Mempool {
    /// A pool of `size` mbufs with room for `data` octets each after the headroom, near to NUMA node `socket`.
    pub(crate) fn new(size: u32, data: u16, socket: i32) -> Result<Self, PoolError> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("braid{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let name = CString::new(name).unwrap_or_default();
        let cache = if size >= 4 * CACHE { CACHE } else { 0 };
        let room = data.saturating_add(HEADROOM);
        // SAFETY: EAL runs, as only a port that holds an Eal makes pools; the name is copied.
        let raw = unsafe { dpdk_sys::braid_pool_create(name.as_ptr(), size, cache, room, socket) };
        let raw = NonNull::new(raw).ok_or_else(|| PoolError {
            buffers: size,
            octets: room,
            reason: crate::last_reason(),
        })?;
        Ok(Self { raw, size })
    }

    pub(crate) const fn as_ptr(&self) -> *mut rte_mempool {
        self.raw.as_ptr()
    }

    /// Cheap enough for every turn: those in the cores' caches count as used.
    pub(crate) fn usage(&self) -> BufferUse {
        // SAFETY: the pool lives as long as self.
        let free = unsafe { dpdk_sys::braid_pool_count(self.as_ptr()) };
        BufferUse {
            used: self.size.saturating_sub(free),
            size: self.size,
        }
    }

    /// Mbufs that are not in the pool, counted exactly; slow.
    pub(crate) fn missing(&self) -> u32 {
        // SAFETY: as in `usage`.
        self.size
            .saturating_sub(unsafe { dpdk_sys::rte_mempool_avail_count(self.as_ptr()) })
    }
}

impl Drop for Mempool {
    /// Gives the memory back if every mbuf is home. Otherwise somebody still reads one: the memory stays until the
    /// process ends.
    fn drop(&mut self) {
        if self.missing() == 0 {
            // SAFETY: all mbufs are in the pool, so nothing points into it; raw came from braid_pool_create.
            unsafe { dpdk_sys::rte_mempool_free(self.as_ptr()) };
        }
    }
}

/// Fresh mbufs of a pool, taken in bulk and handed out one by one.
#[derive(Debug)]
pub(crate) struct Stash {
    // Before the pool, as fields drop in order: the mbufs must be home when the pool asks.
    mbufs: Vec<RawMbuf>,
    pool: Mempool,
}

/// Mbufs taken at once.
const BULK: usize = 32;

impl Stash {
    pub(crate) fn new(pool: Mempool) -> Self {
        Self {
            mbufs: Vec::with_capacity(BULK),
            pool,
        }
    }

    /// A fresh mbuf: direct, one segment, no data; `None` if the pool is empty.
    pub(crate) fn take(&mut self) -> Option<RawMbuf> {
        if self.mbufs.is_empty() {
            self.refill(BULK).or_else(|| self.refill(1))?;
        }
        self.mbufs.pop()
    }

    fn refill(&mut self, n: usize) -> Option<()> {
        let mut raw = [core::ptr::null_mut(); BULK];
        let count = c_uint::try_from(n).ok()?;
        // SAFETY: the pool lives; `raw` has room for BULK >= n pointers.
        if unsafe { dpdk_sys::braid_alloc_bulk(self.pool.as_ptr(), raw.as_mut_ptr(), count) } != 0 {
            return None;
        }
        let fresh = raw.iter().take(n).filter_map(|&mbuf| NonNull::new(mbuf));
        // SAFETY: the pool gave these to us alone, reset.
        self.mbufs
            .extend(fresh.map(|mbuf| unsafe { RawMbuf::new(mbuf) }));
        Some(())
    }

    /// One fresh mbuf of a pool that has no stash.
    pub(crate) fn one(pool: &Mempool) -> Option<RawMbuf> {
        let mut raw = core::ptr::null_mut();
        // SAFETY: the pool lives; there is room for one pointer; what the pool gives is ours alone, reset.
        unsafe {
            let failed = dpdk_sys::braid_alloc_bulk(pool.as_ptr(), &raw mut raw, 1);
            NonNull::new(raw)
                .filter(|_| failed == 0)
                .map(|mbuf| RawMbuf::new(mbuf))
        }
    }

    /// Mbufs of the pool that are neither in it nor here.
    pub(crate) fn missing(&self) -> u32 {
        let here = u32::try_from(self.mbufs.len()).unwrap_or(0);
        self.pool.missing().saturating_sub(here)
    }
}
