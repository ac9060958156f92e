//! Quantities as people write them: `30s`, `24h`, `60KiB`, `1GiB`.

use std::{ops::RangeInclusive, time::Duration};

/// Units of time in milliseconds, largest first.
const TIMES: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Units of size in bytes, largest first; a bare number counts bytes.
const SIZES: [(&str, u64); 10] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
    ("", 1),
];

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(60 * 60);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const GIB: u64 = 1 << 30;
pub(crate) const TIB: u64 = 1 << 40;

/// Reads a whole number and its unit of time, within a range.
pub(crate) fn duration(
    range: RangeInclusive<Duration>,
) -> impl Fn(&str) -> Result<Duration, String> + Clone {
    move |text| {
        quantity(text, &TIMES)
            .map(Duration::from_millis)
            .filter(|duration| range.contains(duration))
            .ok_or_else(|| {
                let (min, max) = (as_duration(*range.start()), as_duration(*range.end()));
                format!("a duration from {min} to {max} is wanted, such as 30s, 2m, 24h or 7d")
            })
    }
}

/// Reads a whole number of bytes, with a unit or without, within a range.
pub(super) fn bytes(range: RangeInclusive<u64>) -> impl Fn(&str) -> Result<u64, String> + Clone {
    move |text| {
        quantity(text, &SIZES).filter(|bytes| range.contains(bytes)).ok_or_else(|| {
            let (min, max) = (as_bytes(*range.start()), as_bytes(*range.end()));
            format!("a size from {min} to {max} is wanted, such as 60KiB, 64MB, 1GiB or 65536")
        })
    }
}

/// Reads a whole number within a range.
pub(super) fn count(
    range: RangeInclusive<usize>,
) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| {
        text.parse().ok().filter(|count| range.contains(count)).ok_or_else(|| {
            format!("a whole number from {} to {} is wanted", range.start(), range.end())
        })
    }
}

fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, size) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim_start()))?;
    number.parse::<u64>().ok()?.checked_mul(*size)
}

/// A duration in the largest unit that leaves it whole.
pub(crate) fn as_duration(duration: Duration) -> String {
    as_quantity(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), TIMES)
}

/// A size in the largest binary unit that leaves it whole.
pub(super) fn as_bytes(bytes: u64) -> String {
    as_quantity(bytes, SIZES.into_iter().filter(|(unit, _)| unit.ends_with("iB") || *unit == "B"))
}

fn as_quantity(quantity: u64, units: impl IntoIterator<Item = (&'static str, u64)>) -> String {
    let whole = |size| quantity >= size && quantity.is_multiple_of(size);
    match units.into_iter().find(|(_, size)| whole(*size)) {
        Some((unit, size)) => format!("{}{unit}", quantity / size),
        None => "0".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations_with_a_unit() {
        let read = duration(Duration::ZERO..=365 * DAY);
        for (text, wanted) in [
            ("250ms", Duration::from_millis(250)),
            ("30s", 30 * SECOND),
            ("2m", 2 * MINUTE),
            ("24h", DAY),
            ("7d", 7 * DAY),
            ("0s", Duration::ZERO),
            ("2 m", 2 * MINUTE),
        ] {
            assert_eq!(read(text), Ok(wanted), "{text}");
        }
        for text in ["", "30", "s", "-1s", "1.5h", "1h30m", "1parsec", "99999999999999999999s"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn reads_sizes_with_a_unit_or_without() {
        let read = bytes(0..=u64::MAX);
        for (text, wanted) in [
            ("65536", 65_536),
            ("60KiB", 61_440),
            ("60kib", 61_440),
            ("64MB", 64_000_000),
            ("64 MiB", 64 << 20),
            ("1GiB", 1 << 30),
            ("2TiB", 2 << 40),
            ("7B", 7),
        ] {
            assert_eq!(read(text), Ok(wanted), "{text}");
        }
        for text in ["", "KiB", "-1", "1.5GiB", "1GiBs", "99999999TiB"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_refusal_says_the_range_as_people_write_it() {
        let refusal = duration(SECOND..=7 * DAY)("8d").unwrap_err();
        assert!(refusal.contains("from 1s to 7d"), "{refusal}");
        let refusal = bytes(1024..=GIB)("1").unwrap_err();
        assert!(refusal.contains("from 1KiB to 1GiB"), "{refusal}");
        let refusal = count(1..=16)("17").unwrap_err();
        assert!(refusal.contains("from 1 to 16"), "{refusal}");
    }

    #[test]
    fn writes_what_it_reads() {
        for text in ["1500ms", "90s", "5m", "36h", "10d"] {
            let read = duration(Duration::ZERO..=365 * DAY)(text).unwrap();
            assert_eq!(as_duration(read), text);
        }
        for text in ["1000B", "60KiB", "64MiB", "3GiB", "1025KiB"] {
            assert_eq!(as_bytes(bytes(0..=u64::MAX)(text).unwrap()), text);
        }
    }
}
