//! The subscription loop under random schedules: publishing, a tail that lags and breaks, small
//! windows, slow readers, disconnects, expiry, other epochs; in simulated time, by seed.
//!
//! A checker that knows the whole log follows every subscriber: each frame must be the next wanted
//! event after what it has seen, or a gap that is true.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failed expectation is a result")]

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::stream;
use parking_lot::Mutex;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tidewire_core::{
    Backbone, Bounds, Cursor, Epoch, Event, EventData, EventStream, Interest, NewEvent, Page,
    PageLimit, PublishError, ReadError, Receipt, Sequence, Topic, TopicFilter, UnixMillis,
};
use tidewire_edge::{Config, Edge, From, OnGap, SubscribeRequest, Subscription};
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;

const SEEDS: u64 = 10_000;
const STEPS: usize = 120;
const TOPICS: [&str; 5] = ["a", "b", "c.x", "c.y", "d"];
const FILTERS: [&[&str]; 6] = [&["a"], &["b", "c.*"], &[">"], &["c.>"], &["d", "a"], &["quiet"]];

#[test]
fn every_schedule_delivers_each_wanted_event_once_in_order_or_a_true_gap() {
    let mut delivered = 0;
    let mut gaps = 0;
    for seed in 0..SEEDS {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        let outcome =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(run(seed))));
        let tally = outcome.unwrap_or_else(|_| panic!("seed {seed} fails"));
        delivered += tally.delivered;
        gaps += tally.gaps;
    }
    println!("{SEEDS} schedules, {delivered} deliveries, {gaps} gaps");
    assert!(delivered > SEEDS * 50 && gaps > SEEDS / 10, "the schedules do what they are for");
}

#[derive(Default)]
struct Tally {
    delivered: u64,
    gaps: u64,
}

/// One schedule.
async fn run(seed: u64) -> Tally {
    let mut random = StdRng::seed_from_u64(seed);
    let log = Arc::new(ModelLog::new(random.random()));
    let config = Config {
        window_events_max: random.random_range(1..20),
        window_bytes_max: random.random_range(500..40_000),
        replays_max: random.random_range(1..3),
        ..Config::default()
    };
    let ending = CancellationToken::new();
    let edge = Edge::start(config, Arc::clone(&log) as Arc<dyn Backbone>, ending.clone());
    let mut readers: Vec<_> =
        (0..random.random_range(1..6)).map(|_| Reader::new(&mut random)).collect();

    for _ in 0..STEPS {
        match random.random_range(0..100) {
            0..30 => log.publish_some(&mut random),
            30..50 => log.release(&mut random),
            50..52 => log.expire(&mut random),
            52..53 => log.make_anew(&mut random),
            53..55 => log.break_tail(),
            55..58 => tokio::time::sleep(Duration::from_secs(random.random_range(1..20))).await,
            58..62 => tokio::task::yield_now().await,
            _ => {
                let reader = random.random_range(0..readers.len());
                readers[reader].step(&edge, &log, &mut random).await;
            }
        }
    }
    log.settle();
    let mut tally = Tally::default();
    for reader in &mut readers {
        reader.drain(&edge, &log).await;
        tally.delivered += reader.delivered;
        tally.gaps += reader.gaps;
    }
    ending.cancel();
    edge.stopped().await;
    tally
}

/// A subscriber, and the checker that follows it.
struct Reader {
    request: SubscribeRequest,
    subscription: Option<Subscription>,
    /// Everything wanted up to here has been seen, or announced as lost.
    position: Option<Cursor>,
    delivered: u64,
    gaps: u64,
}

impl Reader {
    fn new(random: &mut StdRng) -> Self {
        let filters = FILTERS[random.random_range(0..FILTERS.len())];
        let filters = filters.iter().map(|filter| TopicFilter::parse(filter).unwrap());
        let mut request = SubscribeRequest::new(Interest::new(filters).unwrap());
        request.from = if random.random() { From::Now } else { From::Earliest };
        request.on_gap = if random.random() { OnGap::Now } else { OnGap::Earliest };
        Self { request, subscription: None, position: None, delivered: 0, gaps: 0 }
    }

    async fn step(&mut self, edge: &Edge, log: &ModelLog, random: &mut StdRng) {
        if self.subscription.is_none() {
            return self.connect(edge).await;
        }
        match random.random_range(0..10) {
            0 => self.subscription = None,
            // What was handed out may die on its way, behind any frame: the client comes back with
            // what it has.
            1 => {
                self.read_one(log, random.random_range(0..4)).await;
                self.subscription = None;
            }
            _ => {
                self.read_one(log, usize::MAX).await;
            }
        }
    }

    async fn connect(&mut self, edge: &Edge) {
        self.request.last_event_id = self.position.map(|cursor| cursor.to_string());
        self.subscription = edge.subscribe(self.request.clone()).await.ok();
    }

    /// Reads what is there, of which so many frames arrive; says whether anything was.
    async fn read_one(&mut self, log: &ModelLog, arriving: usize) -> bool {
        let Some(subscription) = &mut self.subscription else { return false };
        let Ok(Some(bytes)) = timeout(Duration::from_millis(20), subscription.next()).await else {
            return false;
        };
        let frames = std::str::from_utf8(&bytes).unwrap().split_inclusive("\n\n");
        for frame in frames.take(arriving) {
            self.check(frame, log);
        }
        true
    }

    async fn drain(&mut self, edge: &Edge, log: &ModelLog) {
        let head = log.lock().head();
        for _ in 0..10_000 {
            if self.subscription.is_none() {
                self.connect(edge).await;
            }
            if !self.read_one(log, usize::MAX).await {
                // A long silence: what is wanted has come, and the cursor frame catches up.
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
            if self.position.is_some_and(|position| position == head) {
                return;
            }
        }
        panic!("a subscriber of {:?} stays at {:?}, not {head}", self.request, self.position);
    }

    fn check(&mut self, frame: &str, log: &ModelLog) {
        if frame.starts_with(':') {
            return;
        }
        let field =
            |name: &str| frame.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let id: Cursor = field("id").expect("every frame has an id").parse().unwrap();
        let log = log.lock();
        match field("event") {
            Some("tidewire.hello") => {
                let position = *self.position.get_or_insert(id);
                assert_eq!(id, position, "the hello resumes where the client is");
            }
            Some("tidewire.gap") => self.check_gap(frame, id, &log),
            Some("tidewire.cursor") => self.check_step(id, &log, None),
            None => {
                let said = field("data").unwrap();
                self.check_step(id, &log, Some(said));
                self.delivered += 1;
            }
            Some(other) => panic!("an event of type {other}"),
        }
    }

    /// From the position to `id` lies no wanted event but, where one came, that one.
    fn check_step(&mut self, id: Cursor, log: &State, said: Option<&str>) {
        let position = self.position.expect("the hello comes first");
        assert!(id > position, "{id} comes after {position}");
        let interest = &self.request.interest;
        let truth = &log.truth[&id.epoch];
        let mut wanted = truth.iter().filter(|event| {
            event.cursor > position && event.cursor <= id && interest.wants(&event.event.topic)
        });
        if let Some(said) = said {
            let first = wanted.next().expect("what comes is wanted");
            assert_eq!(first.cursor, id, "nothing wanted is left out before {id}");
            assert_eq!(first.event.data.as_bytes(), said.as_bytes());
        }
        assert_eq!(wanted.next(), None, "nothing wanted is passed over on the way to {id}");
        self.position = Some(id);
    }

    fn check_gap(&mut self, frame: &str, id: Cursor, log: &State) {
        let position = self.position.expect("a gap is told to who has a position");
        assert!(frame.contains(&format!("\"requested\":\"{position}\"")), "{frame} {position}");
        if position.epoch == id.epoch {
            assert!(frame.contains("\"expired\""), "{frame}");
            // The epoch may have ended since: what it had lost by then counts.
            let oldest = log.lost.get(&id.epoch).copied().unwrap_or(log.oldest);
            assert!(position.sequence.next() < oldest, "a gap only where something is gone");
            assert!(id > position);
        } else {
            assert!(frame.contains("\"epoch\""), "{frame}");
            assert!(log.truth.contains_key(&id.epoch));
        }
        self.position = Some(id);
        self.gaps += 1;
    }
}

/// A log in memory whose tail goes only as far as it is let, and whose reads fail now and then.
struct ModelLog {
    state: Arc<Mutex<State>>,
    /// Moved whenever tails should look again.
    changed: watch::Sender<u64>,
}

struct State {
    random: StdRng,
    epoch: Epoch,
    events: Vec<Event>,
    oldest: Sequence,
    released: Sequence,
    breaks: u64,
    settled: bool,
    /// Every event of every epoch.
    truth: HashMap<Epoch, Vec<Event>>,
    /// The oldest event that was retained when an epoch ended.
    lost: HashMap<Epoch, Sequence>,
}

impl State {
    fn head(&self) -> Cursor {
        Cursor::new(self.epoch, Sequence(self.events.len() as u64))
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
    fn new(seed: u64) -> Self {
        let epoch = Epoch(1);
        let state = State {
            random: StdRng::seed_from_u64(seed),
            epoch,
            events: Vec::new(),
            oldest: Sequence(1),
            released: Sequence::ZERO,
            breaks: 0,
            settled: false,
            truth: HashMap::from([(epoch, Vec::new())]),
            lost: HashMap::new(),
        };
        Self { state: Arc::new(Mutex::new(state)), changed: watch::Sender::new(0) }
    }

    fn lock(&self) -> parking_lot::MutexGuard<'_, State> {
        self.state.lock()
    }

    fn publish_some(&self, random: &mut StdRng) {
        let mut state = self.lock();
        for _ in 0..random.random_range(1..8) {
            let cursor = Cursor::new(state.epoch, state.head().sequence.next());
            let topic = Topic::parse(TOPICS[random.random_range(0..TOPICS.len())]).unwrap();
            let data = EventData::parse(format!("{cursor} {topic}"), 100).unwrap();
            let event = NewEvent::new(topic, data).stored(cursor, UnixMillis(0));
            state.events.push(event.clone());
            state.truth.get_mut(&cursor.epoch).unwrap().push(event);
        }
    }

    /// Lets tails see some more.
    fn release(&self, random: &mut StdRng) {
        let mut state = self.lock();
        let head = state.head().sequence;
        let some = Sequence(random.random_range(state.released.0..=head.0));
        state.released = if random.random() { head } else { some };
        self.changed.send_modify(|n| *n += 1);
    }

    fn expire(&self, random: &mut StdRng) {
        let mut state = self.lock();
        let newest = state.head().sequence.next().0;
        state.oldest = Sequence(random.random_range(state.oldest.0..=newest));
    }

    fn make_anew(&self, random: &mut StdRng) {
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

    fn break_tail(&self) {
        self.lock().breaks += 1;
        self.changed.send_modify(|n| *n += 1);
    }

    /// No more faults, and everything is there for everyone.
    fn settle(&self) {
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
        let mut state = self.lock();
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

    async fn latest(&self, _: &Interest, _: Cursor, _: PageLimit) -> Result<Page, ReadError> {
        unreachable!("not asked for by these schedules")
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

    async fn cursor_at(&self, _: UnixMillis) -> Result<Cursor, ReadError> {
        unreachable!("not asked for by these schedules")
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
