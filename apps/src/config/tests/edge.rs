//! Files of the box at the customer's edge.

use super::*;

const EXAMPLE: &str = include_str!("../../../hcpe/hcpe.example.yaml");

/// The smallest right file that bonds.
const SMALL: &str = "\
ports:
  - { name: l, device: 'net_null0', role: lan, addresses: [10.10.0.1/24] }
  - { name: p, device: 'net_null1', role: primary, addresses: [10.1.0.2/24] }
  - { name: s, device: 'net_null2', role: secondary, addresses: [10.2.0.2/24, 10.99.0.9/24] }
hosts: [10.10.0.0/24]
hag: { addresses: [10.99.0.2] }
";

fn told(source: &str) -> String {
    let checked = check(BoxKind::Hcpe, source.as_bytes(), &|_| true);
    let mistakes = checked.result.err().unwrap_or_default();
    let lines: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

fn warned(source: &str) -> String {
    let checked = check(BoxKind::Hcpe, source.as_bytes(), &|_| true);
    assert!(checked.result.is_ok(), "{source}");
    let lines: Vec<_> = checked.warnings.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

#[test]
fn the_example_is_right_and_shows_every_key_with_its_default() {
    assert_eq!(warned(EXAMPLE), "");
    assert!(left_out(BoxKind::Hcpe, EXAMPLE).is_empty());
    let example = parse(BoxKind::Hcpe, EXAMPLE).unwrap();
    let small = parse(BoxKind::Hcpe, SMALL).unwrap();
    assert_eq!(example.worker, small.worker);
    assert_eq!(example.timeouts, small.timeouts);
    assert_eq!(example.limits, small.limits);
    assert_eq!(example.control, small.control);
    assert_eq!(example.drain, small.drain);
    let gates = [&example, &small].map(|config| config.gate.clone().unwrap());
    assert_eq!(gates[0].limits, gates[1].limits);
    assert_eq!(gates[0].timeouts, gates[1].timeouts);
    assert_eq!(gates[0].firewall.inbound, gates[1].firewall.inbound);
    assert_eq!(gates[1].nat, None);
    assert_eq!(example.mptcp.checksum, small.mptcp.checksum);
    assert_eq!(example.mptcp.versions, small.mptcp.versions);
    assert_eq!(small.name, "hcpe");
    assert_eq!(small.control.socket, Path::new("/run/hcpe/hcpe.sock"));
    assert_eq!(
        example.summary(),
        "hcpe-1: ports lan (lan), wan1 (primary), wan2 (secondary); 2 routes; 2 prefixes of hosts; joins 10.99.0.2, \
         fd00:99::2, 10.99.0.0/24, fd00:99::/64"
    );
}

#[test]
fn the_engine_learns_which_box_it_is() {
    let config = parse(BoxKind::Hcpe, EXAMPLE).unwrap();
    let engine = config.engine(&[[2; 6]; 3], [0; 32]);
    let roles: Vec<_> = engine.ports.iter().map(|port| port.role).collect();
    assert_eq!(
        roles,
        [PortRole::Access, PortRole::Core, PortRole::Secondary]
    );
    let edge = engine.edge.unwrap();
    assert_eq!(edge.hag, config.hag.clone().unwrap().addresses);
    assert_eq!(edge.hag_prefixes, config.hag.unwrap().prefixes);
    assert_eq!(engine.subscribers, config.subscribers);
}

#[test]
fn the_other_boxs_words_are_told_apart_from_misspelt_ones() {
    let source = SMALL
        .replace("role: lan", "role: access")
        .replace("role: primary", "role: primry")
        .replace("hosts:", "subscribers:");
    let source = source + "mptcp: { announce: [10.99.0.2] }\n";
    assert_eq!(
        told(&source),
        "1: \"hosts\" is missing; write the prefixes of the hosts behind the lan ports: [10.10.0.0/24, \
         \"fd00:10::/64\"]\n\
         2: ports[0].role: access is a role of hag's ports; write lan (towards the hosts), primary or secondary (the \
         access networks) of hcpe\n\
         3: ports[1].role: \"primry\" is not a choice here; did you mean primary? (there is lan, primary, secondary)\n\
         5: subscribers: unknown key; write the prefixes of the hosts behind hcpe under hosts\n\
         7: mptcp.announce: unknown key; the keys here are versions, checksum"
    );
    let hag = super::SMALL.to_owned() + "hag: { addresses: [] }\nhosts: []\n";
    assert_eq!(
        super::told(&hag),
        "5: hag: unknown key; hag is a section of hcpe's; leave it out of hag's\n\
         6: hosts: unknown key; write the prefixes that hag serves under subscribers"
    );
}

#[test]
fn what_does_not_fit_together_is_told() {
    assert_eq!(told(SMALL), "");
    assert_eq!(warned(SMALL), "");
    for (from, to, expected) in [
        (
            "role: primary",
            "role: secondary",
            "2: ports[0]: no port of role primary leads to the Internet; give one port \"role: primary\"",
        ),
        (
            "role: secondary",
            "role: primary",
            "4: ports[2]: there are two ports of role primary; give all but one \"role: secondary\"\n\
             6: hag: there are addresses to join, and no port of role secondary to join them by; give one port \"role: \
             secondary\"",
        ),
        (
            "hosts: [10.10.0.0/24]",
            "hosts: [10.1.0.0/24]",
            "5: hosts[0]: no lan port leads to 10.1.0.0/24; give a lan port an address in it, or add a route: { to: \
             \"10.1.0.0/24\", via: a router on a lan port }",
        ),
        (
            "addresses: [10.99.0.2]",
            "addresses: [10.98.0.2]",
            "6: hag.addresses[0]: nothing leads to 10.98.0.2; add a route: { to: \"10.98.0.2/32\", via: a router on a \
             secondary port }, or give that port a gateway",
        ),
        (
            "addresses: [10.99.0.2]",
            "addresses: [10.1.0.9]",
            "6: hag.addresses[0]: port \"p\" leads to 10.1.0.9, and only secondary ports carry joins; add a route: { to: \
             \"10.1.0.9/32\", via: a router on a secondary port }, or give that port a gateway",
        ),
        (
            "addresses: [10.99.0.2]",
            "addresses: [10.99.0.2, 10.99.0.2]",
            "6: hag.addresses[1]: 10.99.0.2 is here twice; write each address once",
        ),
        (
            "addresses: [10.99.0.2]",
            "addresses: [10.2.0.2]",
            "6: hag.addresses[0]: 10.2.0.2 is the address of port \"s\"; write the addresses that hag announces",
        ),
        (
            "addresses: [10.99.0.2]",
            "prefixes: [10.99.0.0/24, 10.99.0.128/25]",
            "6: hag.prefixes[1]: 10.99.0.128/25 overlaps 10.99.0.0/24; write each prefix once",
        ),
    ] {
        assert_eq!(told(&SMALL.replace(from, to)), expected, "{from}: {to}");
    }
    let by_route = SMALL.replace("10.99.0.2", "10.98.0.2")
        + "routes: [{ to: 0.0.0.0/0, via: 10.1.0.1 }, { to: 10.98.0.0/16, via: 10.2.0.1 }]\n";
    assert_eq!(told(&by_route), "");
}

#[test]
fn what_bonds_nothing_is_a_warning() {
    assert_eq!(
        warned(&SMALL.replace("hag: { addresses: [10.99.0.2] }\n", "")),
        "1: no address of hag's is joined, neither configured nor announced; write hag: { addresses: [10.99.0.2], \
         prefixes: [10.99.0.0/24] }, one or both"
    );
    let lines: Vec<_> = SMALL
        .lines()
        .filter(|line| !line.contains("name: s"))
        .collect();
    assert_eq!(
        warned(&lines.join("\n").replace("addresses: [10.99.0.2]", "")),
        "5: hag: no port of role secondary is there, so nothing is bonded; give one port \"role: secondary\""
    );
}

#[test]
fn one_segment_fits_the_narrowest_access_network() {
    let source = SMALL.replace("role: secondary,", "role: secondary, mtu: 1400,");
    let engine = parse(BoxKind::Hcpe, &source)
        .unwrap()
        .engine(&[[2; 6]; 3], [0; 32]);
    assert_eq!(engine.access_mtu(), Some(1400));
    assert!(engine.is_bonded_side("10.9.0.2".parse().unwrap()));
    assert!(!engine.is_bonded_side("10.10.0.2".parse().unwrap()));
}

/// A right file whose hosts are translated.
const NAT: &str = "\
nat:
  inside: [10.10.0.0/24]
  address: 10.1.0.2
  forwards: [{ protocol: tcp, port: 8080, to: '10.10.0.2:80' }]
firewall: { inbound: drop, allow: [{ to: 'fd00:10::/64', protocol: icmp }] }
mappings: { total: 1000, udp: 2m }
";

#[test]
fn translation_and_firewall_reach_the_engine() {
    let source = SMALL.replace("hosts: [", "hosts: ['fd00:10::/64', ") + NAT;
    let source = source.replace("10.10.0.1/24]", "10.10.0.1/24, 'fd00:10::1/64']");
    assert_eq!(told(&source), "");
    let config = parse(BoxKind::Hcpe, &source).unwrap();
    let engine = config.engine(&[[2; 6]; 3], [0; 32]);
    let nat = engine.nat.unwrap();
    assert_eq!(nat.inside, ["10.10.0.0/24".parse().unwrap()]);
    assert_eq!(nat.address.to_string(), "10.1.0.2");
    assert_eq!(nat.forwards.len(), 1);
    assert_eq!((nat.forwards[0].port, nat.forwards[0].to.port), (8080, 80));
    assert_eq!(engine.firewall.unwrap().allow.len(), 1);
    assert_eq!(engine.mapping_limits.mappings, 1_000);
    assert_eq!(engine.mapping_timeouts.udp, Duration::from_secs(120));
    // Without a word of it the firewall is up.
    let engine = parse(BoxKind::Hcpe, SMALL)
        .unwrap()
        .engine(&[[2; 6]; 3], [0; 32]);
    assert_eq!(engine.nat, None);
    assert_eq!(engine.firewall.unwrap().inbound, crate::nat::Inbound::Drop);
}

#[test]
fn what_cannot_be_translated_is_told() {
    let allow = "allow: [{ to: 'fd00:10::/64', protocol: icmp }]";
    let source = SMALL.to_owned() + &NAT.replace(allow, "allow: []");
    assert_eq!(told(&source), "");
    for (from, to, expected) in [
        (
            "inside: [10.10.0.0/24]",
            "inside: [10.11.0.0/24]",
            "8: nat.inside[0]: 10.11.0.0/24 is not among the hosts; write it under hosts, too\n\
             10: nat.forwards[0]: 10.10.0.2 is no address inside; forward to a host in one of nat.inside",
        ),
        (
            "inside: [10.10.0.0/24]",
            "inside: [10.10.0.0/24, 'fd00:10::/64']",
            "8: nat.inside[1]: fd00:10::/64 is IPv6, which is not translated; leave it out here",
        ),
        (
            "address: 10.1.0.2",
            "address: 10.2.0.2",
            "9: nat.address: 10.2.0.2 is no IPv4 address of the primary port; write one of the primary port's addresses",
        ),
        (
            "'10.10.0.2:80' }",
            "'10.10.0.2:80' }, { protocol: tcp, port: 8080, to: '10.10.0.3:80' }",
            "10: nat.forwards[1]: tcp port 8080 is forwarded twice; forward each port once",
        ),
        (
            "'10.10.0.2:80' }",
            "'10.10.0.2:80' }, { protocol: tcp, port: 8081, to: '10.10.0.2:80' }",
            "10: nat.forwards[1]: tcp 10.10.0.2:80 is already behind another port, and what it sends can leave from one \
             alone; forward one port to it",
        ),
        (
            "'10.10.0.2:80'",
            "10.10.0.2",
            "10: nat.forwards[0].to: \"10.10.0.2\" is no IPv4 address with a port from 1 to 65535; write the host's \
             address and port in quotes: \"192.168.1.10:80\"",
        ),
        (
            "allow: []",
            "allow: [{ to: 10.10.0.2/32, protocol: tcp, port: 80 }]",
            "11: firewall.allow[0]: 10.10.0.2/32 is translated, so nobody outside can name it; write a forward under nat",
        ),
        (
            "allow: []",
            "allow: [{ to: 10.9.0.0/24, port: 80 }]",
            "11: firewall.allow[0].port: only tcp and udp have ports; give the rule \"protocol: tcp\" or \"protocol: udp\"\n\
             11: firewall.allow[0]: 10.9.0.0/24 is none of the hosts'; name a prefix or an address of the hosts",
        ),
        (
            "udp: 2m",
            "udp: 1m",
            "12: mappings.udp: \"1m\" is no time that fits here; write a time with its unit (ms, s, m, h) from 2m to 168h, such as \
             10s",
        ),
    ] {
        assert_eq!(told(&source.replace(from, to)), expected, "{from}: {to}");
    }
}

/// The small file with `more` among the keys of its secondary port.
fn secondary(more: &str) -> String {
    SMALL.replace("10.99.0.9/24] }", &format!("10.99.0.9/24], {more} }}"))
}

#[test]
fn a_secondary_port_has_a_gateway_and_a_keepalive_of_its_own() {
    let source = secondary("gateway: [10.2.0.1], keepalive: 25s");
    let engine = parse(BoxKind::Hcpe, &source)
        .unwrap()
        .engine(&[[2; 6]; 3], [0; 32]);
    let isolated = &engine.net.isolated[0];
    assert_eq!(isolated.port.0, 2);
    assert_eq!(isolated.gateways, ["10.2.0.1".parse::<IpAddr>().unwrap()]);
    let edge = engine.edge.unwrap();
    assert_eq!(edge.keepalive.len(), 1);
    assert!(!edge.announce);
    for (more, words) in [
        ("gateway: [10.3.0.1]", "is in no network of this port"),
        ("gateway: [10.2.0.2]", "is ourselves"),
        (
            "gateway: [10.2.0.1, 10.2.0.3]",
            "second gateway of its family",
        ),
        ("gateway: [10.2.0.x]", "no address"),
        ("keepalive: 1s", "keepalive"),
    ] {
        let told = told(&secondary(more));
        assert!(
            told.contains(words) && told.starts_with("4: "),
            "{more}: {told}"
        );
    }
    let elsewhere = SMALL.replace("10.1.0.2/24] }", "10.1.0.2/24], gateway: [10.1.0.1] }");
    assert!(told(&elsewhere).contains("only secondary ports have a gateway"));
}

#[test]
fn hag_may_be_told_whom_to_join() {
    let small = "\
ports:
  - { name: a, device: 'net_null0', role: access, addresses: [10.1.0.1/24] }
  - { name: c, device: 'net_null1', role: core, addresses: [10.9.0.1/24] }
subscribers: [10.1.0.0/24]
";
    let with = |join: &str| format!("{small}join: {join}\n");
    let right =
        with("{ announced: true, subscribers: [{ prefix: 10.1.0.0/25, addresses: [10.2.0.2] }] }");
    let join = parse(BoxKind::Hag, &right).unwrap().join;
    assert!(join.announced && !join.sole);
    assert_eq!(join.subscribers.len(), 1);
    for (wrong, words) in [
        ("{ subscribers: [{ prefix: 10.1.0.0/25 }] }", "addresses"),
        (
            "{ subscribers: [{ prefix: 10.1.0.1/25, addresses: [] }] }",
            "10.1.0.0/25",
        ),
        ("{ sole: often }", "sole"),
        ("{ subscriber: [] }", "subscriber"),
    ] {
        let checked = check(BoxKind::Hag, with(wrong).as_bytes(), &|_| true);
        let mistakes = checked.result.err().unwrap_or_default();
        assert!(
            mistakes
                .iter()
                .any(|m| m.line == 5 && m.to_string().contains(words)),
            "{wrong}: {mistakes:?}"
        );
    }
}
