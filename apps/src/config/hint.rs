//! Units as people write them, and guesses at what was meant.

use stack::time::Duration;

/// The one of `known` that `written` most likely was meant to be, if any is near enough.
pub(super) fn nearest<'k>(written: &str, known: &[&'k str]) -> Option<&'k str> {
    let written = written.to_lowercase().replace('-', "_");
    // The distance of long texts costs their product: nobody misspells a key by this much.
    if written.is_empty() || written.len() > 40 {
        return None;
    }
    let scored = known
        .iter()
        .map(|&candidate| (distance(&written, candidate), candidate));
    let (least, candidate) = scored.min_by_key(|(distance, _)| *distance)?;
    let near = least <= (candidate.len() / 3).clamp(1, 3);
    (near || candidate.starts_with(&written) || written.starts_with(candidate)).then_some(candidate)
}

/// Insertions, deletions and replacements between two texts (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut above = i;
        let mut left = i + 1;
        for (y, cell) in b.iter().zip(row.iter_mut().skip(1)) {
            let replaced = above + usize::from(x != *y);
            above = *cell;
            left = replaced.min(left + 1).min(above + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

const OCTETS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// `4MiB` or `4 MiB` in octets.
pub(super) fn octets(text: &str) -> Option<u64> {
    let (unit, factor) = OCTETS.iter().find(|(unit, _)| text.ends_with(unit))?;
    let number: u64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
    number.checked_mul(*factor)
}

/// A number of octets as [`octets`] reads it.
pub(super) fn show_octets(octets: u64) -> String {
    let unit = OCTETS
        .iter()
        .find(|(_, factor)| octets >= *factor && octets.is_multiple_of(*factor));
    unit.map_or_else(
        || octets.to_string(),
        |(unit, factor)| format!("{}{unit}", octets / factor),
    )
}

const RATES: [(&str, u64); 3] = [
    ("Gbit/s", 1_000_000_000),
    ("Mbit/s", 1_000_000),
    ("kbit/s", 1_000),
];

/// `10Mbit/s` or `10 Mbit/s` in bits per second.
pub(super) fn rate(text: &str) -> Option<u64> {
    let (unit, factor) = RATES.iter().find(|(unit, _)| text.ends_with(unit))?;
    let number: u64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
    number.checked_mul(*factor)
}

/// Bits per second as [`rate`] reads them.
pub(super) fn show_rate(rate: u64) -> String {
    let unit = RATES
        .iter()
        .find(|(_, factor)| rate >= *factor && rate.is_multiple_of(*factor));
    unit.map_or_else(
        || rate.to_string(),
        |(unit, factor)| format!("{}{unit}", rate / factor),
    )
}

const TIMES: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

/// `500ms`, `10s`, `2m` or `1h`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let (unit, millis) = TIMES.iter().find(|(unit, _)| text.ends_with(unit))?;
    let number: u64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
    number.checked_mul(*millis).map(Duration::from_millis)
}

/// A length of time as [`duration`] reads it.
pub(super) fn show_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let unit = TIMES
        .iter()
        .rev()
        .find(|(_, factor)| millis >= *factor && millis.is_multiple_of(*factor));
    unit.map_or_else(
        || "0s".to_owned(),
        |(unit, factor)| format!("{}{unit}", millis / factor),
    )
}
