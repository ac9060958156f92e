//! What subscriptions of equal interest and form share: a short log of prepared frames.

use std::{collections::VecDeque, sync::Arc};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tidewire_core::{Cursor, Epoch, Interest, Sequence};
use tokio::sync::Notify;

use crate::{Envelope, window::Window};

/// Bytes that are copied together to leave in one write. A longer frame leaves alone, uncopied;
/// what a slow reader holds in memory is about this much.
const COALESCED_BYTES_MAX: usize = 16 * 1024;

/// What makes two subscriptions want the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct FeedKey {
    pub(crate) interest: Interest,
    pub(crate) envelope: Envelope,
}

/// A prepared log of what one interest wants, in one form.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) key: FeedKey,
    log: Mutex<FeedLog>,
    moved: Notify,
}

/// Frames in log order: everything the feed wants after `start`. A feed whose topics are quiet
/// stays empty, and its start stays where it is, however far the window moves on.
#[derive(Debug)]
struct FeedLog {
    epoch: Epoch,
    start: Sequence,
    frames: VecDeque<(Sequence, Bytes)>,
}

/// Some frames for one subscriber, to leave in one write.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) bytes: Bytes,
    pub(crate) events: usize,
    /// Everything wanted up to here is in this batch or an earlier one.
    pub(crate) cursor: Cursor,
}

impl Feed {
    /// A feed that holds what is wanted from the window after `cursor`.
    pub(crate) fn new(key: FeedKey, cursor: Cursor, window: &Window) -> Self {
        // A cursor may be ahead of this edge's tail; what comes up to it is wanted by others.
        let start = window.head().sequence;
        let log = FeedLog { epoch: window.head().epoch, start, frames: VecDeque::new() };
        let feed = Self { key, log: Mutex::new(log), moved: Notify::new() };
        feed.reach_back(cursor, window);
        feed
    }

    /// Makes sure that everything wanted after `cursor` is here, from the window where need be.
    /// Says whether it is.
    pub(crate) fn reach_back(&self, cursor: Cursor, window: &Window) -> bool {
        let mut log = self.log.lock();
        if log.epoch != cursor.epoch {
            return false;
        }
        if cursor.sequence >= log.start {
            return true;
        }
        if !window.reaches(cursor) {
            return false;
        }
        let FeedKey { interest, envelope } = &self.key;
        for entry in window.between(cursor.sequence, log.start).rev() {
            if interest.wants(entry.topic()) {
                log.frames.push_front((entry.cursor().sequence, entry.frame(*envelope)));
            }
        }
        log.start = cursor.sequence;
        true
    }

    /// Takes the next frame. Subscribers see it after [`Feed::announce`].
    pub(crate) fn push(&self, sequence: Sequence, frame: Bytes) {
        self.log.lock().frames.push_back((sequence, frame));
    }

    /// Wakes the subscribers that wait.
    pub(crate) fn announce(&self) {
        self.moved.notify_waiters();
    }

    /// Lets go of what the window has let go of.
    pub(crate) fn forget(&self, until: Sequence) {
        let mut log = self.log.lock();
        let gone = log.frames.partition_point(|(sequence, _)| *sequence <= until);
        let last_gone = log.frames.drain(..gone).next_back();
        if let Some((sequence, _)) = last_gone {
            log.start = sequence;
        }
    }

    /// Begins again, empty, at another place of the log or of another epoch.
    pub(crate) fn reset(&self, at: Cursor) {
        *self.log.lock() = FeedLog { epoch: at.epoch, start: at.sequence, frames: VecDeque::new() };
        self.moved.notify_waiters();
    }

    /// What waits for a subscriber that has seen everything up to `position`; an error where this
    /// feed does not reach back to it.
    fn pending(&self, position: Cursor) -> Result<Option<Batch>, Behind> {
        let log = self.log.lock();
        if position.epoch != log.epoch || position.sequence < log.start {
            return Err(Behind);
        }
        // Only what comes after the position: a subscriber may have read ahead of this edge's tail.
        let seen = log.frames.partition_point(|(sequence, _)| *sequence <= position.sequence);
        let waiting = log.frames.range(seen..);
        Ok(coalesce(waiting, position.epoch))
    }
}

/// The subscriber's position is older than what is held in memory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Behind;

fn coalesce<'f>(
    frames: impl Iterator<Item = &'f (Sequence, Bytes)> + Clone,
    epoch: Epoch,
) -> Option<Batch> {
    let mut bytes_total = 0;
    let taken = frames.clone().take_while(|(_, frame)| {
        let first = bytes_total == 0;
        bytes_total += frame.len();
        first || bytes_total <= COALESCED_BYTES_MAX
    });
    let events = taken.count();
    let (last, only) = frames.clone().nth(events.checked_sub(1)?)?;
    let cursor = Cursor::new(epoch, *last);
    if events == 1 {
        return Some(Batch { bytes: only.clone(), events, cursor });
    }
    let mut bytes = BytesMut::with_capacity(COALESCED_BYTES_MAX.min(bytes_total));
    for (_, frame) in frames.take(events) {
        bytes.extend_from_slice(frame);
    }
    Some(Batch { bytes: bytes.freeze(), events, cursor })
}

/// A position in a feed.
#[derive(Debug)]
pub(crate) struct Position {
    feed: Arc<Feed>,
    cursor: Cursor,
}

impl Position {
    pub(crate) fn new(feed: Arc<Feed>, cursor: Cursor) -> Self {
        Self { feed, cursor }
    }

    /// Waits for what comes next. `Err` where this reader has fallen too far behind. Dropping the
    /// future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Batch, Behind> {
        loop {
            let moved = self.feed.moved.notified();
            tokio::pin!(moved);
            // Registered before looking, so that nothing slips between the look and the wait.
            moved.as_mut().enable();
            if let Some(batch) = self.feed.pending(self.cursor)? {
                self.cursor = batch.cursor;
                return Ok(batch);
            }
            moved.await;
        }
    }

    /// Moves to `head` where nothing that is wanted waits before it; says whether it moved. All
    /// that stands up to `head` must have been pushed.
    pub(crate) fn move_to(&mut self, head: Cursor) -> bool {
        let quiet = matches!(self.feed.pending(self.cursor), Ok(None));
        let moves = quiet && head > self.cursor;
        if moves {
            self.cursor = head;
        }
        moves
    }
}
