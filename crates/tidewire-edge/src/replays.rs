//! Reads of the log for all subscriptions: a few at a time, in turn, and equal ones once.

use std::{collections::HashMap, sync::Arc};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};
use parking_lot::Mutex;
use tidewire_core::{Backbone, Cursor, Interest, Page, PageLimit, ReadError, metric::Raised};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::metrics;

/// What one page read from the log may hold: with its fields, about what is handed out together.
const PAGE: PageLimit = PageLimit { events: 256, bytes: 24 * 1024 };

/// A page of the log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Wanted {
    pub(crate) interest: Interest,
    pub(crate) after: Cursor,
    /// Of each topic only the last event.
    pub(crate) is_snapshot: bool,
}

impl Wanted {
    async fn read(&self, backbone: &dyn Backbone) -> Result<Page, ReadError> {
        if self.is_snapshot {
            backbone.latest(&self.interest, self.after, PAGE).await
        } else {
            backbone.read(&self.interest, self.after, PAGE).await
        }
    }
}

/// What a read came to, for all who asked for it.
pub(crate) type Outcome = Result<Arc<Page>, Arc<ReadError>>;

type UnderWay = Shared<BoxFuture<'static, Outcome>>;

/// Leave to read the log, and the pages that are being read. Who waits is served in the order of
/// asking.
pub(crate) struct Replays {
    backbone: Arc<dyn Backbone>,
    permits: Semaphore,
    pages: Mutex<Pages>,
}

#[derive(Default)]
struct Pages {
    /// Each with its number.
    under_way: HashMap<Wanted, (u64, WeakShared<BoxFuture<'static, Outcome>>)>,
    begun: u64,
}

impl Replays {
    /// At most so many reads at once.
    pub(crate) fn new(backbone: Arc<dyn Backbone>, max: usize) -> Self {
        Self { backbone, permits: Semaphore::new(max), pages: Mutex::default() }
    }

    /// Waits for leave to read; it lasts until it is dropped.
    pub(crate) async fn permit(&self) -> Permit<'_> {
        let queued = metrics::replay_queued();
        // The semaphore is never closed.
        let permit = self.permits.acquire().await.ok();
        drop(queued);
        Permit { _permit: permit, _in_flight: metrics::replay_in_flight() }
    }

    /// Reads a page. Where the same is being read already, or waits for its turn, what comes of that
    /// is everybody's: thousands who come back to one place cause one read.
    pub(crate) async fn page(self: &Arc<Self>, wanted: Wanted) -> Outcome {
        self.under_way(wanted).await
    }

    fn under_way(self: &Arc<Self>, wanted: Wanted) -> UnderWay {
        let mut pages = self.pages.lock();
        let found = pages.under_way.get(&wanted).and_then(|(_, page)| page.upgrade());
        if let Some(page) = found {
            metrics::count_page_shared();
            return page;
        }
        pages.begun += 1;
        let number = pages.begun;
        let turn = Turn { replays: Arc::clone(self), wanted: wanted.clone(), number };
        let page = async move { turn.take().await }.boxed().shared();
        // Nobody has polled it to its end yet.
        if let Some(weak) = page.downgrade() {
            pages.under_way.insert(wanted, (number, weak));
        }
        page
    }
}

/// Leave to read one page.
pub(crate) struct Permit<'r> {
    _permit: Option<SemaphorePermit<'r>>,
    _in_flight: Raised,
}

/// A read under way. It is no more when it is done, or when nobody waits for it any longer.
struct Turn {
    replays: Arc<Replays>,
    wanted: Wanted,
    number: u64,
}

impl Turn {
    async fn take(self) -> Outcome {
        let _permit = self.replays.permit().await;
        metrics::count_page_read();
        self.wanted.read(&*self.replays.backbone).await.map(Arc::new).map_err(Arc::new)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let pages = &mut *self.replays.pages.lock();
        // Another one may have begun in its place.
        if pages.under_way.get(&self.wanted).is_some_and(|(number, _)| *number == self.number) {
            pages.under_way.remove(&self.wanted);
        }
    }
}
