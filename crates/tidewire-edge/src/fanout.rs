//! One event to many subscriptions: the window, the feeds, and which feed wants what.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
    time::Duration,
};

use hashbrown::HashTable;
use parking_lot::Mutex;
use slab::Slab;
use tidewire_core::{Cursor, Event, InterestIndex, Sequence, UnixMillis};
use tokio::time::Instant;

use crate::{
    Config,
    feed::{Batch, Behind, Feed, FeedKey, Position},
    metrics::{self, Dispatched},
    traces::{Processing, Traces},
    window::{Entry, RECENT_MAX, Recent, Window},
};

/// The feeds are told what the window has let go of each time that is this share of the window:
/// what they hold beyond it stays below this share too.
const SWEEPS_PER_WINDOW: usize = 16;

/// Events of the window that one call matches while everybody else waits.
const REACHED_BACK_MAX: usize = 256;
/// Events that are dispatched while everybody else waits.
const DISPATCHED_AT_ONCE_MAX: usize = 32;
/// The same of their bytes, but for the last one: compressing this much takes about a millisecond.
const DISPATCHED_BYTES_AT_ONCE_MAX: usize = 64 * 1024;

/// Where the dispatcher's events meet the subscribers' interests.
#[derive(Debug)]
pub(crate) struct Fanout {
    state: Mutex<State>,
    dispatched: Dispatched,
    window_events_max: usize,
    window_bytes_max: usize,
}

#[derive(Debug, Default)]
struct State {
    /// `None` until the tail has found its place.
    window: Option<Window>,
    feeds: Slab<Subscribed>,
    /// Where among them a key's is. The keys themselves are with the feeds.
    by_key: HashTable<usize>,
    hasher: RandomState,
    index: InterestIndex<usize>,
    evicted_since_sweep: usize,
}

#[derive(Debug)]
struct Subscribed {
    feed: Arc<Feed>,
    subscribers: usize,
    /// Whether it has got something that is not announced yet.
    is_touched: bool,
}

/// The answer to a subscriber that wants to go on from a cursor.
#[derive(Debug)]
pub(crate) enum Attached {
    /// Everything after the cursor comes from here.
    Joined(Live),
    /// The next events of the log from memory; there are more.
    Recent(Recent),
    /// The cursor is older than what is in memory, or of another epoch: read a page from the log.
    Behind,
}

/// How far a subscriber is behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Lag {
    pub(crate) events: u64,
    /// Whether those are all events, wanted or not.
    pub(crate) events_at_most: bool,
    /// When the first of them came, of those that are still in memory.
    pub(crate) oldest_missed: Option<UnixMillis>,
    /// Whether there are older ones.
    pub(crate) is_beyond_window: bool,
}

impl Fanout {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            state: Mutex::default(),
            dispatched: Dispatched::new(),
            window_events_max: config.window_events_max,
            window_bytes_max: config.window_bytes_max,
        }
    }

    /// Joins the live events after `cursor`, which may be ahead of what has been dispatched.
    pub(crate) fn attach(self: &Arc<Self>, key: &FeedKey, cursor: Cursor) -> Attached {
        let mut state = self.state.lock();
        let slot = match state.slot(key, cursor) {
            Ok(slot) => slot,
            Err(attached) => return attached,
        };
        let subscribed = &mut state.feeds[slot];
        subscribed.subscribers += 1;
        let position = Position::new(Arc::clone(&subscribed.feed), cursor);
        Attached::Joined(Live { fanout: Arc::clone(self), slot, position })
    }

    /// Hands the next events of the log to whoever wants them.
    pub(crate) fn dispatch(&self, events: Vec<Event>, traces: &Traces) {
        let began = Instant::now();
        let mut events = events.into_iter().peekable();
        let mut found = Vec::new();
        let mut processing = traces.processing();
        while events.peek().is_some() {
            let mut touched = Vec::new();
            let feeds: Vec<_> = {
                let mut state = self.state.lock();
                let mut bytes = 0;
                for event in events.by_ref().take(DISPATCHED_AT_ONCE_MAX) {
                    bytes += event.event.data.as_bytes().len();
                    let recipients = state.take(event, &mut found, &mut touched, &mut processing);
                    self.dispatched.observe_recipients(recipients);
                    if bytes >= DISPATCHED_BYTES_AT_ONCE_MAX {
                        break;
                    }
                }
                if let Some(window) = &state.window {
                    self.dispatched.set_window(window.events(), window.bytes());
                }
                state.sweep(self.window_events_max);
                touched.into_iter().map(|slot| state.untouch(slot)).collect()
            };
            for feed in feeds {
                feed.announce();
            }
            processing.end();
        }
        self.dispatched.observe_seconds(began.elapsed());
    }

    /// Begins at a place in the log, for the first time or because the old place is no more.
    /// Subscribers go on by reading the log, which tells them what they have missed.
    pub(crate) fn place(&self, at: Cursor) {
        let mut state = self.state.lock();
        state.window = Some(Window::new(at, self.window_events_max, self.window_bytes_max));
        for (_, subscribed) in &state.feeds {
            subscribed.feed.reset(at);
        }
    }

    /// The newest event dispatched; `None` before the tail has found its place.
    pub(crate) fn head(&self) -> Option<Cursor> {
        self.state.lock().window.as_ref().map(Window::head)
    }

    /// How long ago the log took the oldest event in memory; nothing where there is none.
    pub(crate) fn window_reach(&self) -> Duration {
        let state = self.state.lock();
        let oldest = state.window.as_ref().and_then(Window::oldest);
        let reach = oldest.map_or(0, |oldest| UnixMillis::now().0.saturating_sub(oldest.0));
        Duration::from_millis(reach)
    }

    /// Whether a cursor lies between the window's two ends.
    pub(crate) fn covers(&self, cursor: Cursor) -> bool {
        let state = self.state.lock();
        state.window.as_ref().is_some_and(|w| w.reaches(cursor) && cursor <= w.head())
    }

    /// Whether every event after a cursor is in memory, or still to come.
    pub(crate) fn reaches(&self, cursor: Cursor) -> bool {
        self.state.lock().window.as_ref().is_some_and(|window| window.reaches(cursor))
    }

    /// The last events up to a cursor that is not beyond this tail, newest first: what of them is
    /// still in memory, and not too many at once.
    pub(crate) fn before(&self, cursor: Cursor) -> Vec<Arc<Entry>> {
        let state = self.state.lock();
        let window = state.window.as_ref().filter(|window| cursor <= window.head());
        window.map_or_else(Vec::new, |window| {
            window.until(cursor.sequence).rev().take(RECENT_MAX).cloned().collect()
        })
    }

    /// How far a place is behind the newest event. Where the feed that goes on from there is known,
    /// and reaches back to it, only what it wants is counted.
    pub(crate) fn lag(&self, place: Cursor, feed: Option<&Arc<Feed>>) -> Lag {
        let state = self.state.lock();
        let Some(window) = &state.window else { return Lag::default() };
        // A place of another epoch is behind all of this one.
        let same = place.epoch == window.head().epoch;
        let from = if same { place.sequence } else { Sequence::ZERO };
        let time = |after| window.after(after).next().map(|entry| entry.event().time);
        if let Some((events, first)) = feed.and_then(|feed| feed.waiting(place)) {
            let oldest_missed = first.and_then(|first| time(first.previous()));
            return Lag { events, oldest_missed, ..Lag::default() };
        }
        Lag {
            events: window.head().sequence.0.saturating_sub(from.0),
            events_at_most: true,
            oldest_missed: time(from),
            is_beyond_window: from < window.start().sequence,
        }
    }

    fn detach(&self, slot: usize) {
        let mut state = self.state.lock();
        let subscribed = &mut state.feeds[slot];
        subscribed.subscribers -= 1;
        if subscribed.subscribers == 0 {
            state.forget(slot);
        }
    }
}

impl State {
    /// The slot of a feed that reaches back to the cursor, made if there is none for the key; or
    /// what the subscriber gets instead.
    fn slot(&mut self, key: &FeedKey, cursor: Cursor) -> Result<usize, Attached> {
        let window = self.window.as_ref().ok_or(Attached::Behind)?;
        let hash = self.hasher.hash_one(key);
        let slot = self.by_key.find(hash, |slot| self.feeds[*slot].feed.key == *key).copied();
        if let Some(slot) = slot.filter(|slot| self.feeds[*slot].feed.reaches(cursor)) {
            return Ok(slot);
        }
        if !window.reaches(cursor) {
            return Err(Attached::Behind);
        }
        if window.after(cursor.sequence).len() > REACHED_BACK_MAX {
            return Err(Attached::Recent(window.recent(&key.interest, cursor.sequence)));
        }
        if let Some(slot) = slot {
            self.feeds[slot].feed.reach_back(cursor, window);
            return Ok(slot);
        }
        let feed = Arc::new(Feed::new(key.clone(), cursor, window));
        let subscribed = Subscribed { feed, subscribers: 0, is_touched: false };
        let slot = self.feeds.insert(subscribed);
        let hash_of = |slot: &usize| self.hasher.hash_one(&self.feeds[*slot].feed.key);
        self.by_key.insert_unique(hash, slot, hash_of);
        self.index.insert(&key.interest, slot);
        metrics::set_feeds(self.feeds.len());
        Ok(slot)
    }

    /// Lets go of a feed that nobody wants any more.
    fn forget(&mut self, slot: usize) {
        let feed = self.feeds.remove(slot).feed;
        let hash = self.hasher.hash_one(&feed.key);
        if let Ok(found) = self.by_key.find_entry(hash, |held| *held == slot) {
            found.remove();
        }
        self.index.remove(&feed.key.interest, slot);
        metrics::set_feeds(self.feeds.len());
    }

    /// Hands an event to the feeds that want it. Says how many subscribers that are.
    fn take(
        &mut self,
        event: Event,
        found: &mut Vec<usize>,
        touched: &mut Vec<usize>,
        processing: &mut Processing<'_>,
    ) -> usize {
        let Some(window) = &mut self.window else { return 0 };
        let traced = processing.begin(&event);
        let mut recipients = 0;
        let entry = Arc::new(Entry::new(event));
        self.index.find(entry.topic(), found);
        for slot in &*found {
            let subscribed = &mut self.feeds[*slot];
            recipients += subscribed.subscribers;
            let FeedKey { envelope, coding, .. } = subscribed.feed.key;
            subscribed.feed.push(entry.frame(envelope, coding));
            if !subscribed.is_touched {
                subscribed.is_touched = true;
                touched.push(*slot);
            }
        }
        if let Some(traced) = traced {
            processing.handed(traced, found.len(), recipients);
        }
        self.evicted_since_sweep += window.push(entry);
        recipients
    }

    fn untouch(&mut self, slot: usize) -> Arc<Feed> {
        let subscribed = &mut self.feeds[slot];
        subscribed.is_touched = false;
        Arc::clone(&subscribed.feed)
    }

    fn sweep(&mut self, window_events_max: usize) {
        let Some(window) = &self.window else { return };
        let share = window.events().max(window_events_max.min(SWEEPS_PER_WINDOW));
        if self.evicted_since_sweep * SWEEPS_PER_WINDOW < share {
            return;
        }
        self.evicted_since_sweep = 0;
        for (_, subscribed) in &self.feeds {
            subscribed.feed.forget(window.start().sequence);
        }
    }
}

/// One subscriber's place among the live events. Dropping it leaves.
#[derive(Debug)]
pub(crate) struct Live {
    fanout: Arc<Fanout>,
    slot: usize,
    position: Position,
}

impl Live {
    /// Waits for what comes next; see [`Position::next`].
    pub(crate) async fn next(&mut self) -> Result<Batch, Behind> {
        self.position.next().await
    }

    pub(crate) fn feed(&self) -> &Arc<Feed> {
        self.position.feed()
    }

    /// Up to where everything has been taken.
    pub(crate) fn position(&self) -> Cursor {
        self.position.cursor()
    }

    /// Notes that everything up to a cursor has been taken, by whoever looked into the feed.
    pub(crate) fn move_to(&mut self, cursor: Cursor) {
        self.position.set(cursor);
    }

    /// Where the log has got to, if that is further than this subscriber and nothing it wants
    /// stands between.
    pub(crate) fn catch_up(&mut self) -> Option<Cursor> {
        let head = self.fanout.head()?;
        self.position.move_to(head).then_some(head)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.fanout.detach(self.slot);
    }
}
