//! Tests of the tree itself: dependencies point one way, and unsafe code stands only where DPDK is touched, where C calls us
//! for packetdrill, and in hints to the processor.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Which of our crates each of our crates may use. Tests and benchmarks may use more, see `may_be_tested_with`.
const MAY_USE: [(&str, &[&str]); 19] = [
    ("stack", &[]),
    ("mptcp", &["stack"]),
    ("dataplane", &["stack"]),
    ("dpdk-sys", &[]),
    ("dpdk", &["dataplane", "dpdk-sys", "stack"]),
    ("apps", &["dataplane", "mptcp", "stack"]),
    ("program", &["apps", "dataplane", "dpdk"]),
    ("hag", &["apps", "program"]),
    ("hcpe", &["apps", "program"]),
    ("braidctl", &["apps"]),
    ("loadgen", &["dataplane", "mptcp", "stack"]),
    ("flowgen", &["dataplane", "dpdk", "loadgen"]),
    (
        "bench",
        &["apps", "dataplane", "loadgen", "mptcp", "stack", "testbed"],
    ),
    ("testbed", &["apps", "dataplane", "mptcp", "stack"]),
    ("braid-link", &["dataplane", "stack", "testbed"]),
    ("fuzz", &["apps", "dataplane", "mptcp", "stack", "testbed"]),
    ("packetdrill", &["dataplane", "mptcp", "stack"]),
    ("sim", &["apps", "dataplane", "mptcp", "stack", "testbed"]),
    (
        "scripts",
        &["apps", "dataplane", "mptcp", "sim", "stack", "testbed"],
    ),
];

/// Crates that only build where DPDK is installed.
const NEED_DPDK: [&str; 6] = ["dpdk-sys", "dpdk", "program", "hag", "hcpe", "flowgen"];

/// Crates that only build with a fuzzer's toolchain.
const NEED_FUZZER: [&str; 1] = ["fuzz"];

/// The functions outside of the DPDK crates that are unsafe inside, each in a file of its own: a hint what to fetch, and a
/// read of the cycle counter.
const HINTS: [(&str, &str); 2] = [("stack", "prefetch.rs"), ("dataplane", "cycles.rs")];

/// The crate that C calls, and the only file of it that is unsafe inside.
const TABLE: (&str, &str) = ("packetdrill", "ffi.rs");

/// Of our crates, by name: those it uses, and those that its tests use beside them.
struct Tree {
    uses: BTreeMap<String, BTreeSet<String>>,
    tests_use: BTreeMap<String, BTreeSet<String>>,
    manifests: BTreeMap<String, String>,
    default_members: BTreeSet<String>,
}

fn tree() -> Tree {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("");
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(root)
        .output()
        .expect("cargo runs");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let packages = list(&metadata["packages"]);
    let ours: BTreeSet<String> = packages.iter().map(|p| text(&p["name"])).collect();
    let defaults = list(&metadata["workspace_default_members"]);
    let defaults: BTreeSet<String> = defaults.iter().map(text).collect();
    let mut tree = Tree {
        uses: BTreeMap::new(),
        tests_use: BTreeMap::new(),
        manifests: BTreeMap::new(),
        default_members: BTreeSet::new(),
    };
    for package in &packages {
        let name = text(&package["name"]);
        let dependencies = list(&package["dependencies"]);
        let of_kind = |dev: bool| -> BTreeSet<String> {
            let kind = |d: &&Value| (d["kind"] == "dev") == dev;
            let names = dependencies.iter().filter(kind).map(|d| text(&d["name"]));
            names.filter(|n| ours.contains(n)).collect()
        };
        if defaults.contains(&text(&package["id"])) {
            tree.default_members.insert(name.clone());
        }
        tree.manifests
            .insert(name.clone(), text(&package["manifest_path"]));
        tree.tests_use.insert(name.clone(), of_kind(true));
        tree.uses.insert(name, of_kind(false));
    }
    tree
}

/// A crate's tests may use any crate that builds without DPDK, if it does so itself.
fn may_be_tested_with(name: &str, other: &str) -> bool {
    NEED_DPDK.contains(&name) || !NEED_DPDK.contains(&other)
}

#[test]
fn dependencies_point_one_way() {
    let tree = tree();
    let known: BTreeMap<&str, &[&str]> = MAY_USE.into_iter().collect();
    for (name, uses) in &tree.uses {
        let allowed = known.get(name.as_str());
        let allowed = allowed.unwrap_or_else(|| panic!("say in MAY_USE what {name} may use"));
        for other in uses {
            assert!(
                allowed.contains(&other.as_str()),
                "{name} must not use {other}"
            );
        }
        for other in &tree.tests_use[name] {
            assert!(
                may_be_tested_with(name, other),
                "the tests of {name} must not use {other}"
            );
        }
    }
    assert_eq!(
        tree.uses.len(),
        MAY_USE.len(),
        "MAY_USE names a crate that is gone"
    );
}

#[test]
fn what_builds_anywhere_is_a_default_member_and_nothing_else() {
    let tree = tree();
    for name in tree.uses.keys() {
        let special = [&NEED_DPDK[..], &NEED_FUZZER].concat();
        let special = special.contains(&name.as_str());
        assert_eq!(tree.default_members.contains(name), !special, "{name}");
    }
}

#[test]
fn unsafe_code_stands_only_in_the_dpdk_crates() {
    for (name, manifest) in &tree().manifests {
        let sources = Path::new(manifest).with_file_name("src");
        let roots = ["lib.rs", "main.rs"].map(|file| sources.join(file));
        for root in roots.iter().filter(|root| root.exists()) {
            let code = std::fs::read_to_string(root).expect("a crate's root");
            let may = ["dpdk", "dpdk-sys"].contains(&name.as_str());
            let hints = HINTS.iter().any(|(hinting, _)| hinting == name) || name == TABLE.0;
            let lint = if hints { "deny" } else { "forbid" };
            let lint = format!("#![{lint}(unsafe_code)]");
            assert_eq!(
                code.contains(&lint),
                !may,
                "{name}: {lint} in {}",
                root.display()
            );
        }
    }
}

#[test]
fn packetdrills_table_is_the_only_file_of_its_crate_with_unsafe_blocks() {
    let (name, file) = TABLE;
    let sources = Path::new(&tree().manifests[name]).with_file_name("src");
    let mut found = Vec::new();
    unsafe_lines(&sources, &mut found);
    assert!(!found.is_empty(), "{name} has no unsafe block");
    let elsewhere: Vec<_> = found.iter().filter(|(at, _)| at != file).collect();
    assert!(elsewhere.is_empty(), "{name}: {elsewhere:?}");
}

/// Lines of Rust below `folder` that set the lint aside, or open an unsafe block, by file.
fn unsafe_lines(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            unsafe_lines(&path, found);
            continue;
        }
        let code = std::fs::read_to_string(&path).expect("a source");
        let name = path.file_name().expect("a name").to_string_lossy();
        let lines = code.lines().map(str::trim);
        let unsafe_ones = lines.filter(|line| {
            let says = line.contains("unsafe_code") || line.contains("unsafe {");
            says && !line.starts_with("#![") && !line.starts_with("//")
        });
        found.extend(unsafe_ones.map(|line| (name.to_string(), line.to_owned())));
    }
}

#[test]
fn a_hint_is_one_function_with_one_unsafe_block() {
    let tree = tree();
    for (name, file) in HINTS {
        let sources = Path::new(&tree.manifests[name]).with_file_name("src");
        let mut found = Vec::new();
        unsafe_lines(&sources, &mut found);
        let elsewhere: Vec<_> = found.iter().filter(|(at, _)| at != file).collect();
        assert!(elsewhere.is_empty(), "{name}: {elsewhere:?}");
        let count = |what: &str| found.iter().filter(|(_, line)| line.contains(what)).count();
        assert_eq!(
            (count("unsafe {"), count("unsafe_code")),
            (1, 1),
            "{name}: {found:?}"
        );
    }
}
