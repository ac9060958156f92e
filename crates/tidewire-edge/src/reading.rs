//! One page for a subscription, read from the log in its turn.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use rand::RngExt as _;
use tidewire_core::{Bounds, Cursor, Page};
use tokio::time::sleep;
use tracing::debug;

use crate::{gap::GapReason, replays::Wanted, request::Conflate, subscription::Shared};

/// Milliseconds before a page is asked for again where the last try gave nothing; each
/// subscription draws its own.
const READ_AGAIN_MILLISECONDS: RangeInclusive<u64> = 250..=1_000;

/// What reading from the log came to.
pub(crate) enum Found {
    Page(Arc<Page>),
    /// More than a page: in its place a snapshot shall come, up to here at least.
    Conflated(Cursor),
    /// What comes next is gone.
    Gone(GapReason, Bounds),
    /// Nothing for now; some time has passed.
    Nothing,
}

/// Reads a page in its turn, or finds out why there is none. A snapshot goes on until a page gets to
/// `snapshot_until`.
pub(crate) async fn find(
    shared: Arc<Shared>,
    wanted: Wanted,
    snapshot_until: Option<Cursor>,
    conflate: Conflate,
) -> Found {
    // At the head of a log whose tail has not come here yet there is nothing to read; there a
    // snapshot is over.
    let is_furthered_by = |page: &Page| {
        page.next != wanted.after || snapshot_until.is_some_and(|until| page.next >= until)
    };
    match shared.replays.page(wanted.clone()).await {
        Ok(page) if is_furthered_by(&page) => {
            if conflate == Conflate::Topic && !wanted.is_snapshot {
                return conflated(&shared, page).await;
            }
            return Found::Page(page);
        }
        Ok(_) => {}
        Err(error) => {
            let bounds = shared.backbone.bounds().await.ok();
            let gone = bounds.and_then(|bounds| Some((gone(&wanted, &bounds)?, bounds)));
            if let Some((reason, bounds)) = gone {
                return Found::Gone(reason, bounds);
            }
            debug!(%error, "a page could not be read: trying again");
        }
    }
    let delay = rand::rng().random_range(READ_AGAIN_MILLISECONDS);
    sleep(Duration::from_millis(delay)).await;
    Found::Nothing
}

/// What comes in place of a page, if it is not the last one before what memory holds. Those without
/// events cost their reader nothing, and one alone is sooner read than left out.
async fn conflated(shared: &Shared, page: Arc<Page>) -> Found {
    if page.events.is_empty() || shared.fanout.reaches(page.next) {
        return Found::Page(page);
    }
    // Where the log does not answer now, every event is never wrong.
    match shared.backbone.bounds().await.map(|bounds| bounds.head()) {
        Ok(head) if page.next < head => Found::Conflated(head),
        _ => Found::Page(page),
    }
}

/// Why what is wanted cannot be had from a log with these bounds, if it cannot.
fn gone(wanted: &Wanted, bounds: &Bounds) -> Option<GapReason> {
    let reason = GapReason::after(wanted.after, bounds)?;
    // What has left retention is the last event of no topic.
    (!wanted.is_snapshot || reason != GapReason::Expired).then_some(reason)
}
