//! Where a subscription without a cursor begins, as `from` spells it.

use std::str::FromStr;

use tidewire_core::{Invalid, UnixMillis, limits::LAST_EVENTS_MAX};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Where a subscription without a cursor begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum From {
    /// With what comes.
    #[default]
    Now,
    /// With the oldest event retained.
    Earliest,
    /// With the last event of every wanted topic.
    Latest,
    /// With the last so many wanted events, 1 to 1,000.
    Last(u16),
    /// With the wanted events of this moment or later.
    Since(UnixMillis),
}

impl FromStr for From {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "now" => Ok(Self::Now),
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            _ => match text.strip_prefix("last:") {
                Some(number) => last(number),
                None => since(text),
            },
        }
    }
}

fn last(number: &str) -> Result<From, Invalid> {
    match number.parse() {
        Ok(events) if (1..=LAST_EVENTS_MAX).contains(&events) => Ok(From::Last(events)),
        _ => {
            let reason = format!("has no number of events from 1 to {LAST_EVENTS_MAX} in `last:N`");
            Err(Invalid::new("from", reason))
        }
    }
}

fn since(text: &str) -> Result<From, Invalid> {
    // No time holds a space; where one stands, a `+` was not encoded in the URL.
    let time = OffsetDateTime::parse(&text.replace(' ', "+"), &Rfc3339).map_err(|_| {
        let wanted = "is none of `now`, `earliest`, `latest`, `last:N` and a time as RFC 3339 has \
                      it, such as 2026-01-31T12:00:00Z";
        Invalid::new("from", wanted)
    })?;
    let milliseconds = time.unix_timestamp_nanos() / 1_000_000;
    // Whatever was before 1970 is older than every event.
    Ok(From::Since(UnixMillis(u64::try_from(milliseconds).unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_starting_point() {
        for (text, expected) in [
            ("now", From::Now),
            ("earliest", From::Earliest),
            ("latest", From::Latest),
            ("last:1", From::Last(1)),
            ("last:1000", From::Last(1_000)),
            ("2023-11-14T22:13:20Z", From::Since(UnixMillis(1_700_000_000_000))),
            ("2023-11-14T22:13:20.1239Z", From::Since(UnixMillis(1_700_000_000_123))),
            ("2023-11-15T00:13:20+02:00", From::Since(UnixMillis(1_700_000_000_000))),
            ("2023-11-15T00:13:20 02:00", From::Since(UnixMillis(1_700_000_000_000))),
            ("2023-11-14T21:13:20-01:00", From::Since(UnixMillis(1_700_000_000_000))),
            ("1969-12-31T23:59:59Z", From::Since(UnixMillis(0))),
            ("0000-01-01T00:00:00Z", From::Since(UnixMillis(0))),
            ("9999-12-31T23:59:59Z", From::Since(UnixMillis(253_402_300_799_000))),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn refuses_everything_else_and_says_what_is_wanted() {
        for text in [
            "",
            "then",
            "NOW",
            "last",
            "latest:1",
            "2023-11-14",
            "2023-11-14T22:13:20",
            "2023-02-29T00:00:00Z",
            "2023-11-14T24:00:00Z",
            "2023-11-14T22:13:20+2",
            "10000-01-01T00:00:00Z",
            "1700000000",
            "2023-11-14T22:13:20Z ",
        ] {
            let refusal = text.parse::<From>().unwrap_err().to_string();
            assert!(refusal.starts_with("from: is none of `now`, `earliest`, "), "{text}");
        }
        for text in ["last:", "last:0", "last:1001", "last:-1", "last:65537", "last:1e2", "last:x"]
        {
            let refusal = text.parse::<From>().unwrap_err().to_string();
            let wanted = "from: has no number of events from 1 to 1000 in `last:N`";
            assert_eq!(refusal, wanted, "{text}");
        }
    }
}
