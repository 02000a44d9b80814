use stack::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::engine::{Limits, PerSubscriber, PortRole, Timeouts};
use dataplane::Idle;

mod edge;
mod policy;

const EXAMPLE: &str = include_str!("../../hag/hag.example.yaml");

/// The smallest right file.
const SMALL: &str = "\
ports:
  - { name: a, device: 'net_null0', role: access, addresses: [10.1.0.1/24] }
  - { name: c, device: '0000:ff:1f.7', role: core, addresses: [10.9.0.1/24] }
subscribers: [10.1.0.0/24]
";

fn told(source: &str) -> String {
    let checked = check(BoxKind::Hag, source.as_bytes(), &|_| true);
    let mistakes = checked.result.err().unwrap_or_default();
    let lines: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

#[test]
fn the_example_is_right() {
    let checked = check(BoxKind::Hag, EXAMPLE.as_bytes(), &|_| true);
    assert_eq!(checked.warnings, []);
    let config = checked.result.unwrap();
    assert_eq!(config.name, "hag-1");
    assert_eq!(config.ports.len(), 3);
    assert_eq!(config.ports[2].role, PortRole::Core);
    assert_eq!(config.ports[1].mtu, 1500);
    assert_eq!(config.routes.len(), 2);
    assert_eq!(config.limits.buffer, 4 << 20);
    assert_eq!(config.limits.buffer_total, 21 << 20);
    assert_eq!(config.drain.grace, Duration::from_secs(10));
    assert_eq!(
        config.summary(),
        "hag-1: ports access1 (access), access2 (access), core (core); 2 routes; 2 subscriber prefixes; \
         announces 10.99.0.2, fd00:99::2"
    );
}

#[test]
fn a_bump_in_the_wire_needs_no_route_to_the_subscribers() {
    let elsewhere = SMALL.replace("10.1.0.1/24", "192.0.2.1/32");
    assert!(told(&elsewhere).contains("no access port leads to 10.1.0.0/24"));
    assert_eq!(told(&format!("bridge: [a, c]\n{elsewhere}")), "");
}

#[test]
fn the_example_shows_every_key_with_its_default() {
    let example = parse(BoxKind::Hag, EXAMPLE).unwrap();
    let small = parse(BoxKind::Hag, SMALL).unwrap();
    assert_eq!(example.worker, small.worker);
    assert_eq!(example.timeouts, small.timeouts);
    assert_eq!(example.timeouts, Timeouts::default());
    assert_eq!(example.control, small.control);
    assert_eq!(example.drain, small.drain);
    assert!(example.inbound && small.inbound);
    assert_eq!(example.mptcp.checksum, small.mptcp.checksum);
    assert_eq!(example.mptcp.versions, small.mptcp.versions);
    let limits = Limits {
        buffer_total: 32 << 20,
        per_subscriber: PerSubscriber {
            buffer: 16 << 20,
            ..example.limits.per_subscriber
        },
        ..example.limits
    };
    assert_eq!(limits, small.limits);
    assert_eq!(small.name, "hag");
    assert_eq!(small.ports[0].mtu, 1500);
}

/// Every key of `kind` that its example does not show.
fn left_out(kind: BoxKind, example: &str) -> Vec<&'static str> {
    let tree = tree::read(example).unwrap();
    let mut keys = Vec::new();
    fn walk(node: &tree::Node, keys: &mut Vec<String>) {
        match node {
            tree::Node::Table(entries) => {
                for (key, value) in entries {
                    keys.push(key.clone());
                    walk(value, keys);
                }
            },
            tree::Node::List(items) => items.iter().for_each(|item| walk(item, keys)),
            _ => {},
        }
    }
    walk(&tree, &mut keys);
    let mut missing = sections::every_key(kind);
    missing.retain(|key| !keys.iter().any(|k| k == key));
    missing
}

#[test]
fn no_key_of_the_example_is_unknown_and_none_is_left_out() {
    assert!(left_out(BoxKind::Hag, EXAMPLE).is_empty());
}

#[test]
fn every_mistake_is_told_at_once_with_its_line() {
    let source = "\
name: 7
worker: { cores: [0, 1, 0], polling: adaptve, hugepages: maybe, memory_mb: 12 }
ports:
  # a comment that moves the lines
  - { name: access1, device: \"net_af_packet0,iface=h1\", rol: access, addresses: [10.1.0.1/24], mtu: 1000.5 }
  - name: access1
    device: h2
    role: core
    addresses:
      - 10.9.0.1
      - 10.1.0.255/24
      - 300.1.1.1/24
      - \"fe80::1/64\"
    mtu: 70000
    mtu: 1500
  - device: net_af_packet7
    name: third
    role: acess
    addresses: []
routes: [ { to: 10.0.0.1/8, via: 10.9.0.2/24 }, { via: 10.9.0.2 } ]
subscribers: 10.1.0.0/24
mptcp: { anounce: [10.99.0.2], checksum: perhaps }
limits:
  connections: 0
  pending: 10
  per_subscriber: { pending: 11 }
  buffer_per_connection: 4MB
  bufer_total: 1MiB
timeouts: { idle: 10 }
control:
  socket: run/hag.sock
drain: { grace: 10 }
colour: blue
";
    let expected = r#"1: name: 7 is not text; put it in quotes: "7"
2: worker.cores[2]: core 0 is there twice; give each worker its own core
2: worker.polling: "adaptve" is not a choice here; did you mean adaptive? (there is auto, adaptive, spin)
2: worker.hugepages: "maybe" is not a choice here; write auto or yes or no
2: worker.memory_mb: 12 is too small; write a whole number from 64 to 65536
5: ports[0].rol: unknown key; did you mean "role"?
5: ports[0].mtu: 1000.5 is no whole number; write a whole number from 1280 to 9000
6: ports[1].name: "access1" is the name of another port; give each port its own name
7: ports[1].device: "h2" is no DPDK device; if that is an interface of the kernel, write "net_af_packet1,iface=h2"
10: ports[1].addresses[0]: "10.9.0.1" is without its prefix length; add it: "10.9.0.1/24", if that is the network's
11: ports[1].addresses[1]: 10.1.0.255/24 names the network's broadcast address; write our address in that network, such as 10.1.0.1/24
12: ports[1].addresses[2]: "300.1.1.1/24" is no prefix; write a prefix such as 10.1.0.1/24
13: ports[1].addresses[3]: fe80::1 is a link-local address; write the address of one host that others can reach
14: ports[1].mtu: 70000 is too large; write a whole number from 1280 to 9000
15: ports[1].mtu: this key is here twice; keep one of them
16: ports[2].device: net_af_packet is not told the interface; write "net_af_packet7,iface=eth1" with the interface's name
18: ports[2].role: "acess" is not a choice here; did you mean access? (there is access, core)
19: ports[2].addresses: a port needs an address for its neighbors to reach us by; write at least one: [10.1.0.1/24]
20: routes[0].to: 10.0.0.1/8 has bits set behind its prefix; write "10.0.0.0/8"
20: routes[0].via: "10.9.0.2/24" is a network, not an address; leave the prefix length out: "10.9.0.2"
20: routes[1]: "to" is missing; write the destinations, such as 0.0.0.0/0 or "::/0"
21: subscribers: "10.1.0.0/24" is no list; write the prefixes whose flows are to be bonded: [10.1.0.0/24, "fd00:1::/64"]
22: mptcp.anounce: unknown key; did you mean "announce"?
22: mptcp.checksum: "perhaps" is neither true nor false; write true or false
24: limits.connections: 0 is too small; write a whole number from 1 to 1000000
26: limits.per_subscriber.pending: 11 is too large; write a whole number from 1 to 10
27: limits.buffer_per_connection: "4MB" is no size that fits here; write a size from 64KiB to 21MiB, such as 512KiB or 4MiB
28: limits.bufer_total: unknown key; did you mean "buffer_total"?
29: timeouts.idle: 10 is no time that fits here; write a time with its unit (ms, s, m, h) from 1m to 168h, such as 10s
31: control.socket: "run/hag.sock" is no absolute path; write an absolute path such as /run/hag/hag.sock
32: drain.grace: 10 is no time that fits here; write a time with its unit (ms, s, m, h) from 0s to 24h, such as 10s
33: colour: unknown key; the keys here are name, worker, ports, bridge, routes, subscribers, inbound, join, mptcp, policy, limits, timeouts, control, drain, select"#;
    assert_eq!(told(source), expected);
}

/// The sections that the checks of how it fits together are tried on, one replaced at a time.
fn with(replaced: &[(&str, &str)]) -> String {
    let mut source = String::new();
    for (key, value) in [
        (
            "ports",
            "[{ name: a, device: net_null0, role: access, addresses: [10.1.0.1/24] },\n  \
             { name: c, device: net_null1, role: core, addresses: [10.9.0.1/24, 'fd00:9::1/64'] }]",
        ),
        ("routes", "[{ to: 0.0.0.0/0, via: 10.9.0.2 }]"),
        ("subscribers", "[10.1.0.0/24]"),
        ("mptcp", "{ announce: [10.99.0.2] }"),
    ] {
        let value = replaced
            .iter()
            .find(|(k, _)| *k == key)
            .map_or(value, |(_, v)| v);
        source.push_str(&format!("{key}: {value}\n"));
    }
    source
}

#[test]
fn what_does_not_fit_together_is_told() {
    assert_eq!(told(&with(&[])), "");
    let ports = |a: &str, c: &str| {
        format!(
            "[{{ name: a, device: net_null0, role: access, addresses: [10.1.0.1/24] }},\n  {{ name: c, {a}, {c} }}]"
        )
    };
    let core = "role: core, addresses: [10.9.0.1/24]";
    for (name, key, value, expected) in [
        (
            "device twice",
            "ports",
            ports("device: net_null0", core),
            "2: ports[1].device: \"net_null0\" is already behind another port; give each port its own device and interface",
        ),
        (
            "interface twice",
            "ports",
            "[{ name: a, device: 'net_af_packet0,iface=h1', role: access, addresses: [10.1.0.1/24] },\n\
             { name: c, device: 'net_af_packet1,iface=h1', role: core, addresses: [10.9.0.1/24] }]"
                .to_owned(),
            "2: ports[1].device: \"h1\" is already behind another port; give each port its own device and interface",
        ),
        (
            "no port",
            "ports",
            "[]".to_owned(),
            "1: ports: there is no port; write a list of ports: - { name: access1, device: \"net_af_packet0,iface=eth1\", \
             role: access, addresses: [10.1.0.1/24] }",
        ),
        (
            "no core port",
            "ports",
            ports("device: net_null1", "role: access, addresses: [10.9.0.1/24]"),
            "1: ports[0]: no port of role core leads to the Internet; give one port \"role: core\"",
        ),
        (
            "address twice",
            "ports",
            ports("device: net_null1", "role: core, addresses: [10.9.0.1/24, 10.1.0.1/32]"),
            "2: ports[1].addresses[1]: 10.1.0.1 is already an address of port \"a\"; write each address once",
        ),
        (
            "networks overlap",
            "ports",
            ports("device: net_null1", "role: core, addresses: [10.9.0.1/24, 10.1.9.1/16]"),
            "2: ports[1].addresses[1]: the network 10.1.0.0/16 overlaps 10.1.0.0/24 of port \"a\"; give each port a \
             network of its own: else where its hosts are is unknown",
        ),
        (
            "route that does not resolve",
            "routes",
            "[{ to: 0.0.0.0/0, via: 10.8.0.2 }]".to_owned(),
            "3: routes[0].via: the route does not resolve: 10.8.0.2 is in no port's network; write a next hop in \
             10.1.0.0/24, 10.9.0.0/24, fd00:9::/64, or give a port an address beside it",
        ),
        (
            "route to ourselves",
            "routes",
            "[{ to: 0.0.0.0/0, via: 10.9.0.1 }]".to_owned(),
            "3: routes[0].via: the route leads to 10.9.0.1, which is ourselves; write the address of the next router",
        ),
        (
            "route across families",
            "routes",
            "[{ to: '::/0', via: 10.9.0.2 }]".to_owned(),
            "3: routes[0].via: 10.9.0.2 is not of the family of ::/0; write a next hop of the same family (IPv4 or IPv6)",
        ),
        (
            "route twice",
            "routes",
            "[{ to: 0.0.0.0/0, via: 10.9.0.2 }, { to: 0.0.0.0/0, via: 10.9.0.3 }]".to_owned(),
            "3: routes[1].to: there is already a route to 0.0.0.0/0; keep one of them",
        ),
        (
            "subscribers overlap",
            "subscribers",
            "[10.1.0.0/24, 10.1.0.128/25]".to_owned(),
            "4: subscribers[1]: 10.1.0.128/25 overlaps 10.1.0.0/24; write each prefix once",
        ),
        (
            "subscribers behind no access port",
            "subscribers",
            "[10.1.0.0/24, 10.77.0.0/16]".to_owned(),
            "4: subscribers[1]: no access port leads to 10.77.0.0/16; give an access port an address in it, or add a \
             route: { to: \"10.77.0.0/16\", via: a router on an access port }",
        ),
        (
            "nobody served",
            "subscribers",
            "[]".to_owned(),
            "4: subscribers: nobody would be served; write the prefixes whose flows are to be bonded: [10.1.0.0/24, \
             \"fd00:1::/64\"]",
        ),
        (
            "announced twice",
            "mptcp",
            "{ announce: [10.99.0.2, 10.99.0.2] }".to_owned(),
            "5: mptcp.announce[1]: 10.99.0.2 is here twice; write each address once",
        ),
        (
            "announced on a port",
            "mptcp",
            "{ announce: [10.9.0.1] }".to_owned(),
            "5: mptcp.announce[0]: 10.9.0.1 is the address of port \"c\"; announce an address of our own that is on no port",
        ),
        (
            "announced a subscriber's",
            "mptcp",
            "{ announce: [10.1.0.2] }".to_owned(),
            "5: mptcp.announce[0]: 10.1.0.2 lies in the subscriber prefix 10.1.0.0/24; announce an address that no \
             subscriber can have",
        ),
    ] {
        // A port list without IPv6 or with another core network makes no other section wrong.
        assert_eq!(told(&with(&[(key, &value)])), expected, "{name}");
    }
}

#[test]
fn a_subscriber_behind_a_router_on_an_access_port_is_led_to() {
    let source = with(&[
        ("subscribers", "[100.64.0.0/16]"),
        ("routes", "[{ to: 100.64.0.0/10, via: 10.1.0.9 }]"),
    ]);
    assert_eq!(told(&source), "");
}

#[test]
fn an_announced_address_of_a_family_that_no_port_has_is_told() {
    let source = format!("{SMALL}mptcp: {{ announce: ['fd00:99::2'] }}\n");
    assert_eq!(
        told(&source),
        "5: mptcp.announce[0]: no port has an IPv6 address, so nobody can reach fd00:99::2; give a port an IPv6 \
         address, or leave it out"
    );
}

#[test]
fn syntax_errors_have_their_line() {
    for (source, line, part) in [
        ("name: a\nports: [", 2, "this is no YAML"),
        ("name: a\n\tports: 1\n", 2, "spaces, not with tabs"),
        ("a: b: c\n", 1, "this is no YAML"),
        ("name: x\nports: !tag 1\n", 2, "without a tag"),
        ("name: *nothing\n", 1, "unknown anchor"),
        ("? [1, 2]\n: 3\n", 1, "a key that is a list"),
        ("name: a\n---\nname: b\n", 1, "more than one document"),
        ("", 1, "the file is empty"),
        ("# nothing\n", 1, "the file is empty"),
        ("- a\n", 1, "a list is no table"),
        ("hello\n", 1, "\"hello\" is no table"),
    ] {
        let mistakes = parse(BoxKind::Hag, source).unwrap_err();
        assert_eq!(mistakes.len(), 1, "{source:?}: {mistakes:?}");
        assert_eq!(mistakes[0].line, line, "{source:?}: {mistakes:?}");
        let text = mistakes[0].to_string();
        assert!(text.contains(part), "{source:?}: {text}");
    }
}

#[test]
fn lines_hold_in_every_style() {
    for (source, line) in [
        ("{ name: a,\n  colour: blue }", 2),
        ("name: a\n\n\n# c\n'colour': blue", 5),
        ("name: |\n  many\n  lines\ncolour: blue", 4),
        ("name: \"a\n  b\"\ncolour: &x blue", 3),
        ("? name\n: a\n? colour\n: blue", 3),
        ("%YAML 1.1\n---\nname: a\ncolour: blue\n...\n", 4),
        ("name: a\r\ncolour: blue\r\n", 2),
        ("\u{feff}name: a\ncolour: blue", 2),
    ] {
        let mistakes = parse(BoxKind::Hag, source).unwrap_err();
        let colour: Vec<_> = mistakes.iter().filter(|m| m.path == "colour").collect();
        assert_eq!(colour.len(), 1, "{source:?}: {mistakes:?}");
        assert_eq!(colour[0].line, line, "{source:?}");
    }
}

#[test]
fn what_is_no_text_is_refused_with_its_line() {
    let checked = check(BoxKind::Hag, b"name: a\nports: \xff\n", &|_| true);
    let mistakes = checked.result.unwrap_err();
    assert_eq!(
        mistakes[0].to_string(),
        "2: this is no UTF-8 text; save the file as UTF-8"
    );
    let large = vec![b'#'; SOURCE_MAX + 1];
    let mistakes = check(BoxKind::Hag, &large, &|_| true).result.unwrap_err();
    assert!(
        mistakes[0].what.contains("more than the 1048576 octets"),
        "{mistakes:?}"
    );
}

#[test]
fn aliases_cannot_multiply_without_bound() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..9 {
        let items = vec![format!("*a{}", n - 1); 10].join(", ");
        bomb.push_str(&format!("a{n}: &a{n} [{items}]\n"));
    }
    let mistakes = parse(BoxKind::Hag, &bomb).unwrap_err();
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
}

#[test]
fn very_many_mistakes_are_cut_short() {
    let mut source = SMALL.to_owned();
    for n in 0..1_000 {
        source.push_str(&format!("zzz{n}: 1\n"));
    }
    let mistakes = parse(BoxKind::Hag, &source).unwrap_err();
    assert_eq!(mistakes.len(), TOLD_MAX + 1);
    assert_eq!(
        mistakes[TOLD_MAX].what, "900 more mistakes are not shown",
        "{mistakes:?}"
    );
}

#[test]
fn a_missing_directory_for_the_socket_is_a_warning() {
    let source = format!("{SMALL}control: {{ socket: /run/nowhere/hag/hag.sock }}\n");
    let with = |directory: &'static str| {
        let checked = check(BoxKind::Hag, source.as_bytes(), &|path| {
            path == Path::new(directory)
        });
        assert!(checked.result.is_ok());
        checked
    };
    assert_eq!(with("/run/nowhere/hag").warnings, []);
    assert_eq!(with("/run/nowhere").warnings, [], "one directory is made");
    let checked = with("/run");
    let warnings: Vec<_> = checked.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "5: control.socket: the directory /run/nowhere/hag does not exist; create it before hag runs: mkdir -p \
             /run/nowhere/hag"
        ]
    );
}

#[test]
fn polling_suits_the_devices_unless_it_is_said() {
    let idle = |polling: &str, device: &str| {
        let source = SMALL.replace("net_null0", device);
        let source = format!("{source}worker: {{ polling: {polling} }}\n");
        parse(BoxKind::Hag, &source).unwrap().idle()
    };
    assert_eq!(idle("auto", "net_null0"), Idle::ADAPTIVE);
    assert_eq!(idle("auto", "04:00.1"), Idle::Spin);
    assert_eq!(idle("spin", "net_null0"), Idle::Spin);
    assert_eq!(idle("adaptive", "04:00.1"), Idle::ADAPTIVE);
}

#[test]
fn devices_are_recognised() {
    for (device, right) in [
        ("0000:03:00.0", true),
        ("03:00.0", true),
        ("0000:03:00.0,driver=x", false),
        ("net_tap,iface=tap0", false),
        ("net_tap0,iface", false),
        ("net_tap0,iface=tap0", true),
        ("net_af_xdp3,iface=veth0", true),
        ("virtio_user0,path=/dev/vhost-net", true),
        ("0000:03:00.8", false),
        ("000:03:00.0", false),
        ("0000:0000:03:00.0", false),
        ("3:00.0", false),
        ("eth0", false),
        ("net_af_packet0", false),
        ("net_af_packet0,iface=", false),
        ("net_tap0, iface=tap0", false),
    ] {
        let source = SMALL.replace("net_null0", device);
        assert_eq!(
            parse(BoxKind::Hag, &source).is_ok(),
            right,
            "{device}: {}",
            told(&source)
        );
    }
}

/// Pieces of files: far more of what these make parses than of random text.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "name",
        "ports",
        "- ",
        ": ",
        "\n",
        "\n  ",
        "\n    ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        "'",
        "\"",
        "&a ",
        "*a",
        "!t ",
        "|\n",
        "#",
        "\t",
        "---\n",
        "? ",
        "<<",
        "10.1.0.1/24",
        "fd00::1",
        "~",
        "role",
        "access",
        "worker",
        "cores",
        "routes",
        "to",
        "via",
        "limits",
        "4MiB",
        "10s",
        "-1",
        "1e99",
        "99999999999999999999999",
        "mtu",
        "subscribers",
        "device",
        "net_null0",
        "\u{0}",
    ];
    prop_oneof![
        9 => proptest::sample::select(words.to_vec()).prop_map(str::to_owned),
        1 => ".{0,4}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_octets_panic(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = check(BoxKind::Hag, &octets, &|_| true);
    }

    #[test]
    fn no_pieces_panic_and_every_line_is_in_the_file(
        pieces in proptest::collection::vec(piece(), 0..60),
    ) {
        let source = pieces.concat();
        let checked = check(BoxKind::Hag, source.as_bytes(), &|_| false);
        let lines = source.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count().max(1);
        for mistake in checked.result.err().iter().flatten().chain(&checked.warnings) {
            prop_assert!((1..=lines).contains(&mistake.line), "{mistake} in {source:?}");
        }
    }

    #[test]
    fn one_changed_octet_never_panics(at in 0..EXAMPLE.len(), octet: u8) {
        let mut source = EXAMPLE.as_bytes().to_vec();
        source[at] = octet;
        let _ = check(BoxKind::Hag, &source, &|_| true);
    }

    #[test]
    fn sizes_and_times_read_back(n in 0..1u64 << 40) {
        let shown = hint::show_octets(n);
        prop_assert_eq!(hint::octets(&shown).or_else(|| shown.parse().ok()), Some(n));
        let time = Duration::from_millis(n);
        prop_assert_eq!(hint::duration(&hint::show_duration(time)), Some(time));
    }
}

#[test]
fn versions_are_each_written_once_in_the_order_of_asking() {
    use mptcp::Versions::{V0, V0ThenV1, V1, V1ThenV0};
    let read = |versions: &str| {
        let source = format!("{SMALL}\nmptcp: {{ versions: {versions} }}\n");
        parse(BoxKind::Hag, &source).map(|config| config.mptcp.versions)
    };
    for (written, expected) in [
        ("[1]", V1),
        ("[0]", V0),
        ("[1, 0]", V1ThenV0),
        ("[0, 1]", V0ThenV1),
    ] {
        assert_eq!(read(written).unwrap(), expected);
    }
    let hint = "write the versions to speak, the one to ask for first in front: [1], [1, 0], [0, 1] or [0]";
    for (written, what) in [
        ("[]", "no version, or one twice"),
        ("[1, 1]", "no version, or one twice"),
        ("[0, 1, 0]", "no version, or one twice"),
        ("1", "1 is no list"),
    ] {
        let mistakes = read(written).unwrap_err();
        assert_eq!(mistakes.len(), 1, "{written}");
        assert_eq!(
            (mistakes[0].what.as_str(), mistakes[0].instead.as_str()),
            (what, hint)
        );
    }
    let mistakes = read("[2]").unwrap_err();
    assert_eq!(mistakes[0].path, "mptcp.versions[0]");
}

#[test]
fn rules_are_read_and_their_mistakes_told() {
    let rules = "select:\n  include: [{ port: 443 }, { port: '8000-8100', dscp: 0 }]\n  exclude: [{ prefix: 10.9.0.0/16 }]\n";
    let select = parse(BoxKind::Hag, &format!("{SMALL}{rules}"))
        .unwrap()
        .select;
    let shown: Vec<_> = select.include.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["port 443", "port 8000-8100 dscp 0"]);
    assert_eq!(select.exclude[0].to_string(), "prefix 10.9.0.0/16");
    let wrong = "select:\n  include: [{ port: 90-80 }, {}]\n  exclude: [{ dscp: 64 }, { prefix: 10.9.0.1/16 }]\n  native: pass\n";
    assert_eq!(
        told(&format!("{SMALL}{wrong}")),
        "6: select.include[0].port: \"90-80\" is no range of ports; write a port such as 443, or a range such as \
         \"8000-8100\"\n\
         6: select.include[1]: a rule without a key matches every flow; write a list of rules: - { prefix: 10.9.0.0/16, \
         port: 443, dscp: 46 }, each with one of these keys at least\n\
         7: select.exclude[0].dscp: 64 is too large; write a whole number from 0 to 63\n\
         7: select.exclude[1].prefix: 10.9.0.1/16 has bits set behind its prefix; write \"10.9.0.0/16\"\n\
         8: select.native: unknown key; the keys here are include, exclude, plain"
    );
}
