//! What is passed on without being split goes by the gate, if there is one: the translator and the firewall at the
//! customer's edge. Without one the box is a router.

use super::{Engine, PortRole};
use crate::Counter;
use crate::nat::{Gate, GateUse, Passage, Where};
use crate::relay::Ends;
use stack::ip::{Packet, SynEdit, TcpArrival, Translation, Unreachable};
use stack::{Ended, Frame, Instant, PacketBuf, Tuple};
use std::net::IpAddr;

impl<B: PacketBuf> Engine<B> {
    /// Passes a packet on that belongs to no flow of ours.
    pub(super) fn pass(
        &mut self,
        now: Instant,
        packet: Packet<B>,
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        let to = match self.judge(now, &packet) {
            Passage::Pass(to) => to,
            stopped => return self.stop(now, packet, stopped, out),
        };
        let fragment = packet.fragment_id();
        let cx = &mut self.tools.cx(now);
        let mut ended = self.net.forward_translated(cx, packet, &to, out);
        let (Some(gate), Some(id)) = (&mut self.gate, fragment) else {
            return ended;
        };
        while let Some(early) = gate.early(id) {
            let cx = &mut self.tools.cx(now);
            ended = ended.and(self.net.forward_translated(cx, early, &to, out));
        }
        ended
    }

    /// Passes a SYN or its answer on with its options edited.
    pub(super) fn pass_syn(
        &mut self,
        now: Instant,
        arrival: &TcpArrival<B>,
        edit: SynEdit,
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        match self.judge(now, &arrival.packet) {
            Passage::Pass(translation) => {
                let edit = SynEdit {
                    translation,
                    ..edit
                };
                self.net
                    .forward_syn(&mut self.tools.cx(now), arrival, edit, out)
            },
            stopped => self.stop(now, arrival.packet.clone(), stopped, out),
        }
    }

    /// What the gate makes of a packet.
    pub(super) fn judge(&mut self, now: Instant, packet: &Packet<B>) -> Passage {
        let side = match self.config.role(packet.port) {
            PortRole::Access => Where::Inside,
            PortRole::Core | PortRole::Secondary => Where::Outside,
        };
        let tools = &mut self.tools;
        match &mut self.gate {
            Some(gate) => gate.judge((now, &mut tools.rng), &mut tools.apps, side, packet),
            None => Passage::Pass(Translation::NONE),
        }
    }

    /// Does what the gate said of a packet that does not pass.
    pub(super) fn stop(
        &mut self,
        now: Instant,
        packet: Packet<B>,
        passage: Passage,
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        match passage {
            Passage::Pass(to) => {
                let cx = &mut self.tools.cx(now);
                self.net.forward_translated(cx, packet, &to, out)
            },
            Passage::Own => self.net.refuse(&mut self.tools.cx(now), &packet, out),
            Passage::Drop(why) => self.tools.apps.end(why),
            Passage::Prohibit(why) => {
                self.prohibit(now, &packet, out);
                self.tools.apps.end(why)
            },
            Passage::Unsolicited(why) => {
                if let Some(gate) = &mut self.gate {
                    gate.keep_unsolicited(now, packet);
                }
                self.tools.apps.end(why)
            },
            Passage::Early(id) => {
                if let Some(gate) = &mut self.gate {
                    gate.keep_early(now, &mut self.tools.apps, id, packet);
                }
                Ended::later()
            },
        }
    }

    fn prohibit(&mut self, now: Instant, packet: &Packet<B>, out: &mut Vec<Frame<B>>) {
        let cx = &mut self.tools.cx(now);
        self.net
            .send_icmp_unreachable(cx, packet, Unreachable::Prohibited, out);
    }

    /// Whether hosts behind us share `addr` with us.
    pub(super) fn is_shared(&self, addr: IpAddr) -> bool {
        let nat = self.config.nat.as_ref();
        nat.is_some_and(|nat| nat.address == addr)
    }

    /// The flow keeps its port, or its way through the firewall, until [`Engine::release`].
    pub(super) fn hold(&mut self, ends: &Ends) {
        if let Some(gate) = &mut self.gate {
            gate.hold((ends.inner.src, ends.inner.src_port));
        }
    }

    /// The flow has ended at `ended`, or is no longer ours.
    pub(super) fn release(&mut self, ended: Option<Instant>, ends: &Ends) {
        if let Some(gate) = &mut self.gate {
            gate.release(ended, (ends.inner.src, ends.inner.src_port));
        }
    }

    /// Lets go of what the gate has kept for long enough.
    pub(super) fn run_gate(&mut self, now: Instant, out: &mut Vec<Frame<B>>) {
        let Some(gate) = &mut self.gate else {
            return;
        };
        if gate.next_deadline().is_none_or(|at| at > now) {
            return;
        }
        gate.advance(now, &mut self.tools.apps);
        while let Some(refused) = self.gate.as_mut().and_then(|gate| gate.next_refusal(now)) {
            self.tools.apps.count(Counter::UnsolicitedRefused);
            self.prohibit(now, &refused, out);
        }
    }

    pub(super) fn gate_use(&self) -> GateUse {
        self.gate.as_ref().map(Gate::usage).unwrap_or_default()
    }
}

/// The flow of a subscriber's SYN that goes on as `to`.
pub(super) fn outbound(inner: Tuple, to: &Translation) -> Ends {
    let ends = Ends::outbound(inner);
    let outer = to.src.map_or(inner, |src| Tuple {
        src: IpAddr::V4(src.addr),
        src_port: src.port,
        ..inner
    });
    Ends { outer, ..ends }
}

/// The flow of a SYN from the Internet that goes on to a subscriber as `to`.
pub(super) fn inbound(syn: Tuple, to: &Translation) -> Ends {
    let ends = Ends::inbound(syn);
    let inner = to.dst.map_or(ends.inner, |dst| Tuple {
        src: IpAddr::V4(dst.addr),
        src_port: dst.port,
        ..ends.inner
    });
    Ends { inner, ..ends }
}
