//! A hint to the processor: the only unsafe code of this crate.

/// Octets that the processor fetches at a time.
const LINE: usize = 64;

/// Has the processor fetch `value`, its first 64 lines at most, while other work goes on. Changes nothing else.
pub fn prefetch<T: ?Sized>(value: &T) {
    let start = core::ptr::from_ref(value).cast::<u8>();
    for offset in (0..size_of_val(value).min(64 * LINE)).step_by(LINE) {
        fetch_line(start.wrapping_add(offset));
    }
}

#[expect(unsafe_code, reason = "the intrinsic takes a raw pointer")]
#[cfg(target_arch = "x86_64")]
fn fetch_line(at: *const u8) {
    use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch reads nothing and never faults, whatever the address is.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
}

#[cfg(not(target_arch = "x86_64"))]
const fn fetch_line(_: *const u8) {}
