//! The configuration file: any octets give a configuration or a list of mistakes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let checked = apps::config::check(data, &|_| true);
    if let Err(mistakes) = checked.result {
        assert!(!mistakes.is_empty(), "refused without a reason");
    }
});
