//! What subscriptions of equal interest and form share: a short log of prepared frames.

use std::{collections::VecDeque, fmt, sync::Arc};

use parking_lot::Mutex;
use smallvec::SmallVec;
use tidewire_core::{Cursor, Epoch, Interest, Sequence, UnixMillis};
use tokio::sync::Notify;

use crate::{
    Coding, Envelope,
    coding::Coded,
    stamps::Stamps,
    window::{Frame, Window},
};

/// Bytes that are copied together to leave in one write. A longer frame leaves alone, uncopied;
/// what a slow reader holds in memory is about this much.
const COALESCED_BYTES_MAX: usize = 16 * 1024;

/// Frames that one feed holds. Who is further behind is served from the window, or the log.
const FEED_FRAMES_MAX: usize = 256;

/// What makes two subscriptions want the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct FeedKey {
    pub(crate) interest: Interest,
    pub(crate) envelope: Envelope,
    pub(crate) coding: Coding,
}

/// A prepared log of what one interest wants, in one form.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) key: FeedKey,
    log: Mutex<FeedLog>,
    moved: Notify,
    /// Most feeds have one: those of a single client are held by one sweeper.
    bells: Mutex<SmallVec<[Bell; 1]>>,
}

/// Who is told that a feed has moved, beside those who wait for it.
pub(crate) trait Listener: fmt::Debug + Send + Sync {
    /// The feed that it knows by this key has moved.
    fn ring(&self, key: usize);
}

#[derive(Debug)]
struct Bell {
    listener: Arc<dyn Listener>,
    key: usize,
    /// Whether it has rung, and not been [heard](Feed::heard) yet.
    is_rung: bool,
}

/// Frames in log order: everything the feed wants after `start`. A feed whose topics are quiet
/// stays empty, and its start stays where it is, however far the window moves on.
#[derive(Debug)]
struct FeedLog {
    epoch: Epoch,
    start: Sequence,
    frames: VecDeque<Frame>,
}

/// Some frames for one subscriber, to leave in one write.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) coded: Coded,
    pub(crate) events: usize,
    pub(crate) stamps: Stamps,
    /// Everything wanted up to here is in this batch or an earlier one.
    pub(crate) cursor: Cursor,
    /// Whether nothing waited behind it.
    pub(crate) is_all: bool,
}

impl Feed {
    /// A feed that holds what is wanted from the window after `cursor`.
    pub(crate) fn new(key: FeedKey, cursor: Cursor, window: &Window) -> Self {
        // A cursor may be ahead of this edge's tail; what comes up to it is wanted by others.
        let start = window.head().sequence;
        let log = FeedLog { epoch: window.head().epoch, start, frames: VecDeque::new() };
        let feed =
            Self { key, log: Mutex::new(log), moved: Notify::new(), bells: Mutex::default() };
        feed.reach_back(cursor, window);
        feed
    }

    /// Whether everything wanted after `cursor` is here, or still to come.
    pub(crate) fn reaches(&self, cursor: Cursor) -> bool {
        let log = self.log.lock();
        log.epoch == cursor.epoch && log.start <= cursor.sequence
    }

    /// Takes what is wanted after `cursor` from a window that reaches back to it.
    pub(crate) fn reach_back(&self, cursor: Cursor, window: &Window) {
        let mut log = self.log.lock();
        let until = log.start;
        if cursor.sequence >= until {
            return;
        }
        let FeedKey { interest, envelope, coding } = &self.key;
        let missing = window.after(cursor.sequence).rev();
        for entry in missing.skip_while(|entry| entry.cursor().sequence > until) {
            if interest.wants(entry.topic()) {
                log.frames.push_front(entry.frame(*envelope, *coding));
            }
        }
        log.start = cursor.sequence;
    }

    /// Takes the next frame. Subscribers see it after [`Feed::announce`].
    pub(crate) fn push(&self, frame: Frame) {
        let mut log = self.log.lock();
        log.frames.push_back(frame);
        if log.frames.len() > FEED_FRAMES_MAX
            && let Some(oldest) = log.frames.pop_front()
        {
            log.start = oldest.sequence;
        }
    }

    /// Wakes the subscribers that wait, and rings for the others.
    pub(crate) fn announce(&self) {
        self.moved.notify_waiters();
        for bell in self.bells.lock().iter_mut().filter(|bell| !bell.is_rung) {
            bell.is_rung = true;
            bell.listener.ring(bell.key);
        }
    }

    /// Rings for a listener from now on, by the key that it knows this feed by. Says by which, where it
    /// listens already.
    pub(crate) fn listen(&self, listener: &Arc<dyn Listener>, key: usize) -> Option<usize> {
        let mut bells = self.bells.lock();
        let bell = bells.iter().find(|bell| Arc::ptr_eq(&bell.listener, listener));
        let known = bell.map(|bell| bell.key);
        if known.is_none() {
            bells.push(Bell { listener: Arc::clone(listener), key, is_rung: false });
        }
        known
    }

    /// Rings again for a listener when the feed moves next: call it before looking.
    pub(crate) fn heard(&self, listener: &Arc<dyn Listener>) {
        let mut bells = self.bells.lock();
        if let Some(bell) = bells.iter_mut().find(|bell| Arc::ptr_eq(&bell.listener, listener)) {
            bell.is_rung = false;
        }
    }

    /// Rings no more for a listener.
    pub(crate) fn leave(&self, listener: &Arc<dyn Listener>) {
        self.bells.lock().retain(|bell| !Arc::ptr_eq(&bell.listener, listener));
    }

    /// Lets go of what the window has let go of.
    pub(crate) fn forget(&self, until: Sequence) {
        let mut log = self.log.lock();
        let gone = log.frames.partition_point(|frame| frame.sequence <= until);
        let last_gone = log.frames.drain(..gone).next_back();
        if let Some(frame) = last_gone {
            log.start = frame.sequence;
        }
    }

    /// Begins again, empty, at another place of the log or of another epoch.
    pub(crate) fn reset(&self, at: Cursor) {
        *self.log.lock() = FeedLog { epoch: at.epoch, start: at.sequence, frames: VecDeque::new() };
        self.announce();
    }

    /// How many frames wait for a subscriber that has seen everything up to `position`, and which is
    /// the first; `None` where this feed does not reach back to it.
    pub(crate) fn waiting(&self, position: Cursor) -> Option<(u64, Option<Sequence>)> {
        let log = self.log.lock();
        if position.epoch != log.epoch || position.sequence < log.start {
            return None;
        }
        let seen = log.frames.partition_point(|frame| frame.sequence <= position.sequence);
        let first = log.frames.get(seen).map(|frame| frame.sequence);
        Some(((log.frames.len() - seen) as u64, first))
    }

    /// What waits for a subscriber that has seen everything up to `position`; an error where this
    /// feed does not reach back to it.
    pub(crate) fn pending(&self, position: Cursor) -> Result<Option<Batch>, Behind> {
        let log = self.log.lock();
        if position.epoch != log.epoch || position.sequence < log.start {
            return Err(Behind);
        }
        // Only what comes after the position: a subscriber may have read ahead of this edge's tail.
        let seen = log.frames.partition_point(|frame| frame.sequence <= position.sequence);
        let now = UnixMillis::now();
        let waiting = log.frames.range(seen..).filter(|frame| frame.expires > now);
        Ok(coalesce(waiting, position.epoch))
    }
}

/// The subscriber's position is older than what is held in memory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Behind;

fn coalesce<'f>(frames: impl Iterator<Item = &'f Frame> + Clone, epoch: Epoch) -> Option<Batch> {
    let mut bytes_total = 0;
    let taken = frames.clone().take_while(|frame| {
        let first = bytes_total == 0;
        bytes_total += frame.coded.bytes.len();
        first || bytes_total <= COALESCED_BYTES_MAX
    });
    let events = taken.count();
    let last = frames.clone().nth(events.checked_sub(1)?)?;
    let cursor = Cursor::new(epoch, last.sequence);
    let is_all = frames.clone().nth(events).is_none();
    let taken = frames.take(events);
    let coded = Coded::concat(taken.clone().map(|frame| &frame.coded));
    let mut stamps = Stamps::default();
    taken.for_each(|frame| stamps.add(frame.stored, 1));
    Some(Batch { coded, events, stamps, cursor, is_all })
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

    pub(crate) fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    pub(crate) fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Moves to where a batch of the feed's has ended.
    pub(crate) fn set(&mut self, cursor: Cursor) {
        self.cursor = cursor;
    }

    /// Waits for what comes next. `Err` where this reader has fallen too far behind. Dropping the
    /// future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Batch, Behind> {
        loop {
            // Made before looking: it hears what is announced between the look and the wait.
            let moved = self.feed.moved.notified();
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
