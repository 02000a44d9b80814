//! The hosts of one side of the box: their network, and their connections from SYN to TIME-WAIT.

mod joins;
mod pace;
mod run;
mod setup;

use dataplane::Received;
use mptcp::Key;
use mptcp::connection::SubflowId;
use mptcp::join::OpenJoin;
use mptcp::time_wait::TimeWait;
use stack::ip::{Ingress, IpOut, Net, NetConfig, NetError};
use stack::slab::Handle;
use stack::tcp::congestion::Algorithm;
use stack::tcp::handshake::{AcceptVerdict, Accepting, OpenVerdict, Opening};
use stack::tcp::isn::IsnGenerator;
use stack::tcp::{Agreed, Tcb};
use stack::time::earlier;
use stack::wire::tcp::{OptBytes, OutSegment, Segment};
use stack::{
    Alarm, FlowKey, FlowTable, Frame, Instant, Ledger, PacketBuf, PortId, Rng, Side, Slab, Tally,
    Tuple, Wheel,
};
use std::collections::VecDeque;
use std::rc::Rc;

use crate::asking::Asking;
use crate::client::Clients;
use crate::config::Server;
use crate::pattern::Pattern;
use crate::report::{Books, Measured};
use crate::server::Serving;
use mptcp::Stream;

/// Which connection, and what of it, a received segment belongs to.
#[derive(Clone, Copy, Debug)]
struct FlowRef {
    conn: Handle,
    /// The subflow, unless it is a join that is not answered yet.
    subflow: Option<SubflowId>,
}

/// How far a connection is.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all of them are open: a box would cost a miss per segment"
)]
enum Stage<B> {
    /// Our SYN is out, with the key that we offer Multipath TCP with, if we do.
    Opening(Opening, Option<Key>),
    /// Our SYN+ACK is.
    Accepting(Accepting),
    Open(Stream<B>),
    /// Both ends have closed; the tuple is remembered until then.
    Lingering(TimeWait, Instant),
}

/// What is done on a connection.
enum Work {
    Client(Asking),
    Server(Serving),
}

struct Conn<B> {
    /// Of the segments that we send on the first subflow.
    tuple: Tuple,
    stage: Stage<B>,
    work: Work,
    /// The number of the client's group; 0 at the server.
    group: usize,
    /// The client's number.
    host: usize,
    /// Joins that wait for their answer, with the tuple of the segments that we send.
    joins: Vec<(OpenJoin, Tuple)>,
    /// Joins that were begun.
    joined: u8,
    opened: Instant,
    alarm: Alarm,
    woken: bool,
}

/// Who the hosts are.
pub(crate) enum Hosts {
    Clients(Box<Clients>),
    Server(Server),
}

/// What every layer below is lent.
struct Tools {
    rng: Rng,
    tcp: Tally<stack::Counter>,
    mptcp: Tally<mptcp::Counter>,
    ledger: Ledger,
}

impl Tools {
    fn cx(&mut self, now: Instant) -> mptcp::Cx<'_> {
        mptcp::Cx {
            now,
            rng: &mut self.rng,
            tcp: &mut self.tcp,
            mptcp: &mut self.mptcp,
            ledger: &mut self.ledger,
        }
    }
}

/// The hosts of one side.
pub(crate) struct End<B> {
    pub(crate) hosts: Hosts,
    pub(crate) books: Books,
    /// The measurements in all and of each group, once they are complete.
    measured: Option<(Measured, Vec<Measured>)>,
    /// Connections ever established.
    heard: usize,
    started: Instant,
    net: Net<B>,
    tools: Tools,
    isn: IsnGenerator,
    pattern: Rc<Pattern<B>>,
    flows: FlowTable<FlowRef>,
    conns: Slab<Conn<B>>,
    /// Connections that are not merely remembered.
    pub(crate) live: usize,
    /// Those that were remembered, the oldest first; some may be forgotten by now.
    lingering: VecDeque<Handle>,
    timers: Wheel<Handle>,
    due: Vec<Handle>,
    woken: Vec<Handle>,
    /// Frames of segments sent.
    pub(crate) sent: u64,
}

impl<B: PacketBuf> End<B> {
    /// Hosts on the network `net` with at most `most` connections at a time.
    pub(crate) fn new(
        net: NetConfig,
        hosts: Hosts,
        most: u32,
        pattern: Rc<Pattern<B>>,
        mut rng: Rng,
        now: Instant,
    ) -> Result<Self, NetError> {
        let mut secret = [0; 16];
        rng.fill(&mut secret);
        // Those that linger are remembered beside the living; eight subflows have a key each.
        let (most, keys) = (most as usize * 2 + 1_024, most as usize * 4 + 4_096);
        let groups = match &hosts {
            Hosts::Clients(clients) => clients.groups.len(),
            Hosts::Server(_) => 1,
        };
        Ok(Self {
            net: Net::new(net)?,
            hosts,
            books: Books::new(groups),
            measured: None,
            heard: 0,
            started: now,
            isn: IsnGenerator::new(secret),
            pattern,
            flows: FlowTable::new(keys, rng.u64()),
            conns: Slab::with_capacity(most),
            live: 0,
            lingering: VecDeque::new(),
            timers: Wheel::new(),
            due: Vec::new(),
            woken: Vec::new(),
            sent: 0,
            tools: Tools {
                rng,
                tcp: Tally::default(),
                mptcp: Tally::default(),
                ledger: Ledger::default(),
            },
        })
    }

    /// What was measured, so far or until the measurement ended: in all, and of each group.
    pub(crate) fn measure(&self, now: Instant) -> (Measured, Vec<Measured>) {
        if let Some(measured) = &self.measured {
            return measured.clone();
        }
        match &self.hosts {
            Hosts::Clients(clients) => {
                let live = clients.groups.iter().map(|group| group.live);
                self.books.report(now, &live.collect::<Vec<_>>())
            },
            Hosts::Server(_) => self.books.report(now, &[self.live]),
        }
    }

    /// Ends the measurement.
    pub(crate) fn freeze(&mut self, now: Instant) {
        if self.measured.is_none() {
            self.measured = Some(self.measure(now));
        }
    }

    /// Segments sent more than once.
    pub(crate) fn sent_again(&self) -> u64 {
        self.tools.tcp.get(stack::Counter::TcpRetransmitted)
    }

    /// Takes one frame.
    pub(crate) fn input(
        &mut self,
        now: Instant,
        port: PortId,
        received: Received<B>,
        out: &mut Vec<Frame<B>>,
    ) {
        let Received { frame, checksum } = received;
        let cx = &mut self.tools.cx(now);
        let ingress = self.net.input(&mut cx.stack(), port, frame, checksum, out);
        if let Ingress::Tcp(arrival) = ingress
            && arrival.local
        {
            self.on_segment(now, &arrival.segment, out);
        }
    }

    fn on_segment(&mut self, now: Instant, segment: &Segment<B>, out: &mut Vec<Frame<B>>) {
        let Some(FlowRef { conn, subflow }) = self.flows.get(&key(segment.tuple)) else {
            return self.on_stranger(now, segment, out);
        };
        match subflow {
            None => self.on_join_answer(now, conn, segment, out),
            Some(id) => self.on_flow(now, conn, id, segment, out),
        }
        self.wake(conn);
    }

    fn on_flow(
        &mut self,
        now: Instant,
        handle: Handle,
        id: SubflowId,
        segment: &Segment<B>,
        out: &mut Vec<Frame<B>>,
    ) {
        let Some(conn) = self.conns.get_mut(handle) else {
            return;
        };
        let cx = &mut self.tools.cx(now);
        match &mut conn.stage {
            Stage::Open(stream) => {
                stream.input(cx, id, segment);
            },
            Stage::Opening(opening, _) => match opening.input(&mut cx.stack(), segment) {
                OpenVerdict::Answered(answer) => self.on_answer(now, handle, answer, segment),
                OpenVerdict::Refused => {
                    self.books.of(conn.group).refused += 1;
                    self.remove(handle);
                },
                OpenVerdict::Reset(reset) => self.send(now, &segment.tuple.reversed(), reset, out),
                OpenVerdict::Dropped | OpenVerdict::Crossed(_) => {},
            },
            Stage::Accepting(accepting) => match accepting.third_ack(&mut cx.stack(), segment) {
                AcceptVerdict::Established(agreed) => {
                    let mut stream = Stream::plain(tcb(&agreed, now), conn.tuple);
                    stream.input(cx, id, segment);
                    conn.stage = Stage::Open(stream);
                    self.books.of(conn.group).established += 1;
                },
                AcceptVerdict::Resend => {
                    let answer = accepting.syn_ack(now, OptBytes::new());
                    self.send(now, &segment.tuple.reversed(), answer, out);
                },
                AcceptVerdict::Answer(answer) => {
                    self.send(now, &segment.tuple.reversed(), answer, out);
                },
                AcceptVerdict::Reset => {
                    self.books.of(conn.group).reset += 1;
                    self.remove(handle);
                },
                AcceptVerdict::Dropped => {},
            },
            Stage::Lingering(remains, _) => {
                if let Hosts::Server(_) = self.hosts
                    && remains.gives_way_to(segment)
                {
                    self.remove(handle);
                    self.on_stranger(now, segment, out);
                } else if let Some(answer) = remains.input(&mut cx.stack(), segment) {
                    self.send(now, &segment.tuple.reversed(), answer, out);
                }
            },
        }
    }

    /// What is due by the clock, and every connection that has something to do.
    pub(crate) fn flush(&mut self, now: Instant, out: &mut Vec<Frame<B>>) {
        self.net.advance(&mut self.tools.cx(now).stack(), out);
        let mut due = core::mem::take(&mut self.due);
        self.timers.expired(now, &mut due);
        for handle in due.drain(..) {
            if let Some(conn) = self.conns.get_mut(handle) {
                self.timers.disarm(&mut conn.alarm);
            }
            self.wake(handle);
        }
        self.due = due;
        self.pace(now, out);
        let mut woken = core::mem::take(&mut self.woken);
        for handle in woken.drain(..) {
            self.run(now, handle, out);
        }
        woken.append(&mut self.woken);
        self.woken = woken;
    }

    fn wake(&mut self, handle: Handle) {
        if let Some(conn) = self.conns.get_mut(handle)
            && !conn.woken
        {
            conn.woken = true;
            self.woken.push(handle);
        }
    }

    fn send(
        &mut self,
        now: Instant,
        tuple: &Tuple,
        mut segment: OutSegment<B>,
        out: &mut Vec<Frame<B>>,
    ) {
        self.sent += 1;
        let cx = &mut self.tools.cx(now);
        self.net
            .send_tcp(&mut cx.stack(), tuple, IpOut::default(), &mut segment, out);
    }

    /// What it sends by `port` waits as the queue of the device is full, if `frames` is not 0.
    pub(crate) fn waits(&mut self, port: PortId, frames: usize) {
        self.net.set_crowded(port, frames > 0);
    }

    /// When there is something to do though nothing arrives.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let own = match &self.hosts {
            Hosts::Clients(clients) => clients.next_deadline(),
            Hosts::Server(_) => None,
        };
        if !self.woken.is_empty() {
            return Some(Instant::ZERO);
        }
        let timers = earlier(self.timers.next_deadline(), self.net.next_deadline());
        earlier(own, timers)
    }
}

impl<B> Conn<B> {
    const fn new(tuple: Tuple, stage: Stage<B>, work: Work, opened: Instant) -> Self {
        Self {
            tuple,
            stage,
            work,
            group: 0,
            host: 0,
            joins: Vec::new(),
            joined: 0,
            opened,
            alarm: Alarm::UNSET,
            woken: false,
        }
    }
}

fn tcb<B: PacketBuf>(agreed: &Agreed, now: Instant) -> Tcb<B> {
    let mut tcb = Tcb::new(agreed, now);
    tcb.set_congestion(Algorithm::Cubic);
    tcb
}

/// All segments of an end come from one side.
const fn key(tuple: Tuple) -> FlowKey {
    FlowKey {
        side: Side::Access,
        tuple,
    }
}
