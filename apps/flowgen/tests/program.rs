//! The program as its user meets it: exit codes, what it says, and a run on a device without a wire.

use std::process::{Command, Output};
use tempfile::TempDir;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/flowgen.example.yaml");

fn flowgen(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_flowgen"))
        .args(arguments)
        .output()
        .unwrap()
}

fn write(dir: &TempDir, content: &str) -> String {
    let path = dir.path().join("load.yaml");
    std::fs::write(&path, content).unwrap();
    path.display().to_string()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

#[test]
fn check_finds_the_example_right() {
    let output = flowgen(&["check", "-c", EXAMPLE]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), format!("{EXAMPLE}: ok\n"));
}

#[test]
fn check_tells_what_is_wrong_and_where() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(&dir, "ports: []\ncolour: blue\n");
    let output = flowgen(&["check", "-c", &path]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    let told = said.contains("colour") && said.contains("line 2");
    assert!(said.starts_with(&path) && told, "{said}");
    let path = write(
        &dir,
        "ports: [{ name: a, device: x, role: client, addresses: [10.1.0.2/24] }]\n\
         client:\n\
         - { name: kept, to: 10.1.0.9:80, connections: 0, response: 1, duration: 1s }\n\
         - { to: 10.1.0.9:80, connections: 1, response: 1, duration: 1s }\n",
    );
    let output = flowgen(&["check", "-c", &path]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(
        lines,
        [
            format!("{path}: line 3: client[0].connections: write 1 or more"),
            format!("{path}: line 4: client[1].name: write a name: the result is told by it"),
        ]
    );
    let missing = flowgen(&["run", "-c", "/nowhere.yaml"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(text(&missing.stderr).contains("flowgen.example.yaml"));
}

#[test]
fn a_run_against_nobody_says_so_in_its_result() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(
        &dir,
        "worker: { hugepages: false, memory_mb: 128 }\n\
         ports: [{ name: a, device: 'net_null7,no-rx=1', role: client, addresses: [10.1.0.2/24] }]\n\
         client: { to: 10.1.0.9:80, connections: 4, response: 100, duration: 1500ms, timeout: 500ms }\n",
    );
    let output = flowgen(&["run", "-c", &path]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(said.contains("\"established\": 0"), "{said}");
    let lines = text(&output.stderr);
    assert!(lines.contains("connections/s"), "a line a second: {lines}");
}
