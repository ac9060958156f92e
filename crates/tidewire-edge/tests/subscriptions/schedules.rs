//! The subscription loop under random schedules: publishing, a tail that lags and breaks, small
//! windows, slow readers, disconnects, expiry, other epochs; in simulated time, by seed.
//!
//! A checker that knows the whole log follows every subscriber: each frame must be the next wanted
//! event after what it has seen, or a gap that is true.

use std::{sync::Arc, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tidewire_core::{Backbone, Cursor, Interest, TopicFilter};
use tidewire_edge::{Config, Edge, From, OnGap, SubscribeRequest, Subscription};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::model::{ModelLog, State};

const SEEDS: u64 = 10_000;
const STEPS: usize = 120;
/// Simulated time that one schedule takes at the very most.
const STORY_MAX: Duration = Duration::from_secs(1_000_000);
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
        let story =
            async { timeout(STORY_MAX, run(seed)).await.expect("it ends in simulated time") };
        let story = std::panic::AssertUnwindSafe(|| runtime.block_on(story));
        let outcome = std::panic::catch_unwind(story);
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
    // Most windows are tiny. Some are larger than what a subscriber may reach back at once, and
    // then events come in bursts, too.
    let bursts = seed.is_multiple_of(8);
    let config = Config {
        window_events_max: random.random_range(if bursts { 300..2_000 } else { 1..20 }),
        window_bytes_max: if bursts { 1 << 30 } else { random.random_range(500..40_000) },
        replays_max: random.random_range(1..3),
        ..Config::default()
    };
    let ending = CancellationToken::new();
    let edge = Edge::start(config, Arc::clone(&log) as Arc<dyn Backbone>, ending.clone());
    let mut readers: Vec<_> =
        (0..random.random_range(1..6)).map(|_| Reader::new(&mut random)).collect();

    for _ in 0..STEPS {
        match random.random_range(0..100) {
            0..3 if bursts => log.publish(300, 400, &mut random),
            0..30 => log.publish(random.random_range(1..8), 0, &mut random),
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
        assert_eq!(id.epoch, position.epoch, "only a gap leads to another epoch");
        let place = |cursor: Cursor| usize::try_from(cursor.sequence.0).unwrap();
        let between = &log.truth[&id.epoch][place(position)..place(id)];
        let mut wanted = between.iter().filter(|event| interest.wants(&event.event.topic));
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
