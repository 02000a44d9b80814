//! Whatever comes in by any port: no panic, bounded memory, and nothing left in the end.

use crate::common::raw::{ACK, FIN, RST, SYN, SYN_OPTIONS, Tcp};
use crate::common::{
    Dumb, H, HAG2, MAC_AT, S, Sim, Way, assert_empty, config, counter, port_mac, raw_sim,
};
use stack::Rng;
use stack::time::Duration;

fn sim(seed: u64) -> Sim<Dumb> {
    let mut config = config();
    config.accept_plain = seed.is_multiple_of(2);
    config.limits.relays = 40;
    config.limits.pending = 30;
    config.limits.joining = 10;
    config.limits.buffer = 64 << 10;
    raw_sim(config)
}

/// A segment that is near to what the box has in its tables.
fn near(rng: &mut Rng, seen: &[Tcp]) -> (usize, Tcp) {
    let (port, src, dst) = match rng.below(4) {
        0 => (2, S, H),
        1 => (1, "10.2.0.2", HAG2),
        _ => (0, H, S),
    };
    let (low, high) = (1000 + rng.below(40), 80);
    let (src_port, dst_port) = if port == 2 { (high, low) } else { (low, high) };
    let flags = [SYN, SYN | ACK, ACK, ACK, ACK | FIN, RST, RST | ACK, 0, 0xff];
    let flags = flags[rng.below(9) as usize];
    let ports = (
        u16::try_from(src_port).unwrap(),
        u16::try_from(dst_port).unwrap(),
    );
    let mut tcp = Tcp::new(src, ports.0, dst, ports.1, flags);
    let same = |t: &&Tcp| t.dst == tcp.src && t.src == tcp.dst && t.dst_port == tcp.src_port;
    if let Some(last) = seen.iter().rev().find(same) {
        // An answer to what the box said last, or almost.
        tcp.seq = last.ack.wrapping_add(rng.below(3)).wrapping_sub(1);
        tcp.ack = last
            .seq
            .wrapping_add(u32::try_from(last.payload.len()).unwrap())
            .wrapping_add(u32::from(last.has(SYN)) + rng.below(2));
        if rng.below(4) != 0 {
            tcp.seq = last.ack;
        }
    }
    if rng.below(3) == 0 {
        tcp.payload = vec![7; rng.below(1400) as usize];
    }
    tcp.options = match rng.below(6) {
        0 => SYN_OPTIONS.to_vec(),
        1 => [&SYN_OPTIONS[..], &[30, 4, 1, 1]].concat(),
        2 => seen
            .iter()
            .rev()
            .find_map(|t| t.option(30).map(|o| [&[30, o.len() as u8 + 2], o].concat()))
            .unwrap_or_default(),
        3 => {
            let len = 2 + rng.below(28);
            let mut option = vec![0; len as usize];
            rng.fill(&mut option);
            option[..2].copy_from_slice(&[30, len as u8]);
            option
        },
        4 => {
            let mut junk = vec![0; rng.below(40) as usize];
            rng.fill(&mut junk);
            junk
        },
        _ => Vec::new(),
    };
    tcp.options.truncate(40);
    (port, tcp)
}

/// The right answer to something that the box said lately, so that flows get anywhere at all.
fn right(rng: &mut Rng, seen: &[Tcp]) -> Option<(usize, Tcp)> {
    let lately = &seen[seen.len().saturating_sub(12)..];
    let last = lately.get(rng.below(u32::try_from(lately.len()).unwrap()) as usize)?;
    let port = match last.dst.to_string().as_str() {
        H => 0,
        S => 2,
        _ => 1,
    };
    let clock = last
        .option(8)
        .and_then(|ts| ts.first_chunk().copied())
        .unwrap_or([0; 4]);
    let timestamps = [&[8, 10, 0, 0, 0x10, 0][..], &clock].concat();
    let mut tcp = if last.has(SYN) && !last.has(ACK) {
        let mut answer = last.answer(SYN | ACK, 0x2000_0000);
        answer.options = [&[2, 4, 5, 0xb4, 3, 3, 7, 4, 2][..], &timestamps].concat();
        return Some((port, answer));
    } else {
        let mut answer = last.answer(ACK, last.ack);
        answer.options = timestamps;
        answer
    };
    if last.has(SYN)
        && let Some(capable) = last.option(30).filter(|o| o.len() == 10)
    {
        let keys = [&[30, 20, 1, 1, 9, 9, 9, 9, 9, 9, 9, 9][..], &capable[2..10]].concat();
        tcp.options.extend(keys);
    }
    match rng.below(8) {
        0..3 => tcp.payload = vec![7; 1 + rng.below(1300) as usize],
        3 => tcp.flags |= FIN,
        4 => tcp.flags = if rng.below(4) == 0 { RST } else { ACK },
        _ => {},
    }
    Some((port, tcp))
}

#[test]
fn frames_near_the_boxes_own_state_neither_panic_nor_leak() {
    let (mut opened, mut mptcp) = (0, 0);
    for seed in 0..12 {
        let mut sim = sim(seed);
        let mut rng = Rng::from_u64(seed);
        let mut seen = Vec::new();
        for _ in 0..4_000 {
            let answer = (rng.below(2) == 0)
                .then(|| right(&mut rng, &seen))
                .flatten();
            let (port, tcp) = answer.unwrap_or_else(|| near(&mut rng, &seen));
            let mut frame = tcp.frame(MAC_AT[port], port_mac(port));
            match rng.below(20) {
                0 => frame.truncate(rng.below(u32::try_from(frame.len()).unwrap()) as usize),
                1 => {
                    let at = rng.below(u32::try_from(frame.len()).unwrap()) as usize;
                    frame[at] ^= 1 << rng.below(8);
                },
                _ => {},
            }
            sim.inject(port, frame);
            let pause = [0, 1, 5, 50, 900][rng.below(5) as usize];
            sim.idle(Duration::from_millis(pause));
            let out = sim.seen.drain(..).filter(|s| s.way == Way::FromBox);
            // Frames that were forwarded may be as broken as they came: only ours are read.
            let ours = out.filter(|s| s.frame.len() > 60);
            seen.extend(ours.filter_map(|s| {
                std::panic::catch_unwind(|| Tcp::parse(&s.frame))
                    .ok()
                    .flatten()
                    .filter(|tcp| stack::wire::tcp::parse_options(&tcp.options).is_some())
            }));
            let holds = sim.occupancy();
            assert!(holds.pending <= 30 && holds.relays <= 40 && holds.joining <= 10);
            assert!(holds.held <= 40 * 2 * (64 << 10) + (1 << 20), "{holds:?}");
        }
        sim.idle(Duration::from_secs(3 * 3600));
        opened += counter(&mut sim, "relay_opened");
        mptcp += counter(&mut sim, "relay_opened_mptcp");
        assert_empty(&mut sim);
    }
    // Else the frames would not have come near anything.
    assert!(
        opened > 40 && mptcp > 15,
        "{opened} relays, {mptcp} with MPTCP"
    );
}

#[test]
fn pure_noise_is_dropped() {
    let mut sim = sim(1);
    let mut rng = Rng::from_u64(2);
    for _ in 0..5_000 {
        let mut frame = vec![0; rng.below(200) as usize];
        rng.fill(&mut frame);
        if frame.len() > 14 && rng.below(2) == 0 {
            let kinds = [[8, 0], [0x86, 0xdd], [8, 6], [0x81, 0]];
            frame[..6].copy_from_slice(&port_mac(0));
            frame[12..14].copy_from_slice(&kinds[rng.below(4) as usize]);
        }
        sim.inject(rng.below(3) as usize, frame);
        sim.idle(Duration::from_millis(1));
        sim.seen.clear();
    }
    assert_empty(&mut sim);
}
