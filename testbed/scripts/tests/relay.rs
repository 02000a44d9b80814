//! Every script in `relay/` is a test of its file's name: one to add is a file to add.

use libtest_mimic::{Arguments, Failed, Trial};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("relay");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the folder of scripts")
        .map(|entry| entry.expect("a folder that can be read").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "script")
        })
        .collect();
    files.sort();
    let trials = files.into_iter().map(|path| {
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        Trial::test(name, move || test(&path))
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

fn test(path: &Path) -> Result<(), Failed> {
    let text = std::fs::read_to_string(path)?;
    let failed = |why: String| Failed::from(format!("{}, {why}", path.display()));
    let script = scripts::parse(&text).map_err(|error| failed(error.to_string()))?;
    scripts::play(&script).map_err(|failure| failed(failure.to_string()))
}
