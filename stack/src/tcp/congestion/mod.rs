//! Congestion control: how much may be in flight. An enum behind a trait, matched, never boxed.
