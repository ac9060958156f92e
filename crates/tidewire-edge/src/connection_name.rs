//! What a connection is called, so that its client can speak of it to any edge.

use std::{fmt, str::FromStr};

use rand::RngExt as _;
use tidewire_core::EdgeNumber;

/// Characters of a number in hex.
const NUMBER_LENGTH: usize = 16;
/// Characters of an edge's number in hex.
const EDGE_LENGTH: usize = 8;

/// The name of one connection: the edge that holds it, and a number that is too large to be guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ConnectionName {
    pub(crate) edge: EdgeNumber,
    number: u64,
}

impl ConnectionName {
    /// A name for a connection of this edge.
    pub(crate) fn draw(edge: EdgeNumber) -> Self {
        Self { edge, number: rand::rng().random() }
    }

    /// Its beginning, with so many characters of the number: who knows that cannot speak of it.
    pub(crate) fn shortened(self, number_length: usize) -> String {
        let mut name = self.to_string();
        name.truncate(EDGE_LENGTH + number_length);
        name
    }
}

impl fmt::Display for ConnectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:0NUMBER_LENGTH$x}", self.edge, self.number)
    }
}

/// It is no connection's name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoName;

impl FromStr for ConnectionName {
    type Err = NoName;

    /// Reads exactly what `Display` writes.
    fn from_str(text: &str) -> Result<Self, NoName> {
        let (edge, number) = text.split_at_checked(EDGE_LENGTH).ok_or(NoName)?;
        let edge = EdgeNumber(u32::from_str_radix(edge, 16).map_err(|_| NoName)?);
        let number = u64::from_str_radix(number, 16).map_err(|_| NoName)?;
        let name = Self { edge, number };
        if name.to_string() == text { Ok(name) } else { Err(NoName) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_one_spelling() {
        let name = ConnectionName { edge: EdgeNumber(0x07c1), number: 0xb6f5 };
        assert_eq!(name.to_string(), "000007c1000000000000b6f5");
        assert_eq!(name.to_string().parse(), Ok(name));
        for text in [
            "",
            "000007c1",
            "000007c1000000000000b6f",
            "000007c1000000000000b6f5a",
            "000007C1000000000000b6f5",
            "+00007c1000000000000b6f5",
            "000007c1+00000000000b6f5",
            "000007c1000000000000b6f ",
            "000007c.>00000000000b6f5",
            "0000007é000000000000b6f5",
            "éééé000000000000b6f5",
        ] {
            assert_eq!(text.parse::<ConnectionName>(), Err(NoName), "{text:?}");
        }
    }
}
