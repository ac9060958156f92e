//! One page for a subscription, read from the log under a permit.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use rand::RngExt as _;
use tidewire_core::{Backbone, Bounds, Cursor, Interest, Page, PageLimit, ReadError};
use tokio::time::sleep;
use tracing::debug;

use crate::{gap::GapReason, metrics, subscription::Shared};

/// What one page read from the log may hold: with its fields, about what is handed out together.
const PAGE: PageLimit = PageLimit { events: 256, bytes: 24 * 1024 };
/// Milliseconds before a page is asked for again where the last try gave nothing; each
/// subscription draws its own.
const READ_AGAIN_MILLISECONDS: RangeInclusive<u64> = 250..=1_000;

/// What shall be read from the log.
pub(crate) struct Wanted {
    pub(crate) interest: Interest,
    pub(crate) after: Cursor,
    /// Of each topic only the last event, until a page gets here; `None` for every event.
    pub(crate) snapshot_until: Option<Cursor>,
}

impl Wanted {
    async fn read(&self, backbone: &dyn Backbone) -> Result<Page, ReadError> {
        match self.snapshot_until {
            None => backbone.read(&self.interest, self.after, PAGE).await,
            Some(_) => backbone.latest(&self.interest, self.after, PAGE).await,
        }
    }

    /// Whether a page brings its reader further. At the head of a log whose tail has not come here
    /// yet there is nothing to read; there a snapshot is over.
    fn is_furthered_by(&self, page: &Page) -> bool {
        page.next != self.after || self.snapshot_until.is_some_and(|until| page.next >= until)
    }

    /// Why what is wanted cannot be had from a log with these bounds, if it cannot.
    fn is_gone(&self, bounds: &Bounds) -> Option<GapReason> {
        // What has left retention is the last event of no topic.
        let may_expire = self.snapshot_until.is_none();
        GapReason::after(self.after, bounds)
            .filter(|reason| may_expire || *reason != GapReason::Expired)
    }
}

/// What reading from the log came to.
pub(crate) enum Found {
    Page(Page),
    /// What comes next is gone.
    Gone(GapReason, Bounds),
    /// Nothing for now; some time has passed.
    Nothing,
}

/// Reads a page under a permit, or finds out why there is none.
pub(crate) async fn find(shared: Arc<Shared>, wanted: Wanted) -> Found {
    let page = {
        // The semaphore is never closed.
        let _permit = shared.replays.acquire().await.ok();
        metrics::count_page_read();
        wanted.read(&*shared.backbone).await
    };
    match page {
        Ok(page) if wanted.is_furthered_by(&page) => return Found::Page(page),
        Ok(_) => {}
        Err(error) => {
            let bounds = shared.backbone.bounds().await.ok();
            let gone = bounds.and_then(|bounds| Some((wanted.is_gone(&bounds)?, bounds)));
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
