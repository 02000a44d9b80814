//! MPTCP options: parsing never panics, and every option that parses is written back with the same meaning.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mptcp::option::MpOption;
use stack::wire::tcp::OptBytes;

fuzz_target!(|data: &[u8]| {
    for option in mptcp::option::parse(&data[..data.len().min(40)]).flatten() {
        if matches!(option, MpOption::Unknown { .. }) {
            continue; // never sent
        }
        let mut written = OptBytes::new();
        if option.emit(&mut written).is_err() {
            continue;
        }
        let mut again = mptcp::option::parse(&written);
        assert_eq!(again.next(), Some(Ok(option)));
        assert_eq!(again.next(), None);
    }
});
