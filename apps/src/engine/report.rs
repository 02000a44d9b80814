//! What the operator is told, and the few things that he can order.

use super::Engine;
use crate::Counter;
use crate::control::{
    CONNECTIONS_SHOWN_MAX, Command, Connection, ConnectionState, Connections, Counters, Port,
    Ports, Reply, Status, Subflow,
};
use crate::relay::{Leg, Pending, Relay, SubflowInfo};
use mptcp::Token;
use mptcp::connection::Mode;
use stack::tally::{Counted, Tally};
use stack::{Frame, Instant, PacketBuf, PortId, Tuple};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

impl<B: PacketBuf> Engine<B> {
    pub(super) fn answer(
        &mut self,
        now: Instant,
        command: Command,
        out: &mut Vec<Frame<B>>,
    ) -> Reply {
        match command {
            Command::ShowPorts => Reply::Ports(self.show_ports()),
            Command::ShowConnections { limit } => {
                Reply::Connections(self.show_connections(now, limit))
            },
            Command::ShowRules => Reply::Rules(self.show_rules()),
            Command::ShowRuntime => Reply::Runtime(self.show_runtime()),
            Command::ShowPaths => Reply::Paths(self.show_paths(now)),
            Command::ShowAccounts { limit } => {
                Reply::Accounts(self.show_accounts(limit.min(CONNECTIONS_SHOWN_MAX)))
            },
            Command::ShowCounters => Reply::Counters(self.show_counters()),
            Command::ShowStatus => Reply::Status(self.status()),
            Command::Drain => {
                self.draining = true;
                Reply::Status(self.status())
            },
            Command::SetAddress { from, to, gateway } => {
                self.set_address(now, from, to, gateway);
                Reply::Status(self.status())
            },
            Command::ResetAll => {
                self.reset_all(now, out);
                Reply::Status(self.status())
            },
        }
    }

    fn status(&self) -> Status {
        Status {
            relays: count(self.relays.len()),
            pending: count(self.pendings.len()),
            draining: self.draining,
        }
    }

    /// Resets every relay towards both ends, and pending flows whose server has answered: it and the client count on
    /// different numbers. Other pending flows, to which nobody has committed, are forgotten.
    fn reset_all(&mut self, now: Instant, out: &mut Vec<Frame<B>>) {
        let relays: Vec<_> = self.relays.handles().collect();
        for handle in relays {
            if let Some(relay) = self.relays.get_mut(handle) {
                relay.reset(&mut self.tools.leg(now), Counter::ClosedByOperator);
            }
            self.wake(handle);
        }
        let pendings: Vec<_> = self.pendings.iter().map(|(handle, _)| handle).collect();
        for handle in pendings {
            self.reset_pending(now, handle, out);
        }
        self.run_woken(now, out);
    }

    fn show_ports(&self) -> Ports {
        let settings = self.config.ports.iter();
        let ports = self.ports.iter().zip(settings).map(|(report, settings)| {
            let (info, stats) = (&report.info, &report.stats);
            Port {
                name: settings.name.clone(),
                device: info.device.clone(),
                role: settings.role.name(self.config.edge.is_some()).into(),
                mac: info.mac.map(|octet| format!("{octet:02x}")).join(":"),
                mtu: info.mtu,
                rx_packets: stats.rx_packets,
                rx_bytes: stats.rx_bytes,
                tx_packets: stats.tx_packets,
                tx_bytes: stats.tx_bytes,
                tx_trains: stats.tx_trains,
                rx_missed: stats.rx_missed,
                rx_nobuf: stats.rx_nobuf,
                tx_dropped: stats.tx_dropped,
                copied_at_port: stats.copied_at_port,
            }
        });
        Ports {
            ports: ports.collect(),
        }
    }

    fn show_counters(&mut self) -> Counters {
        let apps = &mut self.tools.apps;
        apps.add(Counter::Received, core::mem::take(&mut self.received));
        apps.settle(Counter::LegTaken, &mut self.legs);
        let mut counters = BTreeMap::new();
        name_all(&self.tools.stack, &mut counters);
        name_all(&self.tools.mptcp, &mut counters);
        name_all(&self.tools.apps, &mut counters);
        let payload = self.payload();
        counters.insert("copied_in_stack".into(), payload.copied_in_stack);
        counters.insert("copied_at_port".into(), payload.copied_at_port);
        counters.insert("summed_at_port".into(), self.summed_at_port());
        counters.insert("drop_no_core".into(), self.worker.drop_no_core);
        counters.insert("drop_no_port".into(), self.worker.drop_no_port);
        counters.insert("handed_over".into(), self.worker.handed_over);
        counters.insert("taken_over".into(), self.worker.taken_over);
        counters.insert("handover_full".into(), self.worker.handover_full);
        counters.insert("handover_missed".into(), self.worker.handover_missed);
        counters.insert("frames_waiting".into(), count(self.waiting()));
        counters.insert("relays".into(), count(self.relays.len()));
        counters.insert("pending".into(), count(self.pendings.len()));
        counters.insert("held_octets".into(), self.held);
        let gate = self.gate_use();
        counters.insert("nat_mappings".into(), count(gate.mappings));
        counters.insert("nat_ports".into(), count(gate.ports));
        counters.insert("nat_hosts".into(), count(gate.hosts));
        Counters { counters }
    }

    fn show_connections(&self, now: Instant, limit: usize) -> Connections {
        let limit = limit.min(CONNECTIONS_SHOWN_MAX);
        let relays = self.relays.iter().map(|(_, relay)| self.show(now, &relay));
        let pendings = self
            .pendings
            .iter()
            .map(|(_, pending)| show_pending(now, pending));
        Connections {
            connections: relays.chain(pendings).take(limit).collect(),
            total: count(self.relays.len() + self.pendings.len()),
        }
    }

    fn show(&self, now: Instant, relay: &Relay<B>) -> Connection {
        let multipath = relay.multipath();
        let state = match multipath {
            _ if relay.is_closing() => ConnectionState::Closing,
            Some(leg) if leg.mode() != Mode::Fallback => ConnectionState::Mptcp,
            _ => ConnectionState::Fallback,
        };
        let mut subflows = Vec::new();
        let (leg, name) = match (&relay.client, &relay.server) {
            (Leg::Plain(_), Leg::Multipath(_)) => (&relay.server, "server"),
            (client, _) => (client, "client"),
        };
        SubflowInfo::each(leg, &mut |info| {
            subflows.push(self.show_subflow(&info, name));
        });
        Connection {
            id: relay.id,
            client: socket(relay.ends.inner.src, relay.ends.inner.src_port),
            server: socket(relay.ends.inner.dst, relay.ends.inner.dst_port),
            state,
            version: multipath.map(|leg| leg.params().version.wire()),
            token: relay.token.map(|Token(token)| format!("{token:08x}")),
            age_ms: millis(now, relay.opened),
            bytes_up: relay.up.bytes,
            bytes_down: relay.down.bytes,
            subflows,
        }
    }

    fn show_subflow(&self, info: &SubflowInfo, leg: &str) -> Subflow {
        let Tuple {
            src,
            dst,
            src_port,
            dst_port,
        } = info.tuple;
        Subflow {
            id: info.id,
            leg: leg.to_owned(),
            local: socket(src, src_port),
            remote: socket(dst, dst_port),
            port: self.port_name(self.path_of(&info.tuple)),
            srtt_us: info.srtt_us,
            cwnd: info.cwnd,
            flight: info.flight,
            bytes_in: info.bytes_in,
            bytes_out: info.bytes_out,
            retransmitted: info.retransmitted,
            backup: info.backup,
        }
    }

    fn port_name(&self, port: Option<PortId>) -> String {
        port.and_then(|port| self.config.ports.get(usize::from(port.0)))
            .map_or_else(String::new, |settings| settings.name.clone())
    }
}

fn show_pending(now: Instant, pending: &Pending) -> Connection {
    Connection {
        id: 0,
        client: socket(pending.inner.src, pending.inner.src_port),
        server: socket(pending.inner.dst, pending.inner.dst_port),
        state: ConnectionState::Pending,
        version: None,
        token: None,
        age_ms: millis(now, pending.opened),
        bytes_up: 0,
        bytes_down: 0,
        subflows: Vec::new(),
    }
}

fn name_all<C: Counted>(tally: &Tally<C>, into: &mut BTreeMap<String, u64>) {
    into.extend(
        tally
            .iter()
            .map(|(counter, value)| (counter.name().into(), value)),
    );
}

fn socket(address: IpAddr, port: u16) -> String {
    SocketAddr::new(address, port).to_string()
}

fn millis(now: Instant, then: Instant) -> u64 {
    u64::try_from(now.since(then).as_millis()).unwrap_or(u64::MAX)
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
