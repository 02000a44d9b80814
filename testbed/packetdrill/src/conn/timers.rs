//! What is due by the clock.

use super::{Conn, Stage};
use crate::errno::Errno;
use crate::stream::tcb_of;
use crate::tools::Tools;
use mptcp::Stream;
use mptcp::stream::Plain;
use stack::Instant;
use stack::time::{Duration, earlier};
use stack::wire::tcp::OptBytes;

/// How long a closed connection waits in FIN-WAIT-2 for the peer's end (`tcp_fin_timeout`).
const FIN_TIMEOUT: Duration = Duration::from_secs(60);

impl Conn {
    /// Runs what is due.
    pub(crate) fn advance(&mut self, tools: &mut Tools, now: Instant) {
        match &mut self.stage {
            Stage::Opening(opening, key) if is_due(opening.next_deadline(), now) => {
                if u32::from(opening.sends()) > self.options.syn_retries {
                    return self.fail(Errno::ETIMEDOUT);
                }
                opening.sent_again(now);
                let upper = tools.capable(*key, self.versions, &self.settings);
                let syn = opening.syn(now, upper);
                self.send(tools, &syn, None);
            },
            Stage::Accepting(accepting, capable) if is_due(accepting.next_deadline(), now) => {
                if u32::from(accepting.sends()) > self.settings.synack_retries {
                    return self.fail(Errno::ETIMEDOUT);
                }
                let upper = capable.map_or_else(OptBytes::new, |(_, upper)| upper);
                let answer = accepting.syn_ack(now, upper);
                self.send(tools, &answer, None);
            },
            Stage::Open(stream) => {
                stream.advance(&mut tools.cx(now));
                if is_due(self.override_timeout(), now) {
                    self.more = false;
                    self.push(true);
                }
                if is_due(self.user_timeout(), now) || is_due(self.fin_timeout(), now) {
                    self.fail(Errno::ETIMEDOUT);
                }
            },
            Stage::TimeWait(rest) if rest.deadline() <= now => self.stage = Stage::Over,
            _ => {},
        }
        for at in 0..self.joins.len() {
            let (open, tuple) = &mut self.joins[at];
            if is_due(open.next_deadline(), now) {
                open.sent_again(now);
                let (syn, tuple) = (open.syn(now), *tuple);
                self.send(tools, &syn, Some(tuple));
            }
        }
        for at in 0..self.joinings.len() {
            let (joining, tuple) = &mut self.joinings[at];
            if is_due(joining.next_deadline(), now) {
                let (answer, tuple) = (joining.syn_ack(now), *tuple);
                self.send(tools, &answer, Some(tuple));
            }
        }
    }

    /// RFC 9293 3.10.8: when the user has waited for an acknowledgment long enough.
    pub(super) fn user_timeout(&self) -> Option<Instant> {
        let Stage::Open(stream) = &self.stage else {
            return None;
        };
        let tcb = tcb_of(stream)?;
        let patience = self.options.user_timeout.filter(|_| stream.queued() > 0)?;
        Some(tcb.last_progress().max(self.last_data_out) + patience)
    }

    /// When a closed connection has waited for the peer's end long enough.
    pub(super) fn fin_timeout(&self) -> Option<Instant> {
        let Stage::Open(Stream::Plain(Plain { tcb, .. })) = &self.stage else {
            return None;
        };
        let waits = tcb.state() == stack::tcp::State::FinWait2;
        self.closed_at.filter(|_| waits).map(|at| at + FIN_TIMEOUT)
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let own = match &self.stage {
            Stage::Opening(opening, _) => opening.next_deadline(),
            Stage::Accepting(accepting, _) => accepting.next_deadline(),
            Stage::Open(stream) => {
                let timeouts = earlier(self.user_timeout(), self.fin_timeout());
                let timeouts = earlier(timeouts, self.override_timeout());
                earlier(stream.next_deadline(), timeouts)
            },
            Stage::TimeWait(rest) => Some(rest.deadline()),
            Stage::Over => None,
        };
        let joins = self
            .joins
            .iter()
            .filter_map(|(open, _)| open.next_deadline());
        let joinings = self
            .joinings
            .iter()
            .filter_map(|(joining, _)| joining.next_deadline());
        earlier(own, joins.chain(joinings).min())
    }
}

fn is_due(at: Option<Instant>, now: Instant) -> bool {
    at.is_some_and(|at| at <= now)
}
