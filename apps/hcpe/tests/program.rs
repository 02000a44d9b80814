//! The program as its operator meets it: exit codes, what it says, and a whole life on devices without a wire.

use apps::control::client::ask;
use apps::control::wire::Request;
use apps::control::{Ports, Status};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/hcpe.example.yaml");

fn hcpe(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hcpe"))
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

/// A box between three devices that nothing is behind.
fn config(socket: &Path) -> String {
    format!(
        "worker: {{ hugepages: no, memory_mb: 128 }}\nports:\n  \
         - {{ name: lan, device: 'net_null6,no-rx=1', role: lan, addresses: [10.10.0.1/24] }}\n  \
         - {{ name: wan1, device: 'net_null7,no-rx=1', role: primary, addresses: [10.1.0.2/24] }}\n  \
         - {{ name: wan2, device: 'net_null8,no-rx=1', role: secondary, addresses: [10.2.0.2/24] }}\n\
         hosts: [10.10.0.0/24]\nhag: {{ prefixes: [10.99.0.0/24] }}\ncontrol: {{ socket: {} }}\n",
        socket.display()
    )
}

#[test]
fn check_finds_the_example_right() {
    let output = hcpe(&["check", "-c", EXAMPLE]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    let start = format!("{EXAMPLE}: ok\nhcpe-1: ports lan (lan), wan1 (primary), wan2 (secondary)");
    assert!(said.starts_with(&start), "{said}");
}

#[test]
fn check_tells_every_mistake_with_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(&dir, "ports: []\nhosts: [10.1.0.1/24]\nsubscribers: []\n");
    let output = hcpe(&["check", "-c", &path]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stdout), "");
    let said = text(&output.stderr);
    let lines: Vec<_> = said
        .lines()
        .filter(|line| !line.ends_with("(a warning)"))
        .collect();
    assert_eq!(lines.len(), 3, "{said}");
    for (line, start) in lines
        .iter()
        .zip(["1: ports: ", "2: hosts[0]: ", "3: subscribers: "])
    {
        assert!(line.starts_with(&format!("{path}:{start}")), "{line}");
    }
}

#[test]
fn a_missing_file_and_the_help_lead_to_the_example() {
    let output = hcpe(&["run", "-c", "/nowhere/hcpe.yaml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("apps/hcpe/hcpe.example.yaml"));
    let help = text(&hcpe(&["--help"]).stdout);
    for part in [
        "hcpe check -c hcpe.yaml",
        "primary access",
        "--socket /run/hcpe/hcpe.sock",
    ] {
        assert!(help.contains(part), "{part} is not in {help}");
    }
}

#[test]
fn run_answers_its_operator_and_stops_cleanly_on_sigterm() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("run/hcpe.sock");
    let mut child = Command::new(env!("CARGO_BIN_EXE_hcpe"))
        .args(["run", "-c", &write(&dir, &config(&socket))])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while !socket.exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended early");
        std::thread::yield_now();
    }
    let ports: Ports = ask(&socket, &Request::new("show ports")).unwrap();
    let roles: Vec<_> = ports.ports.iter().map(|port| port.role.as_str()).collect();
    assert_eq!(roles, ["lan", "primary", "secondary"]);
    let status: Status = ask(&socket, &Request::new("drain")).unwrap();
    assert!(status.draining);
    let kill = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{said}");
    assert!(said.contains("has stopped"), "{said}");
    assert!(!socket.exists());
}
