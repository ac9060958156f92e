//! What one feed has for streams that stand at the same place, made once for all of them; and what is
//! counted of it.

use std::sync::Arc;

use bytes::Bytes;
use tidewire_core::Cursor;
use tokio::time::Instant;

use crate::{
    Subscription,
    feed::{Batch, Behind, Feed},
    plain::chunk,
    stamps::Stamps,
};

/// Batches of one feed that are kept while its streams are looked at. Nearly all of them stand at one
/// position.
const BATCHES_MAX: usize = 8;

/// What one feed has behind some positions, as it is sent: made once for all who stand there.
pub(super) struct Batches {
    feed: Arc<Feed>,
    made: Vec<(Cursor, Option<Made>)>,
    /// Of those that are kept no more.
    stamps: Stamps,
}

/// A batch, and how often it has been handed out whole to streams that are older than its events.
pub(super) struct Made {
    batch: Batch,
    pub(super) framed: Bytes,
    since: Option<Instant>,
    handed: usize,
}

/// What a sweeper has handed out, of which it has still to tell.
#[derive(Default)]
pub(super) struct Sent {
    pub(super) events: usize,
    pub(super) bytes: usize,
    /// When those events were stored.
    pub(super) stamps: Stamps,
}

impl Batches {
    pub(super) fn of(feed: &Arc<Feed>) -> Self {
        Self { feed: Arc::clone(feed), made: Vec::new(), stamps: Stamps::default() }
    }

    /// What the feed has next behind a position, if anything.
    pub(super) fn behind(
        &mut self,
        position: Cursor,
        now: Instant,
    ) -> Result<Option<&mut Made>, Behind> {
        let made = self.made.iter().position(|(of, _)| *of == position);
        let index = match made {
            Some(index) => index,
            None => {
                let batch = self.feed.pending(position)?.map(|batch| Made::new(batch, now));
                if self.made.len() == BATCHES_MAX {
                    self.forget();
                }
                self.made.push((position, batch));
                self.made.len() - 1
            }
        };
        Ok(self.made[index].1.as_mut())
    }

    /// Keeps none of them any more, but for when their events were stored.
    fn forget(&mut self) {
        for Made { batch, handed, .. } in self.made.drain(..).filter_map(|(_, made)| made) {
            self.stamps.add_all(&batch.stamps, handed);
        }
    }

    /// When the events were stored that have been handed out whole to streams older than they.
    pub(super) fn stamps(mut self) -> Stamps {
        self.forget();
        self.stamps
    }
}

impl Made {
    fn new(batch: Batch, now: Instant) -> Self {
        let framed = chunk::of(&batch.coded.bytes).into();
        // By the clock that streams' ages are told by.
        let since = now.checked_sub(batch.stamps.age());
        Self { batch, framed, since, handed: 0 }
    }

    /// Whether the feed had nothing behind it.
    pub(super) fn is_all(&self) -> bool {
        self.batch.is_all
    }
}

impl Sent {
    /// Notes that a subscription is handed a batch.
    pub(super) fn hand(&mut self, subscription: &mut Subscription, made: &mut Made, now: Instant) {
        let Made { batch, since, handed, .. } = made;
        subscription.hand(batch, now);
        self.events += batch.events;
        self.bytes += batch.coded.bytes.len();
        if since.is_some_and(|since| subscription.since <= since) {
            *handed += 1;
        } else {
            let age = now.saturating_duration_since(subscription.since);
            self.stamps.add_all(&batch.stamps.no_older_than(age), 1);
        }
    }
}
