//! The documents name files: each of them must be there.

use std::path::{Path, PathBuf};

const DOCUMENTS: [&str; 4] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("")
}

/// What stands between backquotes and looks like a path from the root of the tree: its first part is there.
fn paths(text: &str) -> Vec<&str> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted
        .filter(|quoted| {
            let is_path = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
            let first = quoted.split('/').next().unwrap_or_default();
            quoted.contains('/') && quoted.chars().all(is_path) && root().join(first).is_dir()
        })
        .collect()
}

#[test]
fn every_file_that_a_document_names_is_there() {
    let mut named = 0;
    for document in DOCUMENTS {
        let text = std::fs::read_to_string(root().join(document)).unwrap();
        for path in paths(&text) {
            // What `make demo` leaves there.
            if !path.starts_with("target/") {
                assert!(root().join(path).exists(), "{document} names {path}");
                named += 1;
            }
        }
    }
    assert!(named > 30, "only {named} paths were found");
}

#[test]
fn every_link_in_a_document_leads_to_a_file() {
    for document in DOCUMENTS {
        let text = std::fs::read_to_string(root().join(document)).unwrap();
        let targets = text.split("](").skip(1);
        for target in targets.filter_map(|rest| rest.split(')').next()) {
            let local = !target.starts_with("https://");
            assert!(
                !local || root().join(target).exists(),
                "{document} links to {target}"
            );
        }
    }
}

#[test]
fn a_name_that_is_not_there_would_be_noticed() {
    assert_eq!(
        paths("`testbed/no-such-file.rs`, `one/two` and `testbed`"),
        ["testbed/no-such-file.rs"]
    );
}
