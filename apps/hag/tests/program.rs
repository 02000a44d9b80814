//! The program as its operator meets it: exit codes, what it says, and a whole life on devices without a wire.

use apps::control::client::ask;
use apps::control::wire::Request;
use apps::control::{Ports, Status};
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/hag.example.yaml");

fn hag(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hag"))
        .args(arguments)
        .output()
        .unwrap()
}

/// A configuration file in `dir`.
fn write(dir: &TempDir, content: &str) -> String {
    let path = dir.path().join("box.yaml");
    std::fs::write(&path, content).unwrap();
    path.display().to_string()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// A box between two devices that nothing is behind.
fn config(access: &str, socket: &Path) -> String {
    format!(
        "worker: {{ hugepages: no, memory_mb: 128 }}\nports:\n  \
         - {{ name: access1, device: '{access}', role: access, addresses: [10.1.0.1/24] }}\n  \
         - {{ name: core, device: 'net_null8,no-rx=1', role: core, addresses: [10.9.0.1/24] }}\n\
         subscribers: [10.1.0.0/24]\ncontrol: {{ socket: {} }}\n",
        socket.display()
    )
}

#[test]
fn check_finds_the_example_right() {
    let output = hag(&["check", "-c", EXAMPLE]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(
        said.starts_with(&format!("{EXAMPLE}: ok\nhag-1: ports access1 (access)")),
        "{said}"
    );
}

#[test]
fn check_tells_every_mistake_with_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(
        &dir,
        "ports: []\nsubscribers: [10.1.0.1/24]\ncolour: blue\n",
    );
    let output = hag(&["check", "-c", &path]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stdout), "");
    let said = text(&output.stderr);
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    for (line, start) in lines
        .iter()
        .zip(["1: ports: ", "2: subscribers[0]: ", "3: colour: "])
    {
        assert!(line.starts_with(&format!("{path}:{start}")), "{line}");
    }
}

#[test]
fn run_refuses_a_wrong_file_and_a_missing_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(&dir, "ports: 1\n");
    assert_eq!(hag(&["run", "-c", &path]).status.code(), Some(2));
    let missing = dir.path().join("none.yaml").display().to_string();
    let output = hag(&["run", "-c", &missing]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("hag.example.yaml"));
    assert_eq!(hag(&["run"]).status.code(), Some(2));
}

#[test]
fn run_says_which_port_did_not_open_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("hag.sock");
    let path = write(&dir, &config("net_af_packet0,iface=nowhere", &socket));
    let output = hag(&["run", "-c", &path]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("port access1"), "{said}");
    assert!(said.contains("no interface nowhere; create it"), "{said}");
    assert!(!socket.exists());
}

#[test]
fn run_says_which_core_there_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let content = config("net_null7,no-rx=1", &dir.path().join("hag.sock"));
    let content = content.replace("worker: {", "worker: { cores: [1023],");
    let output = hag(&["run", "-c", &write(&dir, &content)]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("core 1023 is not there"), "{said}");
}

#[test]
fn run_refuses_a_device_without_an_address() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(&dir, &config("net_ring7", &dir.path().join("hag.sock")));
    let output = hag(&["run", "-c", &path]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains("port access1: net_ring7 has no Ethernet address"),
        "{said}"
    );
}

/// Waits for the program's end, and gives back its exit code and what it said.
fn end_of(mut child: Child) -> (Option<i32>, String) {
    let mut said = String::new();
    if let Some(stderr) = &mut child.stderr {
        stderr.read_to_string(&mut said).unwrap();
    }
    (child.wait().unwrap().code(), said)
}

#[test]
fn run_answers_its_operator_and_stops_cleanly_on_sigterm() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("run/hag.sock");
    let path = write(&dir, &config("net_null7,no-rx=1", &socket));
    let mut child = Command::new(env!("CARGO_BIN_EXE_hag"))
        .args(["run", "-c", &path])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while !socket.exists() {
        if child.try_wait().unwrap().is_some() {
            panic!("it ended early: {:?}", end_of(child));
        }
        std::thread::yield_now();
    }
    let ports: Ports = ask(&socket, &Request::new("show ports")).unwrap();
    let names: Vec<_> = ports.ports.iter().map(|port| port.name.as_str()).collect();
    assert_eq!(names, ["access1", "core"]);
    let status: Status = ask(&socket, &Request::new("drain")).unwrap();
    assert!(status.draining);
    let kill = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
    let (code, said) = end_of(child);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("has stopped"), "{said}");
    assert!(!socket.exists());
}
