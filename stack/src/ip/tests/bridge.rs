//! What a bump in the wire remembers of the flows that end at it.

use super::*;
use crate::flow::Tuple;
use crate::wire::ip::TCP;

/// Flows that a bed's bridge is made for: each of its two tables has room for both ways of so many.
const FLOWS: usize = 4;

fn tuple(src_port: u16) -> Tuple {
    Tuple {
        src: ip("10.1.0.2"),
        dst: ip("10.9.0.2"),
        src_port,
        dst_port: 80,
    }
}

/// Whether it is known how to send in the place of the flow's client. Asking is what sending does.
fn sends(bed: &mut Bed, flow: u16) -> bool {
    bed.with(|net, _, _| net.learned_hop(&tuple(flow)).is_some())
}

#[test]
fn who_still_sends_is_known_however_many_flows_come_and_go() {
    let mut bed = Bed::new();
    bed.net.bridge([ACCESS, CORE], FLOWS, 1);
    let segment = tcp_segment(("10.1.0.2", "10.9.0.2"), 0x10, &[], b"");
    let frame = packet(
        (ACCESS, CLIENT_MAC),
        ("10.1.0.2", "10.9.0.2"),
        TCP,
        64,
        &segment,
    );
    let across = [&SERVER_MAC, &frame[6..]].concat();
    let Ingress::Tcp(arrival) = bed.input(ACCESS, across) else {
        panic!("a segment");
    };
    bed.net.learn_way(&arrival.packet, &tuple(0));
    let last = 20 * 2 * FLOWS as u16;
    for flow in 1..=last {
        bed.net.learn_way(&arrival.packet, &tuple(flow));
        // The newest, one that sends all the time, and, at rest since it came, as many as there is room for at least.
        assert!(sends(&mut bed, flow) && sends(&mut bed, 0), "{flow}");
    }
    let recent = last - (2 * FLOWS as u16 - 2)..=last;
    assert!(recent.clone().all(|flow| sends(&mut bed, flow)));
    // Others are forgotten: memory is bounded.
    let known = (1..*recent.start()).filter(|flow| sends(&mut bed, *flow));
    assert!(known.count() <= 2 * FLOWS);
}
