//! What the benches share: relays in memory, driven frame by frame so that only the box itself is timed.
#![forbid(unsafe_code)]

pub mod download;

#[cfg(test)]
mod tests {
    use super::download::Downloads;
    use stack::time::Duration;

    #[test]
    fn every_segment_is_relayed_by_reference() {
        let mut downloads = Downloads::new(3);
        for _ in 0..1000 {
            let round = downloads.round(8, || Duration::ZERO);
            assert_eq!(round.segments, 8);
            assert_eq!(round.copied, 0);
        }
    }
}
