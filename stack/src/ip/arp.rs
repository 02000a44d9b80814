//! ARP (RFC 826): answers for our addresses, questions for next hops.

use super::Net;
use super::address::{Interface, is_host, is_station};
use super::neighbor::{Hearsay, Solicit};
use crate::buf::{Frame, Header, PacketBuf, PortId};
use crate::wire::ip::ETHERTYPE_ARP;
use crate::{Counter, Cx};
use core::net::{IpAddr, Ipv4Addr};
use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetAddress};

const EVERYBODY: [u8; 6] = [0xff; 6];

impl<B: PacketBuf> Net<B> {
    /// Takes an ARP message; its fate, if it has no other.
    pub(super) fn input_arp(
        &mut self,
        cx: &mut Cx<'_>,
        port: PortId,
        bytes: &[u8],
        out: &mut Vec<Frame<B>>,
    ) -> Counter {
        let parsed = ArpPacket::new_checked(bytes).and_then(|packet| ArpRepr::parse(&packet));
        let Ok(ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr: EthernetAddress(sender_mac),
            source_protocol_addr: sender,
            target_protocol_addr: target,
            ..
        }) = parsed
        else {
            return Counter::DropMalformed;
        };
        let Some(interface) = self.interface(port) else {
            return Counter::DropNotOurs;
        };
        if !is_station(sender_mac) || sender_mac == interface.mac {
            return Counter::DropMartian;
        }
        let (key, target) = ((port, IpAddr::V4(sender)), IpAddr::V4(target));
        if self.is_own(key.1) {
            cx.counters.count(Counter::NeighborConflict);
            return Counter::NeighborTaken;
        }
        let ours = self.is_local(port, target);
        let on_link = interface.is_on_link(key.1);
        let asks = operation == ArpOperation::Request && ours;
        if asks && (is_host(key.1) || sender.is_unspecified()) {
            // Linux asks from an address of another interface, too. An unspecified sender probes whether the
            // address is taken (RFC 5227 2.1.1): it is.
            let reply = arp(interface, ArpOperation::Reply, target, sender_mac, sender);
            if let Some(reply) = reply {
                out.push(reply);
            }
        }
        if on_link {
            if asks {
                self.neighbors.meet(cx.now, key, sender_mac);
            }
            let how = Hearsay {
                solicited: operation == ArpOperation::Reply && ours,
                overrides: true,
            };
            self.neighbors.learn(cx, key, sender_mac, how, out);
        }
        Counter::NeighborTaken
    }

    /// Asks for `target`: everybody, or the station that had it last.
    pub(super) fn arp_request(&self, ask: Solicit, target: Ipv4Addr, out: &mut Vec<Frame<B>>) {
        let request = self.interface(ask.key.0).and_then(|interface| {
            let source = interface.source_for(IpAddr::V4(target))?;
            let to = ask.mac.unwrap_or(EVERYBODY);
            arp(interface, ArpOperation::Request, source, to, target)
        });
        out.extend(request);
    }
}

/// An ARP message from `source` on `interface`, sent to the station `to`.
fn arp<B: PacketBuf>(
    interface: &Interface,
    operation: ArpOperation,
    source: IpAddr,
    to: [u8; 6],
    target: Ipv4Addr,
) -> Option<Frame<B>> {
    let IpAddr::V4(source) = source else {
        return None;
    };
    let known = operation == ArpOperation::Reply;
    let repr = ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: EthernetAddress(interface.mac),
        source_protocol_addr: source,
        target_hardware_addr: EthernetAddress(if known { to } else { [0; 6] }),
        target_protocol_addr: target,
    };
    let mut header = Header::default();
    super::output::push_ethernet(
        &mut header,
        to,
        interface.mac,
        interface.tags,
        ETHERTYPE_ARP,
    );
    repr.emit(&mut ArpPacket::new_unchecked(
        header.reserve(repr.buffer_len()),
    ));
    Some(Frame::new(interface.port, header, crate::buf::Chain::new()))
}
