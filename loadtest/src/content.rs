//! What an event's data consists of behind its numbers.

use std::fmt::Write as _;

use rand::{RngExt, SeedableRng, rngs::StdRng};

/// What stands behind the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Content {
    /// One letter again and again, another for each event.
    #[default]
    Letter,
    /// The beginning of a JSON object such as measuring and trading programs write: names that come
    /// again, and values of which most are random.
    Json,
}

const NAMES: [&str; 8] =
    ["symbol", "bid", "venue", "trader", "timestamp", "volume", "currency", "account"];
const WORDS: [&str; 4] = ["ABC", "EUR", "XETRA", "open"];

impl Content {
    /// Writes so many bytes, others for each event: a piece of one in another would be seen.
    pub(crate) fn write(self, event: u64, bytes: usize, data: &mut String) {
        match self {
            Self::Letter => {
                let letter = char::from(b'a' + u8::try_from(event % 26).unwrap_or_default());
                data.extend(std::iter::repeat_n(letter, bytes));
            }
            Self::Json => write_json(event, bytes, data),
        }
    }
}

fn write_json(event: u64, bytes: usize, data: &mut String) {
    let end = data.len() + bytes;
    let mut random = StdRng::seed_from_u64(event);
    let mut separator = '{';
    for (number, name) in NAMES.iter().cycle().enumerate() {
        // A String takes everything.
        write!(data, "{separator}\"{name}\":").ok();
        match number % 4 {
            0 => write!(data, "\"{}\"", WORDS[random.random_range(0..WORDS.len())]),
            1 => {
                write!(data, "{}.{:02}", random.random_range(0..1_000), random.random_range(0..100))
            }
            2 => write!(data, "{}", random.random_range(0..1_000_000)),
            _ => write!(data, "\"{:08x}\"", random.random::<u32>()),
        }
        .ok();
        separator = ',';
        if data.len() >= end {
            break;
        }
    }
    // All of it is ASCII.
    data.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_has_bytes_of_its_own_and_as_many_as_were_asked_for() {
        for content in [Content::Letter, Content::Json] {
            let written = |event| {
                let mut data = String::new();
                content.write(event, 300, &mut data);
                data
            };
            assert_eq!((written(7).len(), written(7)), (300, written(7)));
            assert_ne!(written(7), written(8));
            assert!(!written(7).contains('\n'), "data of one line");
        }
    }
}
