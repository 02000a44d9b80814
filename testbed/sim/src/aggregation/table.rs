//! The table as text: a line for each cell and direction, what each is to reach, and what it reached when the table was
//! last reviewed.

use super::cell::{Goal, HOST, name};
use super::measure::Measured;
use std::collections::BTreeMap;

/// Least part of the ideal, and of the raw sum where nothing is lost.
const IDEAL: f64 = 0.95;
/// Least part of what one TCP reaches on the primary line alone.
const PRIMARY: f64 = 0.98;
/// Most time after a step, as a part of what one TCP on that line needs.
const STEP: f64 = 1.2;
/// Most that a line carries which is not needed: of all octets.
const UNNEEDED: f64 = 0.01;

/// What a part may be less than when the table was reviewed.
const PART_WORSE: f64 = 0.02;
/// What a step may take longer than then, seconds.
const STEP_WORSE: f64 = 0.25;

const HEADS: [&str; 17] = [
    "primary",
    "secondary",
    "queue",
    "loss",
    "host",
    "scheduler",
    "way",
    "goodput",
    "ideal",
    "raw",
    "of ideal",
    "of raw",
    "of primary",
    "of best",
    "by 2nd",
    "fall, rise",
    "short of",
];
/// Columns that name a line of the table.
const KEY: usize = 7;
const OF_IDEAL: usize = 10;
const OF_PRIMARY: usize = 12;
const STEPS: usize = 15;
const SHORT: usize = 16;

/// A line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry(Vec<String>);

impl Entry {
    /// The line for what was measured.
    #[must_use]
    pub fn new(measured: &Measured) -> Self {
        let cell = &measured.cell;
        let [primary, secondary] = cell.lines;
        let host = if cell.host < HOST {
            cell.host.to_string()
        } else {
            String::new()
        };
        let rate = |rate: f64| format!("{rate:.2}");
        let part = |of: f64| format!("{:.3}", measured.goodput / of);
        let steps = measured.steps.map(|steps| {
            let one = |[both, alone]: [f64; 2]| format!("{both:.1}:{alone:.1}");
            steps.map(one).join(" ")
        });
        Self(vec![
            primary.to_string(),
            secondary.to_string(),
            format!("{}", primary.queue as f64 / 10.0),
            primary.loss.to_string(),
            host,
            name(cell.scheduler).to_owned(),
            measured.way.name().to_owned(),
            rate(measured.goodput),
            rate(measured.ideal),
            measured.raw.map(rate).unwrap_or_default(),
            part(measured.ideal),
            measured.raw.map(part).unwrap_or_default(),
            part(measured.primary),
            part(measured.best),
            format!("{:.1}%", measured.by_secondary * 100.0),
            steps.unwrap_or_default(),
            judge(measured).join(", "),
        ])
    }

    /// What names it.
    #[must_use]
    pub fn key(&self) -> String {
        self.0[..KEY].join(" ")
    }

    fn number(&self, column: usize) -> f64 {
        self.0[column].parse().unwrap_or(0.0)
    }

    /// Goals that were missed.
    fn short(&self) -> impl Iterator<Item = &str> {
        self.0[SHORT].split(", ").filter(|goal| !goal.is_empty())
    }

    /// Seconds after each step.
    fn steps(&self) -> Vec<f64> {
        let both = |step: &str| step.split(':').next().and_then(|text| text.parse().ok());
        self.0[STEPS].split(' ').filter_map(both).collect()
    }
}

/// What a line can fall short of.
pub const GOALS: [&str; 6] = ["ideal", "raw", "primary", "by 2nd", "fall", "rise"];

/// The goals that were missed, of [`GOALS`].
#[must_use]
pub fn judge(measured: &Measured) -> Vec<&'static str> {
    let least = |of: f64, part: f64| measured.goodput >= part * of;
    let mut missed = Vec::new();
    let mut demand = |holds: bool, name| {
        if !holds {
            missed.push(name);
        }
    };
    demand(least(measured.ideal, IDEAL), "ideal");
    let raw = measured.raw.is_none_or(|raw| least(raw, IDEAL));
    demand(raw, "raw");
    demand(least(measured.primary, PRIMARY), "primary");
    let idle = measured.cell.goal() != Goal::Primary || measured.by_secondary <= UNNEEDED;
    demand(idle, "by 2nd");
    for (step, name) in measured.steps.iter().flatten().zip(["fall", "rise"]) {
        let [both, alone] = *step;
        demand(both <= STEP * alone, name);
    }
    missed
}

/// The whole table as text.
#[must_use]
pub fn render(entries: &[Entry]) -> String {
    let mut rows = vec![HEADS.map(str::to_owned).to_vec()];
    rows.extend(entries.iter().map(|entry| entry.0.clone()));
    let widths: Vec<usize> = (0..HEADS.len())
        .map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0))
        .collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate();
        let cells = cells.map(|(column, (text, width))| {
            if column < KEY || column + 1 == HEADS.len() {
                format!(" {text:<width$} ")
            } else {
                format!(" {text:>width$} ")
            }
        });
        format!("|{}|\n", cells.collect::<Vec<_>>().join("|"))
    };
    let mut text = line(&rows[0]);
    let rule: Vec<_> = widths.iter().map(|width| "-".repeat(*width)).collect();
    text.push_str(&line(&rule));
    rows[1..].iter().for_each(|row| text.push_str(&line(row)));
    text
}

/// The lines of a table in `text`.
#[must_use]
pub fn parse(text: &str) -> Vec<Entry> {
    let cells = |line: &str| -> Option<Vec<String>> {
        let line = line.strip_prefix('|')?.strip_suffix('|')?;
        let cells: Vec<_> = line.split('|').map(|text| text.trim().to_owned()).collect();
        (cells.len() == HEADS.len()).then_some(cells)
    };
    let rows = text.lines().filter_map(cells);
    rows.filter(|row| row[0] != HEADS[0] && !row[0].starts_with('-'))
        .map(Entry)
        .collect()
}

/// What is worse than in `reviewed`, or missing there, in words; lines of it that were not run only if `all` were.
#[must_use]
pub fn compare(entries: &[Entry], reviewed: &[Entry], all: bool) -> Vec<String> {
    let mut known: BTreeMap<String, &Entry> = reviewed.iter().map(|e| (e.key(), e)).collect();
    let mut worse = Vec::new();
    for entry in entries {
        let key = entry.key();
        let Some(before) = known.remove(&key) else {
            worse.push(format!("{key}: is not in the reviewed table"));
            continue;
        };
        for column in [OF_IDEAL, OF_PRIMARY] {
            let (was, is) = (before.number(column), entry.number(column));
            if is < was - PART_WORSE {
                worse.push(format!("{key}: {} is {is:.3}, was {was:.3}", HEADS[column]));
            }
        }
        let short: Vec<_> = before.short().collect();
        for goal in entry.short().filter(|goal| !short.contains(goal)) {
            worse.push(format!("{key}: falls short of {goal}"));
        }
        for (was, is) in before.steps().into_iter().zip(entry.steps()) {
            if is > was + STEP_WORSE {
                worse.push(format!("{key}: a step takes {is:.1} s, took {was:.1} s"));
            }
        }
    }
    if all {
        worse.extend(known.into_keys().map(|key| format!("{key}: is gone")));
    }
    worse
}

#[cfg(test)]
mod tests {
    use super::super::cell::{Cell, Line, Way};
    use super::*;
    use apps::engine::SchedulerKind;

    /// A cell that reaches everything; the host's link, if it has less than the lines.
    fn measured(host: u64) -> Measured {
        let lines = [Line::new(20, 30), Line::new(40, 60)];
        Measured {
            cell: Cell::new(lines, SchedulerKind::Overflow).host(host),
            way: Way::Down,
            goodput: 56.0,
            ideal: 57.0,
            raw: Some(57.5),
            primary: 19.0,
            best: 38.0,
            by_secondary: 0.0,
            steps: Some([[1.2, 1.0], [2.4, 2.0]]),
            counters: Vec::new(),
        }
    }

    #[test]
    fn each_goal_can_be_missed() {
        assert!(judge(&measured(HOST)).is_empty());
        let told = |goal: &str, change: &dyn Fn(&mut Measured)| {
            let mut one = measured(10);
            change(&mut one);
            assert_eq!(judge(&one), [goal]);
        };
        told("ideal", &|one| one.ideal = 59.0);
        told("raw", &|one| one.raw = Some(59.0));
        told("primary", &|one| one.primary = 57.2);
        told("by 2nd", &|one| one.by_secondary = 0.02);
        told("fall", &|one| one.steps = Some([[1.3, 1.0], [1.0, 1.0]]));
        told("rise", &|one| one.steps = Some([[1.0, 1.0], [2.5, 2.0]]));
    }

    fn entry(of_ideal: &str, steps: &str) -> Entry {
        let mut cells = vec!["x".to_owned(); HEADS.len()];
        cells[OF_IDEAL] = of_ideal.to_owned();
        cells[OF_PRIMARY] = "1.000".to_owned();
        cells[STEPS] = steps.to_owned();
        cells[SHORT] = String::new();
        Entry(cells)
    }

    #[test]
    fn a_table_is_read_as_it_is_written() {
        let entries = vec![entry("0.971", "1.1:1.0 2.0:1.9"), entry("1.000", "")];
        assert_eq!(parse(&render(&entries)), entries);
    }

    #[test]
    fn what_got_worse_by_more_than_the_tolerance_is_told() {
        let reviewed = [entry("0.970", "1.0:1.0 2.0:2.0")];
        for (of_ideal, steps, told) in [
            ("0.970", "1.0:1.0 2.0:2.0", 0),
            ("0.951", "1.2:1.0 2.2:2.0", 0),
            ("0.999", "0.5:1.0 0.5:2.0", 0),
            ("0.949", "1.0:1.0 2.0:2.0", 1),
            ("0.949", "1.0:1.0 2.3:2.0", 2),
        ] {
            let worse = compare(&[entry(of_ideal, steps)], &reviewed, true);
            assert_eq!(worse.len(), told, "{worse:?}");
        }
        let mut other = entry("0.970", "");
        other.0[0] = "y".into();
        assert_eq!(compare(&[other.clone()], &reviewed, true).len(), 2);
        assert_eq!(compare(&[other], &reviewed, false).len(), 1);
        let mut short = reviewed[0].clone();
        short.0[SHORT] = "ideal, fall".into();
        assert_eq!(compare(&[short.clone()], &reviewed, true).len(), 2);
        assert_eq!(compare(&reviewed, &[short], true).len(), 0);
    }
}
