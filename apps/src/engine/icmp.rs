//! ICMP errors that quote one of our legs are ours, though they are addressed to the host or the server.

use super::{Engine, FlowRef};
use crate::Counter;
use stack::ip::{IcmpArrival, IcmpKind};
use stack::slab::Handle;
use stack::{Ended, FlowKey, Frame, Instant, PacketBuf, SeqNum};

impl<B: PacketBuf> Engine<B> {
    /// Takes an ICMP error. The quoted segment's answers would come from its destination: that names the flow.
    pub(super) fn on_icmp_error(
        &mut self,
        now: Instant,
        arrival: IcmpArrival<B>,
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        let key = self.key_of(&arrival.tuple.reversed());
        match self.flow(&key) {
            Some(FlowRef::Leg(handle, which)) => {
                let relay = self.relays.get_mut(handle);
                let taken = relay.is_some_and(|relay| {
                    let quoted = (arrival.tuple, arrival.seq);
                    relay.leg(which).on_icmp_error(quoted, arrival.kind)
                });
                self.wake(handle);
                // RFC 5927 4: an error about something that is not in flight was not caused by us.
                self.tools.apps.end(if taken {
                    Counter::IcmpConsumed
                } else {
                    Counter::IcmpStray
                })
            },
            Some(FlowRef::Pending(handle)) => {
                self.on_icmp_while_pending(now, handle, key, arrival, out)
            },
            Some(
                FlowRef::Joining(_)
                | FlowRef::OpenJoin(_)
                | FlowRef::Gone(_)
                | FlowRef::TimeWait(_),
            ) => self.tools.apps.end(Counter::IcmpStray),
            None if self.net.is_own(arrival.packet.dst) && !self.is_shared(arrival.packet.dst) => {
                self.tools.apps.end(Counter::IcmpStray)
            },
            None => self.pass(now, arrival.packet, out),
        }
    }

    /// An error about the SYN that we forwarded reaches the opener as it would without us, and what it means is for
    /// the opener to decide: one that gives up is forgotten here, one that goes on sends its SYN again.
    fn on_icmp_while_pending(
        &mut self,
        now: Instant,
        handle: Handle,
        key: FlowKey,
        arrival: IcmpArrival<B>,
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        let Some(pending) = self.pendings.get(handle) else {
            return self.tools.apps.end(Counter::DropNoFlow);
        };
        let quoted: SeqNum = arrival.seq;
        if key.side == pending.opener || pending.answered.is_some() || quoted != pending.iss {
            return self.tools.apps.end(Counter::IcmpStray);
        }
        if matches!(
            arrival.kind,
            IcmpKind::HardUnreachable | IcmpKind::SoftUnreachable | IcmpKind::ParameterProblem
        ) {
            self.tools.apps.count(Counter::PendingUnreachable);
            self.drop_pending(handle);
        }
        self.pass(now, arrival.packet, out)
    }
}
