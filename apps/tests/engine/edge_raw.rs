//! The box at the customer's edge, asked with raw frames and judged by what leaves each port.

use crate::common::customer::edge_config;
use crate::common::raw::{ACK, SYN, Tcp};
use crate::common::script::{passes, send};
use crate::common::{Dumb, S, Sim, counter, port_mac, raw_sim};
use apps::engine::{EdgeSettings, EngineConfig, Native, Rule, Select};
use stack::time::Duration;

const LAN: usize = 0;
const PRIMARY: usize = 1;
const HOST: &str = "10.11.0.2";

fn config() -> EngineConfig {
    let mut config = edge_config(EdgeSettings::default());
    for (port, interface) in config.net.interfaces.iter_mut().enumerate() {
        interface.mac = port_mac(port);
    }
    config
}

fn selecting(select: Select) -> Sim<Dumb> {
    raw_sim(EngineConfig { select, ..config() })
}

fn port(port: u16) -> Rule {
    Rule {
        port: Some((port, port)),
        ..Rule::default()
    }
}

#[test]
fn a_selected_syn_leaves_verbatim_but_for_the_option_and_its_mss() {
    let mut sim = raw_sim(config());
    let syn = Tcp::plain_syn(HOST, 1000, S);
    let out = passes(&mut sim, LAN, &syn, PRIMARY);
    assert_eq!(
        (out.src, out.dst, out.src_port, out.dst_port),
        (syn.src, syn.dst, 1000, 80)
    );
    assert_eq!((out.seq, out.wnd, out.ttl), (syn.seq, syn.wnd, syn.ttl - 1));
    for kind in [3, 4, 8] {
        assert_eq!(out.option(kind), syn.option(kind), "option {kind}");
    }
    assert_eq!(
        out.option(30).map(<[u8]>::len),
        Some(2),
        "MP_CAPABLE without a key"
    );
    assert!(
        send(&mut sim, LAN, &syn, LAN).is_empty(),
        "nothing is answered before the server has"
    );
}

#[test]
fn rules_keep_flows_from_being_bonded_and_count_each() {
    let by_dscp = Rule {
        dscp: Some(46),
        ..Rule::default()
    };
    let by_prefix = Rule {
        prefix: Some("10.9.0.0/16".parse().unwrap()),
        ..Rule::default()
    };
    let excluding = |rule| Select {
        exclude: vec![rule],
        ..Select::default()
    };
    let including = |rule| Select {
        include: vec![rule],
        ..Select::default()
    };
    for (select, bonded, count) in [
        (excluding(port(80)), false, "bypass_excluded"),
        (excluding(by_dscp), false, "bypass_excluded"),
        (excluding(by_prefix), false, "bypass_excluded"),
        (excluding(port(81)), true, "pending_opened"),
        (including(port(81)), false, "bypass_not_included"),
        (including(by_prefix), true, "pending_opened"),
    ] {
        let mut sim = selecting(select.clone());
        let mut syn = Tcp::plain_syn(HOST, 1000, S);
        syn.tos = 46 << 2;
        let out = passes(&mut sim, LAN, &syn, PRIMARY);
        assert_eq!(out.option(30).is_some(), bonded, "{select:?}");
        assert_eq!(out.tos, syn.tos);
        assert_eq!(counter(&mut sim, count), 1, "{select:?}");
        let kept = sim.occupancy().pending;
        assert_eq!(kept, usize::from(bonded), "{select:?}");
    }
}

#[test]
fn an_excluded_subscribers_mp_capable_is_removed_in_the_network_too() {
    let mut sim = raw_sim(EngineConfig {
        select: Select {
            exclude: vec![port(80)],
            ..Select::default()
        },
        ..crate::common::config()
    });
    let syn = Tcp::capable_syn(crate::common::H, 1000, S);
    let out = passes(&mut sim, crate::common::ACCESS1, &syn, crate::common::CORE);
    assert_eq!(out.option(30), None);
    assert_eq!(out.option(2), syn.option(2), "it is not relayed");
    assert_eq!(counter(&mut sim, "bypass_excluded"), 1);
    assert_eq!(sim.occupancy().pending, 0);
}

#[test]
fn a_hosts_own_mp_capable_is_terminated_stripped_or_passed() {
    for (native, option, pending, count) in [
        (
            Native::Terminate,
            Some(vec![1, 0x21]),
            1,
            "native_terminated",
        ),
        (Native::Strip, None, 0, "native_stripped"),
        (Native::Pass, Some(vec![1, 1]), 0, "native_passed"),
    ] {
        let mut sim = selecting(Select {
            native,
            ..Select::default()
        });
        let syn = Tcp::capable_syn(HOST, 1000, S);
        let out = passes(&mut sim, LAN, &syn, PRIMARY);
        assert_eq!(out.option(30).map(<[u8]>::to_vec), option, "{native:?}");
        let count = counter(&mut sim, count);
        assert_eq!(count, 1, "{native:?}");
        assert_eq!(sim.occupancy().pending, pending, "{native:?}");
        if native == Native::Strip {
            continue;
        }
        // What the server answers with MP_CAPABLE reaches only a host that was let through.
        let mut answer = out.answer(SYN | ACK, 77_000);
        answer.options = [
            &[2, 4, 5, 0xb4][..],
            &[30, 12, 1, 0x21, 1, 2, 3, 4, 5, 6, 7, 8],
        ]
        .concat();
        let answer = passes(&mut sim, PRIMARY, &answer, LAN);
        assert_eq!(
            answer.option(30).is_some(),
            native == Native::Pass,
            "{native:?}"
        );
    }
}

/// A host's flow of which only the third SYN, without the option, is answered.
fn only_its_plain_syn_is_answered(sim: &mut Sim<Dumb>, port: u16) {
    let syn = Tcp::plain_syn(HOST, port, S);
    let mut with_option = 0;
    for _ in 0..3 {
        let out = passes(sim, LAN, &syn, PRIMARY);
        with_option += usize::from(out.option(30).is_some());
        sim.idle(Duration::from_secs(1));
    }
    assert_eq!(
        with_option, 2,
        "only the first two SYNs of a host's carry it"
    );
    answered_plainly(sim, &syn);
    assert_eq!(sim.occupancy().flows, 0, "nothing is kept of it");
}

fn answered_plainly(sim: &mut Sim<Dumb>, syn: &Tcp) {
    let answer = passes(sim, PRIMARY, &syn.answer(SYN | ACK, 5_000), LAN);
    assert_eq!(
        answer.seq, 5_000,
        "the server's own number: the box is out of the way"
    );
}

fn goes_with_option(sim: &mut Sim<Dumb>, port: u16, to: &str) -> bool {
    let out = passes(sim, LAN, &Tcp::plain_syn(HOST, port, to), PRIMARY);
    out.option(30).is_some()
}

#[test]
fn m27_where_the_option_is_not_answered_the_next_flow_goes_without_it() {
    let mut sim = raw_sim(config());
    only_its_plain_syn_is_answered(&mut sim, 1000);
    only_its_plain_syn_is_answered(&mut sim, 1001);
    assert!(!goes_with_option(&mut sim, 1002, S));
    // The neighbors of that server too, and not the rest of the world.
    assert!(!goes_with_option(&mut sim, 1003, "10.9.0.77"));
    assert!(goes_with_option(&mut sim, 1004, "10.9.1.2"));
    assert_eq!(counter(&mut sim, "bypass_option_eaten"), 2);
    sim.idle(Duration::from_secs(301));
    assert!(
        goes_with_option(&mut sim, 1005, S),
        "it is not remembered for ever"
    );
}

#[test]
fn m27_where_others_are_answered_meanwhile_one_flow_is_enough() {
    let mut sim = raw_sim(config());
    let syn = Tcp::plain_syn(HOST, 1000, S);
    for nth in 0..3 {
        passes(&mut sim, LAN, &syn, PRIMARY);
        if nth == 1 {
            let elsewhere = passes(
                &mut sim,
                LAN,
                &Tcp::plain_syn(HOST, 1001, "10.9.1.2"),
                PRIMARY,
            );
            let mut answer = elsewhere.answer(SYN | ACK, 77_000);
            answer.options = [
                &[2, 4, 5, 0xb4][..],
                &[30, 12, 1, 0x21, 1, 2, 3, 4, 5, 6, 7, 8],
            ]
            .concat();
            passes(&mut sim, PRIMARY, &answer, LAN);
        }
        sim.idle(Duration::from_secs(1));
    }
    answered_plainly(&mut sim, &syn);
    assert!(!goes_with_option(&mut sim, 1002, S));
}

#[test]
fn m27_an_access_that_was_down_for_seconds_is_not_taken_for_one_that_drops_the_option() {
    let mut sim = raw_sim(config());
    // Two flows wait for the access to come back.
    let waiting = [1000, 1001].map(|port| Tcp::plain_syn(HOST, port, S));
    for _ in 0..3 {
        for syn in &waiting {
            passes(&mut sim, LAN, syn, PRIMARY);
        }
        sim.idle(Duration::from_secs(1));
    }
    for syn in &waiting {
        answered_plainly(&mut sim, syn);
    }
    assert!(goes_with_option(&mut sim, 1002, S));
}

#[test]
fn m9_a_join_by_a_wrong_port_or_with_an_unknown_token_is_reset_with_a_reason() {
    let mut join = Tcp::plain_syn("10.2.0.2", 1000, crate::common::HAG2);
    join.options
        .extend([30, 12, 0x10, 1, 1, 2, 3, 4, 5, 6, 7, 8]);
    for (port, count) in [
        (crate::common::CORE, "join_wrong_port"),
        (crate::common::ACCESS2, "join_no_token"),
    ] {
        let mut sim = raw_sim(crate::common::config());
        let out = send(&mut sim, port, &join, crate::common::ACCESS2);
        assert_eq!(out[0].option(30), Some(&[0x80, 1][..]), "MP_TCPRST");
        assert_eq!(counter(&mut sim, count), 1, "{count}");
    }
}

#[test]
fn a_server_that_speaks_multipath_tcp_itself_is_not_taken_for_a_hag() {
    for (flags, relayed) in [(0x01, false), (0x21, true)] {
        let mut sim = raw_sim(config());
        let out = passes(&mut sim, LAN, &Tcp::plain_syn(HOST, 1000, S), PRIMARY);
        let mut answer = out.answer(SYN | ACK, 77_000);
        answer.options = [
            &[2, 4, 5, 0xb4][..],
            &[30, 12, 1, flags, 1, 2, 3, 4, 5, 6, 7, 8],
        ]
        .concat();
        let answer = passes(&mut sim, PRIMARY, &answer, LAN);
        assert_eq!(answer.option(30), None);
        assert_eq!(answer.seq != 77_000, relayed, "the server's number passes");
        assert_eq!(counter(&mut sim, "cut_through"), u64::from(!relayed));
        assert_eq!(sim.occupancy().tokens, usize::from(relayed));
    }
}
