//! Where a subscription begins: where it asked to, or at a gap that says so.

use tidewire_core::{Backbone, Bounds, Cursor, ReadError};

use crate::{
    fanout::Fanout,
    request::{From, OnGap, SubscribeRequest},
};

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

/// A subscription's first position, and how it came to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Start {
    /// At a place of the hub's choosing: there was no cursor.
    Live(Cursor),
    /// After the client's cursor.
    Resumed(Cursor),
    /// After a gap.
    Gap(Gap),
}

impl Start {
    pub(crate) fn cursor(&self) -> Cursor {
        match self {
            Self::Live(cursor) | Self::Resumed(cursor) => *cursor,
            Self::Gap(gap) => gap.resumed_from,
        }
    }

    /// How, as the hello spells it.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Live(_) => "live",
            Self::Resumed(_) => "resumed",
            Self::Gap(_) => "gap",
        }
    }
}

/// Finds where a subscription begins. A cursor within the window costs the backbone nothing.
///
/// # Errors
/// [`ReadError::Unavailable`] where the backbone must be asked and does not answer.
pub(crate) async fn find(
    request: &SubscribeRequest,
    fanout: &Fanout,
    backbone: &dyn Backbone,
) -> Result<Start, ReadError> {
    let Some(requested) = &request.last_event_id else {
        return Ok(Start::Live(match (request.from, fanout.head()) {
            (From::Now, Some(head)) => head,
            (From::Now, None) => backbone.bounds().await?.head(),
            (From::Earliest, _) => backbone.bounds().await?.start(),
        }));
    };
    let Ok(cursor) = requested.parse::<Cursor>() else {
        let bounds = backbone.bounds().await?;
        return Ok(Start::Gap(Gap::new(GapReason::Malformed, requested, request.on_gap, &bounds)));
    };
    if fanout.covers(cursor) {
        return Ok(Start::Resumed(cursor));
    }
    let bounds = backbone.bounds().await?;
    Ok(match GapReason::after(cursor, &bounds) {
        None => Start::Resumed(cursor),
        Some(reason) => Start::Gap(Gap::new(reason, requested, request.on_gap, &bounds)),
    })
}
