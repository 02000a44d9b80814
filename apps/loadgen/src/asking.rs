//! What one client does on its connection.

use mptcp::Stream;
use stack::{Instant, PacketBuf};

use crate::config::Client;
use crate::pattern::{Pattern, SEEDS};
use crate::report::Stats;
use crate::server::Wrong;
use crate::stream::{WINDOW, has_room};

/// What a client's connection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// A request is under way, or will be once the connection is there.
    Asking,
    /// It waits for the next request.
    Idle,
    /// All its requests are done, and it stays open.
    Held,
    /// It closes.
    Closing,
}

/// What one client does on its connection.
#[derive(Clone, Debug)]
pub(crate) struct Asking {
    pub(crate) turn: Turn,
    /// When the request was due.
    pub(crate) due: Instant,
    /// When it was begun: later, if no connection was free.
    pub(crate) begun: Instant,
    seed: u32,
    sent: u64,
    got: u64,
    done: u32,
}

impl Asking {
    /// A client whose first request is due at `due`, or that waits for one; `number` tells it from its neighbors.
    pub(crate) fn new(due: Option<Instant>, now: Instant, number: u32) -> Self {
        Self {
            turn: due.map_or(Turn::Idle, |_| Turn::Asking),
            due: due.unwrap_or(now),
            begun: now,
            seed: number % SEEDS,
            sent: 0,
            got: 0,
            done: 0,
        }
    }

    /// Begins the next request.
    pub(crate) fn ask(&mut self, due: Instant, now: Instant) {
        self.turn = Turn::Asking;
        self.due = due;
        self.begun = now;
        self.seed = (self.seed + 1) % SEEDS;
        self.sent = 0;
        self.got = 0;
    }

    /// Reads what came and sends what there is room for; whether the request is done with that. `group` is the number of the
    /// client's group, and `plan` what that does.
    pub(crate) fn run<B: PacketBuf>(
        &mut self,
        now: Instant,
        (group, plan): (usize, &Client),
        stream: &mut Stream<B>,
        pattern: &Pattern<B>,
        stats: &mut Stats,
    ) -> Result<bool, Wrong> {
        while let Some(piece) = stream.take() {
            let end = self.got + piece.len() as u64;
            let asked = self.turn == Turn::Asking && end <= plan.response;
            if !asked || !pattern.matches(self.seed, self.got, piece.bytes()) {
                return Err(Wrong);
            }
            stats.received += piece.len() as u64;
            self.got = end;
        }
        stream.set_recv_room(WINDOW);
        if stream.fin_received() {
            // The server closes after us, and never before.
            if self.turn != Turn::Closing {
                return Err(Wrong);
            }
            stream.accept_fin(now);
        }
        if self.turn != Turn::Asking {
            return Ok(false);
        }
        if self.sent == 0 {
            stats.asked += 1;
        }
        while self.sent < plan.request && has_room(stream) {
            let piece = pattern.piece(self.seed, self.sent, plan.request - self.sent, Some(group));
            self.sent += piece.len() as u64;
            stream.send(piece);
        }
        Ok(self.sent == plan.request && self.got == plan.response)
    }

    /// Notes that the request is done, and what follows from it.
    pub(crate) fn done(&mut self, plan: &Client) {
        self.done += 1;
        self.turn = match plan.requests {
            requests if requests == 0 || self.done < requests => Turn::Idle,
            _ if plan.hold => Turn::Held,
            _ => Turn::Closing,
        };
    }
}
