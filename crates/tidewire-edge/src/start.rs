//! Where a subscription begins: where it asked to, or at a gap that says so.

use std::time::Duration;

use tidewire_core::{Backbone, Bounds, Cursor, ReadError};
use tokio::time::sleep;

use crate::{
    fanout::Fanout,
    follow::TailHealth,
    gap::{Gap, GapReason},
    request::{From, SubscribeRequest},
};

/// How often a log is asked again whose head lies before a client's cursor. Another edge may have
/// handed that cursor out a moment ago, and a leader that has just been elected may not know yet
/// how far its predecessor had come.
const AHEAD_ASKED_AGAIN_MAX: usize = 5;
/// The wait before each time.
const AHEAD_ASK_INTERVAL: Duration = Duration::from_millis(200);

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
    health: &TailHealth,
    backbone: &dyn Backbone,
) -> Result<Start, ReadError> {
    let Some(requested) = &request.last_event_id else {
        // While the tail catches up, its head is the past.
        let head = if health.is_following() { fanout.head() } else { None };
        return Ok(Start::Live(match (request.from, head) {
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
    let bounds = bounds_for(cursor, backbone).await?;
    Ok(match GapReason::after(cursor, &bounds) {
        None => Start::Resumed(cursor),
        Some(reason) => Start::Gap(Gap::new(reason, requested, request.on_gap, &bounds)),
    })
}

/// The bounds by which a cursor is judged.
async fn bounds_for(cursor: Cursor, backbone: &dyn Backbone) -> Result<Bounds, ReadError> {
    let mut bounds = backbone.bounds().await?;
    for _ in 0..AHEAD_ASKED_AGAIN_MAX {
        if GapReason::after(cursor, &bounds) != Some(GapReason::Ahead) {
            break;
        }
        sleep(AHEAD_ASK_INTERVAL).await;
        bounds = backbone.bounds().await?;
    }
    Ok(bounds)
}
