//! A model of the log: in memory, with faults and delays that a test chooses.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use futures_util::stream;
use parking_lot::Mutex;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tidewire_core::{
    Backbone, Bounds, Cursor, Epoch, Event, EventData, EventStream, Interest, NewEvent, Page,
    PageLimit, PublishError, ReadError, Receipt, Sequence, Topic, Ttl, UnixMillis,
    limits::EVENT_BYTES_MAX,
};
use tokio::sync::watch;

/// What events are about.
pub(crate) const TOPICS: [&str; 5] = ["a", "b", "c.x", "c.y", "d"];

/// A log in memory whose tail goes only as far as it is let, and whose reads fail now and then.
pub(crate) struct ModelLog {
    state: Arc<Mutex<State>>,
    /// Moved whenever tails should look again.
    changed: watch::Sender<u64>,
}

pub(crate) struct State {
    random: StdRng,
    epoch: Epoch,
    events: Vec<Event>,
    pub(crate) oldest: Sequence,
    released: Sequence,
    breaks: u64,
    settled: bool,
    /// How many pages of events were asked for.
    pub(crate) reads: usize,
    /// How long reading a page of events takes.
    pub(crate) read_takes: Duration,
    /// The time of the newest event of any epoch.
    pub(crate) time: UnixMillis,
    /// Every event of every epoch.
    pub(crate) truth: HashMap<Epoch, Vec<Event>>,
    /// The oldest event that was retained when an epoch ended.
    pub(crate) lost: HashMap<Epoch, Sequence>,
}

impl State {
    pub(crate) fn head(&self) -> Cursor {
        Cursor::new(self.epoch, Sequence(self.events.len() as u64))
    }

    /// The last cursor of an epoch.
    pub(crate) fn end_of(&self, epoch: Epoch) -> Cursor {
        Cursor::new(epoch, Sequence(self.truth[&epoch].len() as u64))
    }

    fn bounds(&self) -> Bounds {
        Bounds { epoch: self.epoch, oldest: self.oldest, head: self.head().sequence }
    }

    fn failing(&mut self) -> Result<(), ReadError> {
        let fails = !self.settled && self.random.random_range(0..12) == 0;
        if fails { Err(ReadError::Unavailable("out of luck".into())) } else { Ok(()) }
    }

    fn after(&self, cursor: Cursor) -> Result<&[Event], ReadError> {
        self.bounds().check(cursor)?;
        Ok(&self.events[usize::try_from(cursor.sequence.0).unwrap()..])
    }
}

impl ModelLog {
    pub(crate) fn new(seed: u64) -> Self {
        let epoch = Epoch(1);
        let state = State {
            random: StdRng::seed_from_u64(seed),
            epoch,
            events: Vec::new(),
            oldest: Sequence(1),
            released: Sequence::ZERO,
            breaks: 0,
            settled: false,
            reads: 0,
            read_takes: Duration::ZERO,
            time: UnixMillis(0),
            truth: HashMap::from([(epoch, Vec::new())]),
            lost: HashMap::new(),
        };
        Self { state: Arc::new(Mutex::new(state)), changed: watch::Sender::new(0) }
    }

    pub(crate) fn lock(&self) -> parking_lot::MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Publishes so many events of random topics, their data so much longer than it need be.
    pub(crate) fn publish(&self, events: usize, padding: usize, random: &mut StdRng) {
        let mut state = self.lock();
        for _ in 0..events {
            let cursor = Cursor::new(state.epoch, state.head().sequence.next());
            let topic = Topic::parse(TOPICS[random.random_range(0..TOPICS.len())]).unwrap();
            let data = format!("{cursor} {topic}{}", ".".repeat(padding));
            let data = EventData::parse(data, EVENT_BYTES_MAX).unwrap();
            // Some come in the same moment.
            state.time.0 += random.random_range(0..3);
            let event = NewEvent::new(topic, data).stored(cursor, state.time);
            state.events.push(event.clone());
            state.truth.get_mut(&cursor.epoch).unwrap().push(event);
        }
    }

    /// Publishes an event that says this.
    pub(crate) fn publish_data(&self, data: &str) {
        let mut state = self.lock();
        let cursor = Cursor::new(state.epoch, state.head().sequence.next());
        let data = EventData::parse(data.to_owned(), EVENT_BYTES_MAX).unwrap();
        let event = NewEvent::new(Topic::parse("a").unwrap(), data);
        state.events.push(event.stored(cursor, UnixMillis(0)));
    }

    /// Publishes an event whose ttl has passed long ago.
    pub(crate) fn publish_expired(&self, topic: &str) {
        let mut state = self.lock();
        let cursor = Cursor::new(state.epoch, state.head().sequence.next());
        let data = EventData::parse("stale", 100).unwrap();
        let event = NewEvent {
            ttl: Some(Ttl::from_seconds(1).unwrap()),
            ..NewEvent::new(Topic::parse(topic).unwrap(), data)
        };
        state.events.push(event.stored(cursor, UnixMillis(0)));
    }

    /// Lets tails see some more.
    pub(crate) fn release(&self, random: &mut StdRng) {
        let mut state = self.lock();
        let head = state.head().sequence;
        let some = Sequence(random.random_range(state.released.0..=head.0));
        state.released = if random.random() { head } else { some };
        self.changed.send_modify(|n| *n += 1);
    }

    /// Lets tails see so many.
    pub(crate) fn release_to(&self, events: u64) {
        self.lock().released = Sequence(events);
        self.changed.send_modify(|n| *n += 1);
    }

    pub(crate) fn expire(&self, random: &mut StdRng) {
        let mut state = self.lock();
        let newest = state.head().sequence.next().0;
        state.oldest = Sequence(random.random_range(state.oldest.0..=newest));
    }

    pub(crate) fn make_anew(&self, random: &mut StdRng) {
        let mut state = self.lock();
        let (ended, oldest) = (state.epoch, state.oldest);
        state.lost.insert(ended, oldest);
        state.epoch = Epoch(random.random());
        state.events.clear();
        state.oldest = Sequence(1);
        state.released = Sequence::ZERO;
        let epoch = state.epoch;
        state.truth.insert(epoch, Vec::new());
        self.changed.send_modify(|n| *n += 1);
    }

    pub(crate) fn break_tail(&self) {
        self.lock().breaks += 1;
        self.changed.send_modify(|n| *n += 1);
    }

    /// No more faults, and everything is there for everyone.
    pub(crate) fn settle(&self) {
        let mut state = self.lock();
        state.settled = true;
        state.released = state.head().sequence;
        self.changed.send_modify(|n| *n += 1);
    }
}

#[async_trait]
impl Backbone for ModelLog {
    async fn publish(&self, _: NewEvent) -> Result<Receipt, PublishError> {
        unreachable!("an edge does not publish")
    }

    async fn read(
        &self,
        interest: &Interest,
        after: Cursor,
        limit: PageLimit,
    ) -> Result<Page, ReadError> {
        tokio::task::yield_now().await;
        let takes = self.lock().read_takes;
        if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
        let mut state = self.lock();
        state.reads += 1;
        state.failing()?;
        let scanned = state.random.random_range(1..12);
        let most = state.random.random_range(1..5).min(limit.events);
        let mut page = Page { events: Vec::new(), next: after };
        for event in state.after(after)?.iter().take(scanned) {
            if interest.wants(&event.event.topic) {
                if page.events.len() == most {
                    break;
                }
                page.events.push(event.clone());
            }
            page.next = event.cursor;
        }
        Ok(page)
    }

    async fn latest(
        &self,
        interest: &Interest,
        after: Cursor,
        limit: PageLimit,
    ) -> Result<Page, ReadError> {
        tokio::task::yield_now().await;
        let mut state = self.lock();
        state.failing()?;
        let bounds = state.bounds();
        match bounds.check(after) {
            Ok(()) | Err(ReadError::Expired { .. }) => {}
            Err(error) => return Err(error),
        }
        let most = state.random.random_range(1..5).min(limit.events);
        let oldest = bounds.oldest.max(after.sequence.next());
        let retained = &state.events[usize::try_from(oldest.0 - 1).unwrap()..];
        let mut topics = HashSet::new();
        let newest_first = retained.iter().rev();
        let mut last: Vec<_> = newest_first
            .filter(|event| {
                interest.wants(&event.event.topic) && topics.insert(event.event.topic.clone())
            })
            .cloned()
            .collect();
        last.reverse();
        let is_cut = last.len() > most;
        last.truncate(most);
        let next =
            last.last().filter(|_| is_cut).map_or_else(|| bounds.head(), |event| event.cursor);
        Ok(Page { events: last, next })
    }

    async fn tail(&self, after: Cursor) -> Result<EventStream, ReadError> {
        let breaks = {
            let mut state = self.lock();
            state.failing()?;
            state.after(after)?;
            state.breaks
        };
        let tail = ModelTail {
            state: Arc::clone(&self.state),
            changed: self.changed.subscribe(),
            after,
            breaks,
        };
        Ok(Box::pin(stream::unfold(Some(tail), async |tail| {
            let mut tail = tail?;
            let item = tail.next().await;
            let goes_on = item.is_ok();
            Some((item, goes_on.then_some(tail)))
        })))
    }

    async fn bounds(&self) -> Result<Bounds, ReadError> {
        let mut state = self.lock();
        state.failing()?;
        Ok(state.bounds())
    }

    async fn cursor_at(&self, time: UnixMillis) -> Result<Cursor, ReadError> {
        tokio::task::yield_now().await;
        let mut state = self.lock();
        state.failing()?;
        let bounds = state.bounds();
        let earlier = state.events.partition_point(|event| event.time < time) as u64;
        let sequence = Sequence(earlier).max(bounds.start().sequence);
        Ok(Cursor::new(bounds.epoch, sequence))
    }
}

struct ModelTail {
    state: Arc<Mutex<State>>,
    changed: watch::Receiver<u64>,
    after: Cursor,
    breaks: u64,
}

impl ModelTail {
    async fn next(&mut self) -> Result<Event, ReadError> {
        loop {
            self.changed.borrow_and_update();
            {
                let state = self.state.lock();
                if state.breaks != self.breaks {
                    return Err(ReadError::Unavailable("the tail broke".into()));
                }
                let released = state.released;
                let next = state.after(self.after)?.first();
                if let Some(event) = next.filter(|event| event.cursor.sequence <= released) {
                    self.after = event.cursor;
                    return Ok(event.clone());
                }
            }
            // The sender lives as long as the model, which outlives the edge.
            self.changed.changed().await.expect("the model is there");
        }
    }
}
