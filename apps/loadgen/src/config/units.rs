//! Sizes and times as they are written.

use serde::{Deserialize, Deserializer, de};
use stack::time::Duration;

/// Either a number, or text with a unit.
#[derive(Deserialize)]
#[serde(untagged)]
enum Amount {
    Number(u64),
    Text(String),
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, scale) = units.iter().find(|(name, _)| *name == unit.trim())?;
    number.parse::<u64>().ok()?.checked_mul(*scale)
}

pub(super) fn size<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    match Amount::deserialize(from)? {
        Amount::Number(octets) => Ok(octets),
        Amount::Text(text) if text == "endless" => Ok(u64::MAX),
        Amount::Text(text) => {
            let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
            scaled(&text, &units)
                .ok_or_else(|| de::Error::custom("write a size such as 64, 64KiB, 1MiB or endless"))
        },
    }
}

pub(super) fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000)];
    let millis = scaled(&text, &units);
    let millis =
        millis.ok_or_else(|| de::Error::custom("write a time such as 500ms, 10s or 1m"))?;
    Ok(Duration::from_millis(millis))
}

pub(super) fn optional_duration<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Duration>, D::Error> {
    duration(from).map(Some)
}
