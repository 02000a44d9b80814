//! Segments in words, close to those of a script: for whoever reads what went wrong.

use crate::option::{Class, class_of};
use sim::packet::{ACK, FIN, PSH, RST, SYN, Tcp, kind};
use std::fmt::Write;

pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

/// What a script calls options of this class.
pub(crate) const fn class(class: Class) -> &'static str {
    match class {
        (kind::MSS, _) => "mss",
        (kind::WSCALE, _) => "wscale",
        (kind::SACK_PERMITTED, _) => "sackOK",
        (kind::SACK, _) => "sack",
        (kind::TIMESTAMPS, _) => "TS",
        (kind::MPTCP, 0x00) => "mpcapable",
        (kind::MPTCP, 0x10) => "mpjoin",
        (kind::MPTCP, 0x20) => "dss",
        (kind::MPTCP, 0x30) => "addaddr",
        (kind::MPTCP, 0x40) => "removeaddr",
        (kind::MPTCP, 0x50) => "mpprio",
        (kind::MPTCP, 0x60) => "mpfail",
        (kind::MPTCP, 0x70) => "fastclose",
        (kind::MPTCP, 0x80) => "tcprst",
        _ => "option",
    }
}

/// One option: its name and its octets.
pub(crate) fn option(octets: &[u8]) -> String {
    let number = |at: usize| {
        octets[at..]
            .iter()
            .fold(0_u64, |n, octet| n << 8 | u64::from(*octet))
    };
    match octets {
        [kind::MSS, _, _, _] => format!("mss {}", number(2)),
        [kind::WSCALE, _, shift] => format!("wscale {shift}"),
        [kind::SACK_PERMITTED, _] => "sackOK".into(),
        [kind::TIMESTAMPS, _, rest @ ..] if rest.len() == 8 => {
            format!("TS {} {}", number(2) >> 32, number(6))
        },
        _ => format!("{} {}", class(class_of(octets)), hex(octets)),
    }
}

/// The options of `tcp`, in their order.
pub(crate) fn options(tcp: &Tcp) -> Vec<&[u8]> {
    let ranges = tcp.ranges().into_iter();
    ranges.map(|(_, range)| &tcp.options[range]).collect()
}

/// The letters of `flags`.
pub(crate) fn flags(flags: u8) -> String {
    let letters = [(SYN, 'S'), (FIN, 'F'), (RST, 'R'), (PSH, 'P'), (ACK, '.')];
    let set = letters.iter().filter(|(bit, _)| flags & bit != 0);
    set.map(|(_, letter)| letter).collect()
}

/// A segment whose numbers count from `seq_base` and `ack_base`.
pub(crate) fn segment(tcp: &Tcp, seq_base: u32, ack_base: u32) -> String {
    let near = |number: u32, base: u32| i64::from(number.wrapping_sub(base).cast_signed());
    let (seq, len) = (near(tcp.seq, seq_base), tcp.payload.len());
    let mut text = format!(
        "{} {seq}:{}({len})",
        flags(tcp.flags),
        seq + i64::try_from(len).unwrap_or(0)
    );
    if tcp.has(ACK) {
        let _ = write!(text, " ack {}", near(tcp.ack, ack_base));
    }
    let options: Vec<_> = options(tcp).into_iter().map(option).collect();
    let _ = write!(text, " win {} <{}>", tcp.wnd, options.join(", "));
    text
}
