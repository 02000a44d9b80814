//! Several workers on one device: a software network card over the two queues of a net_ring port, and devices with fewer
//! queues than there are workers.

mod support;

use dataplane::{
    App, BufferUse, Clock, CoreId, Idle, Owner, Port, PortInfo, PortStats, Received, Worker,
    mailbox, run, siblings,
};
use dpdk::{DpdkPort, Eal, EalConfig, Mbuf};
use stack::ip::{Sight, sight};
use stack::{Frame, Instant, PortId, rss};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::{alone, config, frame, header, ip, receive};

fn eal_of(others: Vec<u16>) -> Eal {
    let config = EalConfig {
        hugepages: Some(false),
        memory_mb: 192,
        core: Some(0),
        others,
        ..EalConfig::default()
    };
    Eal::init(&config).unwrap()
}

/// A frame of UDP of flow `flow`, with a number in its payload.
fn datagram(flow: u16, number: u32) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    let mut ip = vec![0x45, 0, 0, 48, 0, 0, 0x40, 0, 64, 17, 0, 0];
    ip.extend([10, 1, 0, flow.to_be_bytes()[1], 192, 0, 2, 7]);
    let sum = stack::checksum::Sum::of(&ip).checksum();
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    frame.extend(ip);
    frame.extend((20_000 + 3 * flow).to_be_bytes());
    frame.extend([0, 53, 0, 28, 0, 0]);
    frame.extend(number.to_be_bytes());
    frame.extend([0; 16]);
    frame
}

fn flow_and_number(frame: &[u8]) -> (u16, u32) {
    let flow = u16::from_be_bytes([frame[34], frame[35]]);
    let number = u32::from_be_bytes(frame[42..46].try_into().unwrap());
    ((flow - 20_000) / 3, number)
}

/// An app that notes what it gets, and knows that flows belong where a device's hash leads.
struct Notes<'a> {
    core: u8,
    /// Every other flow is of the other core, whatever the hash says.
    contrary: bool,
    got: BTreeMap<u16, Vec<u32>>,
    left: &'a AtomicUsize,
}

fn queue_of(frame: &[u8]) -> u16 {
    match sight(frame) {
        Sight::Flow(seen) => rss::queue(rss::hash(&seen.tuple), 2),
        other => panic!("{other:?}"),
    }
}

impl App<Mbuf> for Notes<'_> {
    type Command = ();
    type Reply = ();
    type Word = ();

    fn owner(&self, _: PortId, frame: &[u8]) -> Owner {
        let (flow, _) = flow_and_number(frame);
        let other = u16::from(self.contrary && flow % 2 == 0);
        Owner::Core(CoreId((queue_of(frame) ^ other) as u8))
    }

    fn input(
        &mut self,
        _: Instant,
        _: PortId,
        burst: &mut Vec<Received<Mbuf>>,
        _: &mut Vec<Frame<Mbuf>>,
    ) {
        for received in burst.drain(..) {
            let (flow, number) = flow_and_number(received.frame.bytes());
            self.got.entry(flow).or_default().push(number);
            self.left.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn flush(&mut self, _: Instant, _: &mut Vec<Frame<Mbuf>>) {}

    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    fn command(&mut self, _: Instant, (): (), _: &mut Vec<Frame<Mbuf>>) {}
}

const FLOWS: u16 = 40;
const EACH: u32 = 500;

/// The card's half for one queue: before each receive it puts a few of the frames that belong on that queue on the ring,
/// all flows in turn.
struct Card<'a> {
    port: DpdkPort,
    /// What belongs on this queue, in order.
    flows: Vec<u16>,
    sent: usize,
    /// What all queues sent, and what is left to be received.
    traffic: Traffic<'a>,
}

#[derive(Clone, Copy)]
struct Traffic<'a> {
    sent: &'a AtomicUsize,
    left: &'a AtomicUsize,
}

/// Frames on their way at most: a thread that is not run for a while must not overflow a ring.
const WINDOW: usize = 256;

impl<'a> Card<'a> {
    fn new(port: DpdkPort, queue: u16, traffic: Traffic<'a>) -> Self {
        let flows = (0..FLOWS).filter(|&flow| queue_of(&datagram(flow, 0)) == queue);
        Self {
            port,
            flows: flows.collect(),
            sent: 0,
            traffic,
        }
    }

    fn feed(&mut self) {
        let Traffic { sent, left } = self.traffic;
        let received = usize::from(FLOWS) * EACH as usize - left.load(Ordering::Acquire);
        if sent.load(Ordering::Acquire) > received + WINDOW {
            return;
        }
        let all = self.flows.len() * EACH as usize;
        let next = self.sent..(self.sent + 16).min(all);
        self.sent = next.end;
        sent.fetch_add(next.len(), Ordering::AcqRel);
        let nth = |n: usize| {
            datagram(
                self.flows[n % self.flows.len()],
                (n / self.flows.len()) as u32,
            )
        };
        let mut frames: Vec<_> = next.map(|n| frame(&nth(n), [])).collect();
        self.port.transmit(&mut frames);
    }
}

impl Port for Card<'_> {
    type Buf = Mbuf;
    fn info(&self) -> &PortInfo {
        self.port.info()
    }
    fn receive(&mut self, into: &mut Vec<Received<Mbuf>>) {
        self.feed();
        self.port.receive(into);
    }
    fn give(&mut self, _: &mut [Frame<Mbuf>]) {}
    fn stats(&self) -> PortStats {
        self.port.stats()
    }
    fn buffers(&self) -> BufferUse {
        self.port.buffers()
    }
}

/// What a worker got, flow by flow, and how many frames it handed over and took.
type Noted = (BTreeMap<u16, Vec<u32>>, u64, u64);

/// Runs two workers, each on its queue and on a thread of its own, while a software card gives each frame to the queue that
/// its hash names.
fn through_two_queues(contrary: bool) -> Vec<Noted> {
    let eal = eal_of(vec![1, 0]);
    let ports = DpdkPort::open_for(eal, &config("ring", "net_ring0"), 2).unwrap();
    assert_eq!((ports[0].queues(), ports[0].hashes()), (2, false));
    let left = AtomicUsize::new(usize::from(FLOWS) * EACH as usize);
    let sent = AtomicUsize::new(0);
    let traffic = Traffic {
        sent: &sent,
        left: &left,
    };
    let made = (0..).zip(ports).zip(siblings(2));
    let workers = made.map(|((core, port), siblings)| {
        let app = Notes {
            core,
            contrary,
            got: BTreeMap::new(),
            left: &left,
        };
        let (_control, inbox) = mailbox(1);
        let card = Card::new(port, core.into(), traffic);
        Worker::new(CoreId(core), vec![card], app, inbox).among(siblings)
    });
    let mut workers: Vec<_> = workers.collect();
    let clock = Clock::start();
    let (clock, left) = (&clock, &left);
    std::thread::scope(|scope| {
        for worker in &mut workers {
            scope.spawn(move || {
                eal.join().unwrap();
                let patience = clock.now() + stack::time::Duration::from_secs(60);
                run(worker, clock, Idle::ADAPTIVE, |_| {
                    left.load(Ordering::Acquire) == 0 || clock.now() > patience
                });
            });
        }
    });
    let noted = workers.iter().map(|worker| {
        let (app, stats) = (worker.app(), worker.stats());
        assert_eq!(stats.handover_full + stats.drop_no_core, 0);
        let owned = |flow: &u16| {
            let queue = queue_of(&datagram(*flow, 0)) as u8;
            queue ^ u8::from(contrary && flow.is_multiple_of(2)) == app.core
        };
        assert!(app.got.keys().all(owned), "nobody else's");
        (app.got.clone(), stats.handed_over, stats.taken_over)
    });
    noted.collect()
}

fn assert_all_in_order(got: &BTreeMap<u16, Vec<u32>>) {
    let all: Vec<u32> = (0..EACH).collect();
    for (flow, numbers) in got {
        assert!(*numbers == all, "flow {flow}: {} frames", numbers.len());
    }
}

#[test]
fn a_card_that_hashes_as_we_do_leaves_nothing_to_be_handed_over() {
    if !alone("a_card_that_hashes_as_we_do_leaves_nothing_to_be_handed_over") {
        return;
    }
    let noted = through_two_queues(false);
    for (got, handed, taken) in &noted {
        assert_all_in_order(got);
        assert!(got.len() > 8, "{} flows", got.len());
        assert_eq!((*handed, *taken), (0, 0));
    }
    assert_eq!(noted[0].0.len() + noted[1].0.len(), usize::from(FLOWS));
}

#[test]
fn what_comes_to_the_wrong_queue_is_handed_over_in_order_between_two_threads() {
    if !alone("what_comes_to_the_wrong_queue_is_handed_over_in_order_between_two_threads") {
        return;
    }
    let noted = through_two_queues(true);
    for (got, ..) in &noted {
        assert_all_in_order(got);
    }
    let half = u64::from(FLOWS / 2) * u64::from(EACH);
    let handed: u64 = noted.iter().map(|noted| noted.1).sum();
    let taken: u64 = noted.iter().map(|noted| noted.2).sum();
    assert_eq!((handed, taken), (half, half));
    assert_eq!(noted[0].0.len() + noted[1].0.len(), usize::from(FLOWS));
}

#[test]
fn a_device_with_one_queue_serves_several_workers() {
    if !alone("a_device_with_one_queue_serves_several_workers") {
        return;
    }
    ip("link add va type veth peer name vb");
    ip("link set va up");
    ip("link set vb up");
    let device = "net_af_packet0,iface=va,qpairs=1";
    let mut ports = DpdkPort::open_for(eal_of(vec![1]), &config("one", device), 3).unwrap();
    assert_eq!(ports.len(), 3);
    let sent_by = ports.iter().map(Port::sent_by).collect::<Vec<_>>();
    assert_eq!(sent_by, [None, Some(CoreId(0)), Some(CoreId(0))]);
    ports[0].transmit(&mut vec![frame(&header(1, 64), [])]);
    assert_eq!(ports[0].stats().tx_packets, 1);
    ports[1].transmit(&mut vec![frame(&header(1, 64), [])]);
    let stats = ports[1].stats();
    assert_eq!((stats.tx_packets, stats.tx_dropped), (0, 1));
    assert!(receive_none(&mut ports[2]));
}

#[test]
fn a_device_without_flow_rules_says_so_and_goes_on() {
    if !alone("a_device_without_flow_rules_says_so_and_goes_on") {
        return;
    }
    let mut ports = DpdkPort::open_for(eal_of(vec![1]), &config("ring", "net_ring0"), 2).unwrap();
    for address in ["10.99.0.2", "fd00:99::2"] {
        assert!(!ports[1].attract((address.parse().unwrap(), 8686)));
    }
    ports[1].transmit(&mut vec![frame(&header(1, 64), [])]);
    assert_eq!(receive(&mut ports[1], 1).len(), 1);
}

fn receive_none(port: &mut DpdkPort) -> bool {
    let mut into = Vec::new();
    port.receive(&mut into);
    into.is_empty()
}

#[test]
fn a_device_that_hashes_is_given_our_key_and_our_table() {
    if !alone("a_device_that_hashes_is_given_our_key_and_our_table") {
        return;
    }
    let eal = eal_of(vec![1]);
    let ports = DpdkPort::open_for(eal, &config("null", "net_null0"), 2).unwrap();
    assert_eq!((ports[0].queues(), ports[0].hashes()), (2, true));
    let (key, table) = ports[0].spread().unwrap();
    assert!(key.len() >= 40 && key.chunks(2).all(|word| word == [0x6d, 0x5a]));
    assert!(table.len() >= 64);
    for (n, queue) in (0..).zip(&table) {
        assert_eq!(*queue, rss::queue(n, 2));
    }
}
