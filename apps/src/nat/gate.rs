//! The judge of packets in transit between hosts and the Internet.

use super::fragments::Fragments;
use super::ports::Share;
use super::table::{NoMapping, Sign, Table};
use super::{FirewallSettings, Inbound, MappingLimits, MappingTimeouts, NatSettings, Protocol};
use crate::Counter;
use ipnet::IpNet;
use stack::ip::{Contents, Endpoint, FragmentId, Packet, Quoted, Translation};
use stack::slab::Handle;
use stack::time::{Duration, earlier};
use stack::wire::ip::{ICMP, ICMPV6, TCP, UDP};
use stack::wire::tcp::Flags;
use stack::{Instant, PacketBuf, Rng, Tally, Tuple};
use std::collections::VecDeque;
use std::net::IpAddr;

/// SYNs that nobody asked for and that are not answered yet.
const UNSOLICITED_MAX: usize = 64;

/// How long after them: both ends may be opening at the same time (RFC 5382 REQ-4, RFC 6092 REC-34).
const UNSOLICITED_FOR: Duration = Duration::from_secs(6);

/// The side that a packet came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// By the port of the hosts.
    Inside,
    /// By another.
    Outside,
}

/// What becomes of a packet in transit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// It goes on, perhaps with other addresses.
    Pass(Translation),
    /// It was sent to the public address and is for no host behind it.
    Own,
    /// It is dropped.
    Drop(Counter),
    /// It is dropped and its sender told that this is prohibited.
    Prohibit(Counter),
    /// It is a TCP SYN that nobody asked for: kept for a while, then answered.
    Unsolicited(Counter),
    /// It waits for the first fragment of its packet.
    Early(FragmentId),
}

/// What a gate holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GateUse {
    /// Mappings, static forwards among them.
    pub mappings: usize,
    /// Ports of the public address in use.
    pub ports: usize,
    /// Hosts that have mappings.
    pub hosts: usize,
}

/// A SYN that nobody asked for.
struct Unsolicited<B> {
    answer_at: Instant,
    tuple: Tuple,
    packet: Packet<B>,
}

/// Stands between hosts and the Internet.
pub struct Gate<B> {
    hosts: Vec<IpNet>,
    nat: Option<NatSettings>,
    firewall: Option<FirewallSettings>,
    table: Table,
    fragments: Fragments<B, Translation>,
    unsolicited: VecDeque<Unsolicited<B>>,
}

impl<B: PacketBuf> Gate<B> {
    /// A gate before `hosts`; none if there is nothing to translate or to filter.
    #[must_use]
    pub fn new(
        hosts: &[IpNet],
        nat: Option<NatSettings>,
        firewall: Option<FirewallSettings>,
        (limits, timeouts): (MappingLimits, MappingTimeouts),
        (share, seed): (Share, u64),
    ) -> Option<Self> {
        if nat.is_none() && firewall.is_none() {
            return None;
        }
        let mut table = Table::new(limits, timeouts, nat.as_ref().map(|_| share), seed);
        for forward in nat.iter().flat_map(|nat| &nat.forwards) {
            // Two that meet are refused when the configuration is read.
            table.reserve(forward);
        }
        Some(Self {
            hosts: hosts.to_vec(),
            nat,
            firewall,
            table,
            fragments: Fragments::default(),
            unsolicited: VecDeque::new(),
        })
    }

    /// Judges a packet that came in by `side` and that is for no flow of ours.
    pub fn judge(
        &mut self,
        (now, rng): (Instant, &mut Rng),
        counters: &mut Tally<Counter>,
        side: Where,
        packet: &Packet<B>,
    ) -> Passage {
        let contents = packet.contents();
        let fragment = packet.fragment_id();
        if let (Contents::LaterFragment, Some(id)) = (contents, fragment) {
            return match self.fragments.get(now, &id) {
                Some(to) => Passage::Pass(to),
                None => Passage::Early(id),
            };
        }
        let passage = match side {
            Where::Inside => self.outward((now, rng), counters, packet, &contents),
            Where::Outside => self.inward(now, packet, &contents),
        };
        if let (Passage::Pass(to), Some(id)) = (passage, fragment) {
            self.fragments.learn(now, id, to);
        }
        passage
    }

    /// From a host: to the Internet, to another host by its public address, or to a host by its own.
    fn outward(
        &mut self,
        (now, rng): (Instant, &mut Rng),
        counters: &mut Tally<Counter>,
        packet: &Packet<B>,
        contents: &Contents,
    ) -> Passage {
        let to_public = self.is_public(packet.dst);
        let from_host = self.is_host(packet.src);
        if let Some(passage) = self.hygiene(packet, from_host) {
            return passage;
        }
        if !from_host || (self.is_host(packet.dst) && !to_public) {
            return Passage::Pass(Translation::NONE);
        }
        // RFC 4787 REQ-9: hairpinning, with the sender's public address and port.
        let dst = if to_public {
            match self.destination(now, packet, contents) {
                Ok(dst) => Some(dst),
                Err(passage) => return passage,
            }
        } else {
            None
        };
        match self.source((now, rng), counters, packet, contents) {
            Ok(src) => Passage::Pass(Translation { src, dst }),
            Err(passage) => passage,
        }
    }

    /// From the Internet: to the public address, or to a host.
    fn inward(&mut self, now: Instant, packet: &Packet<B>, contents: &Contents) -> Passage {
        let spoofed = self.is_host(packet.src);
        if let Some(passage) = self.hygiene(packet, !spoofed) {
            return passage;
        }
        if self.is_public(packet.dst) {
            let dst = self.destination(now, packet, contents);
            return dst.map_or_else(
                |passage| passage,
                |dst| {
                    Passage::Pass(Translation {
                        src: None,
                        dst: Some(dst),
                    })
                },
            );
        }
        if self.is_translated(packet.dst) {
            return Passage::Drop(Counter::NatDirect);
        }
        let Some(firewall) = &self.firewall else {
            return Passage::Pass(Translation::NONE);
        };
        let admitted = !self.is_host(packet.dst)
            || super::firewall::admits(firewall, &mut self.table, now, packet.dst, contents);
        if admitted {
            Passage::Pass(Translation::NONE)
        } else if is_first_syn(contents) {
            Passage::Unsolicited(Counter::FirewallDropped)
        } else {
            Passage::Drop(Counter::FirewallDropped)
        }
    }

    /// RFC 6092 REC-4 to REC-6: what no packet may look like.
    fn hygiene(&self, packet: &Packet<B>, source_belongs: bool) -> Option<Passage> {
        self.firewall.as_ref()?;
        if !source_belongs {
            return Some(Passage::Drop(Counter::FirewallSource));
        }
        packet
            .has_routing_header_0()
            .then_some(Passage::Drop(Counter::FirewallRouting))
    }

    /// What takes the place of a host as the source of a packet.
    fn source(
        &mut self,
        (now, rng): (Instant, &mut Rng),
        counters: &mut Tally<Counter>,
        packet: &Packet<B>,
        contents: &Contents,
    ) -> Result<Option<Endpoint>, Passage> {
        let translated = self.is_translated(packet.src);
        let (protocol, port, sign) = match *contents {
            Contents::Segment { ports, flags, data } => {
                (Protocol::Tcp, ports.src, Some(Sign { flags, data }))
            },
            Contents::Datagram(ports) => (Protocol::Udp, ports.src, None),
            Contents::Query { id, request: true } => (Protocol::Icmp, id, None),
            Contents::Error(quoted) if translated => return self.source_of_error(&quoted),
            Contents::Other(TCP | UDP) if translated => {
                return Err(Passage::Drop(Counter::NatUnread));
            },
            Contents::Other(ICMP | ICMPV6)
            | Contents::Query { .. }
            | Contents::Error(_)
            | Contents::LaterFragment => return Ok(self.bare(translated)),
            Contents::Other(number) => (Protocol::Other(number), 0, None),
        };
        if !translated && !self.is_filtering() {
            return Ok(None);
        }
        let inside = (packet.src, port);
        let remote = match protocol {
            Protocol::Other(_) if translated => Some(packet.dst),
            _ => None,
        };
        let handle = match self.table.get(protocol, inside, remote) {
            Some(handle) => handle,
            None => match self
                .table
                .make(now, rng, protocol, inside, (remote, translated))
            {
                Ok(handle) => {
                    counters.count(Counter::NatMapped);
                    handle
                },
                Err(why) => return refused(why, translated, counters),
            },
        };
        self.table.used_outward(now, handle, sign);
        let endpoint = self.public_of(handle);
        if is_first_syn(contents) {
            self.solicited(packet, contents, endpoint);
        }
        Ok(endpoint)
    }

    /// RFC 5508 REQ-5: an error from inside names the host that the error's reader knows.
    fn source_of_error(&self, quoted: &Quoted) -> Result<Option<Endpoint>, Passage> {
        let protocol = Protocol::of(quoted.protocol);
        let remote = matches!(protocol, Protocol::Other(_)).then_some(quoted.src);
        self.table
            .get(protocol, (quoted.dst, quoted.ports.dst), remote)
            .and_then(|handle| self.public_of(handle))
            .map(Some)
            .ok_or(Passage::Drop(Counter::NatStrayError))
    }

    /// The public address for what has no port.
    fn bare(&self, translated: bool) -> Option<Endpoint> {
        let addr = self.nat.as_ref().filter(|_| translated)?.address;
        Some(Endpoint { addr, port: 0 })
    }

    fn public_of(&self, handle: Handle) -> Option<Endpoint> {
        let port = self.table.mapping(handle)?.outside?;
        let addr = self.nat.as_ref()?.address;
        Some(Endpoint { addr, port })
    }

    /// The host behind what a packet to the public address was sent to.
    fn destination(
        &mut self,
        now: Instant,
        packet: &Packet<B>,
        contents: &Contents,
    ) -> Result<Endpoint, Passage> {
        let (protocol, port, remote, sign) = match *contents {
            Contents::Segment { ports, flags, data } => (
                Protocol::Tcp,
                ports.dst,
                packet.src,
                Some(Sign { flags, data }),
            ),
            Contents::Datagram(ports) => (Protocol::Udp, ports.dst, packet.src, None),
            Contents::Query { id, request: false } => (Protocol::Icmp, id, packet.src, None),
            Contents::Error(quoted) if self.is_public(quoted.src) => {
                let protocol = Protocol::of(quoted.protocol);
                (protocol, quoted.ports.src, quoted.dst, None)
            },
            Contents::Error(_) => return Err(Passage::Drop(Counter::NatStrayError)),
            Contents::Query { .. }
            | Contents::LaterFragment
            | Contents::Other(TCP | UDP | ICMP | ICMPV6) => return Err(Passage::Own),
            Contents::Other(number) => (Protocol::Other(number), 0, packet.src, None),
        };
        let handle = self.table.behind(protocol, port, remote);
        let mapping = handle.and_then(|handle| Some((handle, self.table.mapping(handle)?)));
        let Some((handle, mapping)) = mapping else {
            return Err(match contents {
                Contents::Error(_) => Passage::Drop(Counter::NatStrayError),
                _ if is_first_syn(contents) => Passage::Unsolicited(Counter::NatUnsolicited),
                Contents::Segment { .. } => Passage::Drop(Counter::NatUnsolicited),
                _ if self.is_filtering() => Passage::Drop(Counter::NatUnsolicited),
                _ => Passage::Own,
            });
        };
        let (IpAddr::V4(addr), port) = mapping.inside else {
            return Err(Passage::Own);
        };
        self.table.used_inward(now, handle, sign);
        Ok(Endpoint { addr, port })
    }

    /// A relayed flow of a host and its port has begun: what it has mapped is kept for as long.
    pub fn hold(&mut self, host: (IpAddr, u16)) {
        if let Some(handle) = self.table.get(Protocol::Tcp, host, None) {
            self.table.hold(handle);
        }
    }

    /// A relayed flow of a host and its port has ended, or is passed on from now.
    pub fn release(&mut self, ended: Option<Instant>, host: (IpAddr, u16)) {
        if let Some(handle) = self.table.get(Protocol::Tcp, host, None) {
            self.table.release(ended, handle);
        }
    }

    /// Keeps a fragment until the first of its packet comes.
    pub fn keep_early(
        &mut self,
        now: Instant,
        counters: &mut Tally<Counter>,
        id: FragmentId,
        packet: Packet<B>,
    ) {
        let lost = self.fragments.keep(now, id, packet);
        counters.end_waiting(Counter::FragmentLost, lost);
    }

    /// The next fragment of the packet of `first` that came before it.
    pub fn early(&mut self, first: FragmentId) -> Option<Packet<B>> {
        self.fragments.early(&first)
    }

    /// Keeps a SYN that nobody asked for until it is to be answered.
    pub fn keep_unsolicited(&mut self, now: Instant, packet: Packet<B>) {
        let Contents::Segment { ports, .. } = packet.contents() else {
            return;
        };
        let tuple = Tuple {
            src: packet.src,
            dst: packet.dst,
            src_port: ports.src,
            dst_port: ports.dst,
        };
        let known = self.unsolicited.iter().any(|other| other.tuple == tuple);
        if !known && self.unsolicited.len() < UNSOLICITED_MAX {
            self.unsolicited.push_back(Unsolicited {
                answer_at: now + UNSOLICITED_FOR,
                tuple,
                packet,
            });
        }
    }

    /// A host opens a connection: a SYN that came for it meanwhile is that connection's (RFC 5382 REQ-4 a).
    fn solicited(&mut self, packet: &Packet<B>, contents: &Contents, public: Option<Endpoint>) {
        let Contents::Segment { ports, .. } = *contents else {
            return;
        };
        let (dst, dst_port) = public.map_or((packet.src, ports.src), |public| {
            (IpAddr::V4(public.addr), public.port)
        });
        let theirs = Tuple {
            src: packet.dst,
            dst,
            src_port: ports.dst,
            dst_port,
        };
        self.unsolicited.retain(|other| other.tuple != theirs);
    }

    /// The next SYN that has waited long enough to be refused.
    pub fn next_refusal(&mut self, now: Instant) -> Option<Packet<B>> {
        let due = self.unsolicited.front()?.answer_at <= now;
        let refused = self.unsolicited.pop_front_if(|_| due)?;
        Some(refused.packet)
    }

    /// When [`Gate::advance`] and [`Gate::next_refusal`] have something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let refusal = self.unsolicited.front().map(|first| first.answer_at);
        let fragment = self.fragments.next_deadline();
        earlier(earlier(self.table.next_deadline(), refusal), fragment)
    }

    /// Forgets what has not been used for its time.
    pub fn advance(&mut self, now: Instant, counters: &mut Tally<Counter>) {
        counters.add(Counter::NatExpired, self.table.advance(now));
        counters.end_waiting(Counter::FragmentLost, self.fragments.expire(now));
    }

    /// Fragments that wait for the first of their packet.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.fragments.waiting()
    }

    /// How much it holds.
    #[must_use]
    pub fn usage(&self) -> GateUse {
        GateUse {
            mappings: self.table.len(),
            ports: self.table.ports_used(),
            hosts: self.table.hosts(),
        }
    }

    fn is_host(&self, addr: IpAddr) -> bool {
        self.hosts.iter().any(|net| net.contains(&addr))
    }

    fn is_public(&self, addr: IpAddr) -> bool {
        self.nat.as_ref().is_some_and(|nat| nat.address == addr)
    }

    fn is_translated(&self, addr: IpAddr) -> bool {
        match (&self.nat, addr) {
            (Some(nat), IpAddr::V4(addr)) => nat.inside.iter().any(|net| net.contains(&addr)),
            _ => false,
        }
    }

    /// Whether hosts are only reached by what they asked for.
    fn is_filtering(&self) -> bool {
        let inbound = self.firewall.as_ref().map(|firewall| firewall.inbound);
        inbound == Some(Inbound::Drop)
    }

    #[cfg(test)]
    pub(super) const fn table(&self) -> &Table {
        &self.table
    }
}

/// Without a mapping a translated packet cannot leave; any other can, though nothing will come back.
fn refused(
    why: NoMapping,
    translated: bool,
    counters: &mut Tally<Counter>,
) -> Result<Option<Endpoint>, Passage> {
    let counter = match why {
        NoMapping::Full => Counter::NatFull,
        NoMapping::HostFull => Counter::NatHostFull,
        NoMapping::Busy => Counter::NatBusy,
    };
    if translated {
        // RFC 5508 REQ-8.
        return Err(Passage::Prohibit(counter));
    }
    counters.count(Counter::NatUnmapped);
    Ok(None)
}

/// Whether a packet asks for a connection.
fn is_first_syn(contents: &Contents) -> bool {
    matches!(contents, Contents::Segment { flags, .. }
        if flags.has(Flags::SYN) && !flags.has(Flags::ACK) && !flags.has(Flags::RST))
}
