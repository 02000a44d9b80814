use super::*;
use crate::mailbox::{Mailbox, mailbox};
use crate::memory::{MemBuf, MemPort, MemWire, linear};
use crate::testing::{Echo, FOREIGN, frame, port_info};
use stack::time::Duration;
use stack::time::earlier;

type EchoWorker = Worker<MemPort, Echo>;

fn worker(ports: Vec<MemPort>, app: Echo) -> (EchoWorker, Mailbox<&'static str, String>) {
    let (control, inbox) = mailbox(2);
    (Worker::new(CoreId(0), ports, app, inbox), control)
}

fn two_ports(answer_by: u8) -> (EchoWorker, Mailbox<&'static str, String>, [MemWire; 2]) {
    let (a, wire_a) = MemPort::with_wire(port_info("a"));
    let (b, wire_b) = MemPort::with_wire(port_info("b"));
    let app = Echo {
        answer_by: Some(answer_by),
        ..Echo::default()
    };
    let (worker, control) = worker(vec![a, b], app);
    (worker, control, [wire_a, wire_b])
}

#[test]
fn a_turn_takes_commands_then_frames_then_flushes_and_sends_in_order() {
    let (mut worker, control, [a, b]) = two_ports(0);
    assert!(a.put(b"one".to_vec()));
    assert!(b.put(b"two".to_vec()));
    let reply = control.post("hello").unwrap();
    assert_eq!(worker.poll(Instant::from_millis(5)), 1 + 2 + 3);
    let app = worker.app();
    let calls = ["command", "input", "input", "buffers", "flush"];
    assert_eq!(app.calls, calls);
    let inputs = [(PortId(0), b"one".to_vec()), (PortId(1), b"two".to_vec())];
    let seen = app
        .inputs
        .iter()
        .map(|(_, port, bytes)| (*port, bytes.clone()));
    assert_eq!(seen.collect::<Vec<_>>(), inputs);
    assert!(app.inputs.iter().all(|i| i.0 == Instant::from_millis(5)));
    let sent = core::iter::from_fn(|| a.take()).map(|f| linear(&f));
    assert_eq!(
        sent.collect::<Vec<_>>(),
        [
            b"hello".to_vec(),
            b"echo:one".to_vec(),
            b"echo:two".to_vec()
        ]
    );
    assert!(b.take().is_none());
    assert_eq!(reply.recv().unwrap(), "hello: 2 ports");
    assert_eq!(app.ports[1].info.name, "b");
}

#[test]
fn payload_leaves_as_a_reference_into_the_received_buffer() {
    let (mut worker, _control, [a, b]) = two_ports(1);
    let received = MemBuf::from(vec![7; 1000]);
    assert!(a.put(received.clone()));
    worker.poll(Instant::ZERO);
    let sent = b.take().unwrap();
    assert_eq!(sent.payload[0].bytes().as_ptr(), received.bytes().as_ptr());
    assert_eq!(worker.ports()[1].copied_in_stack(), 0);
}

#[test]
fn a_burst_is_bounded_and_the_rest_waits_for_the_next_turn() {
    let (mut worker, _control, [a, _b]) = two_ports(1);
    for n in 0..40_u8 {
        assert!(a.put(vec![n]));
    }
    assert_eq!(worker.poll(Instant::ZERO), 2 * BURST);
    assert_eq!(worker.app().calls, ["input", "buffers", "flush"]);
    assert_eq!(worker.poll(Instant::ZERO), 2 * (40 - BURST));
    let stats = [&worker.ports()[0], &worker.ports()[1]].map(Port::stats);
    assert_eq!((stats[0].rx_packets, stats[0].rx_bytes), (40, 40));
    assert_eq!((stats[1].tx_packets, stats[1].tx_bytes), (40, 40 * 6));
}

#[test]
fn frames_to_no_port_are_dropped_under_a_name() {
    let (mut worker, control, [a, b]) = two_ports(9);
    assert!(a.put(vec![1]));
    worker.poll(Instant::ZERO);
    let stats = worker.stats();
    assert_eq!(stats.drop_no_port, 1);
    assert_eq!(worker.app().inputs.len(), 1);
    let _reply = control.post("tell").unwrap();
    worker.poll(Instant::ZERO);
    assert_eq!(worker.app().worker, stats, "the control thread can ask");
    assert!(a.take().is_some(), "the command's own frame");
    assert!(a.take().is_none() && b.take().is_none());
}

#[test]
fn an_idle_turn_moves_nothing_and_is_counted() {
    let (mut worker, _control, _wires) = two_ports(0);
    assert_eq!(worker.poll(Instant::ZERO), 0);
    assert_eq!((worker.stats().polls, worker.stats().idle_polls), (1, 1));
}

/// A port that only says how full its buffers are.
struct Full(BufferUse, crate::PortInfo);

impl Port for Full {
    type Buf = MemBuf;
    fn info(&self) -> &crate::PortInfo {
        &self.1
    }
    fn receive(&mut self, _: &mut Vec<Received<MemBuf>>) {}
    fn give(&mut self, _: &mut [Frame<MemBuf>]) {}
    fn stats(&self) -> crate::PortStats {
        crate::PortStats::default()
    }
    fn buffers(&self) -> BufferUse {
        self.0
    }
}

#[test]
fn the_app_learns_of_the_fullest_port() {
    let port = |used, size| Full(BufferUse { used, size }, port_info("full"));
    let (_control, inbox) = mailbox(1);
    let ports = vec![port(10, 100), port(9, 10), port(500, 1000)];
    let mut worker = Worker::new(CoreId(0), ports, Echo::default(), inbox);
    worker.poll(Instant::ZERO);
    assert_eq!(worker.app().buffers, BufferUse { used: 9, size: 10 });
}

/// A port whose device takes so many frames at once; what is beyond waits.
struct Narrow(usize, Vec<Frame<MemBuf>>, MemPort);

impl Port for Narrow {
    type Buf = MemBuf;
    fn info(&self) -> &crate::PortInfo {
        self.2.info()
    }
    fn receive(&mut self, into: &mut Vec<Received<MemBuf>>) {
        self.2.receive(into);
    }
    fn give(&mut self, frames: &mut [Frame<MemBuf>]) {
        self.1.extend(frames.iter_mut().map(Frame::take));
    }
    fn flush(&mut self) {
        let takes = self.0.min(self.1.len());
        self.2.transmit(&mut self.1.drain(..takes).collect());
    }
    fn waiting(&self) -> usize {
        self.1.len()
    }
    fn stats(&self) -> crate::PortStats {
        self.2.stats()
    }
    fn buffers(&self) -> BufferUse {
        self.2.buffers()
    }
}

#[test]
fn what_a_device_does_not_take_is_offered_again_and_the_app_is_told() {
    let (port, wire) = MemPort::with_wire(port_info("a"));
    let app = Echo {
        answer_by: Some(0),
        ..Echo::default()
    };
    let (_control, inbox) = mailbox(1);
    let mut worker = Worker::new(CoreId(0), vec![Narrow(2, Vec::new(), port)], app, inbox);
    (0..5).for_each(|n| assert!(wire.put(vec![n])));
    assert_eq!(worker.poll(Instant::ZERO), 5 + 5);
    assert_eq!(worker.poll(Instant::ZERO), 2, "no idle turn");
    assert_eq!(worker.poll(Instant::ZERO), 1);
    assert_eq!(worker.poll(Instant::ZERO), 0);
    let told = [(PortId(0), 3), (PortId(0), 1), (PortId(0), 0)];
    assert_eq!(worker.app().waits, told);
    let sent = core::iter::from_fn(|| wire.take()).map(|frame| linear(&frame)[5]);
    assert_eq!(sent.collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
}

/// Polls all workers until nothing moves, then returns the next deadline of any.
fn settle(workers: &mut [EchoWorker], now: Instant) -> Option<Instant> {
    while workers.iter_mut().map(|w| w.poll(now)).sum::<usize>() > 0 {}
    workers
        .iter()
        .map(Worker::next_deadline)
        .fold(None, earlier)
}

#[test]
fn two_workers_on_a_link_run_in_virtual_time() {
    let (near, far) = MemPort::pair(port_info("near"), port_info("far"));
    let second = Duration::from_secs(1);
    let ticking = Echo {
        timer: Some((Instant::from_millis(500), second)),
        ..Echo::default()
    };
    let echoing = Echo {
        answer_by: Some(0),
        ..Echo::default()
    };
    let mut workers = [worker(vec![near], ticking).0, worker(vec![far], echoing).0];
    let (mut now, mut steps) = (Instant::ZERO, 0);
    while let Some(next) = settle(&mut workers, now) {
        assert!(next > now, "every due timer ran in the turn it was due");
        if steps == 3 {
            break;
        }
        now = next;
        steps += 1;
    }
    let at = [500, 1500, 2500].map(Instant::from_millis);
    let [ticking, echoing] = &workers;
    assert_eq!(ticking.app().fired, at);
    let tick = |at| (at, PortId(0), b"tick".to_vec());
    assert_eq!(echoing.app().inputs, at.map(tick));
    let echo = |at| (at, PortId(0), b"echo:tick".to_vec());
    assert_eq!(ticking.app().inputs, at.map(echo));
}

#[test]
fn frames_of_one_port_keep_their_order_among_those_of_others() {
    let (mut worker, _control, [a, b]) = two_ports(0);
    for n in [0, 1, 0, 1, 0] {
        worker.out.push(frame(
            n,
            &[b'a' + u8::try_from(worker.out.len()).unwrap()],
            None,
        ));
    }
    worker.poll(Instant::ZERO);
    let taken = |wire: &MemWire| {
        core::iter::from_fn(|| wire.take())
            .flat_map(|f| linear(&f))
            .collect::<Vec<u8>>()
    };
    assert_eq!((taken(&a), taken(&b)), (b"ace".to_vec(), b"bd".to_vec()));
}

mod several;
