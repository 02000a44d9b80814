//! Where loss recovery stands, and how much it lets go (RFC 6582, RFC 6675, RFC 9937).

use crate::seq::SeqNum;

/// Whether a loss is being repaired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tcp) enum Mode {
    /// No loss is known.
    Open,
    /// Fast recovery, until `Recovery::point` is acknowledged.
    Recovery,
    /// After a retransmission timeout: slow start over what was lost, until `Recovery::point` is acknowledged.
    Loss,
}

/// The state of loss recovery.
#[derive(Clone, Debug)]
pub(in crate::tcp) struct Recovery {
    pub(in crate::tcp) mode: Mode,
    /// "recover" of RFC 6582, RecoveryPoint of RFC 6675: SND.NXT when the loss was noticed.
    pub(in crate::tcp) point: SeqNum,
    /// Without SACK: duplicate ACKs in a row (RFC 5681 2).
    pub(in crate::tcp) dup_acks: u32,
    /// Without SACK: octets that duplicate ACKs say have left the network.
    pub(in crate::tcp) assumed: u32,
    /// After a timeout the oldest segment goes, whatever else may still travel (RFC 6298 5.4).
    pub(in crate::tcp) oldest_due: bool,
    prr: Prr,
}

impl Recovery {
    pub(in crate::tcp) fn new(point: SeqNum) -> Self {
        Self {
            mode: Mode::Open,
            point,
            dup_acks: 0,
            assumed: 0,
            oldest_due: false,
            prr: Prr::default(),
        }
    }

    /// Enters fast recovery with `flight` octets up to `point` that were outstanding before the ACK that showed the loss, and
    /// of which nobody had reported the arrival (RFC 9937 6.2: what was reported before is not delivered again in recovery).
    pub(in crate::tcp) fn enter(&mut self, point: SeqNum, flight: u32) {
        self.mode = Mode::Recovery;
        self.point = point;
        self.prr = Prr {
            delivered: 0,
            out: 0,
            flight,
        };
    }

    /// Enters the state after a timeout.
    pub(in crate::tcp) fn enter_loss(&mut self, point: SeqNum) {
        self.mode = Mode::Loss;
        self.point = point;
        self.dup_acks = 0;
        self.assumed = 0;
        self.oldest_due = true;
    }

    /// The window after an ACK in fast recovery. `safe` if the ACK advanced SND.UNA and brought no news of loss.
    pub(in crate::tcp) fn window(&mut self, ack: &PrrAck) -> u32 {
        self.prr.window(ack)
    }

    /// Notes `len` octets sent in fast recovery.
    pub(in crate::tcp) fn on_sent(&mut self, len: u32) {
        if self.mode == Mode::Recovery {
            self.prr.out = self.prr.out.saturating_add(len);
        }
    }
}

/// What an ACK in fast recovery brought.
pub(in crate::tcp) struct PrrAck {
    pub(in crate::tcp) delivered: u32,
    pub(in crate::tcp) pipe: u32,
    pub(in crate::tcp) ssthresh: u32,
    pub(in crate::tcp) smss: u32,
    pub(in crate::tcp) safe: bool,
    /// Whether one segment goes in any case: without SACK, the one that a partial ACK asks for (RFC 6582 3.2 step 3).
    pub(in crate::tcp) force: bool,
}

/// Proportional rate reduction (RFC 9937 6.2): what leaves is proportional to what arrives, so that repairing a burst loss
/// does not burst into the queue that has just overflowed.
#[derive(Clone, Debug, Default)]
struct Prr {
    /// `prr_delivered`.
    delivered: u32,
    /// `prr_out`.
    out: u32,
    /// `RecoverFS`.
    flight: u32,
}

impl Prr {
    fn window(&mut self, ack: &PrrAck) -> u32 {
        self.delivered = self.delivered.saturating_add(ack.delivered);
        let sent_too_little = self.delivered.saturating_sub(self.out);
        let may_send = if ack.pipe > ack.ssthresh {
            let share = u64::from(self.delivered) * u64::from(ack.ssthresh);
            let share = share.div_ceil(u64::from(self.flight.max(1)));
            u32::try_from(share)
                .unwrap_or(u32::MAX)
                .saturating_sub(self.out)
        } else {
            // PRR-CRB, the bound of conservation: what this ACK delivered may go in any case. PRR-SSRB while all goes well.
            let more = if ack.safe { ack.smss } else { 0 };
            let limit = sent_too_little.max(ack.delivered).saturating_add(more);
            limit.min(ack.ssthresh - ack.pipe)
        };
        // The first retransmission always goes.
        let least = if self.out == 0 || ack.force {
            ack.smss
        } else {
            0
        };
        ack.pipe.saturating_add(may_send.max(least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t8_prr_sends_half_of_what_arrives_while_above_ssthresh() {
        let mut recovery = Recovery::new(SeqNum(0));
        recovery.enter(SeqNum(20_000), 20_000);
        let mut sent = 0;
        let mut pipe = 20_000;
        for _ in 0..10 {
            pipe -= 1000;
            let ack = PrrAck {
                delivered: 1000,
                pipe,
                ssthresh: 10_000,
                smss: 1000,
                safe: false,
                force: false,
            };
            let room = recovery.window(&ack) - pipe;
            if room >= 1000 {
                recovery.on_sent(1000);
                sent += 1000;
                pipe += 1000;
            }
        }
        assert_eq!(sent, 5_000);
    }

    #[test]
    fn t8_prr_conserves_below_ssthresh_and_grows_when_safe() {
        let mut recovery = Recovery::new(SeqNum(0));
        recovery.enter(SeqNum(20_000), 20_000);
        recovery.on_sent(1000);
        let ack = |delivered, safe| PrrAck {
            delivered,
            pipe: 2_000,
            ssthresh: 10_000,
            smss: 1000,
            safe,
            force: false,
        };
        assert_eq!(recovery.window(&ack(3000, false)), 5_000);
        recovery.on_sent(3000);
        // More went than was delivered, and still what this ACK delivered goes; one segment more only if all goes well.
        recovery.on_sent(1000);
        assert_eq!(recovery.window(&ack(1000, false)), 3_000);
        assert_eq!(recovery.window(&ack(1000, true)), 4_000);
        // And nothing for an ACK that delivered nothing.
        assert_eq!(recovery.window(&ack(0, false)), 2_000);
    }
}
