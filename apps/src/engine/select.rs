//! Which flows are bonded at all: rules by prefix, port and DSCP, the same for either box.

use super::Engine;
use crate::Counter;
use crate::control::{Rule as Shown, Rules};
use core::fmt;
use ipnet::IpNet;
use stack::{PacketBuf, Tuple};

/// Which flows are bonded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Select {
    /// If there is any, only flows that one of these matches.
    pub include: Vec<Rule>,
    /// Of those, flows that none of these matches.
    pub exclude: Vec<Rule>,
    /// At the customer's edge: what becomes of flows whose host speaks Multipath TCP itself.
    pub native: Native,
    /// In the network: whether flows whose client offers no Multipath TCP are relayed, too, TCP to TCP.
    pub plain: bool,
}

/// What a flow's SYN is compared with: all that is there must match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// One of the two ends lies in it.
    pub prefix: Option<IpNet>,
    /// The SYN's destination port is one of these, first to last.
    pub port: Option<(u16, u16)>,
    /// The SYN's differentiated services code point (RFC 2474 3).
    pub dscp: Option<u8>,
}

/// What the box at the customer's edge does with a host's own MP_CAPABLE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Native {
    /// Ours goes on in its place; the host is answered without, and falls back to TCP.
    #[default]
    Terminate,
    /// It is removed, and the flow not bonded.
    Strip,
    /// It passes. A hag on the path takes it for the box's unless its own rules exclude the flow.
    Pass,
}

impl Rule {
    fn matches(&self, tuple: &Tuple, tos: u8) -> bool {
        let ends = [tuple.src, tuple.dst];
        let inside = |net: IpNet| ends.iter().any(|end| net.contains(end));
        self.prefix.is_none_or(inside)
            && (self.port).is_none_or(|(low, high)| (low..=high).contains(&tuple.dst_port))
            && self.dscp.is_none_or(|dscp| tos >> 2 == dscp)
    }
}

impl fmt::Display for Rule {
    /// `prefix 10.0.0.0/8 port 80-90 dscp 46`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut gap = "";
        if let Some(prefix) = self.prefix {
            write!(f, "prefix {prefix}")?;
            gap = " ";
        }
        match self.port {
            Some((low, high)) if low == high => write!(f, "{gap}port {low}")?,
            Some((low, high)) => write!(f, "{gap}port {low}-{high}")?,
            None => {},
        }
        if self.port.is_some() {
            gap = " ";
        }
        match self.dscp {
            Some(dscp) => write!(f, "{gap}dscp {dscp}"),
            None => Ok(()),
        }
    }
}

/// How often each rule was the one that decided, in the order of the configuration.
#[derive(Debug, Default)]
pub(super) struct RuleHits {
    include: Vec<u64>,
    exclude: Vec<u64>,
}

impl RuleHits {
    pub(super) fn new(select: &Select) -> Self {
        Self {
            include: vec![0; select.include.len()],
            exclude: vec![0; select.exclude.len()],
        }
    }

    /// Why the rules keep a SYN from being bonded; `None` if they do not. The first rule that matches counts.
    fn judge(&mut self, select: &Select, tuple: &Tuple, tos: u8) -> Option<Counter> {
        let first = |rules: &[Rule]| rules.iter().position(|rule| rule.matches(tuple, tos));
        let hit = |hits: &mut [u64], at: Option<usize>| {
            let hits = at.and_then(|at| hits.get_mut(at));
            hits.map(|hits| *hits += 1).is_some()
        };
        if !select.include.is_empty() && !hit(&mut self.include, first(&select.include)) {
            return Some(Counter::BypassNotIncluded);
        }
        hit(&mut self.exclude, first(&select.exclude)).then_some(Counter::BypassExcluded)
    }
}

impl<B: PacketBuf> Engine<B> {
    /// Why the operator's rules keep the flow of a SYN from being bonded; `None` if they do not.
    pub(super) fn deselected(&mut self, tuple: &Tuple, tos: u8) -> Option<Counter> {
        self.rule_hits.judge(&self.config.select, tuple, tos)
    }

    pub(super) fn show_rules(&self) -> Rules {
        let Select {
            include, exclude, ..
        } = &self.config.select;
        let lists = [
            ("include", include, &self.rule_hits.include),
            ("exclude", exclude, &self.rule_hits.exclude),
        ];
        let rows = lists.into_iter().flat_map(|(list, rules, hits)| {
            let rules = rules.iter().zip(hits).zip(1..);
            rules.map(move |((rule, hits), position)| Shown {
                list: list.into(),
                position,
                rule: rule.to_string(),
                flows: *hits,
            })
        });
        Rules {
            rules: rows.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(src: &str, dst: &str, dst_port: u16) -> Tuple {
        Tuple {
            src: src.parse().unwrap(),
            dst: dst.parse().unwrap(),
            src_port: 40_000,
            dst_port,
        }
    }

    #[test]
    fn a_rule_matches_with_all_that_it_says() {
        let rule = Rule {
            prefix: Some("10.9.0.0/24".parse().unwrap()),
            port: Some((80, 90)),
            dscp: Some(46),
        };
        assert_eq!(rule.to_string(), "prefix 10.9.0.0/24 port 80-90 dscp 46");
        let s = |port| tuple("10.1.0.2", "10.9.0.2", port);
        assert!(rule.matches(&s(80), 46 << 2));
        assert!(rule.matches(&s(90), 46 << 2 | 3), "ECN is none of it");
        assert!(!rule.matches(&s(91), 46 << 2));
        assert!(!rule.matches(&s(80), 0));
        assert!(!rule.matches(&tuple("10.1.0.2", "10.8.0.2", 80), 46 << 2));
        assert!(rule.matches(&tuple("10.9.0.9", "10.8.0.2", 80), 46 << 2));
    }

    #[test]
    fn what_is_not_included_or_is_excluded_is_counted_by_rule() {
        let port = |port| Rule {
            port: Some((port, port)),
            ..Rule::default()
        };
        let select = Select {
            include: vec![port(80), port(443)],
            exclude: vec![Rule {
                dscp: Some(10),
                ..Rule::default()
            }],
            native: Native::Terminate,
            plain: false,
        };
        let mut hits = RuleHits::new(&select);
        let mut judge = |port, tos| hits.judge(&select, &tuple("10.1.0.2", "10.9.0.2", port), tos);
        assert_eq!(judge(443, 0), None);
        assert_eq!(judge(443, 40), Some(Counter::BypassExcluded));
        assert_eq!(judge(22, 0), Some(Counter::BypassNotIncluded));
        assert_eq!((hits.include, hits.exclude), (vec![0, 2], vec![1]));
        let all = Select::default();
        let any = tuple("10.1.0.2", "10.9.0.2", 9);
        assert_eq!(RuleHits::new(&all).judge(&all, &any, 7), None);
    }
}
