//! TCP header and options: parsing never panics, and what parses survives writing and parsing again.
#![no_main]

use dataplane::memory::{MemBuf, linear};
use libfuzzer_sys::fuzz_target;
use stack::buf::{Header, RxChecksum, Slice};
use stack::wire::tcp::{self, OutSegment};
use stack::{Frame, PortId};
use std::net::IpAddr;

fuzz_target!(|data: &[u8]| {
    let (src, dst) = (IpAddr::from([10, 1, 0, 2]), IpAddr::from([10, 9, 0, 2]));
    let l4 = Slice::new(MemBuf::from(data.to_vec()));
    let Ok(segment) = tcp::parse(l4, src, dst, 0, RxChecksum::Good) else {
        return;
    };
    if tcp::options_len(&segment.options) > tcp::OPTIONS_MAX {
        // Padding went, alignment came: only a sender that asks first may write these.
        return;
    }
    let out = OutSegment {
        ect: false,
        seq: segment.seq,
        ack: segment.ack,
        flags: segment.flags,
        wnd: segment.wnd,
        options: segment.options.clone(),
        payload: Some(Slice::new(MemBuf::from(segment.payload.bytes().to_vec()))),
    };
    let mut header = Header::default();
    tcp::emit(&out, &segment.tuple, &mut header);
    let written = linear(&Frame::new(
        PortId(0),
        header,
        out.payload.into_iter().collect(),
    ));
    let again = Slice::new(MemBuf::from(written));
    let read = tcp::parse(again, src, dst, 0, RxChecksum::Unknown).expect("we wrote it");
    assert_eq!(
        (read.seq, read.wnd, read.flags),
        (segment.seq, segment.wnd, segment.flags)
    );
    assert_eq!(read.options.ts, segment.options.ts);
    assert_eq!(read.options.sack, segment.options.sack);
    assert_eq!(read.options.mptcp, segment.options.mptcp);
    assert_eq!(read.payload.bytes(), segment.payload.bytes());
});
