//! A line of the timeline.

use super::{expects, lex, name, needs, number, word};
use crate::script::{Event, Icmp, Line, Packet, Segment, When};
use sim::packet::flag;
use stack::time::Duration;
use winnow::ModalResult;
use winnow::ascii::{dec_uint, float};
use winnow::combinator::{alt, cut_err, opt, preceded};
use winnow::prelude::*;
use winnow::token::take_while;

/// Reads `code`, a line whose flows are called `flows`.
pub(super) fn line(code: &str, number: usize, flows: &[&str]) -> Result<Line, String> {
    let mut whole =
        |input: &mut &str| (lex(when), |input: &mut &str| event(input, flows)).parse_next(input);
    let (at, event) = whole.parse(code).map_err(|error| error.to_string())?;
    if !matches!(event, Event::Gets(..)) && at.first != at.last {
        return Err("only what is expected may have a range of time".into());
    }
    Ok(Line {
        number,
        text: code.to_owned(),
        at,
        event,
    })
}

/// `0.5`, `+0.5`, `0.5~0.7` or `+0.5~+0.7`.
fn when(input: &mut &str) -> ModalResult<When> {
    let (relative, first) = (opt('+'), seconds).parse_next(input)?;
    let last = opt(preceded(('~', opt('+')), cut_err(seconds))).parse_next(input)?;
    Ok(When {
        relative: relative.is_some(),
        first,
        last: last.unwrap_or(first),
    })
}

fn seconds(input: &mut &str) -> ModalResult<Duration> {
    float
        .verify_map(|seconds: f64| std::time::Duration::try_from_secs_f64(seconds).ok())
        .map(Duration::from)
        .context(expects("seconds"))
        .parse_next(input)
}

fn event(input: &mut &str, flows: &[&str]) -> ModalResult<Event> {
    let first = lex(name).parse_next(input)?;
    match &*first {
        "counts" => (lex(name), lex(dec_uint))
            .map(|(name, value)| Event::Counts(name, value))
            .parse_next(input),
        "empty" => Ok(Event::Empty),
        "end" => Ok(Event::End),
        _ => {
            let Some(flow) = flows.iter().position(|flow| *flow == first) else {
                return needs(input, "the name of a flow, `counts`, `empty` or `end`");
            };
            let way = lex(alt((">", "<")))
                .context(expects("`>` for what it sends, or `<` for what it gets"))
                .parse_next(input)?;
            let packet = packet(input)?;
            Ok(match way {
                ">" => Event::Sends(flow, packet),
                _ => Event::Gets(flow, packet),
            })
        },
    }
}

fn packet(input: &mut &str) -> ModalResult<Packet> {
    if opt(lex("icmp")).parse_next(input)?.is_some() {
        return cut_err(icmp).map(Packet::Icmp).parse_next(input);
    }
    cut_err(segment).map(Packet::Segment).parse_next(input)
}

fn icmp(input: &mut &str) -> ModalResult<Icmp> {
    let (kind, code) = match lex(word).parse_next(input)? {
        "net-unreachable" => (3, 0),
        "host-unreachable" => (3, 1),
        "port-unreachable" => (3, 3),
        "too-big" => (3, 4),
        "prohibited" => (3, 13),
        "time-exceeded" => (11, 0),
        _ => {
            return needs(
                input,
                "`net-unreachable`, `host-unreachable`, `port-unreachable`, `too-big`, `prohibited` or `time-exceeded`",
            );
        },
    };
    let mtu = opt(preceded(lex("mtu"), lex(dec_uint))).parse_next(input)?;
    Ok(Icmp {
        kind,
        code,
        mtu: mtu.unwrap_or(0),
    })
}

fn segment(input: &mut &str) -> ModalResult<Segment> {
    let flags = lex(flags).parse_next(input)?;
    let (seq, len) = lex(range).parse_next(input)?;
    let mut segment = Segment {
        flags,
        seq,
        len,
        ..Segment::default()
    };
    if flags & flag::ACK != 0 {
        let ack = preceded(lex("ack"), lex(number))
            .context(expects("`ack` and a number, as there is a `.`"))
            .parse_next(input)?;
        segment.ack = Some(wrapped(ack));
    }
    segment.wnd = opt(preceded(lex("win"), cut_err(lex(dec_uint)))).parse_next(input)?;
    segment.urgent = opt(preceded(lex("urg"), cut_err(lex(dec_uint)))).parse_next(input)?;
    segment.damaged = opt(lex("damaged")).parse_next(input)?.is_some();
    segment.options = opt(super::options::options).parse_next(input)?;
    Ok(segment)
}

fn flags(input: &mut &str) -> ModalResult<u8> {
    let letters = take_while(1.., ['S', 'F', 'R', 'P', '.'])
        .context(expects(
            "the flags of a segment, of S, F, R, P and . for ACK; or `icmp`",
        ))
        .parse_next(input)?;
    Ok(letters.chars().fold(0, |flags, letter| {
        flags
            | match letter {
                'S' => flag::SYN,
                'F' => flag::FIN,
                'R' => flag::RST,
                'P' => flag::PSH,
                _ => flag::ACK,
            }
    }))
}

/// `1:11(10)`: the number of the first octet, that behind the last, and how many these are.
fn range(input: &mut &str) -> ModalResult<(u32, u32)> {
    (number, preceded(':', number), preceded('(', dec_uint::<_, u32, _>), ')')
        .verify(|(first, end, len, _)| end - first == i64::from(*len))
        .map(|(first, _, len, _)| (wrapped(first), len))
        .context(expects("the first number, the one behind the last, and how many octets that is, as in 1:11(10)"))
        .parse_next(input)
}

/// The sequence number so far from the initial one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "sequence numbers wrap"
)]
const fn wrapped(number: i64) -> u32 {
    number as u32
}
