//! One connection: its handshake, its stream, and what the application has of it.

mod handshake;
mod joins;
mod timers;
mod writing;

pub(crate) use handshake::answer_capable;

use crate::alike::Alike;
use crate::errno::Errno;
use crate::ip;
use crate::options::Options;
use crate::settings::{Flags, Settings};
use crate::stream::{input, request_ack};
use crate::tools::Tools;
use dataplane::MemBuf;
use mptcp::connection::SubflowId;
use mptcp::handshake::capable::Answered;
use mptcp::join::OpenJoin;
use mptcp::stream::{Fate, Stream};
use mptcp::time_wait::TimeWait;
use mptcp::{Joining, Key, Versions};
use stack::tcp::handshake::{Accepting, Opening};
use stack::wire::tcp::{Flags as Bits, OptBytes, OutSegment, Segment};
use stack::{Instant, Tuple};
use std::collections::VecDeque;

/// Segments that are acknowledged at once at the beginning, as Linux does.
const QUICKACKS: u8 = 16;

/// How far a connection is.
#[expect(
    clippy::large_enum_variant,
    reason = "there are a few of them in a script"
)]
pub(crate) enum Stage {
    /// Our SYN is out, with the key that we offer Multipath TCP with, if we do.
    Opening(Opening, Option<Key>),
    /// Our SYN+ACK is out, with what its MP_CAPABLE says, if it has one.
    Accepting(Accepting, Option<(Answered, OptBytes)>),
    Open(Stream<MemBuf>),
    /// Both ends have closed.
    TimeWait(TimeWait),
    /// Nothing is left of it but what the application has not read.
    Over,
}

/// A connection.
pub(crate) struct Conn {
    /// Of the segments that we send on the first subflow.
    pub(crate) tuple: Tuple,
    pub(crate) stage: Stage,
    pub(crate) options: Options,
    pub(crate) settings: Settings,
    versions: Versions,
    alike: Alike,
    /// The descriptor of the listening socket that it came to, until it is accepted.
    pub(crate) listener: Option<i32>,
    /// Whether a descriptor refers to it, or one may.
    pub(crate) owned: bool,
    /// Octets in order that were not read.
    pub(crate) inbox: VecDeque<u8>,
    /// Octets that were written and wait for company (RFC 9293 3.7.4).
    tail: Vec<u8>,
    /// Octets that may be offered so far.
    grown: u32,
    /// When the first of them was written.
    tail_since: Instant,
    /// MSG_MORE: more is about to be written.
    pub(crate) more: bool,
    /// The peer's direction has ended, and so has ours.
    pub(crate) eof: bool,
    pub(crate) shut_rd: bool,
    pub(crate) shut_wr: bool,
    finished: bool,
    /// What the next call is told, once.
    pub(crate) error: Option<Errno>,
    /// Further subflows under way.
    joins: Vec<(OpenJoin, Tuple)>,
    joinings: Vec<(Joining, Tuple)>,
    quickacks: u8,
    closed_at: Option<Instant>,
    /// When data last arrived, an ACK did, data was sent.
    pub(crate) last_data_in: Instant,
    pub(crate) last_ack_in: Instant,
    pub(crate) last_data_out: Instant,
    pub(crate) segments: [u32; 2],
    pub(crate) data_segments: [u32; 2],
    /// What both ends agreed on, as `tcpi_options` has it.
    pub(crate) agreed: u8,
}

impl Conn {
    pub(crate) fn new(
        now: Instant,
        tuple: Tuple,
        stage: Stage,
        options: Options,
        settings: Settings,
        flags: &Flags,
    ) -> Self {
        Self {
            tuple,
            stage,
            quickacks: if options.quickack && flags.linux {
                QUICKACKS
            } else {
                0
            },
            options,
            settings,
            versions: flags.version,
            alike: Alike::new(flags.linux),
            listener: None,
            owned: true,
            inbox: VecDeque::new(),
            tail: Vec::new(),
            grown: u16::MAX.into(),
            tail_since: now,
            more: false,
            eof: false,
            shut_rd: false,
            shut_wr: false,
            finished: false,
            error: None,
            joins: Vec::new(),
            joinings: Vec::new(),
            closed_at: None,
            last_data_in: now,
            last_ack_in: now,
            last_data_out: now,
            segments: [0; 2],
            data_segments: [0; 2],
            agreed: 0,
        }
    }

    /// The subflow that segments of `tuple` as received belong to: `None` inside for one that is being joined.
    pub(crate) fn subflow_of(&self, tuple: &Tuple) -> Option<Option<SubflowId>> {
        let ours = tuple.reversed();
        if self.joins.iter().any(|(_, tuple)| *tuple == ours)
            || self.joinings.iter().any(|(_, tuple)| *tuple == ours)
        {
            return Some(None);
        }
        if let Stage::Open(Stream::Multipath(connection)) = &self.stage {
            let mut subflows = connection.subflows();
            let known = subflows.find(|subflow| subflow.tuple() == *tuple);
            return known.map(|subflow| Some(subflow.id()));
        }
        (self.tuple == ours).then_some(Some(SubflowId::INITIAL))
    }

    /// Takes a segment of subflow `id`.
    pub(crate) fn input(
        &mut self,
        tools: &mut Tools,
        now: Instant,
        id: SubflowId,
        segment: &Segment<MemBuf>,
    ) {
        let stamped = self.alike.received(segment, self.agreed & 1 != 0);
        let segment = stamped.as_ref().unwrap_or(segment);
        self.segments[0] += 1;
        if !segment.payload.is_empty() {
            self.data_segments[0] += 1;
            self.last_data_in = now;
        }
        if segment.flags.has(Bits::ACK) {
            self.last_ack_in = now;
        }
        match &mut self.stage {
            Stage::Opening(..) => self.input_opening(tools, now, segment),
            Stage::Accepting(..) => self.input_accepting(tools, now, segment),
            Stage::Open(stream) => {
                let taken = input(stream, &mut tools.cx(now), id, segment);
                if taken && !self.owned && !segment.payload.is_empty() {
                    // RFC 9293 3.6.1: nobody is there to read it.
                    if let Some(reset) = stack::tcp::reset_for(segment) {
                        self.send(tools, &reset, None);
                    }
                    self.stage = Stage::Over;
                } else if taken && self.quickacks > 0 {
                    self.quickacks -= 1;
                    request_ack(stream);
                }
            },
            Stage::TimeWait(rest) => {
                if let Some(answer) = rest.input(&mut tools.cx(now).stack(), segment) {
                    self.send(tools, &answer, None);
                }
            },
            Stage::Over => {
                if let Some(reset) = stack::tcp::reset_for(segment) {
                    self.send(tools, &reset, None);
                }
            },
        }
    }

    /// The last descriptor is gone (RFC 9293 3.10.4, RFC 2525 2.17).
    pub(crate) fn close(&mut self, tools: &mut Tools, now: Instant) {
        self.owned = false;
        let unread = !self.inbox.is_empty();
        match &self.stage {
            Stage::Open(_) if unread || self.options.linger == Some(0) => self.abort(tools, now),
            Stage::Open(_) => {
                self.shut_wr = true;
                self.closed_at = Some(now);
                self.finish();
            },
            Stage::Opening(..) => self.stage = Stage::Over,
            Stage::Accepting(..) => self.abort(tools, now),
            Stage::TimeWait(_) | Stage::Over => {},
        }
    }

    pub(crate) fn abort(&mut self, tools: &mut Tools, now: Instant) {
        let reset = match &mut self.stage {
            Stage::Open(stream) => {
                stream.abort(&mut tools.cx(now));
                None
            },
            Stage::Accepting(accepting, _) => {
                let mut reset = accepting.syn_ack(now, OptBytes::new());
                reset.seq += 1;
                reset.flags = Bits::RST.with(Bits::ACK);
                reset.options = Default::default();
                Some(reset)
            },
            _ => None,
        };
        if let Some(reset) = reset {
            self.send(tools, &reset, None);
        }
        self.flush(tools, now);
        self.stage = Stage::Over;
    }

    fn fail(&mut self, error: Errno) {
        self.error = Some(error);
        self.stage = Stage::Over;
    }

    /// Takes what has arrived, sends what may leave, and looks whether it is over.
    pub(crate) fn turn(&mut self, tools: &mut Tools, now: Instant) {
        let Stage::Open(stream) = &mut self.stage else {
            return;
        };
        while let Some(piece) = stream.take() {
            let len = u32::try_from(piece.len()).unwrap_or(0);
            self.grown = self.grown.saturating_add(len);
            self.inbox.extend(ip::octets(&piece));
        }
        if stream.fin_received() {
            stream.accept_fin(now);
            self.eof = true;
        }
        // What is offered grows with what arrives, as a relay's does, so that no window update follows the handshake.
        let room = self.grown.min(self.options.rcvbuf);
        let held = u32::try_from(self.inbox.len()).unwrap_or(u32::MAX);
        let room = room.saturating_sub(held);
        stream.set_recv_room(room);
        if !self.owned && !self.inbox.is_empty() {
            // RFC 9293 3.6.1: nobody is there to read it.
            self.inbox.clear();
            return self.abort(tools, now);
        }
        self.push(false);
        self.events(tools, now);
        self.flush(tools, now);
        self.settle(now);
    }

    /// Sends all that there is to send.
    fn flush(&mut self, tools: &mut Tools, now: Instant) {
        let mut burst = Vec::new();
        while let Stage::Open(stream) = &mut self.stage
            && let Some(output) = stream.output(&mut tools.cx(now))
        {
            burst.push((output.segment, output.tuple));
        }
        self.alike.push(&mut burst);
        for (segment, tuple) in burst {
            if segment.payload.is_some() {
                self.last_data_out = now;
                self.data_segments[1] += 1;
            }
            self.send(tools, &segment, Some(tuple));
        }
    }

    fn settle(&mut self, now: Instant) {
        let Stage::Open(stream) = &self.stage else {
            return;
        };
        match stream.fate() {
            None => {},
            Some(Fate::Clean) => {
                let rest = stream.time_waits(now).next();
                self.stage = rest.map_or(Stage::Over, |(_, rest)| Stage::TimeWait(rest));
            },
            Some(Fate::Reset | Fate::Aborted) => {
                let error = if self.eof {
                    Errno::EPIPE
                } else {
                    Errno::ECONNRESET
                };
                self.fail(error);
            },
            Some(Fate::Lost) => self.fail(Errno::ETIMEDOUT),
        }
    }

    pub(crate) fn send(
        &mut self,
        tools: &mut Tools,
        segment: &OutSegment<MemBuf>,
        tuple: Option<Tuple>,
    ) {
        self.segments[1] += 1;
        let mut segment = segment.clone();
        self.alike.narrow(&mut segment);
        tools.send(&segment, &tuple.unwrap_or(self.tuple), self.options.tos);
    }
}
