//! The command line.

use clap::Parser;
use stack::time::Duration;
use std::str::FromStr;
use testbed::link::{MILLION, Shape};

/// Emulates a link between two network interfaces: what comes in by one leaves by the other, as the options say.
#[derive(Parser, Debug)]
#[command(
    version,
    after_help = "Each value counts both ways, or is two with a slash between: A to B / B to A.\n\n\
        Examples:\n  \
        braid-link left right --delay 20ms\n  \
        braid-link left right --rate 40mbit/10mbit --delay 15ms --queue 150kB/40kB --loss 0.1%\n  \
        braid-link left right --delay 30ms --jitter 5ms --reorder 1% --reorder-by 10ms --every 1s --json\n\n\
        The interfaces are two that nothing else uses: no address on them, no bridge. At the far ends switch offloads\n\
        off (ethtool -K IF tx off rx off gro off gso off tso off), or frames come larger than any line takes them. The\n\
        kernel takes a VLAN tag off a frame that arrives, so tagged frames leave without it. Frames count with their\n\
        Ethernet header and without their checksum.\n\n\
        Give it a core of its own (taskset -c 1 braid-link ...) where precision matters, and read how late frames left\n\
        from its report: at the end, at each SIGUSR1, and as often as --every says. SIGINT and SIGTERM end it.\n\n\
        Exit codes: 0 ended by a signal, 1 something failed, 2 wrong command line."
)]
pub(crate) struct Options {
    /// One interface.
    pub(crate) a: String,
    /// The other interface.
    pub(crate) b: String,
    /// Bits per second of frames: 200mbit, 64kbit, 1gbit [default: no limit].
    #[arg(long, value_name = "RATE")]
    rate: Option<Both<Rate>>,
    /// Octets that wait at most while others are sent: 64kB, 1MiB, 1500 [default: what the rate sends in 100 ms].
    #[arg(long, value_name = "OCTETS")]
    queue: Option<Both<Octets>>,
    /// How long a frame travels: 20ms, 300us.
    #[arg(long, value_name = "TIME", default_value = "0ms")]
    delay: Both<Time>,
    /// Up to how much longer it travels, without overtaking.
    #[arg(long, value_name = "TIME", default_value = "0ms")]
    jitter: Both<Time>,
    /// Frames lost: 0.1%.
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    loss: Both<Share>,
    /// Frames held back, so that others overtake them; see --reorder-by.
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    reorder: Both<Share>,
    /// Up to how long such a frame is held back.
    #[arg(long, value_name = "TIME", default_value = "5ms")]
    reorder_by: Both<Time>,
    /// Frames that come twice.
    #[arg(long, value_name = "SHARE", default_value = "0%")]
    duplicate: Both<Share>,
    /// What decides every loss, jitter, overtaking and copy: the same seed, the same decisions frame by frame.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// How long before a frame is due to stop sleeping and wait busily: more is more precise and takes more of the core.
    #[arg(long, value_name = "TIME", default_value = "200us", value_parser = time)]
    pub(crate) spin: Duration,
    /// Report this often.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) every: Option<Duration>,
    /// Report in JSON, a line each time.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What the queue holds if nothing is said: the rate's octets of this time.
const QUEUE_MS: u64 = 100;

impl Options {
    /// The directions from the first to the second interface, and back.
    pub(crate) fn shapes(&self) -> [Shape; 2] {
        [0, 1].map(|way| {
            let rate = self.rate.map_or(0, |rate| rate.0[way].0);
            let queue = self
                .queue
                .map_or(rate / 8 * QUEUE_MS / 1000, |queue| queue.0[way].0);
            Shape {
                rate,
                queue: Some(queue),
                delay: self.delay.0[way].0,
                jitter: self.jitter.0[way].0,
                loss: self.loss.0[way].0,
                reorder: self.reorder.0[way].0,
                reorder_by: self.reorder_by.0[way].0,
                duplicate: self.duplicate.0[way].0,
                down: false,
            }
        })
    }
}

/// A value for each direction.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Both<T>([T; 2]);

impl<T: FromStr<Err = String> + Copy> FromStr for Both<T> {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self(match text.split_once('/') {
            Some((there, back)) => [there.parse()?, back.parse()?],
            None => [text.parse()?; 2],
        }))
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Rate(u64);
#[derive(Clone, Copy, Debug, PartialEq)]
struct Octets(u64);
#[derive(Clone, Copy, Debug, PartialEq)]
struct Time(Duration);
#[derive(Clone, Copy, Debug, PartialEq)]
struct Share(u32);

impl FromStr for Rate {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let units = [("kbit", 1e3), ("mbit", 1e6), ("gbit", 1e9), ("bit", 1.0)];
        let rate = number(text, &units)? as u64;
        if rate == 0 {
            return Err("a rate is at least 1bit; leave the option out for none".into());
        }
        Ok(Self(rate))
    }
}

impl FromStr for Octets {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let units = [
            ("kB", 1e3),
            ("MB", 1e6),
            ("KiB", 1024.0),
            ("MiB", 1_048_576.0),
            ("", 1.0),
        ];
        Ok(Self(number(text, &units)? as u64))
    }
}

impl FromStr for Time {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let units = [("us", 1e3), ("ms", 1e6), ("s", 1e9)];
        let nanos = number(text, &units)?;
        if nanos > 3_600e9 {
            return Err("at most an hour, 3600s".into());
        }
        Ok(Self(Duration::from_nanos(nanos as u64)))
    }
}

impl FromStr for Share {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let millionths = number(text, &[("%", f64::from(MILLION) / 100.0)])?;
        if millionths > f64::from(MILLION) {
            return Err("at most 100%".into());
        }
        Ok(Self(millionths.round() as u32))
    }
}

fn time(text: &str) -> Result<Duration, String> {
    text.parse().map(|Time(time)| time)
}

/// A number with one of `units` behind it, multiplied by what the unit is worth.
fn number(text: &str, units: &[(&str, f64)]) -> Result<f64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = &text[digits.len()..];
    let names = || {
        units
            .iter()
            .map(|(name, _)| format!("1{name}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let worth = units
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, worth)| *worth);
    let plain = digits.chars().all(|c| c.is_ascii_digit() || c == '.');
    match (plain, digits.parse::<f64>(), worth) {
        (true, Ok(value), Some(worth)) => Ok(value * worth),
        _ => Err(format!("write a number with its unit, as in {}", names())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn shapes(options: &str) -> Result<[Shape; 2], String> {
        let words = ["braid-link", "a", "b"]
            .into_iter()
            .chain(options.split_whitespace());
        let options = Options::try_parse_from(words).map_err(|error| error.to_string())?;
        Ok(options.shapes())
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Options::command().debug_assert();
    }

    #[test]
    fn one_value_counts_both_ways_and_two_one_each() {
        let [there, back] = shapes("--delay 20ms --rate 40mbit/64kbit --loss 0.1%/100%").unwrap();
        assert_eq!([there.delay, back.delay], [Duration::from_millis(20); 2]);
        assert_eq!([there.rate, back.rate], [40_000_000, 64_000]);
        assert_eq!([there.loss, back.loss], [1_000, MILLION]);
        assert_eq!([there.queue, back.queue], [Some(500_000), Some(800)]);
    }

    #[test]
    fn every_option_reaches_the_model() {
        let [there, _] = shapes(
            "--rate 1gbit --queue 64kB --delay 1.5s --jitter 300us --loss 1% --reorder 2% --reorder-by 7ms --duplicate 3%",
        )
        .unwrap();
        let expected = Shape {
            rate: 1_000_000_000,
            queue: Some(64_000),
            delay: Duration::from_millis(1_500),
            jitter: Duration::from_micros(300),
            loss: 10_000,
            reorder: 20_000,
            reorder_by: Duration::from_millis(7),
            duplicate: 30_000,
            down: false,
        };
        assert_eq!(there, expected);
    }

    #[test]
    fn mistakes_are_answered_with_what_to_write() {
        let rows = [
            ("--delay 20", "1us, 1ms, 1s"),
            ("--delay=-1ms", "1us, 1ms, 1s"),
            ("--delay 2h", "1us, 1ms, 1s"),
            ("--delay 4000s", "at most an hour"),
            ("--rate 5", "1kbit, 1mbit"),
            ("--rate 0mbit", "at least 1bit"),
            ("--loss 0.1", "1%"),
            ("--loss 101%", "at most 100%"),
            ("--queue 3fish", "1kB, 1MB"),
            ("--delay 1ms/x", "1us, 1ms, 1s"),
        ];
        for (options, answer) in rows {
            let said = shapes(options).unwrap_err();
            assert!(said.contains(answer), "{options}: {said}");
        }
    }
}
