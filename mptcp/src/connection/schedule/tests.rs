use super::super::{Connection, Limits, Params};
use crate::option::{MpOption, parse};
use crate::testing::{Buf, slice};
use crate::types::{Role, Version};
use crate::{Cx, Key};
use stack::tcp::{Agreed, Tcb};
use stack::{Instant, Ledger, Rng, SeqNum, Tally, Tuple};

/// A connection that has offered its keys and had no option back.
fn initiator() -> Connection<Buf> {
    let now = Instant::from_millis(1_000);
    let params = Params {
        version: Version::V1,
        role: Role::Initiator,
        local: Key::new([1; 8]).derive(Version::V1),
        remote_key: Key::new([2; 8]),
        checksum: false,
        peer_denies_initial_addr: false,
        limits: Limits::default(),
    };
    let [src, dst] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(Into::into);
    let tuple = Tuple {
        src,
        dst,
        src_port: 80,
        dst_port: 1,
    };
    let cx = &mut Cx {
        now,
        rng: &mut Rng::from_seed([3; 32]),
        tcp: &mut Tally::default(),
        mptcp: &mut Tally::default(),
        ledger: &mut Ledger::default(),
    };
    let tcb = Tcb::new(&Agreed::plain(SeqNum(0), SeqNum(500), 1_400), now);
    Connection::new(cx, &params, tcb, tuple)
}

#[test]
fn m2_mp_capable_maps_no_other_data_than_the_first() {
    let connection = initiator();
    let payload = slice(vec![7; 100]);
    let capable = |dsn| {
        let option = connection.data_option(0, dsn, &payload);
        let option = parse(&option).next().unwrap().unwrap();
        matches!(option, MpOption::Capable(_))
    };
    assert!(capable(connection.first_out));
    // A joined subflow carried what comes before.
    assert!(!capable(connection.first_out + 100));
}
