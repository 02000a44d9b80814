//! A sans-IO IPv4 and IPv6 host and router: frames in; segments, packets and frames out. It knows nothing of flows.
//!
//! [`Net::input`] answers what an IP node has to answer by itself (ARP, NDP, echo) and hands up TCP segments, ICMP errors
//! that quote TCP, and packets in transit. The caller sends [`Net::forward`] what is not its own.

mod config;
mod packet;

pub use crate::buf::RxChecksum;
pub use config::{InterfaceConfig, NetConfig, NetError, RouteConfig};
pub use packet::{IcmpArrival, IcmpKind, Ingress, IpOut, Packet, SynEdit, TcpArrival, Unreachable};

use crate::Cx;
use crate::buf::{Frame, PacketBuf, PortId, Slice};
use crate::flow::Tuple;
use crate::time::Instant;
use crate::wire::tcp::OutSegment;
use core::marker::PhantomData;
use core::net::IpAddr;

/// The IP layer of one worker.
#[derive(Debug)]
pub struct Net<B> {
    config: NetConfig,
    held: PhantomData<B>,
}

impl<B: PacketBuf> Net<B> {
    /// A network of `config`; every route must resolve to a port.
    pub fn new(config: NetConfig) -> Result<Self, NetError> {
        Ok(Self {
            config,
            held: PhantomData,
        })
    }

    /// Takes in a frame from `port`. Answers and packets that were waiting for a neighbor are appended to `out`.
    pub fn input(
        &mut self,
        cx: &mut Cx<'_>,
        port: PortId,
        frame: Slice<B>,
        checksum: RxChecksum,
        out: &mut Vec<Frame<B>>,
    ) -> Ingress<B> {
        let _ = (cx, port, frame, checksum, out);
        Ingress::Done
    }

    /// Routes a packet on: only TTL (hop limit) and Ethernet addresses change. Answers with ICMP errors where due.
    pub fn forward(&mut self, cx: &mut Cx<'_>, packet: Packet<B>, out: &mut Vec<Frame<B>>) {
        let _ = (cx, packet, out);
    }

    /// Routes a segment on with `edit` applied to its options; all others stay verbatim and in order.
    pub fn forward_syn(
        &mut self,
        cx: &mut Cx<'_>,
        arrival: &TcpArrival<B>,
        edit: SynEdit,
        out: &mut Vec<Frame<B>>,
    ) {
        let _ = (cx, arrival, edit, out);
    }

    /// Sends a segment of ours, whatever its source address.
    pub fn send_tcp(
        &mut self,
        cx: &mut Cx<'_>,
        tuple: &Tuple,
        ip: IpOut,
        segment: &OutSegment<B>,
        out: &mut Vec<Frame<B>>,
    ) {
        let _ = (cx, tuple, ip, segment, out);
    }

    /// Refuses `packet`: tells its sender `reason`, within the rate limit and the rules of RFC 1122 3.2.2.
    pub fn send_icmp_unreachable(
        &mut self,
        cx: &mut Cx<'_>,
        packet: &Packet<B>,
        reason: Unreachable,
        out: &mut Vec<Frame<B>>,
    ) {
        let _ = (cx, packet, reason, out);
    }

    /// The port by which packets to `dst` leave.
    #[must_use]
    pub fn port_toward(&self, dst: IpAddr) -> Option<PortId> {
        let _ = dst;
        None
    }

    /// Most octets of an IP packet on the link towards `dst`.
    #[must_use]
    pub fn mtu_toward(&self, dst: IpAddr) -> Option<u16> {
        let _ = dst;
        None
    }

    /// Whether `addr` is one of our addresses, on a port or on none.
    #[must_use]
    pub fn is_own(&self, addr: IpAddr) -> bool {
        self.config.own.contains(&addr)
    }

    /// When [`Net::advance`] must be called next.
    #[must_use]
    pub const fn next_deadline(&self) -> Option<Instant> {
        None
    }

    /// Does what is due: asks neighbors again, gives up on those that stay silent, forgets old ones.
    pub fn advance(&mut self, cx: &mut Cx<'_>, out: &mut Vec<Frame<B>>) {
        let _ = (cx, out);
    }
}
