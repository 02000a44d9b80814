//! Reads a script. What is wrong is told with its line, and a mark under where reading stopped.

mod line;
mod options;

use crate::script::{Event, Flow, Script, Settings};
use stack::time::Duration;
use std::fmt;
use winnow::ModalResult;
use winnow::ascii::{dec_int, dec_uint, hex_digit1, space0};
use winnow::combinator::{cut_err, fail, opt, preceded, terminated};
use winnow::error::{StrContext, StrContextValue};
use winnow::prelude::*;
use winnow::token::take_while;

/// Why a script cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    line: usize,
    why: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

impl std::error::Error for ParseError {}

/// Reads a script.
///
/// # Errors
/// The first line that cannot be understood, and where in it.
pub fn parse(text: &str) -> Result<Script, ParseError> {
    let mut script = Script::default();
    for (number, whole) in (1..).zip(text.lines()) {
        let code = whole.split_once('#').map_or(whole, |(code, _)| code).trim();
        if code.is_empty() {
            continue;
        }
        let wrong = |why: String| ParseError { line: number, why };
        let is_event = code.starts_with(|c: char| c.is_ascii_digit() || c == '+');
        if is_event {
            let names: Vec<&str> = script.flows.iter().map(|flow| &*flow.name).collect();
            let line = line::line(code, number, &names).map_err(wrong)?;
            script.lines.push(line);
        } else {
            let head = head.parse(code).map_err(|error| wrong(error.to_string()))?;
            enter(&mut script, head).map_err(wrong)?;
        }
    }
    let ends = |line: &crate::script::Line| line.event == Event::End;
    if script.lines.last().is_none_or(|last| !ends(last)) {
        return Err(ParseError {
            line: text.lines().count(),
            why: "the last line is no `end`: until when may nothing else come?".into(),
        });
    }
    Ok(script)
}

/// A line before the timeline.
enum Head {
    Edge(bool),
    Set(fn(&mut Settings, u32), u32),
    Flow(Flow),
    Key(String, u64),
    Nonce(String, u32),
}

fn enter(script: &mut Script, head: Head) -> Result<(), String> {
    if !script.lines.is_empty() {
        return Err("what describes the scene stands before the first moment".into());
    }
    match head {
        Head::Edge(edge) => script.settings.edge = edge,
        Head::Set(set, value) => set(&mut script.settings, value),
        Head::Flow(flow) => {
            if script.flows.iter().any(|other| other.name == flow.name) {
                return Err(format!("there is a flow {} already", flow.name));
            }
            script.flows.push(flow);
        },
        Head::Key(name, value) => script.keys.push((name, value)),
        Head::Nonce(name, value) => script.nonces.push((name, value)),
    }
    Ok(())
}

fn head(input: &mut &str) -> ModalResult<Head> {
    match lex(word).parse_next(input)? {
        "box" => match lex(word).parse_next(input)? {
            "hag" => Ok(Head::Edge(false)),
            "edge" => Ok(Head::Edge(true)),
            _ => needs(input, "`hag` or `edge`"),
        },
        "set" => setting(input),
        "flow" => flow(input),
        "key" => (lex(name), lex(hex))
            .map(|(name, value)| Head::Key(name, value))
            .parse_next(input),
        "nonce" => (lex(name), lex(hex))
            .verify_map(|(name, value)| Some(Head::Nonce(name, u32::try_from(value).ok()?)))
            .context(expects("a number of at most 8 hexadecimal digits"))
            .parse_next(input),
        _ => needs(
            input,
            "`box`, `set`, `flow`, `key`, `nonce` or a moment in time",
        ),
    }
}

fn setting(input: &mut &str) -> ModalResult<Head> {
    let set: fn(&mut Settings, u32) = match lex(word).parse_next(input)? {
        "version" => |settings, value| settings.version = u8::from(value != 0),
        "checksum" => |settings, value| settings.checksum = value != 0,
        "join" => |settings, value| settings.join = value != 0,
        "inbound" => |settings, value| settings.inbound = value != 0,
        "tolerance-ms" => {
            |settings, value| settings.tolerance = Duration::from_millis(value.into())
        },
        _ => {
            return needs(
                input,
                "`version`, `checksum`, `join`, `inbound` or `tolerance-ms`",
            );
        },
    };
    lex(dec_uint)
        .map(|value| Head::Set(set, value))
        .context(expects("a number"))
        .parse_next(input)
}

fn flow(input: &mut &str) -> ModalResult<Head> {
    let name = lex(name).parse_next(input)?;
    let own = lex(socket).parse_next(input)?;
    let other = preceded(lex(">"), lex(socket)).parse_next(input)?;
    let at = preceded(lex("at"), lex(word)).parse_next(input)?.to_owned();
    let isn = opt(preceded(lex("isn"), lex(dec_uint))).parse_next(input)?;
    let sees = opt(preceded(lex("sees"), lex(dec_uint))).parse_next(input)?;
    let keys = opt(preceded(lex("keys"), (lex(self::name), lex(self::name)))).parse_next(input)?;
    Ok(Head::Flow(Flow {
        name,
        own,
        other,
        at,
        isn: isn.unwrap_or(1_000),
        sees,
        keys: keys.map(|(own, boxs)| [own, boxs]),
    }))
}

fn socket(input: &mut &str) -> ModalResult<std::net::SocketAddr> {
    take_while(1.., |c: char| !c.is_whitespace())
        .parse_to()
        .context(expects(
            "an address and a port, as in 10.1.0.2:40000 or [fd00:1::2]:40000",
        ))
        .parse_next(input)
}

/// `parser`, and the space behind.
fn lex<'i, O, P>(parser: P) -> impl ModalParser<&'i str, O, winnow::error::ContextError>
where
    P: ModalParser<&'i str, O, winnow::error::ContextError>,
{
    terminated(parser, space0)
}

fn word<'i>(input: &mut &'i str) -> ModalResult<&'i str> {
    take_while(1.., |c: char| {
        c.is_ascii_alphanumeric() || c == '-' || c == '_'
    })
    .context(expects("a word"))
    .parse_next(input)
}

/// What stands for a flow, a key or a random number.
fn name(input: &mut &str) -> ModalResult<String> {
    word.verify(|word: &str| word.starts_with(|c: char| c.is_ascii_alphabetic()))
        .map(str::to_owned)
        .context(expects("a name"))
        .parse_next(input)
}

fn hex(input: &mut &str) -> ModalResult<u64> {
    hex_digit1
        .verify_map(|digits| u64::from_str_radix(digits, 16).ok())
        .context(expects("at most 16 hexadecimal digits"))
        .parse_next(input)
}

/// A number of a sequence, which may lie before its beginning.
fn number(input: &mut &str) -> ModalResult<i64> {
    dec_int.context(expects("a number")).parse_next(input)
}

const fn expects(what: &'static str) -> StrContext {
    StrContext::Expected(StrContextValue::Description(what))
}

/// Nothing that is here is `what`.
fn needs<T>(input: &mut &str, what: &'static str) -> ModalResult<T> {
    cut_err(fail).context(expects(what)).parse_next(input)
}

#[cfg(test)]
mod tests;
