//! A place in the log: which life of it, and how far.

use std::{cmp::Ordering, fmt, str::FromStr};

use crate::{Invalid, limits::CURSOR_BYTES_MAX};

/// Which life of the log. A log that is made anew counts its sequences from 1 again; without an
/// epoch a client of its former life would skip what it has never seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(pub u32);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// The log's number of an event: the first is 1, and later events have larger numbers, not always
/// the next. 0 stands before the first event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The place before the first event.
    pub const ZERO: Self = Self(0);

    /// The next number.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The number before, or 0.
    #[must_use]
    pub fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// "Everything up to and including here has been seen." Its text is `<epoch>-<sequence>`, the
/// epoch 8 lower-case hex digits, the sequence decimal: `5f3a91c2-10482`.
///
/// Cursors of one epoch are ordered; cursors of two have no order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// Which life of the log.
    pub epoch: Epoch,
    /// How far in it.
    pub sequence: Sequence,
}

impl Cursor {
    /// A place in the log.
    pub fn new(epoch: Epoch, sequence: Sequence) -> Self {
        Self { epoch, sequence }
    }
}

impl PartialOrd for Cursor {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self.epoch == other.epoch).then(|| self.sequence.cmp(&other.sequence))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.sequence)
    }
}

impl FromStr for Cursor {
    type Err = Invalid;

    /// Reads exactly what `Display` writes: a cursor has one spelling.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let malformed =
            || Invalid::new("cursor", "is not of the form <8 hex digits>-<decimal number>");
        if text.len() > CURSOR_BYTES_MAX {
            return Err(malformed());
        }
        let (epoch, sequence) = text.split_once('-').ok_or_else(malformed)?;
        let epoch = u32::from_str_radix(epoch, 16).map_err(|_| malformed())?;
        let sequence = sequence.parse().map_err(|_| malformed())?;
        let cursor = Self::new(Epoch(epoch), Sequence(sequence));
        if cursor.to_string() == text { Ok(cursor) } else { Err(malformed()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn reads_back_what_it_writes(epoch: u32, sequence: u64) {
            let cursor = Cursor::new(Epoch(epoch), Sequence(sequence));
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }

        #[test]
        fn any_text_is_a_cursor_in_its_one_spelling_or_refused(text in ".{0,40}") {
            if let Ok(cursor) = text.parse::<Cursor>() {
                prop_assert_eq!(cursor.to_string(), text);
            }
        }
    }

    #[test]
    fn has_one_spelling() {
        for text in [
            "",
            "-",
            "5f3a91c2",
            "5f3a91c2-",
            "-1",
            "5f3a91c2-+1",
            "+f3a91c2-1",
            "5F3A91C2-1",
            "5f3a91c2-01",
            "5f3a91c-1",
            "05f3a91c2-1",
            "5f3a91c2-1 ",
            " 5f3a91c2-1",
            "5f3a91c2-18446744073709551616",
            "5f3a91c2--1",
            "5f3a91c2-1-1",
            "zzzzzzzz-1",
        ] {
            assert!(text.parse::<Cursor>().is_err(), "{text:?}");
        }
        assert!("5f3a91c2-18446744073709551615".parse::<Cursor>().is_ok());
        assert!("00000000-0".parse::<Cursor>().is_ok());
    }

    #[test]
    fn cursors_of_two_epochs_have_no_order() {
        let at = |epoch, sequence| Cursor::new(Epoch(epoch), Sequence(sequence));
        assert!(at(1, 2) < at(1, 3));
        assert_eq!(at(1, 2).partial_cmp(&at(2, 3)), None);
    }
}
