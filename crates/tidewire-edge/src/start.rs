//! Where a subscription begins: where it asked to, or at a gap that says so.

use std::time::Duration;

use tidewire_core::{Backbone, Bounds, Cursor, ReadError, ResumePoint, UnixMillis};
use tokio::time::sleep;

use crate::{
    From,
    gap::{Gap, GapReason},
    last,
    request::SubscribeRequest,
    subscription::Shared,
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
    Live(Place),
    /// Where the client had got to.
    Resumed(Place),
    /// After a gap.
    Gap(Gap),
}

/// A place from which a subscription goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) after: Cursor,
    /// How far a snapshot goes that comes first, at least: the head when it was asked for.
    pub(crate) snapshot_until: Option<Cursor>,
}

impl Place {
    /// The place as a client gives it back.
    pub(crate) fn point(&self) -> ResumePoint {
        ResumePoint { after: self.after, in_snapshot: self.snapshot_until.is_some() }
    }
}

impl std::convert::From<Cursor> for Place {
    fn from(after: Cursor) -> Self {
        Self { after, snapshot_until: None }
    }
}

impl Start {
    pub(crate) fn place(&self) -> Place {
        match self {
            Self::Live(place) | Self::Resumed(place) => *place,
            Self::Gap(gap) => gap.resumed_from.into(),
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
/// [`ReadError`] where the backbone must be asked and does not answer.
pub(crate) async fn find(request: &SubscribeRequest, shared: &Shared) -> Result<Start, ReadError> {
    let backbone = &*shared.backbone;
    let Some(requested) = &request.last_event_id else {
        return Ok(Start::Live(begin(request, shared).await?));
    };
    let Ok(ResumePoint { after, in_snapshot }) = requested.parse() else {
        let bounds = backbone.bounds().await?;
        return Ok(Start::Gap(Gap::new(GapReason::Malformed, requested, request.on_gap, &bounds)));
    };
    if !in_snapshot && shared.fanout.covers(after) {
        return Ok(Start::Resumed(after.into()));
    }
    let bounds = bounds_for(after, backbone).await?;
    let snapshot_until = in_snapshot.then(|| bounds.head());
    Ok(match GapReason::after(after, &bounds) {
        None => Start::Resumed(Place { after, snapshot_until }),
        // Of what has left retention nothing is the last of its topic that is retained.
        Some(GapReason::Expired) if in_snapshot => Start::Resumed(Place { after, snapshot_until }),
        Some(reason) => Start::Gap(Gap::new(reason, requested, request.on_gap, &bounds)),
    })
}

/// Where a subscription begins that has no cursor.
async fn begin(request: &SubscribeRequest, shared: &Shared) -> Result<Place, ReadError> {
    let backbone = &*shared.backbone;
    Ok(match request.from {
        From::Now => match shared.near_head() {
            Some(head) => head.into(),
            None => backbone.bounds().await?.head().into(),
        },
        From::Earliest => backbone.bounds().await?.start().into(),
        From::Latest => {
            let bounds = backbone.bounds().await?;
            Place { after: bounds.start(), snapshot_until: Some(bounds.head()) }
        }
        From::Last(events) => last::find(&request.interest, events.into(), shared).await?.into(),
        From::Since(time) => moment(time, shared).await?.into(),
    })
}

/// The place of a moment: looked up in the log, so under a permit.
async fn moment(time: UnixMillis, shared: &Shared) -> Result<Cursor, ReadError> {
    let _permit = shared.replays.permit().await;
    shared.backbone.cursor_at(time).await
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
