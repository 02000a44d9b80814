//! Raw option octets as a value.

use super::OPTIONS_MAX;
use core::ops::{Deref, DerefMut};

/// Raw option octets, whole options one after another, opaque to this crate. They cross every layer with each segment, so
/// they are plain bytes that move in a few wide registers.
#[derive(Clone, Copy)]
pub struct OptBytes {
    len: u8,
    /// Zero beyond `len`.
    bytes: [u8; OPTIONS_MAX],
}

/// Octets do not fit what is left of the option space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no room for these options")]
pub struct OptionsFull;

impl OptBytes {
    /// No octets.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            len: 0,
            bytes: [0; OPTIONS_MAX],
        }
    }

    /// Octets that still fit.
    #[must_use]
    pub const fn remaining_capacity(&self) -> usize {
        OPTIONS_MAX - self.len as usize
    }

    /// Appends `octets`, all of them or, on failure, none.
    pub fn try_extend_from_slice(&mut self, octets: &[u8]) -> Result<(), OptionsFull> {
        let (start, end) = (self.len(), self.len() + octets.len());
        let room = self.bytes.get_mut(start..end).ok_or(OptionsFull)?;
        room.copy_from_slice(octets);
        self.len = u8::try_from(end).unwrap_or(0);
        Ok(())
    }

    /// Drops what follows the first `len` octets.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(u8::try_from(len).unwrap_or(u8::MAX));
        self.bytes[usize::from(self.len)..].fill(0);
    }

    /// Drops all octets.
    pub const fn clear(&mut self) {
        *self = Self::new();
    }

    /// The octets, and zeros behind them.
    pub(super) const fn with_zeros(&self) -> &[u8; OPTIONS_MAX] {
        &self.bytes
    }
}

impl Default for OptBytes {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> From<[u8; N]> for OptBytes {
    /// At most [`OPTIONS_MAX`] octets: more do not compile.
    fn from(octets: [u8; N]) -> Self {
        const { assert!(N <= OPTIONS_MAX, "more than a header has room for") };
        let mut out = Self::new();
        out.bytes[..N].copy_from_slice(&octets);
        out.len = u8::try_from(N).unwrap_or(0);
        out
    }
}

impl Deref for OptBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl DerefMut for OptBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..usize::from(self.len)]
    }
}

impl PartialEq for OptBytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for OptBytes {}

impl core::fmt::Debug for OptBytes {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        (**self).fmt(f)
    }
}

impl FromIterator<u8> for OptBytes {
    /// The octets of `iter`, as far as they fit.
    fn from_iter<I: IntoIterator<Item = u8>>(iter: I) -> Self {
        let mut out = Self::new();
        for (place, octet) in out.bytes.iter_mut().zip(iter) {
            *place = octet;
            out.len += 1;
        }
        out
    }
}
