//! Which packets reach hosts that did not ask for them (RFC 6092, RFC 4890).

use super::table::{Sign, Table};
use super::{FirewallSettings, Inbound, Protocol};
use stack::Instant;
use stack::ip::Contents;
use stack::wire::ip::{ICMP, ICMPV6, TCP, UDP};
use std::net::IpAddr;

/// The port of the Internet Key Exchange.
const IKE: u16 = 500;

/// Encapsulating Security Payload, Authentication Header, Host Identity Protocol.
const ALWAYS: [u8; 3] = [50, 51, 139];

/// Whether a packet from outside may pass to `dst`: a host whose address is not translated.
pub(super) fn admits(
    settings: &FirewallSettings,
    table: &mut Table,
    now: Instant,
    dst: IpAddr,
    contents: &Contents,
) -> bool {
    if settings.inbound == Inbound::Accept {
        return true;
    }
    let (protocol, port, sign) = match *contents {
        Contents::Segment { ports, flags, data } => {
            (Protocol::Tcp, ports.dst, Some(Sign { flags, data }))
        },
        // RFC 6092 REC-24.
        Contents::Datagram(ports) if ports.dst == IKE && dst.is_ipv6() => return true,
        Contents::Datagram(ports) => (Protocol::Udp, ports.dst, None),
        // RFC 4890 4.3.1: echo must not be dropped. IPv4 has no such rule.
        Contents::Query { request: true, .. } if dst.is_ipv6() => return true,
        Contents::Query { id, .. } => (Protocol::Icmp, id, None),
        // RFC 6092 REC-10, REC-18, REC-36: errors about what was sent.
        Contents::Error(quoted) => {
            let protocol = Protocol::of(quoted.protocol);
            return is_free(protocol, dst)
                || table
                    .get(protocol, (quoted.src, quoted.ports.src), None)
                    .is_some();
        },
        // What cannot be read was not asked for; a later fragment goes where the first went.
        Contents::Other(TCP | UDP | ICMP | ICMPV6) | Contents::LaterFragment => return false,
        Contents::Other(number) => (Protocol::Other(number), 0, None),
    };
    // RFC 6092 REC-21, REC-22, REC-26.
    if is_free(protocol, dst) {
        return true;
    }
    if let Some(handle) = table.get(protocol, (dst, port), None) {
        table.used_inward(now, handle, sign);
        return true;
    }
    settings
        .allow
        .iter()
        .any(|allow| allow.takes(protocol, dst, port))
}

fn is_free(protocol: Protocol, dst: IpAddr) -> bool {
    dst.is_ipv6() && matches!(protocol, Protocol::Other(number) if ALWAYS.contains(&number))
}
