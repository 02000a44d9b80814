//! Options in octets: written for the hosts, and compared with what the box wrote.

use crate::hash;
use crate::names::Names;
use crate::script::{Map, Num, Opt, Options, Place, Sum};
use sim::packet::{checksum, kind};
use sim::stream::Stream;
use std::net::IpAddr;

/// Subtypes of option 30 (RFC 8684 7), in the upper half of an octet.
mod subtype {
    pub(super) const CAPABLE: u8 = 0x00;
    pub(super) const JOIN: u8 = 0x10;
    pub(super) const DSS: u8 = 0x20;
    pub(super) const ADD_ADDR: u8 = 0x30;
    pub(super) const REMOVE_ADDR: u8 = 0x40;
    pub(super) const PRIO: u8 = 0x50;
    pub(super) const FAIL: u8 = 0x60;
    pub(super) const FASTCLOSE: u8 = 0x70;
    pub(super) const TCP_RST: u8 = 0x80;
}

/// Flags of a DSS (RFC 8684 3.3).
const FIN: u8 = 0x10;
const DSN_LONG: u8 = 0x08;
const MAPPING: u8 = 0x04;
const ACK_LONG: u8 = 0x02;
const ACK: u8 = 0x01;

/// What the options of one segment refer to.
pub(crate) struct Scope<'a> {
    pub(crate) names: &'a mut Names,
    /// Version of Multipath TCP.
    pub(crate) version: u8,
    /// Names of the keys of who sends the segment, and of who gets it.
    pub(crate) keys: Option<[&'a str; 2]>,
    /// What who sends the segment sends.
    pub(crate) stream: Stream,
    /// The initial sequence number of who gets it.
    pub(crate) sack_base: u32,
    /// The timestamp that who sends it saw last.
    pub(crate) last_ts: u32,
}

impl Scope<'_> {
    fn idsn(&self, of_sender: bool) -> Result<u64, String> {
        let [sender, receiver] = self.keys.ok_or("this flow has no keys")?;
        let name = if of_sender { sender } else { receiver };
        self.names.idsn(self.version, name)
    }

    /// The whole number at `at` of the data of who sends, or of who gets.
    fn place(&self, of_sender: bool, at: i64) -> Result<u64, String> {
        Ok(self.idsn(of_sender)?.wrapping_add_signed(at))
    }
}

/// The octets of `options` as a host sends them.
pub(crate) fn written(options: &Options, scope: &mut Scope<'_>) -> Result<Vec<u8>, String> {
    let mut all = Vec::new();
    for option in &options.list {
        all.extend(encode(option, scope, None)?);
    }
    Ok(all)
}

/// What differs between the options that are expected and those that came.
pub(crate) fn differences(
    expected: &Options,
    came: &[&[u8]],
    scope: &mut Scope<'_>,
) -> Vec<String> {
    let mut rest = came.to_vec();
    let mut wrong = Vec::new();
    for option in &expected.list {
        let class = class(option);
        let found = rest.iter().position(|octets| class_of(octets) == class);
        let Some(at) = found else {
            wrong.push(format!("there is no {}", crate::render::class(class)));
            continue;
        };
        let octets = rest.remove(at);
        learn(option, octets, scope.names);
        match encode(option, scope, Some(octets)) {
            Ok(wanted) if wanted == octets => {},
            Ok(wanted) => wrong.push(format!(
                "{} is {}, not {}",
                crate::render::class(class),
                crate::render::hex(octets),
                crate::render::hex(&wanted)
            )),
            Err(why) => wrong.push(why),
        }
    }
    if !expected.others {
        let extra = rest.iter().map(|octets| crate::render::option(octets));
        wrong.extend(extra.map(|option| format!("there is {option}, too")));
    }
    wrong
}

/// What tells an option from others: its kind, and the subtype of one of Multipath TCP.
pub(crate) type Class = (u8, u8);

pub(crate) fn class_of(octets: &[u8]) -> Class {
    match octets {
        [kind::MPTCP, _, subtype, ..] => (kind::MPTCP, subtype & 0xf0),
        [kind, ..] => (*kind, 0),
        [] => (0, 0),
    }
}

fn class(option: &Opt) -> Class {
    let mptcp = |subtype| (kind::MPTCP, subtype);
    match option {
        Opt::Mss(_) => (kind::MSS, 0),
        Opt::SackOk => (kind::SACK_PERMITTED, 0),
        Opt::WScale(_) => (kind::WSCALE, 0),
        Opt::Ts(..) => (kind::TIMESTAMPS, 0),
        Opt::Sack(_) => (kind::SACK, 0),
        Opt::Capable { .. } => mptcp(subtype::CAPABLE),
        Opt::JoinSyn { .. } | Opt::JoinSynAck { .. } | Opt::JoinAck(_) => mptcp(subtype::JOIN),
        Opt::Dss { .. } => mptcp(subtype::DSS),
        Opt::AddAddr { .. } => mptcp(subtype::ADD_ADDR),
        Opt::RemoveAddr(_) => mptcp(subtype::REMOVE_ADDR),
        Opt::Prio { .. } => mptcp(subtype::PRIO),
        Opt::Fail(_) => mptcp(subtype::FAIL),
        Opt::Fastclose(_) => mptcp(subtype::FASTCLOSE),
        Opt::TcpRst { .. } => mptcp(subtype::TCP_RST),
        Opt::Raw(octets) => class_of(octets),
    }
}

/// Keys and random numbers that the box shows here.
fn learn(option: &Opt, octets: &[u8], names: &mut Names) {
    let long = |at: usize| <[u8; 8]>::try_from(octets.get(at..at + 8)?).ok();
    let short = |at: usize| <[u8; 4]>::try_from(octets.get(at..at + 4)?).ok();
    match option {
        Opt::Capable { keys, .. } => {
            for (name, at) in keys.iter().zip([4, 12]) {
                if let Some(key) = long(at) {
                    names.learn_key(name, u64::from_be_bytes(key));
                }
            }
        },
        Opt::JoinSyn { nonce, .. } => {
            if let Some(number) = short(8) {
                names.learn_nonce(nonce, u32::from_be_bytes(number));
            }
        },
        Opt::JoinSynAck { nonce, .. } => {
            if let Some(number) = short(12) {
                names.learn_nonce(nonce, u32::from_be_bytes(number));
            }
        },
        _ => {},
    }
}

/// The octets of `option`; what it leaves open is as in `came`, or 0.
fn encode(option: &Opt, scope: &Scope<'_>, came: Option<&[u8]>) -> Result<Vec<u8>, String> {
    let octet = |num: Num, at: usize| match num {
        Num::Is(value) => u8::try_from(value).map_err(|_| format!("{value} is no octet")),
        Num::Any => Ok(came.and_then(|came| came.get(at).copied()).unwrap_or(0)),
    };
    let names = &scope.names;
    let body: Vec<u8> = match option {
        Opt::Mss(mss) => [&[kind::MSS][..], &mss.to_be_bytes()].concat(),
        Opt::SackOk => vec![kind::SACK_PERMITTED],
        Opt::WScale(shift) => vec![kind::WSCALE, *shift],
        Opt::Ts(val, ecr) => timestamps(*val, *ecr, scope.last_ts, came),
        Opt::Sack(blocks) => {
            let edges = blocks.iter().flat_map(|(start, end)| [start, end]);
            let edges = edges.flat_map(|edge| scope.sack_base.wrapping_add(*edge).to_be_bytes());
            [kind::SACK].into_iter().chain(edges).collect()
        },
        Opt::Capable {
            version,
            flags,
            keys,
            data,
        } => {
            let mut body = vec![kind::MPTCP, subtype::CAPABLE | version, *flags];
            for name in keys {
                body.extend(names.key(name)?.to_be_bytes());
            }
            if let Some((len, sum)) = data {
                let dsn = scope.place(true, 1)?;
                body.extend(len.to_be_bytes());
                body.extend(summed(*sum, scope, (dsn, 1, *len), (0, *len)));
            }
            body
        },
        Opt::JoinSyn {
            backup,
            id,
            token,
            nonce,
        } => {
            let mut body = vec![
                kind::MPTCP,
                subtype::JOIN | u8::from(*backup),
                octet(*id, 3)?,
            ];
            body.extend(hash::token(scope.version, names.key(token)?));
            body.extend(names.nonce(nonce)?.to_be_bytes());
            body
        },
        Opt::JoinSynAck {
            backup,
            id,
            hmac,
            nonce,
        } => {
            let mut body = vec![
                kind::MPTCP,
                subtype::JOIN | u8::from(*backup),
                octet(*id, 3)?,
            ];
            body.extend(&names.join_hmac(scope.version, hmac)?[..8]);
            body.extend(names.nonce(nonce)?.to_be_bytes());
            body
        },
        Opt::JoinAck(hmac) => {
            let mut body = vec![kind::MPTCP, subtype::JOIN, 0];
            body.extend(names.join_hmac(scope.version, hmac)?);
            body
        },
        Opt::Dss { ack, map, fin } => dss(*ack, *map, *fin, scope)?,
        Opt::AddAddr {
            id,
            addr,
            port,
            echo,
            forged,
        } => add_addr((octet(*id, 3)?, *addr, *port), *echo, *forged, scope)?,
        Opt::RemoveAddr(ids) => [&[kind::MPTCP, subtype::REMOVE_ADDR], &ids[..]].concat(),
        Opt::Prio { backup, id } => {
            let mut body = vec![kind::MPTCP, subtype::PRIO | u8::from(*backup)];
            body.extend(id);
            body
        },
        Opt::Fail(at) => {
            let dsn = scope.place(false, *at)?;
            [&[kind::MPTCP, subtype::FAIL, 0][..], &dsn.to_be_bytes()].concat()
        },
        Opt::Fastclose(key) => {
            let key = names.key(key)?.to_be_bytes();
            [&[kind::MPTCP, subtype::FASTCLOSE, 0][..], &key].concat()
        },
        Opt::TcpRst { transient, reason } => {
            let flags = subtype::TCP_RST | u8::from(*transient);
            vec![kind::MPTCP, flags, octet(*reason, 3)?]
        },
        Opt::Raw(octets) => return Ok(octets.clone()),
    };
    let len = u8::try_from(body.len() + 1).map_err(|_| "an option of more than 255 octets")?;
    Ok([&body[..1], &[len], &body[1..]].concat())
}

fn timestamps(val: Num, ecr: Num, last: u32, came: Option<&[u8]>) -> Vec<u8> {
    let field =
        |num: Num, at: usize, else_: u32| match (num, came.and_then(|came| came.get(at..at + 4))) {
            (Num::Is(value), _) => value.to_be_bytes().to_vec(),
            (Num::Any, Some(octets)) => octets.to_vec(),
            (Num::Any, None) => else_.to_be_bytes().to_vec(),
        };
    [
        vec![kind::TIMESTAMPS],
        field(val, 2, 0),
        field(ecr, 6, last),
    ]
    .concat()
}

fn dss(
    ack: Option<Place>,
    map: Option<Map>,
    fin: bool,
    scope: &Scope<'_>,
) -> Result<Vec<u8>, String> {
    let mut flags = if fin { FIN } else { 0 };
    let mut body = Vec::new();
    if let Some(ack) = ack {
        flags |= if ack.short { ACK } else { ACK | ACK_LONG };
        body.extend(wire(scope.place(false, ack.at)?, ack.short));
    }
    if let Some(map) = map {
        flags |= if map.dsn.short {
            MAPPING
        } else {
            MAPPING | DSN_LONG
        };
        let dsn = scope.place(true, map.dsn.at)?;
        body.extend(wire(dsn, map.dsn.short));
        body.extend(map.ssn.to_be_bytes());
        body.extend(map.len.to_be_bytes());
        let from = u64::try_from(map.dsn.at - 1).unwrap_or(0);
        // A DATA_FIN counts in the length, and is no octet.
        let octets = map.len.saturating_sub(u16::from(fin));
        body.extend(summed(
            map.sum,
            scope,
            (dsn, map.ssn, map.len),
            (from, octets),
        ));
    }
    Ok([&[kind::MPTCP, subtype::DSS, flags], &body[..]].concat())
}

fn wire(number: u64, short: bool) -> Vec<u8> {
    let octets = number.to_be_bytes();
    octets[if short { 4 } else { 0 }..].to_vec()
}

/// The checksum of a mapping, if there is one, with `len` octets from position `from` of the stream (RFC 8684 3.3.1,
/// figure 10).
fn summed(
    sum: Sum,
    scope: &Scope<'_>,
    (dsn, ssn, dll): (u64, u32, u16),
    (from, len): (u64, u16),
) -> Vec<u8> {
    if sum == Sum::Absent {
        return Vec::new();
    }
    // An infinite mapping has no checksum to compute (RFC 8684 3.7).
    if dll == 0 {
        return vec![0; 2];
    }
    let mut data = vec![0; len.into()];
    scope.stream.fill(from, &mut data);
    let pseudo = [
        &dsn.to_be_bytes()[..],
        &ssn.to_be_bytes(),
        &dll.to_be_bytes(),
        &[0, 0],
    ]
    .concat();
    let right = checksum(&[&pseudo, &data]);
    let written = if sum == Sum::Wrong {
        right ^ 0x0101
    } else {
        right
    };
    written.to_be_bytes().to_vec()
}

fn add_addr(
    (id, addr, port): (u8, IpAddr, Option<u16>),
    echo: bool,
    forged: bool,
    scope: &Scope<'_>,
) -> Result<Vec<u8>, String> {
    let octets = match addr {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let low = match (scope.version, addr) {
        (0, IpAddr::V4(_)) => 4,
        (0, IpAddr::V6(_)) => 6,
        _ => u8::from(echo),
    };
    let mut body = vec![kind::MPTCP, subtype::ADD_ADDR | low, id];
    body.extend(&octets);
    body.extend(port.iter().flat_map(|port| port.to_be_bytes()));
    if scope.version != 0 && !echo {
        let [sender, receiver] = scope.keys.ok_or("this flow has no keys")?;
        let keys = [scope.names.key(sender)?, scope.names.key(receiver)?];
        let mut hmac = hash::add_addr(keys, id, &octets, port.unwrap_or(0));
        hmac[0] ^= u8::from(forged);
        body.extend(hmac);
    }
    Ok(body)
}
