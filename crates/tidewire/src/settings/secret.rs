//! A value that is used and never shown.

use std::fmt;

/// A password or a token. Whoever prints what holds it prints nothing of it.
#[derive(Clone)]
pub(crate) struct Secret(String);

impl Secret {
    /// The value itself, for whom it is meant.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}
