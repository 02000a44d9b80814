//! Requests on the control socket.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(line) = std::str::from_utf8(data)
        && let Err(why) = apps::control::wire::Request::parse(line)
    {
        assert!(!why.is_empty());
    }
});
