//! The highest rate at which hardly anything is lost: doubled until it is too much, then halved in between.

use crate::config::Search;
use crate::report::Trial;

/// The rates are closer than this, in parts per thousand of the lower: that is what runs differ by anyway.
const CLOSE_PERMILLE: u64 = 20;

/// A search under way.
#[derive(Clone, Debug)]
pub(crate) struct Searching {
    pub(crate) settings: Search,
    /// The highest rate that was good, 0 before there is one.
    good: u64,
    /// The lowest rate that was too much.
    bad: Option<u64>,
    /// Whether the present rate was too much once: what else happens on a machine may spoil a trial, hardly two.
    doubted: bool,
    /// The rate that is tried.
    pub(crate) rate: u64,
    pub(crate) trials: Vec<Trial>,
}

impl Searching {
    pub(crate) const fn new(settings: Search) -> Self {
        Self {
            settings,
            good: 0,
            bad: None,
            doubted: false,
            rate: settings.low,
            trials: Vec::new(),
        }
    }

    /// The highest rate that was good.
    pub(crate) const fn best(&self) -> u64 {
        self.good
    }

    /// Takes what the present rate lost, in parts per million; whether there is another rate to try.
    pub(crate) fn judge(&mut self, lost_ppm: u64) -> bool {
        let good = lost_ppm <= self.settings.loss_ppm;
        self.trials.push(Trial {
            rate: self.rate,
            lost_ppm,
            good,
        });
        self.doubted = !good && !self.doubted;
        if self.doubted {
            return true;
        }
        if good {
            self.good = self.rate;
        } else {
            self.bad = Some(self.rate);
        }
        let next = match self.bad {
            None => (self.rate * 2).min(self.settings.high),
            Some(bad) => self.good.midpoint(bad),
        };
        let close = match self.bad {
            None => self.good == self.settings.high,
            Some(bad) => bad - self.good <= (self.good * CLOSE_PERMILLE / 1_000).max(1),
        };
        self.rate = next.max(1);
        !close
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stack::time::Duration;

    fn search_below(high: u64) -> Searching {
        Searching::new(Search {
            low: 100,
            high,
            trial: Duration::from_secs(1),
            loss_ppm: 1_000,
        })
    }

    fn search(limit: u64, high: u64) -> Searching {
        let mut searching = search_below(high);
        for _ in 0..64 {
            let lost = if searching.rate <= limit {
                1_000
            } else {
                1_001
            };
            if !searching.judge(lost) {
                return searching;
            }
        }
        panic!("no end after {:?}", searching.trials);
    }

    #[test]
    fn the_highest_good_rate_is_found() {
        for limit in [1, 99, 100, 101, 4_321, 700_000] {
            let found = search(limit, 1_000_000);
            let best = found.best();
            assert!(
                best <= limit && best * 102 / 100 + 1 >= limit,
                "{best} of {limit}"
            );
            assert!(found.trials.len() < 50);
        }
    }

    #[test]
    fn one_trial_that_is_spoiled_changes_nothing() {
        let mut searching = search_below(1_000_000);
        for n in 0..200 {
            let lost = if searching.rate > 70_000 || n % 3 == 0 {
                1_001
            } else {
                0
            };
            if !searching.judge(lost) {
                break;
            }
        }
        let best = searching.best();
        assert!((68_000..=70_000).contains(&best), "{best}");
    }

    #[test]
    fn nothing_above_the_highest_is_tried() {
        let found = search(u64::MAX, 1_000);
        assert_eq!(found.best(), 1_000);
        assert!(found.trials.iter().all(|trial| trial.rate <= 1_000));
    }
}
