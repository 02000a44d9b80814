//! The configuration file: any octets give a configuration or a list of mistakes.
#![no_main]

use apps::config::BoxKind;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for kind in [BoxKind::Hag, BoxKind::Hcpe] {
        let checked = apps::config::check(kind, data, &|_| true);
        if let Err(mistakes) = checked.result {
            assert!(!mistakes.is_empty(), "refused without a reason");
        }
    }
});
