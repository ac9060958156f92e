//! Why something handed in was refused: the field, and the reason.

use std::borrow::Cow;

/// A value from outside that is not what the protocol allows.
///
/// There is one reaction to it, whatever the field: tell the caller which field and why, and
/// change nothing. The reason never repeats the value, which may be large or hostile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Invalid {
    /// The field as the caller spells it: `topic`, `type`, `id`, `data`, `attributes`, `ttl` …
    pub field: Cow<'static, str>,
    /// What is wrong with it, in lower case, without a full stop.
    pub reason: Cow<'static, str>,
}

impl Invalid {
    /// A refusal of `field`.
    pub fn new(field: impl Into<Cow<'static, str>>, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }

    /// The same refusal, of a field inside another: `topic` becomes `events[3].topic`.
    #[must_use]
    pub fn inside(self, outer: impl std::fmt::Display) -> Self {
        Self { field: format!("{outer}.{}", self.field).into(), reason: self.reason }
    }
}
