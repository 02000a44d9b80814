//! Packet buffers are few: readers that stall and senders of crumbs must not take them from everybody else.

use crate::common::raw::{ACK, SYN, SYN_OPTIONS, Tcp};
use crate::common::stalled;
use crate::common::{
    ACCESS1, CLIENT, CORE, H, Host, MAC_AT, Pair, S, SERVER, Sim, Way, bonded_sim, config, counter,
    pattern, plain_sim_with, port_mac, raw_sim,
};
use apps::engine::{EngineConfig, Limits};
use stack::time::Duration;

fn limited(buffer: u32, buffer_total: u64) -> EngineConfig {
    let limits = Limits {
        buffer,
        buffer_total,
        ..Limits::default()
    };
    EngineConfig {
        accept_plain: true,
        limits,
        ..config()
    }
}

/// Buffers of a pool that is soon too small.
const POOL: u32 = 512;

/// Lets the server send up to `len` octets on each of `pairs`, whose clients read nothing.
fn stall(sim: &mut Sim<Host>, pairs: &[&Pair], len: usize) {
    let data = pattern(len, 4);
    let mut sent = vec![0; pairs.len()];
    sim.run(Duration::from_secs(20), |sim| {
        for (pair, sent) in pairs.iter().zip(&mut sent) {
            *sent += sim.hosts[SERVER].send(pair.server, &data[*sent..]);
        }
        false
    });
}

/// Lets the server send `data` to the client, who reads all; whether it came within a minute.
fn downloads(sim: &mut Sim<Host>, pair: &Pair, data: &[u8]) -> bool {
    let (mut sent, mut got) = (0, Vec::new());
    let done = sim.run(Duration::from_secs(60), |sim| {
        sent += sim.hosts[SERVER].send(pair.server, &data[sent..]);
        sim.hosts[CLIENT].recv(pair.client, &mut got);
        got.len() == data.len()
    });
    done && got == data
}

#[test]
fn readers_that_stall_leave_room_to_others() {
    let mut sim = plain_sim_with(limited(1 << 20, 1 << 20), 1);
    sim.record = false;
    let stalls: Vec<_> = (0..6)
        .map(|n| stalled(&mut sim, 40_000 + n, 8 << 20))
        .collect();
    let held = sim.occupancy().held;
    assert!(held < 3 << 19, "held {held}");
    let pair = crate::common::connect(&mut sim, 41_000, S);
    assert!(downloads(&mut sim, &pair, &pattern(1 << 20, 5)), "starved");
    for pair in stalls {
        sim.hosts[CLIENT].tcp(pair.client).abort();
    }
    sim.idle(Duration::from_secs(1));
    assert_eq!(sim.occupancy().held, 0);
}

#[test]
fn while_buffers_run_short_windows_are_small_and_flows_go_on() {
    let mut sim = plain_sim_with(limited(1 << 20, 1 << 30), 1);
    sim.record = false;
    let heavy = stalled(&mut sim, 40_000, 8 << 20);
    let before = sim.occupancy().held;
    let second = crate::common::connect(&mut sim, 40_001, S);
    let third = crate::common::connect(&mut sim, 40_002, S);
    sim.report_buffers(CORE, 800);
    stall(&mut sim, &[&second], 8 << 20);
    let held = sim.occupancy().held - before;
    assert!((1..=200_000).contains(&held), "held {held}");
    assert!(counter(&mut sim, "buffer_budget_hit") > 0);
    // The very last buffers: who holds little goes on even so.
    sim.report_buffers(CORE, 950);
    assert!(downloads(&mut sim, &third, &pattern(1 << 20, 5)), "starved");
    // And when there are enough again all is as before.
    sim.report_buffers(CORE, 100);
    for pair in [&heavy, &second] {
        let mut got = Vec::new();
        let more = sim.run(Duration::from_secs(60), |sim| {
            sim.hosts[CLIENT].recv(pair.client, &mut got);
            sim.hosts[SERVER].tcp(pair.server).send_queue() == 0
        });
        assert!(more, "{} came", got.len());
    }
}

#[test]
fn while_buffers_run_short_new_flows_are_passed_on_unbonded() {
    let mut sim = plain_sim_with(limited(1 << 20, 1 << 30), 1);
    crate::common::connect(&mut sim, 40_000, S);
    sim.report_buffers(CORE, 800);
    let second = crate::common::connect(&mut sim, 40_001, S);
    assert_eq!(counter(&mut sim, "relays"), 1);
    assert!(downloads(&mut sim, &second, &pattern(1 << 16, 5)));
    sim.report_buffers(CORE, 100);
    crate::common::connect(&mut sim, 40_002, S);
    assert_eq!(counter(&mut sim, "relays"), 2);
}

#[test]
fn what_waits_for_its_reader_leaves_the_pool_and_the_port_goes_on_receiving() {
    let mut sim = plain_sim_with(limited(1 << 20, 1 << 30), 1);
    sim.record = false;
    sim.limit_buffers(CORE, POOL);
    let pairs: Vec<_> = (0..9)
        .map(|n| crate::common::connect(&mut sim, 40_000 + n, S))
        .collect();
    let (lively, stalls) = pairs.split_last().unwrap();
    stall(&mut sim, &stalls.iter().collect::<Vec<_>>(), 8 << 20);
    let (held, copied) = (sim.occupancy().held, counter(&mut sim, "buffer_copied"));
    // Far more than the pool could hold, and it is nearly free.
    assert!(held > 2 * u64::from(POOL) * 1460, "held {held}");
    assert!(copied > held / 2, "{copied} octets copied of {held}");
    let used = sim.buffers(CORE).used;
    assert!(used < POOL * 3 / 4, "{used} buffers taken");
    // So whoever reads gets on. What is copied meanwhile is the stalled ones', and of his the little that waits for his path.
    let before = sim.starved(CORE);
    let his = 4 << 20;
    assert!(downloads(&mut sim, lively, &pattern(his, 5)), "starved");
    assert_eq!(sim.starved(CORE), before);
    let more = counter(&mut sim, "buffer_copied") - copied;
    let theirs = u64::from(used) * 1460;
    assert!(more <= theirs + his as u64 / 8, "{more} octets copied");
    // What was copied is what came.
    for pair in stalls {
        let mut got = Vec::new();
        let all = sim.run(Duration::from_secs(60), |sim| {
            sim.hosts[CLIENT].recv(pair.client, &mut got);
            sim.hosts[SERVER].tcp(pair.server).send_queue() == 0
        });
        sim.run(Duration::from_secs(1), |sim| {
            sim.hosts[CLIENT].recv(pair.client, &mut got);
            false
        });
        assert!(
            all && got == pattern(8 << 20, 4)[..got.len()],
            "{} came",
            got.len()
        );
    }
    assert_eq!((sim.buffers(CORE).used, sim.occupancy().held), (0, 0));
}

#[test]
fn crumbs_are_bounded_by_the_buffers_that_they_pin() {
    let mut sim = raw_sim(limited(1 << 20, 1 << 30));
    let put = |sim: &mut Sim<crate::common::Dumb>, port: usize, segment: &Tcp| {
        sim.inject(port, segment.frame(MAC_AT[port], port_mac(port)));
        sim.idle(Duration::from_millis(3));
        let out = sim.seen.iter().filter(|s| s.way == Way::FromBox);
        let mut out = out.rev().filter_map(|s| Tcp::parse(&s.frame));
        out.next().unwrap()
    };
    let mut syn = Tcp::plain_syn(H, 1000, S);
    // No timestamps, so that the crumbs below need none.
    syn.options.drain(6..16);
    let forwarded = put(&mut sim, ACCESS1, &syn);
    let mut answer = forwarded.answer(SYN | ACK, 77_000);
    answer.options = SYN_OPTIONS.to_vec();
    let answered = put(&mut sim, CORE, &answer);
    put(&mut sim, ACCESS1, &answered.answer(ACK, syn.seq + 1));
    assert_eq!(counter(&mut sim, "relays"), 1);
    sim.record = false;
    for n in 0..10_000 {
        let mut crumb = answer.clone();
        (crumb.flags, crumb.seq, crumb.payload) = (ACK, 77_001 + n, vec![7]);
        crumb.options.clear();
        sim.inject(CORE, crumb.frame(MAC_AT[CORE], port_mac(CORE)));
        if n % 20 == 0 {
            sim.idle(Duration::from_millis(1));
        }
    }
    let pieces = sim.occupancy().pieces;
    assert!((1_000..2_200).contains(&pieces), "{pieces} buffers pinned");
    assert!(counter(&mut sim, "buffer_refused") > 5_000);
}

#[test]
fn what_was_refused_comes_again_and_no_octet_is_lost() {
    let mut sim = bonded_sim(limited(64 << 10, 1 << 30), 1);
    sim.record = false;
    let socket = sim.hosts[SERVER].tcp().listen(80);
    let now = sim.now;
    let data = pattern(150_000, 3);
    let client = sim.hosts[CLIENT].mptcp();
    client.connect(now, 40_000, (S, 80));
    (client.data, client.piece_max, client.finish) = (data.clone(), 40, true);
    // The server's own buffer is 256 KiB: stop it by its line.
    sim.idle(Duration::from_millis(200));
    sim.links[CORE].shape.down = true;
    let mut most = 0;
    sim.run(Duration::from_secs(5), |sim| {
        most = most.max(sim.occupancy().pieces);
        false
    });
    assert!(most <= 256, "{most} pieces");
    assert!(counter(&mut sim, "buffer_refused") > 0);
    sim.links[CORE].shape.down = false;
    let mut got = Vec::new();
    let done = sim.run(Duration::from_secs(300), |sim| {
        sim.hosts[SERVER].tcp().recv(socket, &mut got);
        got.len() == data.len()
    });
    assert!(done && got == data, "{} of {} came", got.len(), data.len());
    assert_eq!(counter(&mut sim, "copied_in_stack"), 0);
}
