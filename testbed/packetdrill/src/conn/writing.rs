//! What the application writes, on its way to the stream: Nagle's rule, corks, and what is asked about it.

use super::{Conn, Stage};
use crate::ip;
use crate::stream::{self, tcb_of};
use mptcp::Stream;
use mptcp::connection::SubflowId;
use mptcp::stream::Plain;
use stack::Instant;
use stack::tcp::Tcb;
use stack::time::Duration;

/// Whoever answers so soon after it has heard something is taken for interactive, and its ACKs wait for company.
const PINGPONG: Duration = Duration::from_millis(40);

/// How long a short segment waits for company at most (RFC 9293 3.8.6.2.1).
const OVERRIDE: Duration = Duration::from_millis(200);

impl Conn {
    /// Queues octets to be sent.
    pub(crate) fn write(&mut self, now: Instant, octets: &[u8]) {
        if self.data_segments[0] > 0 && now.since(self.last_data_in) < PINGPONG {
            self.quickacks = 0;
        }
        if self.tail.is_empty() {
            self.tail_since = now;
        }
        self.tail.extend_from_slice(octets);
        self.push(false);
    }

    /// Hands what was written to the stream: whole segments, and a last shorter one unless it waits for company, or `all`.
    pub(crate) fn push(&mut self, all: bool) {
        let corked = self.options.cork || self.more;
        let Stage::Open(stream) = &mut self.stage else {
            return;
        };
        let mut pieces = core::mem::take(&mut self.tail);
        while !pieces.is_empty() {
            let piece = stream::piece(stream);
            if pieces.len() < piece && !all && !self.finished {
                // RFC 9293 3.7.4: a short segment waits while anything is unacknowledged.
                let busy = !self.options.nodelay && stream.queued() > 0;
                if matches!(stream, Stream::Plain { .. }) && (busy || corked) {
                    break;
                }
            }
            let rest = pieces.split_off(piece.min(pieces.len()));
            let last = rest.is_empty();
            stream::send(stream, ip::slice(pieces), last && !self.more);
            pieces = rest;
        }
        self.tail = pieces;
    }

    /// RFC 9293 3.8.6.2.1: when a short segment has waited long enough.
    pub(super) fn override_timeout(&self) -> Option<Instant> {
        let open = matches!(self.stage, Stage::Open(_));
        (open && !self.tail.is_empty()).then(|| self.tail_since + OVERRIDE)
    }

    /// Ends our direction.
    pub(crate) fn finish(&mut self) {
        if self.finished {
            return;
        }
        self.finished = true;
        self.more = false;
        self.push(true);
        if let Stage::Open(stream) = &mut self.stage {
            stream.finish();
        }
    }

    /// Octets that wait for the peer's acknowledgment, or to be sent at all.
    pub(crate) fn queued(&self) -> usize {
        match &self.stage {
            Stage::Open(stream) => stream.queued() + self.tail.len(),
            _ => self.tail.len(),
        }
    }

    /// Octets of them that were never sent.
    pub(crate) fn unsent(&self) -> usize {
        let tcb = match &self.stage {
            Stage::Open(stream) => tcb_of(stream),
            _ => None,
        };
        tcb.map_or(0, Tcb::unsent) + self.tail.len()
    }

    /// Probes a silent peer from now on, if `wakes`.
    pub(crate) fn set_keepalive(&mut self, now: Instant, wakes: bool) {
        let period = self.options.keepidle;
        match &mut self.stage {
            Stage::Open(Stream::Plain(Plain { tcb, .. })) if wakes => {
                tcb.set_keepalive(now, period);
            },
            Stage::Open(Stream::Multipath(connection)) if wakes => {
                connection.keep_alive(now, SubflowId::INITIAL, period);
            },
            _ => {},
        }
    }

    /// Octets of payload in a full segment, once that is agreed.
    pub(crate) fn mss(&self) -> Option<usize> {
        match &self.stage {
            Stage::Open(stream) => tcb_of(stream).map(|tcb| tcb.max_payload(0)),
            _ => None,
        }
    }
}
