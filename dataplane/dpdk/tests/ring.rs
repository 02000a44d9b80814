//! A net_ring port, which receives what it sends: the very mbufs, chains included.

mod support;

use dataplane::memory::linear;
use dataplane::{Port, Received};
use dpdk::{DpdkPort, Eal, EalConfig, EalError, Mbuf};
use stack::buf::Partial;
use stack::{Frame, Slice};
use support::{alone, config, eal, frame, header, receive};

#[test]
fn chains_come_back_whole_and_no_buffer_is_lost() {
    if !alone("chains_come_back_whole_and_no_buffer_is_lost") {
        return;
    }
    let mut port = DpdkPort::open(eal(), &config("loop", "net_ring0")).unwrap();
    assert!(port.sends_chains());
    for round in 0..2000 {
        port.transmit(&mut vec![frame(&header(round, 120), [])]);
        let payload = receive(&mut port, 1).remove(0).frame;
        assert_eq!(payload.bytes(), header(round, 120));
        let slices = [payload.slice(50..120), payload.slice(0..1)];
        let sent = frame(&header(round, 60), slices);
        let expected = linear(&sent);
        port.transmit(&mut vec![sent]);
        let back = receive(&mut port, 1).remove(0).frame;
        assert_eq!(back.bytes(), expected);
        // `back` is a copy of the chain and has room before it; `payload` is still ours, and was never written.
        assert_eq!(payload.bytes(), header(round, 120));
        let sole = frame(&header(7, 100), [back.slice(60..back.len())]);
        let expected = linear(&sole);
        drop(back);
        port.transmit(&mut vec![sole]);
        assert_eq!(receive(&mut port, 1).remove(0).frame.bytes(), expected);
    }
    let stats = port.stats();
    assert_eq!(
        (stats.tx_packets, stats.rx_packets, stats.tx_dropped),
        (6000, 6000, 0)
    );
    assert_eq!(port.missing_buffers(), (0, 0));
}

/// How many buffers sending `frame` takes beside those of its payload.
fn taken(port: &mut DpdkPort, frame: Frame<Mbuf>) -> u32 {
    let before = port.missing_buffers();
    port.transmit(&mut vec![frame]);
    let after = port.missing_buffers();
    after.0 + after.1 - before.0 - before.1
}

/// A received frame of 120 octets, of which nobody reads the first 54 any more.
fn payload(port: &mut DpdkPort, round: u32) -> Slice<Mbuf> {
    port.transmit(&mut vec![frame(&header(round, 120), [])]);
    let mut payload = receive(port, 1).remove(0).frame.narrow(54..120);
    payload.only_from_here();
    payload
}

#[test]
fn what_is_still_referred_to_is_sent_from_where_it_lies_for_the_first_time() {
    if !alone("what_is_still_referred_to_is_sent_from_where_it_lies_for_the_first_time") {
        return;
    }
    let mut port = DpdkPort::open(eal(), &config("loop", "net_ring0")).unwrap();
    for round in 0..2000 {
        let kept = payload(&mut port, round);
        let expected = header(round, 120)[54..].to_vec();
        // Headers longer than the received ones have room, too. Then it is with the device, and so are its headers: what goes once
        // more meanwhile, and afterwards, is a chain.
        for (buffers, longer) in [(0, 74), (2, 60)] {
            let sent = frame(&header(round + 1, longer), [kept.hand_on()]);
            let whole = linear(&sent);
            assert_eq!(taken(&mut port, sent), buffers, "{round} {longer}");
            let again = frame(&header(round + 2, 66), [kept.slice(0..40)]);
            let part = linear(&again);
            assert_eq!(taken(&mut port, again), 2);
            let back = receive(&mut port, 2);
            assert_eq!(back[0].frame.bytes(), whole);
            assert_eq!(back[1].frame.bytes(), part);
            assert_eq!(kept.bytes(), expected, "and it was never written");
        }
        // Nobody else refers to it any more: its headers are ours again.
        let last = frame(&header(round, 70), [kept]);
        let whole = linear(&last);
        assert_eq!(taken(&mut port, last), 0);
        assert_eq!(receive(&mut port, 1).remove(0).frame.bytes(), whole);
    }
    assert_eq!(port.stats().tx_dropped, 0);
    assert_eq!(port.missing_buffers(), (0, 0));
}

#[test]
fn nothing_that_is_still_read_is_written() {
    if !alone("nothing_that_is_still_read_is_written") {
        return;
    }
    let mut port = DpdkPort::open(eal(), &config("loop", "net_ring0")).unwrap();
    let whole = header(7, 120);
    let sends = |port: &mut DpdkPort, slice: Slice<Mbuf>| {
        let sent = frame(&header(1, 54), [slice]);
        let expected = linear(&sent);
        let taken = taken(port, sent);
        assert_eq!(receive(port, 1).remove(0).frame.bytes(), expected);
        taken
    };
    // What begins behind the octets that nobody reads: others may read those before it.
    let first = payload(&mut port, 7);
    assert_eq!(sends(&mut port, first.hand_on().narrow(10..66)), 2);
    assert_eq!(first.bytes(), &whole[54..]);
    // Somebody read the headers when it was said that nobody does.
    port.transmit(&mut vec![frame(&whole, [])]);
    let reader = receive(&mut port, 1).remove(0).frame;
    let mut payload = reader.slice(54..120);
    payload.only_from_here();
    assert_eq!(sends(&mut port, payload.hand_on()), 2);
    assert_eq!(reader.bytes(), whole);
    // Nothing was said.
    drop(reader);
    assert_eq!(sends(&mut port, payload.hand_on()), 2);
    // It was said of another, and then of this one, anew each time that the device is through with it.
    payload.only_from_here();
    assert_eq!(sends(&mut port, payload.clone()), 2);
    for _ in 0..2 {
        payload.only_from_here();
        assert_eq!(sends(&mut port, payload.hand_on()), 0);
    }
    assert_eq!(payload.bytes(), &whole[54..]);
    drop((payload, first));
    assert_eq!(port.missing_buffers(), (0, 0));
}

#[test]
fn payload_in_ordinary_memory_frees_its_buffer_and_is_sent_as_a_copy() {
    if !alone("payload_in_ordinary_memory_frees_its_buffer_and_is_sent_as_a_copy") {
        return;
    }
    let mut port = DpdkPort::open(eal(), &config("loop", "net_ring0")).unwrap();
    for round in 0..200 {
        port.transmit(&mut vec![frame(&header(round, 120), [])]);
        let mut payload = receive(&mut port, 1).remove(0).frame.narrow(50..120);
        let (also, used) = (payload.clone(), port.missing_buffers());
        assert!(
            !payload.leave_pool(),
            "who else holds it keeps it where it is"
        );
        drop(also);
        assert!(payload.leave_pool());
        assert_eq!(
            port.missing_buffers().0 + port.missing_buffers().1 + 1,
            used.0 + used.1
        );
        assert!(!payload.leave_pool(), "it has left");
        assert_eq!(payload.bytes(), &header(round, 120)[50..120]);
        // As any other: cloned, cut, sent twice and dropped.
        let sent = frame(&header(round, 60), [payload.clone(), payload.slice(3..9)]);
        let expected = linear(&sent);
        port.transmit(&mut vec![sent, frame(&header(round, 60), [payload])]);
        let back = receive(&mut port, 2);
        assert_eq!(back[0].frame.bytes(), expected);
        assert_eq!(back[1].frame.bytes()[60..], header(round, 120)[50..120]);
    }
    assert_eq!(port.stats().copied_at_port, 200 * (70 + 6 + 70));
    assert_eq!(port.missing_buffers(), (0, 0));
}

/// A frame of TCP of which `headers` octets are header, whose checksum is left to the port.
fn unfinished(whole: &Slice<Mbuf>, headers: usize) -> Frame<Mbuf> {
    let bytes = whole.bytes();
    let mut frame = frame(&bytes[..headers], [whole.slice(headers..bytes.len())]);
    frame.partial = Partial::at(14, 34);
    frame
}

#[test]
fn a_checksum_that_is_left_to_the_port_is_computed_where_the_device_cannot() {
    if !alone("a_checksum_that_is_left_to_the_port_is_computed_where_the_device_cannot") {
        return;
    }
    let mut port = DpdkPort::open(eal(), &config("loop", "net_ring0")).unwrap();
    assert!(!port.info().sums);
    for round in 0..200 {
        // Of our making, with the header before shared payload; and on its way through, with all of TCP in the payload.
        for headers in [54, 34] {
            for held in [true, false] {
                port.transmit(&mut vec![frame(&header(round, 120), [])]);
                let whole = receive(&mut port, 1).remove(0).frame;
                let sent = unfinished(&whole, headers);
                let expected = linear(&sent);
                assert_ne!(expected, whole.bytes(), "a checksum is written");
                let before = whole.bytes().to_vec();
                let holder = held.then_some(whole);
                port.transmit(&mut vec![sent]);
                let back = receive(&mut port, 1).remove(0).frame;
                assert_eq!(back.bytes(), expected, "{headers} {held}");
                assert!(holder.is_none_or(|whole| whole.bytes() == before));
            }
        }
    }
    let stats = port.stats();
    assert_eq!(stats.summed_at_port, 200 * 2 * (120 - 54 + 120 - 34));
    assert_eq!(stats.tx_dropped, 0);
    assert_eq!(port.missing_buffers(), (0, 0));
}

/// The numbers of some frames as [`header`] wrote them.
fn numbers(received: &[Received<Mbuf>]) -> impl Iterator<Item = Vec<u8>> {
    received.iter().map(|r| r.frame.bytes()[14..18].to_vec())
}

#[test]
fn what_a_full_device_does_not_take_waits_and_what_is_beyond_is_dropped_and_counted() {
    if !alone("what_a_full_device_does_not_take_waits_and_what_is_beyond_is_dropped_and_counted") {
        return;
    }
    let mut port = DpdkPort::open(eal(), &config("loop", "net_ring0")).unwrap();
    let frames = |numbers: core::ops::Range<u32>| -> Vec<_> {
        numbers.map(|n| frame(&header(n, 64), [])).collect()
    };
    port.transmit(&mut frames(0..1500));
    let stats = port.stats();
    let taken = stats.tx_packets as usize;
    assert_eq!((taken + port.waiting(), stats.tx_dropped), (1500, 0));
    assert!(port.waiting() > 0);
    port.transmit(&mut frames(1500..3000));
    let dropped = port.stats().tx_dropped as usize;
    assert!(dropped > 0);
    assert_eq!(taken + port.waiting() + dropped, 3000);
    // Once there is room what waits goes first, though nothing else is to be sent.
    let mut back = receive(&mut port, taken);
    while port.waiting() > 0 {
        port.transmit(&mut Vec::new());
        let more = port.stats().tx_packets as usize - back.len();
        assert!(more > 0);
        back.extend(receive(&mut port, more));
    }
    let expected = (0..3000 - dropped as u32).map(|n| header(n, 64)[14..18].to_vec());
    assert!(numbers(&back).eq(expected), "the oldest, in order");
    let stats = port.stats();
    assert_eq!(stats.tx_packets * 64, stats.tx_bytes);
    assert_eq!(stats.tx_packets as usize, 3000 - dropped);
    drop(back);
    assert_eq!(port.missing_buffers(), (0, 0));
    // What still waits when the port is closed is freed.
    port.transmit(&mut frames(0..1500));
    assert!(port.waiting() > 0);
}

#[test]
fn what_does_not_open_says_which_why_and_what_to_do() {
    if !alone("what_does_not_open_says_which_why_and_what_to_do") {
        return;
    }
    let eal = eal();
    assert_eq!(
        Eal::init(&EalConfig::default()).unwrap_err(),
        EalError::Again
    );
    let _taken = DpdkPort::open(eal, &config("one", "net_ring0")).unwrap();
    let mut huge = config("jumbo", "net_ring1");
    huge.mtu = 40_000;
    let mut greedy = config("greedy", "net_ring2");
    greedy.buffers = 10_000_000;
    for (port, words) in [
        (
            config("two", "net_ring0"),
            "the name net_ring0 is taken by another port",
        ),
        (
            config("x", "net_af_packet0,iface=nowhere"),
            "no interface nowhere; create it, or write one of: lo",
        ),
        (
            config("x", "eth0"),
            "\"eth0\" is no device: write a PCI address",
        ),
        (config("x", "0000:99:00.0"), "dpdk-devbind.py"),
        (
            config("x", "net_nosuchdriver0"),
            "net_nosuchdriver0) did not open",
        ),
        (huge, "its mtu is 40000; write one from 68 to 9600"),
        (greedy, "no memory for 10000000 packet buffers"),
    ] {
        let error = DpdkPort::open(eal, &port).unwrap_err().to_string();
        let start = format!("port {} (device {}) did not open: ", port.name, port.device);
        assert!(
            error.starts_with(&start) && error.contains(words),
            "{error}"
        );
    }
    // What failed half-way leaves nothing behind.
    let again = DpdkPort::open(eal, &config("again", "net_ring2"));
    assert_eq!(again.unwrap().info().name, "again");
}

#[test]
fn a_port_opens_again_after_it_was_closed() {
    if !alone("a_port_opens_again_after_it_was_closed") {
        return;
    }
    let eal = eal();
    for _ in 0..20 {
        let mut port = DpdkPort::open(eal, &config("loop", "net_ring0")).unwrap();
        port.transmit(&mut vec![frame(&header(0, 64), [])]);
        assert_eq!(receive(&mut port, 1).len(), 1);
    }
}
