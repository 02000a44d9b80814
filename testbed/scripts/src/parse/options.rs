//! The options of a segment.

use super::{expects, hex, lex, name, needs, number, word};
use crate::script::{Map, Num, Opt, Options, Place, Sum};
use std::net::IpAddr;
use winnow::ModalResult;
use winnow::ascii::{dec_uint, hex_digit1};
use winnow::combinator::{alt, cut_err, opt, preceded, repeat, separated, separated_pair};
use winnow::prelude::*;
use winnow::token::take_while;

/// `<..>`: options, parted by commas; `...` among them lets others be there.
pub(super) fn options(input: &mut &str) -> ModalResult<Options> {
    lex("<").parse_next(input)?;
    let either = alt((lex("...").value(None), option.map(Some)));
    let list: Vec<Option<Opt>> = cut_err(separated(0.., either, lex(","))).parse_next(input)?;
    cut_err(lex(">"))
        .context(expects("`,` and another option, or `>`"))
        .parse_next(input)?;
    Ok(Options {
        others: list.contains(&None),
        list: list.into_iter().flatten().collect(),
    })
}

fn option(input: &mut &str) -> ModalResult<Opt> {
    let kind = lex(word).parse_next(input)?;
    match kind {
        "mss" => lex(dec_uint).map(Opt::Mss).parse_next(input),
        "sackOK" => Ok(Opt::SackOk),
        "wscale" => lex(dec_uint).map(Opt::WScale).parse_next(input),
        "TS" => (lex(num), lex(num))
            .map(|(val, ecr)| Opt::Ts(val, ecr))
            .parse_next(input),
        "sack" => repeat(1..4, lex(block)).map(Opt::Sack).parse_next(input),
        "mpcapable" => cut_err(capable).parse_next(input),
        "mpjoin" => cut_err(join).parse_next(input),
        "dss" => cut_err(dss).parse_next(input),
        "addaddr" => cut_err(add_addr).parse_next(input),
        "removeaddr" => repeat(1.., lex(dec_uint::<_, u8, _>))
            .map(Opt::RemoveAddr)
            .parse_next(input),
        "mpprio" => (is("backup"), opt(preceded(lex("id"), lex(dec_uint))))
            .map(|(backup, id)| Opt::Prio { backup, id })
            .parse_next(input),
        "mpfail" => lex(number).map(Opt::Fail).parse_next(input),
        "fastclose" => lex(name).map(Opt::Fastclose).parse_next(input),
        "tcprst" => (lex(num), is("transient"))
            .map(|(reason, transient)| Opt::TcpRst { transient, reason })
            .parse_next(input),
        "raw" => lex(hex_digit1)
            .verify_map(octets)
            .map(Opt::Raw)
            .context(expects("octets in hexadecimal"))
            .parse_next(input),
        _ => needs(
            input,
            "an option: mss, sackOK, wscale, TS, sack, mpcapable, mpjoin, dss, addaddr, removeaddr, mpprio, mpfail, fastclose, tcprst, raw or `...`",
        ),
    }
}

fn num(input: &mut &str) -> ModalResult<Num> {
    alt(("*".value(Num::Any), dec_uint.map(Num::Is)))
        .context(expects("a number or `*`"))
        .parse_next(input)
}

fn block(input: &mut &str) -> ModalResult<(u32, u32)> {
    separated_pair(dec_uint, ':', dec_uint)
        .context(expects("a block as in 11:21"))
        .parse_next(input)
}

/// Whether `flag` is here.
fn is<'i>(flag: &'static str) -> impl ModalParser<&'i str, bool, winnow::error::ContextError> {
    opt(lex(flag)).map(|found| found.is_some())
}

fn sum(input: &mut &str) -> ModalResult<Sum> {
    let found = opt(alt((
        lex("csum").value(Sum::Right),
        lex("badcsum").value(Sum::Wrong),
    )));
    found.map(Option::unwrap_or_default).parse_next(input)
}

/// `v1 [A] [B] [C] [noH] [KEY [KEY [len N [csum]]]]`
fn capable(input: &mut &str) -> ModalResult<Opt> {
    let version = preceded("v", lex(dec_uint))
        .context(expects("a version, as in v1"))
        .parse_next(input)?;
    let mut flags = 1;
    for (letter, bit) in [("A", 0x80), ("B", 0x40), ("C", 0x20)] {
        let alone = lex(word.verify(|word: &str| word == letter));
        if opt(alone).parse_next(input)?.is_some() {
            flags |= bit;
        }
    }
    if is("noH").parse_next(input)? {
        flags &= !1;
    }
    let key = lex(name.verify(|name: &String| name != "len"));
    let keys = repeat(0..=2, key).parse_next(input)?;
    let data = opt(preceded(lex("len"), (lex(dec_uint), sum))).parse_next(input)?;
    Ok(Opt::Capable {
        version,
        flags,
        keys,
        data,
    })
}

fn join(input: &mut &str) -> ModalResult<Opt> {
    let id = preceded(lex("id"), lex(num));
    match lex(word).parse_next(input)? {
        "syn" => (
            id,
            preceded(lex("token"), lex(name)),
            preceded(lex("nonce"), lex(name)),
            is("backup"),
        )
            .map(|(id, token, nonce, backup)| Opt::JoinSyn {
                backup,
                id,
                token,
                nonce,
            })
            .parse_next(input),
        "synack" => (id, hmac, preceded(lex("nonce"), lex(name)), is("backup"))
            .map(|(id, hmac, nonce, backup)| Opt::JoinSynAck {
                backup,
                id,
                hmac,
                nonce,
            })
            .parse_next(input),
        "ack" => hmac.map(Opt::JoinAck).parse_next(input),
        _ => needs(input, "`syn`, `synack` or `ack`"),
    }
}

/// `hmac KEY KEY NONCE NONCE`: of the owner of the first of each.
fn hmac(input: &mut &str) -> ModalResult<[String; 4]> {
    preceded(lex("hmac"), (lex(name), lex(name), lex(name), lex(name)))
        .map(<[String; 4]>::from)
        .context(expects("`hmac`, two keys and two random numbers"))
        .parse_next(input)
}

/// `[ack N] [dsn N ssn N len N [csum]] [fin]`
fn dss(input: &mut &str) -> ModalResult<Opt> {
    let ack = opt(place("ack", "ack4")).parse_next(input)?;
    let map = opt((
        place("dsn", "dsn4"),
        preceded(lex("ssn"), lex(dec_uint)),
        preceded(lex("len"), lex(dec_uint)),
        sum,
    ))
    .parse_next(input)?;
    let fin = is("fin").parse_next(input)?;
    Ok(Opt::Dss {
        ack,
        map: map.map(|(dsn, ssn, len, sum)| Map { dsn, ssn, len, sum }),
        fin,
    })
}

/// A number of 64 bits behind the word `long`, or its lower half behind `short`.
fn place<'i>(
    long: &'static str,
    short: &'static str,
) -> impl ModalParser<&'i str, Place, winnow::error::ContextError> {
    let kind = alt((lex(short).value(true), lex(long).value(false)));
    (kind, lex(number)).map(|(short, at)| Place { at, short })
}

/// `id N ADDRESS [port N] [echo] [forged]`
fn add_addr(input: &mut &str) -> ModalResult<Opt> {
    let id = preceded(lex("id"), lex(num)).parse_next(input)?;
    let addr = lex(take_while(1.., |c: char| {
        c.is_ascii_hexdigit() || c == '.' || c == ':'
    }))
    .parse_to::<IpAddr>()
    .context(expects("an address"))
    .parse_next(input)?;
    let port = opt(preceded(lex("port"), lex(dec_uint))).parse_next(input)?;
    Ok(Opt::AddAddr {
        id,
        addr,
        port,
        echo: is("echo").parse_next(input)?,
        forged: is("forged").parse_next(input)?,
    })
}

fn octets(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            let pair = std::str::from_utf8(pair)
                .ok()
                .filter(|pair| pair.len() == 2)?;
            u8::try_from(hex.parse(pair).ok()?).ok()
        })
        .collect()
}
