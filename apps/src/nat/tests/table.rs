//! The table of mappings by itself.

use super::*;
use crate::nat::table::{NoMapping, Sign, Table};
use proptest::prelude::{prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use std::collections::{BTreeMap, BTreeSet};

fn table(limits: MappingLimits) -> Table {
    Table::new(limits, MappingTimeouts::default(), Some(Share::WHOLE), 7)
}

proptest! {
    /// No two hosts share a port in any protocol, a host's port keeps its mapping, and both directions agree.
    #[test]
    fn a_port_is_one_hosts_and_an_endpoint_has_one_port(
        seed: u64,
        ops in prop::collection::vec((0..6_u8, 0..4_usize, prop_oneof![1..6_u16, 1_020..1_030_u16, 5_000..5_004_u16], 0..400_u64), 1..200),
    ) {
        let mut table = table(MappingLimits { mappings: 40, mappings_per_host: 14 });
        let mut rng = Rng::from_u64(seed);
        let mut now = at(1);
        let mut model: BTreeMap<(Protocol, IpAddr, u16), u16> = BTreeMap::new();
        let protocols = [Protocol::Tcp, Protocol::Udp, Protocol::Icmp];
        for (host, which, port, pass) in ops {
            now = now + Duration::from_secs(if which == 3 { pass } else { 0 });
            table.advance(now);
            let protocol = protocols[which % 3];
            let host = IpAddr::from([192, 168, 1, host]);
            let inside = (host, port);
            // What the table forgot may go from the model too, once its shortest time is over.
            model.retain(|&(protocol, host, port), _| table.get(protocol, (host, port), None).is_some());
            let of_host = model.keys().filter(|(_, of, _)| *of == host).count();
            let known = table.get(protocol, inside, None);
            let handle = match known {
                Some(handle) => Ok(handle),
                None => table.make(now, &mut rng, protocol, inside, (None, true)),
            };
            match handle {
                Ok(handle) => {
                    table.used_outward(now, handle, None);
                    let outside = table.mapping(handle).unwrap().outside.unwrap();
                    let before = model.insert((protocol, host, port), outside);
                    prop_assert!(before.is_none_or(|before| before == outside), "endpoint-independent");
                    prop_assert_eq!(outside & 1, port & 1, "parity");
                    prop_assert_eq!(outside > 1023, port > 1023, "range");
                    prop_assert_eq!(table.behind(protocol, outside, ip(S)), Some(handle));
                },
                Err(NoMapping::HostFull) => prop_assert_eq!(of_host, 14),
                Err(NoMapping::Full) => prop_assert_eq!(model.len(), 40),
                Err(NoMapping::Busy) => prop_assert!(false, "has ports"),
            }
            let mut owners: BTreeMap<u16, IpAddr> = BTreeMap::new();
            let mut ends = BTreeSet::new();
            for mapping in table.iter() {
                let outside = mapping.outside.unwrap();
                prop_assert!(ends.insert((mapping.protocol, outside)), "one mapping for a port");
                let owner = *owners.entry(outside).or_insert(mapping.inside.0);
                prop_assert_eq!(owner, mapping.inside.0, "a port is one host's in all protocols");
            }
            prop_assert_eq!(table.len(), model.len());
            prop_assert_eq!(table.ports_used(), owners.len());
        }
        // In the end nothing is left.
        table.advance(now + Duration::from_secs(9_000));
        table.advance(now + Duration::from_secs(18_000));
        prop_assert_eq!((table.len(), table.ports_used(), table.hosts()), (0, 0, 0));
    }
}

#[test]
fn every_port_can_be_in_use_at_once() {
    let mut table = table(MappingLimits {
        mappings: 70_000,
        mappings_per_host: 70_000,
    });
    let mut rng = Rng::from_u64(3);
    let mut seen = BTreeSet::new();
    // A thousand hosts that all use the same 65 ports: all but the first get others.
    for n in 0..65_u16 {
        for host in 0..1_000_u16 {
            let [a, b] = host.to_be_bytes();
            let inside = (IpAddr::from([10, 0, a, b]), 40_000 + n);
            if seen.len() == 64_512 {
                // Then the well-known ones are next; the space ends at 65,535.
                break;
            }
            let handle = table
                .make(at(1), &mut rng, Protocol::Udp, inside, (None, true))
                .unwrap();
            assert!(seen.insert(table.mapping(handle).unwrap().outside.unwrap()));
        }
    }
    assert_eq!(seen.len(), 64_512);
    assert_eq!(table.ports_used(), 64_512);
}

#[test]
fn a_full_space_refuses_and_takes_none_twice() {
    let mut table = table(MappingLimits {
        mappings: 70_000,
        mappings_per_host: 70_000,
    });
    let mut rng = Rng::from_u64(3);
    for port in 1..=u16::MAX {
        let inside = (ip(H1), port);
        let made = table.make(at(1), &mut rng, Protocol::Tcp, inside, (None, true));
        assert_eq!(table.mapping(made.unwrap()).unwrap().outside, Some(port));
    }
    let other = (ip(H2), 5_000);
    let refused = table.make(at(1), &mut rng, Protocol::Tcp, other, (None, true));
    assert_eq!(refused, Err(NoMapping::Full));
    // The same host may use its ports in another protocol, nobody else may.
    let same = table.make(
        at(1),
        &mut rng,
        Protocol::Udp,
        (ip(H1), 5_000),
        (None, true),
    );
    assert_eq!(table.mapping(same.unwrap()).unwrap().outside, Some(5_000));
    let refused = table.make(at(1), &mut rng, Protocol::Udp, other, (None, true));
    assert_eq!(refused, Err(NoMapping::Full));
}

/// What of a connection's segments passes, in order: from inside or not, flags, payload.
fn lifetime(segments: &[(bool, Flags, bool)]) -> u64 {
    let mut table = table(MappingLimits::default());
    let mut rng = Rng::from_u64(1);
    let inside = (ip(H1), 5_000);
    let handle = table
        .make(at(1), &mut rng, Protocol::Tcp, inside, (None, true))
        .unwrap();
    for &(out, flags, data) in segments {
        let sign = Some(Sign { flags, data });
        if out {
            table.used_outward(at(1), handle, sign);
        } else {
            table.used_inward(at(1), handle, sign);
        }
    }
    (1..8_000)
        .find(|&secs| {
            table.advance(at(secs));
            table.len() == 0
        })
        .unwrap()
}

#[test]
fn tcp_is_kept_as_rfc_5382_asks() {
    let (syn, ack) = (Flags::SYN, Flags::ACK);
    let both = syn.with(ack);
    let fin = ack.with(Flags::FIN);
    let opened = [(true, syn, false), (false, both, false), (true, ack, false)];
    let with = |more: &[(bool, Flags, bool)]| lifetime(&[&opened, more].concat());
    assert_eq!(lifetime(&opened[..1]), 241);
    assert_eq!(lifetime(&opened[..2]), 241);
    assert_eq!(lifetime(&opened), 7_441);
    assert_eq!(with(&[(true, fin, false)]), 7_441, "half-closed");
    assert_eq!(with(&[(true, fin, false), (false, fin, false)]), 241);
    assert_eq!(
        with(&[(true, fin, false), (false, fin, false), (true, ack, false)]),
        241
    );
    assert_eq!(with(&[(false, Flags::RST, false)]), 241);
    assert_eq!(
        with(&[(false, Flags::RST, false), (true, ack, true)]),
        7_441
    );
    let again = [
        (true, fin, false),
        (false, fin, false),
        opened[0],
        opened[1],
        opened[2],
    ];
    assert_eq!(with(&again), 7_441, "the port opens another connection");
    // Both open at once.
    let simultaneous = [
        (true, syn, false),
        (false, syn, false),
        (true, both, false),
        (false, both, false),
        (true, ack, false),
    ];
    assert_eq!(lifetime(&simultaneous), 7_441);
}

#[test]
fn a_relayed_flow_keeps_its_port_and_four_minutes_more() {
    let mut table = table(MappingLimits::default());
    let mut rng = Rng::from_u64(1);
    let inside = (ip(H1), 5_000);
    let handle = table
        .make(at(1), &mut rng, Protocol::Tcp, inside, (None, true))
        .unwrap();
    table.hold(handle);
    for secs in (0..20_000).step_by(100) {
        table.advance(at(secs));
    }
    assert_eq!(table.len(), 1);
    table.release(Some(at(20_000)), handle);
    table.advance(at(20_239));
    assert_eq!(table.len(), 1);
    for secs in 20_240..20_500 {
        table.advance(at(secs));
    }
    assert_eq!(table.len(), 0);
}
