//! What the benches share: relays in memory, driven frame by frame so that only the box itself is metered.
#![forbid(unsafe_code)]

pub mod clock;
pub mod cores;
pub mod idle;
pub mod relays;
pub mod rig;
pub mod rows;
pub mod workers;

#[cfg(test)]
mod tests {
    use super::idle::{Held, held};
    use super::relays::{Direction, Flows, Relays, SEGMENT};
    use stack::buf::RxChecksum;
    use stack::time::Duration;

    const BURST: usize = 8;

    #[test]
    fn every_segment_is_relayed_by_reference_and_read_once() {
        let mut relays = Relays::new(3);
        for direction in [Direction::Download, Direction::Upload] {
            for _ in 0..1000 {
                let round = relays.round(direction, BURST, |work| work());
                assert_eq!(round.segments, BURST as u64);
                assert_eq!((round.copied, round.reread), (0, 0));
            }
        }
    }

    /// What the box holds for `count` relays that have been idle for a minute, in octets.
    fn held_for(count: u32) -> i64 {
        let (_, idle) = held(count, Duration::from_secs(60), |work| {
            let taken = allocation_counter::measure(work);
            Held {
                octets: taken.bytes_current,
                blocks: taken.count_current,
            }
        });
        idle.octets
    }

    #[test]
    fn an_idle_relay_with_two_subflows_takes_three_quarters_of_a_kibibyte() {
        let each = (held_for(4_000) - held_for(1_000)) / 3_000;
        println!("{each} octets each");
        assert!(each <= 768, "{each} octets each");
    }

    #[test]
    fn payload_is_read_once_at_most_and_not_at_all_where_the_port_has_verified_it() {
        for flows in [Flows::Multipath, Flows::Summed, Flows::Plain] {
            // What comes without a checksum is read for that of a mapping alone.
            let mapped = u64::from(flows == Flows::Summed);
            let said = [
                (RxChecksum::Good, 0),
                (RxChecksum::Unknown, 1),
                (RxChecksum::Partial, mapped),
            ];
            for (checksum, reads) in said {
                let mut relays = Relays::of(flows, 1, checksum);
                for direction in [Direction::Download, Direction::Upload] {
                    for _ in 0..100 {
                        relays.round(direction, BURST, |work| work());
                    }
                }
                let core = &relays.runtime().cores[0];
                assert!(core.explained_permille >= 900, "{core:?}");
                let payload = &core.payload;
                assert_eq!(payload.relayed, (200 * BURST * SEGMENT) as u64);
                let touched = (payload.copied_in_stack, payload.summed);
                assert_eq!(
                    touched,
                    (0, reads * payload.relayed),
                    "{flows:?}, {checksum:?}"
                );
            }
        }
    }

    #[test]
    fn nothing_is_allocated_for_a_relayed_segment() {
        let one = allocation_counter::measure(|| drop(std::hint::black_box(vec![1])));
        assert_eq!(one.count_total, 1, "allocations are counted at all");
        let mut relays = Relays::new(3);
        for direction in [Direction::Download, Direction::Upload] {
            // Queues grow to what a burst takes, windows to what a buffer holds, and the wheel to the entries of the last
            // 200 ms, which is how far ahead a retransmission timer is set: rounds are 20 us apart.
            for _ in 0..20_000 {
                relays.round(direction, BURST, |work| work());
            }
            let mut allocations = 0;
            for _ in 0..1000 {
                relays.round(direction, BURST, |work| {
                    allocations += allocation_counter::measure(work).count_total;
                });
            }
            assert_eq!(allocations, 0, "{direction:?}");
        }
    }
}
