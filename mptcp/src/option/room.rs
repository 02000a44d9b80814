//! What fits a TCP header beside its own options (RFC 8684 3: 40 octets for all).

use super::MpOption;
use stack::wire::tcp::{OPTIONS_MAX, OptBytes};

/// Octets of options in one TCP header.
pub const OPTION_SPACE: usize = OPTIONS_MAX;

/// Most octets of option 30 beside `sack_blocks` (0 to 4) SACK blocks and, if `timestamps`, the timestamps option.
///
/// Timestamps are never left out (RFC 7323 3.2). Where their usual padding to 12 octets is what does not fit, they go
/// unpadded: an ADD_ADDR with an IPv6 address, port and HMAC has 30 octets, and 10 + 30 = 40.
#[must_use]
pub const fn space(timestamps: bool, sack_blocks: usize) -> usize {
    let own = match (timestamps, sack_blocks) {
        (false, 0) => 0,
        (true, 0) => 10,
        (false, n) => 4 + 8 * n,
        (true, n) => 12 + 4 + 8 * n,
    };
    OPTION_SPACE.saturating_sub(own)
}

/// Collects options in order of priority, leaving out what does not fit.
#[derive(Clone, Debug)]
pub struct Packer {
    out: OptBytes,
    space: usize,
}

impl Packer {
    /// An empty packer for `space` octets; see [`space`].
    #[must_use]
    pub fn new(space: usize) -> Self {
        Self {
            out: OptBytes::new(),
            space: space.min(OPTION_SPACE),
        }
    }

    /// Octets left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.space - self.out.len()
    }

    /// Whether nothing was added yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Adds `option` if it fits, and says whether it did.
    pub fn push(&mut self, option: &MpOption) -> bool {
        option.encoded_len() <= self.left() && option.emit(&mut self.out).is_ok()
    }

    /// What was added.
    #[must_use]
    pub fn finish(self) -> OptBytes {
        self.out
    }
}
