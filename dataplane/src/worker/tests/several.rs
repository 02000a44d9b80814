//! Workers that hand frames over to each other, in one thread and in virtual time.

use super::*;
use crate::PortStats;
use crate::siblings::{RING_FRAMES, siblings};
use crate::testing::{COMMON, MISTAKEN};

const NOW: Instant = Instant::from_millis(7);

/// Workers of one port each, with the far ends of these.
fn several(workers: u8) -> (Vec<EchoWorker>, Vec<MemWire>) {
    let made = (0..)
        .zip(siblings(usize::from(workers)))
        .map(|(core, ends)| {
            let (port, wire) = MemPort::with_wire(port_info("p"));
            let app = Echo {
                answer_by: Some(0),
                core,
                ..Echo::default()
            };
            let (worker, _control) = worker(vec![port], app);
            (worker.among(ends), wire)
        });
    made.unzip()
}

fn taken(wire: &MemWire) -> Vec<Vec<u8>> {
    core::iter::from_fn(|| wire.take())
        .map(|f| linear(&f))
        .collect()
}

fn inputs(worker: &EchoWorker) -> Vec<Vec<u8>> {
    worker.app().inputs.iter().map(|i| i.2.clone()).collect()
}

#[test]
fn frames_reach_their_owner_in_order_and_are_answered_there() {
    let (mut workers, wires) = several(3);
    let frames: Vec<Vec<u8>> = (0..90).map(|n| vec![FOREIGN, n % 3, n]).collect();
    for frame in &frames {
        assert!(wires[0].put(frame.clone()));
    }
    settle(&mut workers, NOW);
    for (core, worker) in (0..).zip(&workers) {
        let own = frames.iter().filter(|frame| frame[1] == core);
        let own: Vec<_> = own.cloned().collect();
        assert_eq!(inputs(worker), own, "core {core}");
        let echo = |frame: &Vec<u8>| [b"echo:", &frame[..]].concat();
        let echoes: Vec<_> = own.iter().map(echo).collect();
        assert_eq!(taken(&wires[usize::from(core)]), echoes);
        assert!(worker.app().inputs.iter().all(|input| input.0 == NOW));
    }
    let stats = [0, 1, 2].map(|core: usize| workers[core].stats());
    assert_eq!(stats.map(|s| s.handed_over), [60, 0, 0]);
    assert_eq!(stats.map(|s| s.taken_over), [0, 30, 30]);
    assert!(stats.iter().all(|s| s.handover_full + s.drop_no_core == 0));
}

#[test]
fn a_core_that_falls_behind_loses_what_its_ring_does_not_hold() {
    let (mut workers, wires) = several(2);
    let more = 3 * BURST;
    for n in 0..RING_FRAMES + more {
        assert!(wires[0].put([&[FOREIGN, 1], &n.to_be_bytes()[..]].concat()));
    }
    for _ in 0..(RING_FRAMES + more) / BURST {
        workers[0].poll(NOW);
    }
    let lost = u64::try_from(more).unwrap();
    let kept = u64::try_from(RING_FRAMES).unwrap();
    let stats = workers[0].stats();
    assert_eq!((stats.handed_over, stats.handover_full), (kept, lost));
    settle(&mut workers, NOW);
    let got = inputs(&workers[1]);
    assert_eq!(got.len(), RING_FRAMES);
    assert!(got.is_sorted(), "the oldest were kept, in order");
    assert_eq!(workers[1].stats().taken_over, kept);
}

#[test]
fn what_concerns_all_is_answered_once_and_overheard_by_the_others() {
    let (mut workers, wires) = several(3);
    let common = vec![COMMON, 1, 2];
    assert!(wires[1].put(common.clone()));
    settle(&mut workers, NOW);
    assert_eq!(inputs(&workers[1]), std::slice::from_ref(&common));
    for other in [0, 2] {
        assert!(workers[other].app().inputs.is_empty());
        assert_eq!(
            workers[other].app().overheard,
            std::slice::from_ref(&common)
        );
    }
    assert_eq!(workers[1].stats().handed_over, 2);
    assert!(workers[1].app().overheard.is_empty());
}

#[test]
fn what_turns_out_to_be_another_cores_goes_there() {
    let (mut workers, wires) = several(2);
    let frame = vec![MISTAKEN, 1];
    assert!(wires[0].put(frame.clone()));
    settle(&mut workers, NOW);
    assert!(workers[0].app().inputs.is_empty());
    assert_eq!(inputs(&workers[1]), [frame]);
}

#[test]
fn a_core_that_is_not_there_is_counted() {
    let (mut workers, wires) = several(2);
    assert!(wires[0].put(vec![FOREIGN, 2]));
    settle(&mut workers, NOW);
    assert_eq!(workers[0].stats().drop_no_core, 1);
    assert_eq!(workers[0].stats().handed_over, 0);
}

#[test]
fn what_one_core_tells_all_others_hear_once() {
    let (mut workers, _wires) = several(3);
    workers[1].app_mut().to_tell = vec![7, 8];
    settle(&mut workers, NOW);
    // A turn that only hears is idle: words wait for nobody and wake nobody.
    for worker in &mut workers {
        worker.poll(NOW);
    }
    let heard = [(CoreId(1), 8), (CoreId(1), 7)];
    assert_eq!(workers[0].app().told, heard);
    assert_eq!(workers[2].app().told, heard);
    assert!(workers[1].app().told.is_empty());
}

/// A port whose device has no queue to send by.
struct Mute(MemPort);

impl Port for Mute {
    type Buf = MemBuf;
    fn info(&self) -> &crate::PortInfo {
        self.0.info()
    }
    fn receive(&mut self, into: &mut Vec<Received<MemBuf>>) {
        self.0.receive(into);
    }
    fn give(&mut self, frames: &mut [Frame<MemBuf>]) {
        self.0.give(frames);
    }
    fn sent_by(&self) -> Option<CoreId> {
        (self.0.info().name == "mute").then_some(CoreId(0))
    }
    fn stats(&self) -> PortStats {
        self.0.stats()
    }
    fn buffers(&self) -> BufferUse {
        self.0.buffers()
    }
}

#[test]
fn a_worker_without_a_queue_to_send_by_has_another_send() {
    let made = (0..).zip(["sends", "mute"]).zip(siblings(2));
    let made = made.map(|((core, name), ends)| {
        let (port, wire) = MemPort::with_wire(port_info(name));
        let app = Echo {
            answer_by: Some(0),
            core,
            ..Echo::default()
        };
        let (_control, inbox) = mailbox(1);
        let worker = Worker::new(CoreId(core), vec![Mute(port)], app, inbox);
        (worker.among(ends), wire)
    });
    let (mut workers, wires): (Vec<_>, Vec<_>) = made.unzip();
    for n in 0..50 {
        assert!(wires[0].put(vec![FOREIGN, 1, n]));
    }
    while workers.iter_mut().map(|w| w.poll(NOW)).sum::<usize>() > 0 {}
    let sent = taken(&wires[0]);
    assert_eq!(sent.len(), 50);
    assert!(sent.is_sorted());
    assert!(taken(&wires[1]).is_empty());
    assert_eq!(workers[1].stats().handed_over, 50);
}
