//! The server's end of a connection: it reads a request, verifies it, and sends as much as was asked for.

use arrayvec::ArrayVec;
use mptcp::Stream;
use stack::{Instant, PacketBuf};

use crate::pattern::{Ask, HEADER, Pattern};
use crate::report::Stats;
use crate::stream::{WINDOW, has_room};

/// Octets arrived that should not have been there, or not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wrong;

/// What the server does on one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Serving {
    header: ArrayVec<u8, HEADER>,
    ask: Option<Ask>,
    /// Octets of the request that came.
    got: u64,
    /// Octets of the response that were queued.
    sent: u64,
    finished: bool,
}

impl Serving {
    /// Reads what came and answers what is complete.
    pub(crate) fn run<B: PacketBuf>(
        &mut self,
        now: Instant,
        stream: &mut Stream<B>,
        pattern: &Pattern<B>,
        stats: &mut Stats,
    ) -> Result<(), Wrong> {
        while let Some(piece) = stream.take() {
            self.read(piece.bytes(), pattern)?;
            stats.received += piece.len() as u64;
            self.respond(stream, pattern, stats);
        }
        stream.set_recv_room(WINDOW);
        self.respond(stream, pattern, stats);
        if stream.fin_received() && !self.finished && self.ask.is_none() {
            stream.accept_fin(now);
            stream.finish();
            self.finished = true;
        }
        Ok(())
    }

    fn read<B: PacketBuf>(&mut self, octets: &[u8], pattern: &Pattern<B>) -> Result<(), Wrong> {
        let (head, body) = match self.ask {
            Some(_) => (&[][..], octets),
            None => octets.split_at(octets.len().min(self.header.remaining_capacity())),
        };
        self.header.try_extend_from_slice(head).map_err(|_| Wrong)?;
        if self.ask.is_none()
            && let Ok(header) = self.header.clone().into_inner()
        {
            self.ask = Some(Ask::read(header).ok_or(Wrong)?);
            self.got = HEADER as u64;
        }
        if body.is_empty() {
            return Ok(());
        }
        let ask = self.ask.ok_or(Wrong)?;
        let end = self.got + body.len() as u64;
        if end > ask.request || !pattern.matches(ask.seed, self.got, body) {
            return Err(Wrong);
        }
        self.got = end;
        Ok(())
    }

    fn respond<B: PacketBuf>(
        &mut self,
        stream: &mut Stream<B>,
        pattern: &Pattern<B>,
        stats: &mut Stats,
    ) {
        let Some(ask) = self.ask.filter(|ask| self.got == ask.request) else {
            return;
        };
        if self.sent == 0 {
            stats.asked += 1;
        }
        while self.sent < ask.response && has_room(stream) {
            let piece = pattern.piece(ask.seed, self.sent, ask.response - self.sent, None);
            self.sent += piece.len() as u64;
            stream.send(piece);
        }
        if self.sent == ask.response {
            stats.answered += 1;
            *self = Self::default();
        }
    }
}
