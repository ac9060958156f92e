//! What cannot be had any more, and why.

use tidewire_core::{Bounds, Cursor, ReadError};

use crate::request::OnGap;

/// What lies between two cursors cannot be had; the stream goes on after the second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Why.
    pub(crate) reason: GapReason,
    /// The cursor that was asked for, as it was spelled.
    pub requested: String,
    /// Where the stream goes on.
    pub resumed_from: Cursor,
}

impl Gap {
    /// A gap after `requested`, going on from where the subscriber prefers.
    pub(crate) fn new(reason: GapReason, requested: &str, on_gap: OnGap, bounds: &Bounds) -> Self {
        let resumed_from = match on_gap {
            OnGap::Earliest => bounds.start(),
            OnGap::Now => bounds.head(),
        };
        Self { reason, requested: requested.to_owned(), resumed_from }
    }

    /// Why, as the protocol spells it: `expired`, `epoch`, `ahead` or `malformed`.
    pub fn reason(&self) -> &'static str {
        self.reason.as_str()
    }
}

/// Why a cursor cannot be resumed exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GapReason {
    /// What follows it has left retention.
    Expired,
    /// It is of another life of the log.
    Epoch,
    /// It lies beyond the newest event.
    Ahead,
    /// It is no cursor.
    Malformed,
}

impl GapReason {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Epoch => "epoch",
            Self::Ahead => "ahead",
            Self::Malformed => "malformed",
        }
    }

    /// Why a log with these bounds cannot be resumed after a cursor, if it cannot.
    pub(crate) fn after(cursor: Cursor, bounds: &Bounds) -> Option<Self> {
        match bounds.check(cursor) {
            Err(ReadError::Expired { .. }) => Some(Self::Expired),
            Err(ReadError::ForeignEpoch { .. }) => Some(Self::Epoch),
            Err(ReadError::Ahead { .. }) => Some(Self::Ahead),
            Ok(()) | Err(ReadError::Unavailable(_)) => None,
        }
    }
}
