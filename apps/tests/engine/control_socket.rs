//! A whole box without DPDK: configuration, engine, worker, control socket, and a clean stop.

use apps::config::{self, Config};
use apps::control::client::{ClientError, ask};
use apps::control::wire::Request;
use apps::control::{Connections, Counters, Ports, Runtime, Status, explain};
use apps::engine::Engine;
use apps::run::Supervisor;
use crossbeam::channel::{Sender, bounded};
use dataplane::{Clock, CoreId, MemPort, MemWire, PortInfo, Worker};
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::thread;

const CONFIG: &str = "\
ports:
  - { name: access1, device: net_null0, role: access, addresses: [10.1.0.1/24, 'fd00:1::1/64'] }
  - { name: core, device: net_null1, role: core, addresses: [10.9.0.1/24, 'fd00:9::1/64'], mtu: 9000 }
routes: [{ to: 0.0.0.0/0, via: 10.9.0.2 }]
subscribers: [10.1.0.0/24, 'fd00:1::/64']
mptcp: { announce: [10.99.0.2] }
";

/// The box's configuration, with its socket in a directory of the test's own.
fn config(socket: &Path) -> Config {
    let source = format!("{CONFIG}control: {{ socket: {} }}\n", socket.display());
    config::parse(config::BoxKind::Hag, &source).unwrap()
}

fn memory_port(config: &Config, n: u8) -> (MemPort, MemWire) {
    let port = &config.ports[usize::from(n)];
    MemPort::with_wire(PortInfo {
        name: port.name.clone(),
        device: port.device.as_str().to_owned(),
        mac: [2, 0, 0, 0, 0, n],
        mtu: port.mtu,
        sums: false,
    })
}

/// Runs the box until `operator` lets go of the stopping channel; gives back what he learnt.
fn run_box<T: Send + 'static>(
    name: &str,
    operator: impl FnOnce(&Path, &MemWire, Sender<()>) -> T + Send + 'static,
) -> T {
    let directory = std::env::temp_dir().join(format!("braid-box-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let socket: PathBuf = directory.join("hag.sock");
    let config = config(&socket);
    let (tell, stop) = bounded(2);
    let (supervisor, mut inboxes) = Supervisor::new(&config, stop).unwrap();
    let ((access, access_wire), (core, _core_wire)) =
        (memory_port(&config, 0), memory_port(&config, 1));
    let engine = Engine::new(config.engine(&[[2, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0, 1]], [7; 32]));
    let inbox = inboxes.remove(0);
    let mut worker = [Worker::new(
        CoreId(0),
        vec![access, core],
        engine.unwrap(),
        inbox,
    )];
    let operator = thread::spawn({
        let socket = socket.clone();
        move || operator(&socket, &access_wire, tell)
    });
    supervisor
        .run(&mut worker, &Clock::start(), config.idle(), |_| ())
        .unwrap();
    assert!(!socket.exists(), "the socket goes with the box");
    std::fs::remove_dir(&directory).unwrap();
    operator.join().unwrap()
}

/// Asks, once the socket is there.
fn show<R: DeserializeOwned>(socket: &Path, command: &str) -> R {
    loop {
        match ask(socket, &Request::new(command)) {
            Ok(answer) => return answer,
            Err(ClientError::Missing(_)) => thread::yield_now(),
            Err(error) => panic!("{command}: {error}"),
        }
    }
}

#[test]
fn a_box_shows_its_ports_counters_and_connections() {
    let (ports, counters, connections): (Ports, Counters, Connections) =
        run_box("show", |socket, _, _stop| {
            (
                show(socket, "show ports"),
                show(socket, "show counters"),
                show(socket, "show connections"),
            )
        });
    let [access, core] = ports.ports.as_slice() else {
        panic!("{ports:?}");
    };
    assert_eq!(
        (access.name.as_str(), access.role.as_str()),
        ("access1", "access")
    );
    assert_eq!((core.device.as_str(), core.mtu), ("net_null1", 9000));
    assert_eq!(core.mac, "02:00:00:00:00:01");
    assert_eq!(connections, Connections::default());
    for name in [
        "relays",
        "pending",
        "copied_in_stack",
        "drop_malformed",
        "bypass_draining",
    ] {
        assert_eq!(counters.counters.get(name), Some(&0), "{name}");
    }
    for name in counters.counters.keys() {
        assert!(explain(name).is_some(), "{name} is shown and not explained");
    }
}

#[test]
fn what_a_port_receives_is_counted() {
    let (ports, counters): (Ports, Counters) = run_box("count", |socket, wire, _stop| {
        let before: Status = show(socket, "show status");
        assert!(!before.draining);
        assert!(wire.put(vec![0xff; 13]), "no whole Ethernet header");
        loop {
            let ports: Ports = show(socket, "show ports");
            if ports.ports[0].rx_packets == 1 {
                break (ports, show(socket, "show counters"));
            }
        }
    });
    assert_eq!(ports.ports[0].rx_bytes, 13);
    assert_eq!(counters.counters["drop_malformed"], 1);
}

#[test]
fn a_box_shows_what_its_cycles_go_to() {
    let runtime: Runtime = run_box("runtime", |socket, _, _stop| {
        loop {
            let runtime: Runtime = show(socket, "show runtime");
            if runtime.cores[0].watched_cycles > 0 {
                break runtime;
            }
        }
    });
    let core = &runtime.cores[0];
    assert!(core.turns > 0 && core.idle_cycles > 0);
    assert!((900..=1000).contains(&core.explained_permille), "{core:?}");
    let steps: Vec<_> = core.steps.iter().map(|step| step.step.as_str()).collect();
    assert_eq!(steps, stack::Step::ALL.map(stack::Step::name));
}

#[test]
fn a_drained_box_says_so() {
    let drained: Status = run_box("drain", |socket, _, _stop| {
        let _: Status = show(socket, "drain");
        show(socket, "show status")
    });
    assert!(drained.draining);
}
