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
    assert_eq!(example.mptcp.checksum, small.mptcp.checksum);
    assert_eq!(example.mptcp.versions, small.mptcp.versions);
    assert_eq!(small.name, "hcpe");
    assert_eq!(small.control.socket, Path::new("/run/hcpe/hcpe.sock"));
    assert_eq!(
        example.summary(),
        "hcpe-1: ports lan (lan), wan1 (primary), wan2 (secondary); 4 routes; 2 prefixes of hosts; joins 10.99.0.2, \
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
             secondary port }",
        ),
        (
            "addresses: [10.99.0.2]",
            "addresses: [10.1.0.9]",
            "6: hag.addresses[0]: port \"p\" leads to 10.1.0.9, and only secondary ports carry joins; add a route: { to: \
             \"10.1.0.9/32\", via: a router on a secondary port }",
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
