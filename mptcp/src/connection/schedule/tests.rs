use super::super::Connection;
use crate::Cx;
use crate::option::{MpOption, parse};
use crate::testing::{Buf, params, tuple};
use crate::types::Role;
use stack::tcp::{Agreed, Tcb};
use stack::{Instant, Ledger, Rng, SeqNum, Tally};

/// A connection that has offered its keys and had no option back.
fn initiator() -> Connection<Buf> {
    let now = Instant::from_millis(1_000);
    let cx = &mut Cx {
        now,
        rng: &mut Rng::from_seed([3; 32]),
        tcp: &mut Tally::default(),
        mptcp: &mut Tally::default(),
        ledger: &mut Ledger::default(),
    };
    let tcb = Tcb::new(&Agreed::plain(SeqNum(0), SeqNum(500), 1_400), now);
    Connection::new(cx, &params(Role::Initiator), tcb, tuple(1))
}

#[test]
fn m2_mp_capable_maps_no_other_data_than_the_first() {
    let mut connection = initiator();
    let first = connection.first_out;
    let mut capable = |dsn| {
        let option = connection.data_option(Instant::ZERO, 0, (dsn, 100), None);
        let option = parse(&option).next().unwrap().unwrap();
        matches!(option, MpOption::Capable(_))
    };
    assert!(capable(first));
    // A joined subflow carried what comes before.
    assert!(!capable(first + 100));
}
