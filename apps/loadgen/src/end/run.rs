//! One connection's turn: timers, what the hosts do, what leaves, and whether it is over.

use stack::ip::IpOut;
use stack::slab::Handle;
use stack::time::Duration;
use stack::time::earlier;
use stack::wire::tcp::OptBytes;
use stack::{Frame, Instant, PacketBuf};

use super::setup::capable_of;
use super::{Conn, End, Hosts, Stage, Work, key};
use crate::asking::Turn;
use crate::report::Stats;
use crate::server::Wrong;
use crate::stream::subflows;
use mptcp::stream::Fate;

/// How often a SYN or SYN+ACK is sent before its connection counts as timed out.
const SYNS: u8 = 4;

/// How long a closed tuple is remembered. Hosts wait longer (RFC 9293 3.4.2): here the tuples would run out.
const LINGER: Duration = Duration::from_secs(1);

impl<B: PacketBuf> End<B> {
    pub(super) fn run(&mut self, now: Instant, handle: Handle, out: &mut Vec<Frame<B>>) {
        let Some(conn) = self.conns.get_mut(handle) else {
            return;
        };
        conn.woken = false;
        let group = conn.group;
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        match &mut conn.stage {
            Stage::Opening(opening, offered) if is_due(opening.next_deadline()) => {
                if opening.sends() >= SYNS {
                    return self.fail(handle, Fate::Lost);
                }
                opening.sent_again(now);
                let (syn, tuple) = (opening.syn(now, capable_of(*offered)), conn.tuple);
                self.send(now, &tuple, syn, out);
            },
            Stage::Accepting(accepting) if is_due(accepting.next_deadline()) => {
                if accepting.sends() >= SYNS {
                    return self.fail(handle, Fate::Lost);
                }
                let (answer, tuple) = (accepting.syn_ack(now, OptBytes::new()), conn.tuple);
                self.send(now, &tuple, answer, out);
            },
            Stage::Lingering(_, until) if *until <= now => {
                self.remove(handle);
                return;
            },
            Stage::Open(stream) => {
                if is_due(stream.next_deadline()) {
                    stream.advance(&mut self.tools.cx(now));
                }
                self.events(now, handle, out);
                let worked = self.work(now, handle);
                self.emit(now, handle, out);
                self.events(now, handle, out);
                if worked.is_err() {
                    self.books.of(group).wrong += 1;
                    return self.cut(now, handle, out);
                }
                if self.settle(now, handle, out) {
                    return;
                }
            },
            Stage::Opening(..) | Stage::Accepting(_) | Stage::Lingering(..) => {},
        }
        self.arm(handle);
    }

    /// What the hosts do with what came.
    pub(super) fn work(&mut self, now: Instant, handle: Handle) -> Result<(), Wrong> {
        let Some(conn) = self.conns.get_mut(handle) else {
            return Ok(());
        };
        let Stage::Open(stream) = &mut conn.stage else {
            return Ok(());
        };
        if matches!(stream.fate(), Some(Fate::Reset | Fate::Aborted)) {
            return Ok(());
        }
        let (pattern, number) = (&*self.pattern, conn.group);
        let stats = self.books.of(number);
        match (&mut conn.work, &mut self.hosts) {
            (Work::Server(serving), _) => serving.run(now, stream, pattern, stats),
            (Work::Client(asking), Hosts::Clients(clients)) => {
                let (asks, ending) = (clients.asks(), clients.is_ending());
                let group = &mut clients.groups[number];
                if subflows(stream) < usize::from(group.plan.subflows)
                    && stream.multipath().is_some()
                {
                    return Ok(());
                }
                while asking.run(now, (number, &group.plan), stream, pattern, stats)? {
                    stats.answered += 1;
                    Stats::took(&mut stats.request, now.since(asking.due));
                    group.over += 1;
                    asking.done(&group.plan);
                    if asking.turn == Turn::Idle && ending {
                        asking.turn = Turn::Closing;
                    }
                    if asking.turn == Turn::Closing {
                        stream.finish();
                    }
                    if asking.turn == Turn::Idle && !group.is_paced() && asks {
                        asking.ask(now, now);
                        continue;
                    }
                    group.busy -= 1;
                    if asking.turn == Turn::Idle {
                        group.idle.push_back(handle);
                    }
                }
                Ok(())
            },
            (Work::Client(_), Hosts::Server(_)) => Ok(()),
        }
    }

    /// Sends all that a connection has to send.
    pub(super) fn emit(&mut self, now: Instant, handle: Handle, out: &mut Vec<Frame<B>>) {
        let Self {
            conns,
            net,
            tools,
            sent,
            ..
        } = self;
        let Some(conn) = conns.get_mut(handle) else {
            return;
        };
        let Stage::Open(stream) = &mut conn.stage else {
            return;
        };
        while let Some(mut output) = stream.output(&mut tools.cx(now)) {
            *sent += 1;
            let cx = &mut tools.cx(now);
            let ip = IpOut::default();
            let has_data = output.segment.payload.is_some();
            net.send_tcp(&mut cx.stack(), &output.tuple, ip, &mut output.segment, out);
            if has_data && net.is_crowded() {
                stream.on_crowded(cx, output.subflow);
            }
        }
        for (open, tuple) in &mut conn.joins {
            if open.next_deadline().is_some_and(|at| at <= now) {
                let mut syn = open.syn(now);
                open.sent_again(now);
                *sent += 1;
                let cx = &mut tools.cx(now);
                net.send_tcp(&mut cx.stack(), tuple, IpOut::default(), &mut syn, out);
            }
        }
    }

    /// Looks whether a connection has ended, or takes too long; whether it is gone.
    pub(super) fn settle(&mut self, now: Instant, handle: Handle, out: &mut Vec<Frame<B>>) -> bool {
        let timeout = self.times_out_at(handle);
        let Some(conn) = self.conns.get_mut(handle) else {
            return true;
        };
        let Stage::Open(stream) = &conn.stage else {
            return false;
        };
        match stream.fate() {
            None if timeout.is_some_and(|at| at <= now) => {
                self.books.of(conn.group).timed_out += 1;
                self.cut(now, handle, out);
            },
            None => return false,
            Some(Fate::Clean) => {
                self.books.of(conn.group).closed += 1;
                let Some((_, remains)) = stream.time_waits(now).next() else {
                    self.remove(handle);
                    return true;
                };
                conn.stage = Stage::Lingering(remains, now + LINGER);
                let group = conn.group;
                self.ended(group);
                self.remember(handle);
                self.arm(handle);
            },
            Some(fate) => self.fail(handle, fate),
        }
        true
    }

    /// Notes that a connection lingers.
    fn remember(&mut self, handle: Handle) {
        while let Some(oldest) = self.lingering.front()
            && self.conns.get(*oldest).is_none()
        {
            self.lingering.pop_front();
        }
        self.lingering.push_back(handle);
    }

    /// Makes room for another connection: those that linger must not keep new ones out, however fast they come.
    pub(super) fn forget_oldest(&mut self) {
        while let Some(oldest) = self.lingering.pop_front() {
            if self.conns.get(oldest).is_some() {
                return self.remove(oldest);
            }
        }
    }

    /// Counts a connection that failed, and forgets it.
    pub(super) fn fail(&mut self, handle: Handle, fate: Fate) {
        if let Some(conn) = self.conns.get(handle) {
            let stats = self.books.of(conn.group);
            match fate {
                Fate::Lost => stats.timed_out += 1,
                Fate::Reset | Fate::Aborted => stats.reset += 1,
                Fate::Clean => {},
            }
        }
        self.remove(handle);
    }

    /// Resets a connection and forgets it.
    pub(super) fn cut(&mut self, now: Instant, handle: Handle, out: &mut Vec<Frame<B>>) {
        if let Some(Conn {
            stage: Stage::Open(stream),
            ..
        }) = self.conns.get_mut(handle)
        {
            stream.abort(&mut self.tools.cx(now));
        }
        self.emit(now, handle, out);
        self.remove(handle);
    }

    /// Forgets a connection with all its flows.
    pub(super) fn remove(&mut self, handle: Handle) {
        let Some(mut conn) = self.conns.remove(handle) else {
            return;
        };
        self.timers.disarm(&mut conn.alarm);
        self.flows.remove(&key(conn.tuple.reversed()));
        for (_, tuple) in &conn.joins {
            self.flows.remove(&key(tuple.reversed()));
        }
        if let Stage::Open(stream) = &mut conn.stage
            && let Some(connection) = stream.multipath_mut()
        {
            for subflow in connection.subflows() {
                self.flows.remove(&key(subflow.tuple()));
            }
        }
        if !matches!(conn.stage, Stage::Lingering(..)) {
            self.ended(conn.group);
        }
        if let (Work::Client(asking), Hosts::Clients(clients)) = (&conn.work, &mut self.hosts)
            && asking.turn == Turn::Asking
        {
            let group = &mut clients.groups[conn.group];
            group.busy -= 1;
            group.over += 1;
        }
    }

    /// Notes that a connection of a group lives no more.
    fn ended(&mut self, group: usize) {
        self.live -= 1;
        if let Hosts::Clients(clients) = &mut self.hosts {
            clients.groups[group].live -= 1;
        }
    }

    /// When a connection has failed, unless something comes before that.
    pub(super) fn times_out_at(&self, handle: Handle) -> Option<Instant> {
        let Hosts::Clients(clients) = &self.hosts else {
            return None;
        };
        let conn = self.conns.get(handle)?;
        let Work::Client(asking) = &conn.work else {
            return None;
        };
        let plan = &clients.groups[conn.group].plan;
        let ends = plan.request != u64::MAX && plan.response != u64::MAX;
        (asking.turn == Turn::Asking && ends).then(|| asking.begun + plan.timeout)
    }

    /// Sets the timer of a connection.
    pub(super) fn arm(&mut self, handle: Handle) {
        let timeout = self.times_out_at(handle);
        let Some(conn) = self.conns.get_mut(handle) else {
            return;
        };
        let joins = conn
            .joins
            .iter()
            .filter_map(|(open, _)| open.next_deadline());
        let deadline = match &conn.stage {
            Stage::Opening(opening, _) => opening.next_deadline(),
            Stage::Accepting(accepting) => accepting.next_deadline(),
            Stage::Lingering(_, until) => Some(*until),
            Stage::Open(stream) => earlier(stream.next_deadline(), earlier(joins.min(), timeout)),
        };
        if let Some(at) = deadline {
            self.timers.arm(&mut conn.alarm, handle, at);
        }
    }
}
