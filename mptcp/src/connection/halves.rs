//! Data sequence numbers by their lower halves, which is shorter: as long as these cannot come round within a segment's life
//! (RFC 8684 3.3.1), and to a peer whose own numbers need no whole answer (3.3.2).

use crate::DataSeq;
use crate::dsn;
use crate::types::WireSeq;
use stack::Instant;
use stack::time::Duration;

/// Most octets in an epoch: three of those, which hold any two minutes (the MSL of RFC 9293 3.4.2), are less than 4 GiB.
const EPOCH: Duration = Duration::from_secs(60);
const OCTETS_MAX: usize = 1 << 30;

/// Which numbers of a connection may be halved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Halves {
    /// When this epoch began, and the next number to be sent then.
    since: Instant,
    from: DataSeq,
    whole: Whole,
}

/// Which may not. Never fewer again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whole {
    /// Those of data: more than may be was sent in an epoch.
    data: bool,
    /// DATA_ACKs: the peer's data came with a whole number, and so is it acknowledged.
    acks: bool,
}

impl Whole {
    /// From the start, with or without checksums. These are over the whole number (3.3.1): what a receiver has to guess of
    /// it would be found wrong as damage.
    pub(super) const fn under(checksum: bool) -> Self {
        Self {
            data: checksum,
            acks: checksum,
        }
    }
}

impl Halves {
    /// From `now` on, when `nxt` is the next number to be sent.
    pub(super) const fn new(now: Instant, nxt: DataSeq, whole: Whole) -> Self {
        Self {
            since: now,
            from: nxt,
            whole,
        }
    }

    /// What of it has to be kept while nothing moves, `nxt` being the next number to be sent. The epoch is not: who sent a
    /// good part of what it may hold is taken for fast, as another begins once it goes on.
    pub(super) fn rest(&self, nxt: DataSeq) -> Whole {
        let much = dsn::octets(nxt, self.from) > OCTETS_MAX / 8;
        Whole {
            data: self.whole.data || much,
            ..self.whole
        }
    }

    /// The number `dsn` of data to be sent now, where `nxt` is the next that no subflow has carried.
    pub(super) fn of_data(&mut self, now: Instant, nxt: DataSeq, dsn: DataSeq) -> WireSeq {
        let over = now.since(self.since) >= EPOCH;
        self.whole.data |= !over && dsn::octets(nxt, self.from) > OCTETS_MAX;
        if over {
            (self.since, self.from) = (now, nxt);
        }
        if self.whole.data {
            dsn.full()
        } else {
            dsn.low()
        }
    }

    /// The DATA_ACK `ack` beside data.
    pub(super) const fn of_ack(&self, ack: DataSeq) -> WireSeq {
        if self.whole.acks {
            ack.full()
        } else {
            ack.low()
        }
    }

    /// Takes in the number that data of the peer's came with.
    pub(super) const fn on_data(&mut self, dsn: WireSeq) {
        self.whole.acks |= matches!(dsn, WireSeq::Full(_));
    }

    /// Whether a DATA_ACK has to be whole.
    pub(super) const fn whole_acks(&self) -> bool {
        self.whole.acks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1_000)
    }

    fn is_half(halves: &mut Halves, now: Instant, octets: u64) -> bool {
        let dsn = DataSeq(5) + octets;
        matches!(halves.of_data(now, dsn, dsn), WireSeq::Low(_))
    }

    #[test]
    fn m13_whole_numbers_once_halves_could_come_round_within_a_segments_life() {
        let mut slow = Halves::new(at(1), DataSeq(5), Whole::under(false));
        for minute in 0..100 {
            assert!(is_half(&mut slow, at(1 + minute * 60), minute * GIB));
            assert!(is_half(&mut slow, at(60 + minute * 60), (minute + 1) * GIB));
        }
        let mut fast = Halves::new(at(1), DataSeq(5), Whole::under(false));
        assert!(is_half(&mut fast, at(60), GIB));
        assert!(!is_half(&mut fast, at(60), GIB + 1));
        assert!(!is_half(&mut fast, at(6_000), GIB + 2), "and from then on");
    }

    /// At rest for ten seconds at least, so no more than twelve times in two minutes.
    #[test]
    fn m13_rest_makes_no_fast_connection_slow() {
        let halves = Halves::new(at(1), DataSeq(5), Whole::under(false));
        let after = |octets: u64| {
            let nxt = DataSeq(5) + octets;
            let mut woken = Halves::new(at(40), nxt, halves.rest(nxt));
            matches!(woken.of_data(at(40), nxt, nxt), WireSeq::Low(_))
        };
        assert!(after(GIB / 8));
        assert!(!after(GIB / 8 + 1));
    }

    #[test]
    fn m15_a_whole_number_is_acknowledged_by_a_whole_one() {
        let mut halves = Halves::new(at(1), DataSeq(5), Whole::under(false));
        let ack = DataSeq(0x1_0000_0007);
        assert_eq!(halves.of_ack(ack), WireSeq::Low(7));
        halves.on_data(WireSeq::Low(7));
        assert_eq!(halves.of_ack(ack), WireSeq::Low(7));
        halves.on_data(WireSeq::Full(7));
        halves.on_data(WireSeq::Low(7));
        assert_eq!(halves.of_ack(ack), ack.full());
    }
}
