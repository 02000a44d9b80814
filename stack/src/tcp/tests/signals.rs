//! Signals of the layer above on bare acknowledgments (RFC 8684 3).

use super::rig::{Rig, ack, plain};
use crate::tcp::Agreed;
use crate::time::Duration;
use crate::wire::tcp::OptBytes;

/// An ADD_ADDR's echo, and a DSS with a DATA_ACK of 32 bits.
const ECHO: [u8; 8] = [30, 8, 0x31, 1, 192, 0, 2, 1];
const DSS: [u8; 8] = [30, 8, 0x20, 1, 0, 0, 0, 9];

/// What is sent again after three duplicate ACKs with these options.
fn resent_after(options: &[&[u8]]) -> Vec<(u32, usize)> {
    let mut rig = Rig::new(&Agreed {
        rtt: Some(Duration::from_millis(100)),
        ..plain()
    });
    for _ in 0..10 {
        rig.push(1000);
    }
    rig.sent();
    rig.at(100);
    let mut duplicate = ack(0);
    duplicate.options.mptcp = options.concat().into_iter().collect::<OptBytes>();
    (0..3).for_each(|_| {
        rig.input(&duplicate);
    });
    rig.sent()
}

#[test]
fn duplicate_acks_with_signals_of_multipath_tcp_do_not_count() {
    assert_eq!(resent_after(&[]), [(0, 1000)]);
    assert_eq!(resent_after(&[&DSS]), [(0, 1000)]);
    assert_eq!(resent_after(&[&ECHO]), []);
    assert_eq!(resent_after(&[&DSS, &ECHO]), []);
}
