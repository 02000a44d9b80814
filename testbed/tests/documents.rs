//! The documents name files: each of them must be there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const DOCUMENTS: [&str; 5] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/requirements.md",
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

/// The ids of requirements, each with the names of the tests that show it.
type Requirements = BTreeMap<String, BTreeSet<String>>;

/// The lines of docs/requirements.md: `| id | what | tests | owner |`.
fn required(page: &str) -> Requirements {
    let mut found = Requirements::new();
    for line in page.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let ["", id, _, tests, "this" | "later", ""] = cells[..] {
            let names = tests.split('`').skip(1).step_by(2).map(str::to_owned);
            let again = found.insert(id.to_owned(), names.collect());
            assert!(again.is_none(), "{id} has two lines");
        }
    }
    found
}

/// The rows that are written in a file: each `@row("id", ..)` belongs to the next function.
fn rows(file: &str, text: &str, found: &mut Requirements) {
    let mut ids: Vec<String> = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("@row(\"") {
            ids.extend(rest.split('"').next().map(str::to_owned));
        } else if let Some(rest) = line.strip_prefix("def ") {
            let function = rest.split('(').next().unwrap_or_default();
            for id in ids.drain(..) {
                let names = found.entry(id).or_default();
                names.insert(format!("{file}.{function}"));
            }
        }
    }
}

#[test]
fn the_page_of_requirements_names_the_rows_there_are() {
    let mut page = required(&std::fs::read_to_string(root().join("docs/requirements.md")).unwrap());
    assert!(page.len() > 80, "only {} requirements", page.len());
    let mut written = Requirements::new();
    for file in std::fs::read_dir(root().join("testbed/lab/interop")).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        if path.extension().is_some_and(|end| end == "py") && name != "rows" {
            rows(
                &name,
                &std::fs::read_to_string(&path).unwrap(),
                &mut written,
            );
        }
    }
    page.retain(|_, tests| !tests.is_empty());
    let mend = "`python3 -m testbed.lab.interop --page` writes the names into the page";
    assert_eq!(page, written, "left the page, right the rows; {mend}");
}

#[test]
fn rows_and_requirements_are_found_in_their_text() {
    let mut written = Requirements::new();
    let text = "@row(\"P1\", \"what\")\n@row(\"R6c\",\n    \"x\")\ndef first(chain: Chain) -> float:\n    pass\n\ndef other():\n";
    rows("policy", text, &mut written);
    let page = required(
        "| id | what | tests | owner |\n| P1 | a | `policy.first` | this |\n| R6c | b | `policy.first` | later |\n",
    );
    assert_eq!(page, written);
}
