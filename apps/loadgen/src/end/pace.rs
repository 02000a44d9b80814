//! When requests begin, and how everything is closed at the end.

use stack::slab::Handle;
use stack::time::Duration;
use stack::{Frame, Instant, PacketBuf};

use super::{Conn, End, Hosts, Stage, Work};
use crate::asking::Turn;
use crate::client::PER_TURN;
use crate::group::Next;

/// How long the first connections are waited for before all others are opened.
const FIRST_TRY: Duration = Duration::from_secs(1);

impl<B: PacketBuf> End<B> {
    /// Begins what is due, and closes what is to be closed.
    pub(super) fn pace(&mut self, now: Instant, out: &mut Vec<Frame<B>>) {
        let segments = (self.sent, self.sent_again());
        let live = self.live;
        let Hosts::Clients(clients) = &mut self.hosts else {
            return;
        };
        if self.heard == 0 {
            clients.wait(now, self.started);
        }
        let groups = clients.groups.len();
        if clients.advance(now, &mut self.books, segments, live) {
            self.freeze(now);
            self.close_all();
        }
        for _ in 0..PER_TURN {
            let Hosts::Clients(clients) = &mut self.hosts else {
                return;
            };
            let Some(handle) = clients.parting.pop() else {
                break;
            };
            self.part(now, handle);
        }
        for group in 0..groups {
            self.pace_group(now, group, out);
        }
    }

    /// Begins what is due of a group, as much as a turn takes.
    fn pace_group(&mut self, now: Instant, number: usize, out: &mut Vec<Frame<B>>) {
        let Hosts::Clients(clients) = &mut self.hosts else {
            return;
        };
        let waits = now < clients.opens_at(&clients.groups[number]);
        if waits {
            // Nothing is due of what it did not do until then.
            clients.groups[number].begin(now);
        }
        if waits || !clients.asks() {
            return;
        }
        for _ in 0..PER_TURN {
            let Hosts::Clients(clients) = &mut self.hosts else {
                return;
            };
            let tried = now.since(self.started) > FIRST_TRY;
            let room = tried || self.live < clients.known(self.heard);
            let Some(what) = clients.groups[number].next(now, room) else {
                return;
            };
            let begun = match what {
                Next::Open(due) => self.open(now, (number, due), out),
                Next::Ask(handle, due) => self.ask(now, handle, due),
            };
            if !begun {
                return;
            }
            if let Hosts::Clients(clients) = &mut self.hosts {
                clients.groups[number].begun(what);
            }
        }
    }

    /// Begins a request on a connection that waits for one; if it is gone, the request is tried again next turn.
    pub(super) fn ask(&mut self, now: Instant, handle: Handle, due: Instant) -> bool {
        let Some(conn) = self.conns.get_mut(handle) else {
            return false;
        };
        let Work::Client(asking) = &mut conn.work else {
            return false;
        };
        asking.ask(due, now);
        let group = conn.group;
        if let Hosts::Clients(clients) = &mut self.hosts {
            clients.groups[group].busy += 1;
        }
        self.wake(handle);
        true
    }

    /// Has every connection closed, a few in each turn.
    pub(crate) fn close_all(&mut self) {
        let open = self.conns.iter().map(|(handle, _)| handle);
        if let Hosts::Clients(clients) = &mut self.hosts {
            clients.parting.extend(open);
        }
    }

    /// Closes a connection that waits, and cuts one off whose request never ends; others end by themselves.
    pub(super) fn part(&mut self, now: Instant, handle: Handle) {
        let Some(conn) = self.conns.get_mut(handle) else {
            return;
        };
        let (Stage::Open(stream), Work::Client(asking)) = (&mut conn.stage, &mut conn.work) else {
            return;
        };
        let Hosts::Clients(clients) = &self.hosts else {
            return;
        };
        let plan = &clients.groups[conn.group].plan;
        let endless = plan.request == u64::MAX || plan.response == u64::MAX;
        match asking.turn {
            Turn::Asking if endless => stream.abort(&mut self.tools.cx(now)),
            Turn::Asking | Turn::Closing => return,
            Turn::Idle | Turn::Held => {
                asking.turn = Turn::Closing;
                stream.finish();
            },
        }
        self.wake(handle);
    }

    /// Cuts off everything that is still open.
    pub(crate) fn abort_all(&mut self, now: Instant, out: &mut Vec<Frame<B>>) {
        let open: Vec<_> = self.conns.iter().map(|(handle, _)| handle).collect();
        for handle in open {
            if let Some(Conn {
                stage: Stage::Open(stream),
                ..
            }) = self.conns.get_mut(handle)
            {
                stream.abort(&mut self.tools.cx(now));
                self.emit(now, handle, out);
            }
            self.remove(handle);
        }
    }
}
