//! A hint to the processor: the only unsafe code of this crate.

use std::collections::VecDeque;

/// Octets that the processor fetches at a time.
const LINE: usize = 64;

/// How many buffers before its turn one that is to be sent is fetched.
pub const AHEAD: usize = 8;

/// Has the processor fetch `value`, its first 64 lines at most, while other work goes on. Changes nothing else.
pub fn prefetch<T: ?Sized>(value: &T) {
    fetch(
        core::ptr::from_ref(value).cast(),
        size_of_val(value),
        64,
        For::Reading,
    );
}

/// Lines of a ring that are fetched: what a burst brings, or an acknowledgment takes.
const RING: usize = 8;

/// Has it fetch the first values of `ring`, or, if it is empty since [`VecDeque::clear`], where the next will be put: 8 lines at
/// most.
pub fn prefetch_ring<T>(ring: &VecDeque<T>) {
    let start = ring.as_slices().0.as_ptr().cast();
    fetch(start, ring.capacity() * size_of::<T>(), RING, For::Reading);
}

/// Has it fetch the `octets` from `start` on, whatever is there.
pub fn prefetch_to_read(start: *const u8, octets: usize) {
    fetch(start, octets, 64, For::Reading);
}

/// Has it fetch the `octets` from `start` on to be written, whatever is there: lines that another core has are taken from it.
pub fn prefetch_to_write(start: *const u8, octets: usize) {
    fetch(start, octets, 64, For::Writing);
}

/// What the processor is to expect of a line.
#[derive(Clone, Copy)]
enum For {
    Reading,
    Writing,
}

/// The lines of `octets` from `start` on, the first `lines` of them.
fn fetch(start: *const u8, octets: usize, lines: usize, what_for: For) {
    if octets == 0 {
        return;
    }
    // What lies across a line's end is in two.
    let within = start.addr() % LINE;
    let first = start.wrapping_sub(within);
    for at in (0..within + octets).step_by(LINE).take(lines) {
        fetch_line(first.wrapping_add(at), what_for);
    }
}

#[expect(
    unsafe_code,
    reason = "the intrinsic takes a raw pointer, and for writing there is none"
)]
#[cfg(target_arch = "x86_64")]
fn fetch_line(at: *const u8, what_for: For) {
    use core::arch::asm;
    use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch reads nothing and never faults, whatever the address is; a processor that does not know that for writing
    // does nothing.
    unsafe {
        match what_for {
            For::Reading => _mm_prefetch::<_MM_HINT_T0>(at.cast()),
            For::Writing => {
                asm!("prefetchw [{}]", in(reg) at, options(nostack, preserves_flags, readonly));
            },
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
const fn fetch_line(_: *const u8, _: For) {}
