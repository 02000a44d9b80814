use super::{Buf, Setup, slice};
use mptcp::{Connection, Counter, Cx, Event, Key, Outcome, Output, Params, Role};
use stack::tcp::Tcb;
use stack::{Instant, Rng, Tally, Tuple};
use std::collections::VecDeque;

/// One end with its application.
pub struct End {
    pub conn: Connection<Buf>,
    pub mptcp: Tally<Counter>,
    pub tcp: Tally<stack::Counter>,
    /// Octets that the application has read; they are checked as they come.
    pub received: usize,
    intact: bool,
    pub fin_seen: bool,
    /// Octets that the application sends in all.
    pub total: usize,
    sent: usize,
    finish: bool,
    finished: bool,
    /// Whether the application reads; it starts again when set.
    pub reads: bool,
    /// Octets that the application holds at most without reading.
    pub room: u32,
    /// Octets per slice that the application sends.
    pub piece: usize,
    me: u8,
    /// What the connection told its owner.
    pub events: VecDeque<Event>,
}

/// What `me` sends at `offset`.
pub fn byte_at(me: u8, offset: usize) -> u8 {
    (offset.wrapping_mul(2_654_435_761) >> 13) as u8 ^ (offset >> 16) as u8 ^ me
}

impl End {
    pub fn new(
        now: Instant,
        rng: &mut Rng,
        setup: &Setup,
        role: Role,
        tcb: Tcb<Buf>,
        tuple: Tuple,
    ) -> Self {
        let me = usize::from(role == Role::Responder);
        let params = Params {
            version: setup.version,
            role,
            local: Key::new(setup.keys[me]).derive(setup.version),
            remote_key: Key::new(setup.keys[1 - me]),
            checksum: setup.checksum,
            peer_denies_initial_addr: false,
            limits: setup.limits,
        };
        let (mut tcp, mut mptcp) = (Tally::default(), Tally::default());
        let mut cx = Cx {
            now,
            rng,
            tcp: &mut tcp,
            mptcp: &mut mptcp,
            ledger: &mut stack::Ledger::default(),
        };
        let conn = Connection::new(&mut cx, &params, tcb, tuple);
        Self {
            conn,
            mptcp,
            tcp,
            received: 0,
            intact: true,
            fin_seen: false,
            total: 0,
            sent: 0,
            finish: false,
            finished: false,
            reads: true,
            room: setup.limits.recv_buffer,
            piece: 1400,
            me: u8::try_from(me).unwrap(),
            events: VecDeque::new(),
        }
    }

    pub fn with<T>(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        act: impl FnOnce(&mut Connection<Buf>, &mut Cx<'_>) -> T,
    ) -> T {
        let mut cx = Cx {
            now,
            rng,
            tcp: &mut self.tcp,
            mptcp: &mut self.mptcp,
            ledger: &mut stack::Ledger::default(),
        };
        act(&mut self.conn, &mut cx)
    }

    /// Sends `len` octets more, and then the end if `finish`.
    pub fn send(&mut self, len: usize, finish: bool) {
        self.total += len;
        self.finish = finish;
    }

    pub fn count(&self, counter: Counter) -> u64 {
        self.mptcp.get(counter)
    }

    pub fn next_deadline(&self, now: Instant) -> Option<Instant> {
        self.conn.next_deadline().map(|at| at.max(now))
    }

    pub fn advance(&mut self, now: Instant, rng: &mut Rng) {
        if self.conn.next_deadline().is_some_and(|at| at <= now) {
            self.with(now, rng, |conn, cx| conn.advance(cx));
            assert!(
                self.conn.next_deadline().is_none_or(|at| at > now) || !self.conn.is_closed(),
                "a deadline that passed stays"
            );
        }
    }

    /// Reads, writes, and fetches what goes out.
    pub fn turn(&mut self, now: Instant, rng: &mut Rng) -> Vec<Output<Buf>> {
        if self.reads {
            while let Some(piece) = self.conn.take() {
                for &octet in piece.bytes() {
                    self.intact &= octet == byte_at(1 - self.me, self.received);
                    self.received += 1;
                }
            }
            self.conn.set_recv_room(self.room);
            if self.conn.fin_received() {
                self.conn.accept_fin(now);
                self.fin_seen = true;
            }
        }
        while self.sent < self.total && self.conn.send_room() > 0 {
            let end = (self.sent + self.piece).min(self.total);
            self.conn.send(slice(
                (self.sent..end).map(|at| byte_at(self.me, at)).collect(),
            ));
            self.sent = end;
        }
        if self.finish && !self.finished && self.sent == self.total {
            self.finished = true;
            self.conn.finish();
        }
        self.events
            .extend(core::iter::from_fn(|| self.conn.take_event()));
        let mut out = Vec::new();
        while let Some(output) = self.with(now, rng, |conn, cx| conn.output(cx)) {
            out.push(output);
            assert!(out.len() < 100_000, "output without end");
        }
        out
    }

    /// Every octet came once and in its place.
    pub fn assert_intact(&self) {
        assert!(self.intact, "octets differ");
    }

    pub fn describe(&self) -> String {
        let mut text = format!(
            "{:?} {:?} received {} fin {} sent {} of {} queued {} held {}\n",
            self.conn.mode(),
            self.conn.outcome(),
            self.received,
            self.fin_seen,
            self.sent,
            self.total,
            self.conn.queued(),
            self.conn.held(),
        );
        for s in self.conn.subflows() {
            let tcb = s.tcb();
            text += &format!(
                "   {:?} {:?} in {} out {} queued {} unsent {} flight {} cwnd {} space {} srtt {:?} rto {:?} rtos {} retransmitted {}\n",
                s.id(),
                tcb.state(),
                s.bytes_in(),
                s.bytes_out(),
                tcb.queued(),
                tcb.unsent(),
                tcb.flight_size(),
                tcb.cwnd(),
                tcb.send_space(),
                tcb.srtt(),
                tcb.rto(),
                tcb.consecutive_rtos(),
                tcb.retransmitted(),
            );
        }
        for (counter, value) in self.mptcp.iter() {
            if value > 0 {
                text += &format!(" {counter:?} {value}");
            }
        }
        for (counter, value) in self.tcp.iter() {
            if value > 0 {
                text += &format!(" {counter:?} {value}");
            }
        }
        if self.conn.outcome() != Outcome::Alive {
            text += " (ended)";
        }
        text
    }
}
