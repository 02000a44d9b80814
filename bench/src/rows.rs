//! Results: one row for each figure, with its spread, its goal, and the command that prints it.

use serde::Serialize;
use std::io::{self, Write};
use std::path::Path;

/// What a figure should be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// So much, or more.
    AtLeast(f64),
    /// So much, or less.
    AtMost(f64),
}

impl Goal {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(goal) => value >= goal,
            Self::AtMost(goal) => value <= goal,
        }
    }
}

/// How repeats of a measurement lie.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// The middle one.
    pub median: f64,
    /// The most.
    pub max: f64,
    /// How many there were.
    pub repeats: usize,
}

impl Spread {
    /// Of at least one value.
    ///
    /// # Panics
    /// There is none.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = if values.len().is_multiple_of(2) {
            f64::midpoint(values[middle - 1], values[middle])
        } else {
            values[middle]
        };
        Self {
            min: values[0],
            median,
            max: values[values.len() - 1],
            repeats: values.len(),
        }
    }
}

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The benchmark's name, and which of its figures.
    pub id: String,
    /// What it says.
    pub what: String,
    /// The median.
    pub value: f64,
    /// Its unit; `ratio` if it is none.
    pub unit: &'static str,
    /// What it should be; none for what only explains another row.
    pub goal: Option<Goal>,
    /// Whether it is that.
    pub met: Option<bool>,
    /// What it was compared with.
    pub peer: String,
    /// Of the repeats.
    pub spread: Spread,
    /// What each repeat gave, in their order.
    pub each: Vec<f64>,
    /// What prints it.
    pub command: String,
}

/// All rows of a run.
#[derive(Debug, Serialize)]
pub struct Rows {
    /// Round trip between the two cores, nanoseconds: how the machine placed them.
    pub core_round_trip_ns: Option<Spread>,
    /// How long the run took.
    pub seconds: f64,
    /// The figures.
    pub rows: Vec<Row>,
    #[serde(skip)]
    command: String,
}

impl Rows {
    /// No rows yet of `command`.
    #[must_use]
    pub fn new(command: &str) -> Self {
        Self {
            core_round_trip_ns: None,
            seconds: 0.0,
            rows: Vec::new(),
            command: command.to_owned(),
        }
    }

    /// Adds a row, and shows it.
    pub fn add(
        &mut self,
        (id, what): (&str, &str),
        (values, unit): (Vec<f64>, &'static str),
        goal: Option<Goal>,
        peer: &str,
    ) {
        let spread = Spread::of(values.clone());
        let row = Row {
            id: id.to_owned(),
            what: what.to_owned(),
            value: spread.median,
            unit,
            goal,
            met: goal.map(|goal| goal.is_met(spread.median)),
            peer: peer.to_owned(),
            spread,
            each: values,
            command: self.command.clone(),
        };
        show(&row);
        self.rows.push(row);
    }

    /// Writes them as JSON.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, serde_json::to_string_pretty(self)? + "\n")
    }
}

fn show(row: &Row) {
    let goal = match row.goal {
        Some(Goal::AtLeast(goal)) => format!("at least {goal}"),
        Some(Goal::AtMost(goal)) => format!("at most {goal}"),
        None => String::new(),
    };
    let met = match row.met {
        Some(true) => "met",
        Some(false) => "MISSED",
        None => "",
    };
    let Spread {
        min, median, max, ..
    } = row.spread;
    let _ = writeln!(
        io::stdout(),
        "{:<10} {median:>12.3} {:<14} [{min:.3} .. {max:.3}]  {goal:<16} {met:<7} {}",
        row.id,
        row.unit,
        row.what
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_lies_in_the_middle() {
        let odd = Spread::of(vec![3.0, 1.0, 2.0]);
        assert_eq!(
            (odd.min, odd.median, odd.max, odd.repeats),
            (1.0, 2.0, 3.0, 3)
        );
        assert_eq!(Spread::of(vec![4.0, 1.0, 2.0, 3.0]).median, 2.5);
    }

    #[test]
    fn a_goal_that_is_missed_shows_as_missed() {
        let mut rows = Rows::new("here");
        rows.add(
            ("B1", "a"),
            (vec![0.5], "ratio"),
            Some(Goal::AtLeast(0.5)),
            "p",
        );
        rows.add(
            ("B2", "b"),
            (vec![0.5], "ratio"),
            Some(Goal::AtMost(0.4)),
            "p",
        );
        let met: Vec<_> = rows.rows.iter().map(|row| row.met).collect();
        assert_eq!(met, [Some(true), Some(false)]);
    }
}
