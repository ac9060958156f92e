//! What a client gives back to be resumed: a cursor, and whether it stands in a snapshot.

use std::{fmt, str::FromStr};

use crate::{Cursor, Invalid};

/// Behind a cursor that stands in a snapshot. A URL and a header hold it as it is.
const IN_SNAPSHOT: char = '~';

/// Where a client has got to. Its text is the cursor's, with `~` behind it within a snapshot:
/// `5f3a91c2-10482`, `5f3a91c2-10482~`.
///
/// Within a snapshot not everything up to the cursor has been seen, only each topic's last event
/// that stood there, and what is still to come are last events too. A client that is cut off there
/// goes on with the snapshot; by the bare cursor it would get the whole log behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResumePoint {
    /// What was asked for up to here has been seen.
    pub after: Cursor,
    /// Whether that was a snapshot, which is not over.
    pub in_snapshot: bool,
}

impl From<Cursor> for ResumePoint {
    fn from(after: Cursor) -> Self {
        Self { after, in_snapshot: false }
    }
}

impl fmt::Display for ResumePoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.after.fmt(f)?;
        if self.in_snapshot { write!(f, "{IN_SNAPSHOT}") } else { Ok(()) }
    }
}

impl FromStr for ResumePoint {
    type Err = Invalid;

    /// Reads exactly what `Display` writes.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (cursor, in_snapshot) = match text.strip_suffix(IN_SNAPSHOT) {
            Some(cursor) => (cursor, true),
            None => (text, false),
        };
        Ok(Self { after: cursor.parse()?, in_snapshot })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Epoch, Sequence};

    #[test]
    fn has_one_spelling() {
        let after = Cursor::new(Epoch(0x5f3a_91c2), Sequence(7));
        for (text, in_snapshot) in [("5f3a91c2-7", false), ("5f3a91c2-7~", true)] {
            let point = ResumePoint { after, in_snapshot };
            assert_eq!(text.parse(), Ok(point));
            assert_eq!(point.to_string(), text);
        }
        for text in ["", "~", "5f3a91c2-7~~", "~5f3a91c2-7", "5f3a91c2-~7", "5f3a91c2-7 ~"] {
            assert!(text.parse::<ResumePoint>().is_err(), "{text:?}");
        }
    }
}
