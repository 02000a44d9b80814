//! Answers as aligned tables.

use apps::control::{
    Accounts, Connection, Connections, Core, Counters, Paths, Ports, Rules, Runtime, Status,
    explain, is_fate,
};

/// The counters that all fates and what has none yet add up to, and of the latter.
const RECEIVED: &str = "frames_received";
const WAITING: &str = "frames_waiting";

/// Which way a column's cells are pushed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Align {
    Left,
    Right,
}
use Align::{Left, Right};

/// Lays `rows` out under `columns`, two spaces between them.
fn lay_out(columns: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    let width = |(n, (title, _)): (usize, &(&str, Align))| {
        let cells = rows.iter().filter_map(|row| row.get(n));
        let widest = cells.map(|cell| cell.chars().count()).max();
        widest.unwrap_or(0).max(title.chars().count())
    };
    let widths: Vec<_> = columns.iter().enumerate().map(width).collect();
    let titles = columns
        .iter()
        .map(|(title, _)| (*title).to_owned())
        .collect();
    let mut text = String::new();
    for row in std::iter::once(&titles).chain(rows) {
        let mut line = String::new();
        for ((cell, (_, align)), width) in row.iter().zip(columns).zip(&widths) {
            let cell = match align {
                Left => format!("{cell:<width$}  "),
                Right => format!("{cell:>width$}  "),
            };
            line.push_str(&cell);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A number of octets with the unit that leaves one to four digits before the point.
fn octets(n: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if n < 10_000 {
        return format!("{n} B");
    }
    // Tenths of the unit, in whole numbers.
    let mut tenths = u128::from(n) * 10 / 1024;
    let mut unit = UNITS[0];
    for larger in &UNITS[1..] {
        if tenths < 100_000 {
            break;
        }
        tenths /= 1024;
        unit = larger;
    }
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

/// `850 ms`, `12.3 s`, `5 m 7 s` or `2 h 5 m`.
fn age(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0 => format!("{ms} ms"),
        1..60 => format!("{seconds}.{} s", ms % 1_000 / 100),
        60..3_600 => format!("{} m {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} m", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// Microseconds as milliseconds; `-` before the first sample.
fn round_trip(us: u64) -> String {
    if us == 0 {
        return "-".to_owned();
    }
    format!("{}.{} ms", us / 1_000, us % 1_000 / 100)
}

pub(crate) fn ports(answer: &Ports) -> String {
    let columns = [
        ("PORT", Left),
        ("ROLE", Left),
        ("MAC", Left),
        ("MTU", Right),
        ("RX FRAMES", Right),
        ("RX", Right),
        ("TX FRAMES", Right),
        ("TX", Right),
        ("TRAINS", Right),
        ("RX MISSED", Right),
        ("NO BUFFER", Right),
        ("TX DROPPED", Right),
        ("COPIED", Right),
        ("DEVICE", Left),
    ];
    let row = |port: &apps::control::Port| {
        vec![
            port.name.clone(),
            port.role.clone(),
            port.mac.clone(),
            port.mtu.to_string(),
            port.rx_packets.to_string(),
            octets(port.rx_bytes),
            port.tx_packets.to_string(),
            octets(port.tx_bytes),
            port.tx_trains.to_string(),
            port.rx_missed.to_string(),
            port.rx_nobuf.to_string(),
            port.tx_dropped.to_string(),
            octets(port.copied_at_port),
            port.device.clone(),
        ]
    };
    lay_out(&columns, &answer.ports.iter().map(row).collect::<Vec<_>>())
}

pub(crate) fn connections(answer: &Connections) -> String {
    if answer.connections.is_empty() {
        return format!("No connection is shown; {} are relayed.\n", answer.total);
    }
    let columns = [
        ("ID", Right),
        ("CLIENT / SUBFLOW", Left),
        ("SERVER / LOCAL", Left),
        ("STATE / PORT", Left),
        ("AGE / RTT", Right),
        ("UP", Right),
        ("DOWN", Right),
        ("CWND", Right),
        ("FLIGHT", Right),
        ("RESENT", Right),
    ];
    let rows: Vec<_> = answer.connections.iter().flat_map(connection).collect();
    let mut text = lay_out(&columns, &rows);
    let shown = u64::try_from(answer.connections.len()).unwrap_or(u64::MAX);
    if shown < answer.total {
        text.push_str(&format!(
            "{shown} of {} connections are shown.\n",
            answer.total
        ));
    }
    text
}

/// A connection's row and, under it, one for each of its subflows.
fn connection(connection: &Connection) -> Vec<Vec<String>> {
    let version = connection.version.map(|version| format!(" v{version}"));
    let first = vec![
        connection.id.to_string(),
        connection.client.clone(),
        connection.server.clone(),
        format!("{}{}", connection.state.name(), version.unwrap_or_default()),
        age(connection.age_ms),
        octets(connection.bytes_up),
        octets(connection.bytes_down),
    ];
    let subflow = |subflow: &apps::control::Subflow| {
        // In the network what comes in goes up; at the customer's edge what goes out.
        let (up, down) = if subflow.leg == "server" {
            (subflow.bytes_out, subflow.bytes_in)
        } else {
            (subflow.bytes_in, subflow.bytes_out)
        };
        let backup = if subflow.backup { " (backup)" } else { "" };
        vec![
            String::new(),
            format!("  {}", subflow.remote),
            subflow.local.clone(),
            format!("{}{backup}", subflow.port),
            round_trip(subflow.srtt_us),
            octets(up),
            octets(down),
            octets(subflow.cwnd),
            octets(subflow.flight),
            subflow.retransmitted.to_string(),
        ]
    };
    std::iter::once(first)
        .chain(connection.subflows.iter().map(subflow))
        .collect()
}

pub(crate) fn paths(answer: &Paths) -> String {
    let columns = [
        ("PATH", Left),
        ("ROLE", Left),
        ("STATE", Left),
        ("SUBFLOWS", Right),
        ("RTT", Right),
        ("LEAST", Right),
        ("RATE IN", Right),
        ("RATE OUT", Right),
        ("DELIVERED", Right),
        ("IN", Right),
        ("OUT", Right),
        ("SENT", Right),
        ("AGAIN", Right),
    ];
    let row = |path: &apps::control::Path| {
        vec![
            path.name.clone(),
            path.role.clone(),
            path.state.clone(),
            path.subflows.to_string(),
            round_trip(path.srtt_us),
            round_trip(path.min_rtt_us),
            megabits(path.rate_in),
            megabits(path.rate_out),
            megabits(path.delivery_rate),
            octets(path.bytes_in),
            octets(path.bytes_out),
            path.sent.to_string(),
            path.resent.to_string(),
        ]
    };
    lay_out(&columns, &answer.paths.iter().map(row).collect::<Vec<_>>())
}

/// Octets per second in Mbit/s.
fn megabits(octets: u64) -> String {
    let hundredths = u128::from(octets) * 8 / 10_000;
    format!("{}.{:02} Mbit/s", hundredths / 100, hundredths % 100)
}

pub(crate) fn rules(answer: &Rules) -> String {
    if answer.rules.is_empty() {
        return "There is no rule: every flow may be bonded.\n".to_owned();
    }
    let columns = [
        ("LIST", Left),
        ("RULE", Right),
        ("MATCHES", Left),
        ("FLOWS", Right),
    ];
    let row = |rule: &apps::control::Rule| {
        vec![
            rule.list.clone(),
            rule.position.to_string(),
            rule.rule.clone(),
            rule.flows.to_string(),
        ]
    };
    lay_out(&columns, &answer.rules.iter().map(row).collect::<Vec<_>>())
}

pub(crate) fn accounts(answer: &Accounts) -> String {
    if answer.accounts.is_empty() {
        return "No subscriber has had a relayed connection.\n".to_owned();
    }
    let columns = [
        ("SUBSCRIBER", Left),
        ("PATH", Left),
        ("UP", Right),
        ("DOWN", Right),
    ];
    let mut rows = Vec::new();
    for account in &answer.accounts {
        for path in &account.paths {
            rows.push(vec![
                account.subscriber.clone(),
                path.path.clone(),
                octets(path.bytes_up),
                octets(path.bytes_down),
            ]);
        }
    }
    let shown = u64::try_from(answer.accounts.len()).unwrap_or(u64::MAX);
    let mut text = lay_out(&columns, &rows);
    if shown < answer.total {
        text.push_str(&format!(
            "{shown} of {} subscribers are shown.\n",
            answer.total
        ));
    }
    text
}

pub(crate) fn counters(answer: &Counters, all: bool, with_help: bool) -> String {
    let shown = answer
        .counters
        .iter()
        .filter(|(_, value)| all || **value != 0);
    let rows: Vec<_> = shown.map(counter).collect();
    if rows.is_empty() {
        return "Every counter is zero.\n".to_owned();
    }
    lay_out(&counter_columns("COUNTER", with_help), &rows)
}

/// The fates of received frames, with what waits for one, and the sum of all.
pub(crate) fn frames(answer: &Counters, with_help: bool) -> String {
    let all = &answer.counters;
    let counts = |name: &str| is_fate(name) || name == WAITING;
    let shown = all
        .iter()
        .filter(|(name, value)| counts(name) && **value != 0);
    let sum: u64 = shown.clone().map(|(_, value)| value).sum();
    let received = all.get_key_value(RECEIVED);
    let rows: Vec<_> = shown.chain(received).map(counter).collect();
    let mut text = lay_out(&counter_columns("FATE", with_help), &rows);
    let received = received.map_or(0, |(_, value)| *value);
    if sum != received {
        text.push_str(&format!(
            "These are {sum} of {received} frames: please report it.\n"
        ));
    }
    text
}

fn counter_columns(first: &'static str, with_help: bool) -> Vec<(&'static str, Align)> {
    let mut columns = vec![(first, Left), ("VALUE", Right)];
    if with_help {
        columns.push(("COUNTS", Left));
    }
    columns
}

fn counter((name, value): (&String, &u64)) -> Vec<String> {
    let help = explain(name).unwrap_or_default().to_owned();
    vec![name.clone(), value.to_string(), help]
}

pub(crate) fn runtime(answer: &Runtime) -> String {
    answer.cores.iter().map(core).collect()
}

fn core(core: &Core) -> String {
    let share = |part: u64, whole: u64| {
        let tenths = u128::from(part) * 1000 / u128::from(whole.max(1));
        format!("{}.{} %", tenths / 10, tenths % 10)
    };
    let cycles = core.busy_cycles.saturating_add(core.idle_cycles);
    let mut text = format!(
        "core {}: busy {} of its cycles; {} turns, {} of them idle\n",
        core.core,
        share(core.busy_cycles, cycles),
        core.turns,
        core.idle_turns
    );
    let columns = [
        ("STEP", Left),
        ("CYCLES A FRAME", Right),
        ("SHARE", Right),
        ("SHARE OF BUSY", Right),
    ];
    let idle = core.steps.iter().find(|step| step.step == "idle");
    let busy = core.watched_cycles - idle.map_or(0, |step| step.cycles.min(core.watched_cycles));
    let rows: Vec<_> = core
        .steps
        .iter()
        .map(|step| {
            let of_busy = match step.step.as_str() {
                "idle" => String::new(),
                _ => share(step.cycles, busy),
            };
            vec![
                step.step.clone(),
                step.cycles_per_frame.to_string(),
                share(step.cycles, core.watched_cycles),
                of_busy,
            ]
        })
        .collect();
    text.push_str(&lay_out(&columns, &rows));
    text.push_str(&format!(
        "{} of the cycles are explained, by {} frames of watched turns\n",
        share(core.explained_permille, 1000),
        core.watched_frames
    ));
    let payload = &core.payload;
    text.push_str(&format!(
        "payload: {} relayed; {} copied in the stack, {} at the ports, {} read for checksums\n",
        octets(payload.relayed),
        octets(payload.copied_in_stack),
        octets(payload.copied_at_port),
        octets(payload.summed)
    ));
    text
}

pub(crate) fn status(answer: &Status) -> String {
    let draining = if answer.draining {
        "draining: new flows are forwarded without being bonded"
    } else {
        "serving"
    };
    format!(
        "{draining}; {} relays, {} being set up\n",
        answer.relays, answer.pending
    )
}

#[cfg(test)]
mod tests {
    use apps::control::{ConnectionState, Payload, Port, StepCycles, Subflow};

    use super::*;

    #[test]
    fn quantities_are_short_and_exact_where_small() {
        for (n, text) in [
            (0, "0 B"),
            (9_999, "9999 B"),
            (10_000, "9.7 KiB"),
            (10 << 20, "10.0 MiB"),
            (2_500 << 20, "2500.0 MiB"),
            (1 << 44, "16.0 TiB"),
            (u64::MAX, "16383.9 PiB"),
        ] {
            assert_eq!(octets(n), text, "{n}");
        }
        for (ms, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (59_950, "59.9 s"),
            (307_000, "5 m 7 s"),
            (7_500_000, "2 h 5 m"),
        ] {
            assert_eq!(age(ms), text);
        }
        assert_eq!(round_trip(0), "-");
        assert_eq!(round_trip(20_340), "20.3 ms");
    }

    #[test]
    fn ports_are_aligned() {
        let port = |name: &str, rx_packets| Port {
            name: name.to_owned(),
            device: "net_null0".to_owned(),
            role: "access".to_owned(),
            mac: "02:00:00:00:00:01".to_owned(),
            mtu: 1500,
            rx_packets,
            rx_bytes: rx_packets * 1000,
            ..Port::default()
        };
        let text = ports(&Ports {
            ports: vec![port("access1", 7), port("a", 123_456)],
        });
        assert_eq!(
            text,
            "\
PORT     ROLE    MAC                 MTU  RX FRAMES         RX  TX FRAMES   TX  TRAINS  RX MISSED  NO BUFFER  TX DROPPED  COPIED  DEVICE
access1  access  02:00:00:00:00:01  1500          7     7000 B          0  0 B       0          0          0           0     0 B  net_null0
a        access  02:00:00:00:00:01  1500     123456  117.7 MiB          0  0 B       0          0          0           0     0 B  net_null0
"
        );
    }

    #[test]
    fn steps_have_their_share_of_all_and_of_the_busy_cycles() {
        let step = |step: &str, cycles| StepCycles {
            step: step.to_owned(),
            cycles,
            cycles_per_frame: cycles / 10,
        };
        let core = Core {
            busy_cycles: 1_000,
            idle_cycles: 3_000,
            turns: 8,
            idle_turns: 5,
            watched_frames: 10,
            watched_cycles: 2_000,
            explained_permille: 995,
            steps: vec![step("rx", 100), step("parse", 390), step("idle", 1_500)],
            payload: Payload {
                relayed: 20 << 10,
                ..Payload::default()
            },
            ..Core::default()
        };
        assert_eq!(
            runtime(&Runtime { cores: vec![core] }),
            "\
core 0: busy 25.0 % of its cycles; 8 turns, 5 of them idle
STEP   CYCLES A FRAME   SHARE  SHARE OF BUSY
rx                 10   5.0 %         20.0 %
parse              39  19.5 %         78.0 %
idle              150  75.0 %
99.5 % of the cycles are explained, by 10 frames of watched turns
payload: 20.0 KiB relayed; 0 B copied in the stack, 0 B at the ports, 0 B read for checksums
"
        );
    }

    #[test]
    fn subflows_stand_under_their_connection() {
        let subflow = |port: &str, srtt_us| Subflow {
            local: "10.9.0.2:80".to_owned(),
            remote: "10.1.0.2:40000".to_owned(),
            port: port.to_owned(),
            srtt_us,
            cwnd: 14_000,
            ..Subflow::default()
        };
        let one = Connection {
            id: 3,
            client: "10.1.0.2:40000".to_owned(),
            server: "10.9.0.2:80".to_owned(),
            state: ConnectionState::Mptcp,
            version: Some(1),
            token: None,
            age_ms: 1_500,
            bytes_up: 100,
            bytes_down: 50_000,
            subflows: vec![subflow("access1", 20_000), subflow("access2", 0)],
        };
        let text = connections(&Connections {
            connections: vec![one],
            total: 9,
        });
        assert_eq!(
            text,
            "\
ID  CLIENT / SUBFLOW  SERVER / LOCAL  STATE / PORT  AGE / RTT     UP      DOWN      CWND  FLIGHT  RESENT
 3  10.1.0.2:40000    10.9.0.2:80     mptcp v1          1.5 s  100 B  48.8 KiB
      10.1.0.2:40000  10.9.0.2:80     access1         20.0 ms    0 B       0 B  13.6 KiB     0 B       0
      10.1.0.2:40000  10.9.0.2:80     access2               -    0 B       0 B  13.6 KiB     0 B       0
1 of 9 connections are shown.
"
        );
        assert_eq!(
            connections(&Connections::default()),
            "No connection is shown; 0 are relayed.\n"
        );
    }

    #[test]
    fn paths_and_accounts_are_rows() {
        let path = apps::control::Path {
            name: "wan1".to_owned(),
            role: "primary".to_owned(),
            state: "up".to_owned(),
            subflows: 2,
            srtt_us: 31_000,
            min_rtt_us: 30_100,
            rate_in: 2_500_000,
            ..apps::control::Path::default()
        };
        let text = paths(&Paths { paths: vec![path] });
        assert!(
            text.contains(
                "wan1  primary  up            2  31.0 ms  30.1 ms  20.00 Mbit/s  0.00 Mbit/s"
            ),
            "{text}"
        );
        let account = apps::control::Account {
            subscriber: "10.1.0.2".to_owned(),
            paths: vec![apps::control::PathTraffic {
                path: "wan1".to_owned(),
                bytes_up: 7,
                bytes_down: 90_000,
            }],
        };
        let text = accounts(&Accounts {
            accounts: vec![account],
            total: 3,
        });
        assert!(
            text.contains("10.1.0.2    wan1  7 B  87.8 KiB\n1 of 3"),
            "{text}"
        );
    }

    #[test]
    fn counters_that_are_zero_are_shown_on_request() {
        let answer = Counters {
            counters: [("drop_ttl".to_owned(), 2), ("forwarded".to_owned(), 0)].into(),
        };
        assert_eq!(
            counters(&answer, false, false),
            "COUNTER   VALUE\ndrop_ttl      2\n"
        );
        let explained = counters(&answer, true, true);
        assert!(explained.contains("forwarded      0  Packets routed through untouched"));
        assert_eq!(
            counters(&Counters::default(), true, false),
            "Every counter is zero.\n"
        );
    }

    #[test]
    fn fates_of_frames_add_up_to_those_received() {
        let rows = [
            ("drop_ttl", 2),
            ("forwarded", 5),
            ("leg_taken", 90),
            ("icmp_sent", 2),
            ("frames_waiting", 3),
            ("frames_received", 100),
        ];
        let mut answer = Counters {
            counters: rows.map(|(name, n)| (name.to_owned(), n)).into(),
        };
        assert_eq!(
            frames(&answer, false),
            "FATE             VALUE\n\
             drop_ttl             2\n\
             forwarded            5\n\
             frames_waiting       3\n\
             leg_taken           90\n\
             frames_received    100\n"
        );
        answer.counters.insert("forwarded".to_owned(), 4);
        assert!(frames(&answer, true).ends_with("These are 99 of 100 frames: please report it.\n"));
    }
}
