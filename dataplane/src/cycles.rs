//! The processor's cycle counter: what the ledger is kept in.

/// Cycles of the processor's constant-rate counter since some start; where it has none that we know, nanoseconds.
#[cfg(target_arch = "x86_64")]
#[must_use]
#[expect(unsafe_code, reason = "the instruction has no safe wrapper")]
pub fn now() -> u64 {
    // SAFETY: RDTSC exists on every x86-64 processor, and no system that runs DPDK forbids it to programs. It touches no
    // memory.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Cycles of the processor's constant-rate counter since some start; where it has none that we know, nanoseconds.
#[cfg(not(target_arch = "x86_64"))]
#[must_use]
pub fn now() -> u64 {
    static START: std::sync::OnceLock<crate::Clock> = std::sync::OnceLock::new();
    START.get_or_init(crate::Clock::start).now().as_nanos()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_counter_runs() {
        let first = super::now();
        let last = (0..1_000_000).map(|_| super::now()).find(|&at| at > first);
        assert!(last.is_some(), "{first}");
    }
}
