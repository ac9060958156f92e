//! The subscription loop under random schedules: publishing, a tail that lags and breaks, small
//! windows, slow readers, conflated or not, probes acknowledged or not, disconnects, expiry, other epochs,
//! every starting point, streams and polls in turn, ages, drains to a younger edge, half of the streams by
//! gzip; in simulated time, by seed.
//!
//! A checker that knows the whole log follows every subscriber: each frame must be the next wanted
//! event after what it has seen, or a gap that is true.

use std::{sync::Arc, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value;
use tidewire_core::{
    Backbone, Cursor, Epoch, Event, Interest, ResumePoint, Sequence, TopicFilter, UnixMillis,
};
use tidewire_edge::{
    Acknowledged, Coding, Config, Conflate, Edge, From, OnGap, PollAnswer, PollRequest,
    SubscribeRequest, Subscription,
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{
    decoder::Decoder,
    model::{ModelLog, State},
    starts,
};

const SEEDS: u64 = 10_000;
const STEPS: usize = 120;
/// Simulated time that one schedule takes at the very most.
const STORY_MAX: Duration = Duration::from_secs(1_000_000);
/// Rounds in which a client that was never told where it is hears nothing before it believes that
/// nothing is to come.
const SILENCES_MAX: usize = 20;
const FILTERS: [&[&str]; 6] = [&["a"], &["b", "c.*"], &[">"], &["c.>"], &["d", "a"], &["quiet"]];

#[test]
fn every_schedule_delivers_each_wanted_event_once_in_order_or_a_true_gap() {
    let mut total = Tally::default();
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
        total.add(&tally);
    }
    println!("{SEEDS} schedules: {total:?}");
    let Tally {
        delivered,
        gaps,
        passed_over,
        cut_snapshots,
        conflated,
        cut_conflations,
        polled,
        aged,
        drained,
        probed,
        acknowledged,
        held_back,
    } = total;
    let are_many = delivered > SEEDS * 50
        && [passed_over, aged, drained].iter().all(|count| *count > SEEDS)
        && polled > SEEDS * 10;
    let are_some = [gaps, cut_snapshots, conflated, cut_conflations, probed]
        .iter()
        .all(|count| *count > SEEDS / 10);
    // They take a silence, and then a wait.
    let are_a_few = [acknowledged, held_back].iter().all(|count| *count > SEEDS / 100);
    assert!(are_many && are_some && are_a_few, "the schedules do what they are for");
}

#[derive(Debug, Default)]
struct Tally {
    delivered: u64,
    gaps: u64,
    /// Wanted events that a snapshot left out, since later ones of their topics come.
    passed_over: u64,
    /// Times a client was cut off within a snapshot, and came back.
    cut_snapshots: u64,
    /// Times only each topic's newest event was announced.
    conflated: u64,
    /// Times a client was cut off behind such an announcement, and came back.
    cut_conflations: u64,
    /// Events that came in answer to polls.
    polled: u64,
    /// Streams that the edge ended, since they had reached their age.
    aged: u64,
    /// Streams that ended in a drain.
    drained: u64,
    /// Probes that came.
    probed: u64,
    /// Probes that were acknowledged where they were waited for.
    acknowledged: u64,
    /// Streams that ended since they were not.
    held_back: u64,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.delivered += other.delivered;
        self.gaps += other.gaps;
        self.passed_over += other.passed_over;
        self.cut_snapshots += other.cut_snapshots;
        self.conflated += other.conflated;
        self.cut_conflations += other.cut_conflations;
        self.polled += other.polled;
        self.aged += other.aged;
        self.drained += other.drained;
        self.probed += other.probed;
        self.acknowledged += other.acknowledged;
        self.held_back += other.held_back;
    }
}

/// The edges of a schedule: the youngest takes subscribers, the one before it is drained or ended.
struct Edges {
    config: Config,
    log: Arc<ModelLog>,
    all: Vec<(Edge, CancellationToken)>,
}

impl Edges {
    fn start(&mut self) {
        let ending = CancellationToken::new();
        let backbone = Arc::clone(&self.log) as Arc<dyn Backbone>;
        self.all.push((Edge::start(self.config.clone(), backbone, ending.clone()), ending));
    }

    fn youngest(&self) -> &Edge {
        let (edge, _) = self.all.last().expect("there is one");
        edge
    }

    /// Another takes this one's place, whose streams end one after the other; those of the one
    /// before end now.
    fn roll(&mut self) {
        self.all.iter().for_each(|(edge, ending)| {
            if edge.drain().streams == 0 {
                ending.cancel()
            }
        });
        if let [.., (_, ending), _] = &*self.all {
            ending.cancel();
        }
        self.start();
    }

    async fn end(self) {
        for (edge, ending) in self.all {
            ending.cancel();
            edge.stopped().await;
        }
    }
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
        connection_age_max: Duration::from_secs(random.random_range(0..40)),
        drain_window: Duration::from_secs(random.random_range(0..20)),
        ..Config::default()
    };
    let mut edges = Edges { config, log: Arc::clone(&log), all: Vec::new() };
    edges.start();
    let mut readers: Vec<_> =
        (0..random.random_range(1..6)).map(|_| Reader::new(&mut random)).collect();

    for _ in 0..STEPS {
        match random.random_range(0..100) {
            0..3 if bursts => log.publish(300, 400, &mut random),
            // Few of these are handed out together.
            3..4 => log.publish(random.random_range(1..8), 12_000, &mut random),
            0..30 => log.publish(random.random_range(1..8), 0, &mut random),
            30..50 => log.release(&mut random),
            50..52 => log.expire(&mut random),
            52..53 => log.make_anew(&mut random),
            53..55 => log.break_tail(),
            55..58 => tokio::time::sleep(Duration::from_secs(random.random_range(1..20))).await,
            58..60 => edges.roll(),
            60..62 => tokio::task::yield_now().await,
            _ => {
                let reader = random.random_range(0..readers.len());
                readers[reader].step(edges.youngest(), &log, &mut random).await;
            }
        }
    }
    log.settle();
    let mut tally = Tally::default();
    for reader in &mut readers {
        reader.catch_up(edges.youngest(), &log).await;
        tally.add(&reader.tally);
    }
    edges.end().await;
    tally
}

/// A subscriber, and the checker that follows it.
struct Reader {
    request: SubscribeRequest,
    subscription: Option<Subscription>,
    decoder: Decoder,
    /// Everything wanted up to here has been seen, or announced as lost.
    position: Option<Cursor>,
    /// Whether up to there only each topic's last event was asked for.
    in_snapshot: bool,
    /// Whether that was not asked for at the beginning, but came since it had fallen behind.
    is_conflated: bool,
    drains_by_polls: bool,
    /// The last point of the last snapshot.
    snapshot_over_at: Option<Cursor>,
    /// The log's head when it last connected.
    head_then: Cursor,
    /// Whether the edge has said that it ends the stream.
    is_sent_away: bool,
    /// Whether this connection was probed.
    is_probed: bool,
    /// This connection's name, where its probe is to be acknowledged.
    owes: Option<String>,
    is_acknowledged: bool,
    tally: Tally,
}

impl Reader {
    fn new(random: &mut StdRng) -> Self {
        let filters = FILTERS[random.random_range(0..FILTERS.len())];
        let filters = filters.iter().map(|filter| TopicFilter::parse(filter).unwrap());
        let mut request = SubscribeRequest::new(Interest::new(filters).unwrap());
        request.from = match random.random_range(0..6) {
            0 => From::Now,
            1 => From::Earliest,
            2 | 3 => From::Latest,
            4 => From::Last(random.random_range(1..20)),
            _ => From::Since(UnixMillis(random.random_range(0..150))),
        };
        // Without hello and cursors a client knows where it is from the first event on.
        request.control = random.random_range(0..4) > 0;
        request.on_gap = if random.random() { OnGap::Now } else { OnGap::Earliest };
        request.probe = random.random_range(0..3) == 0;
        if random.random() {
            request.ack = Some(Duration::from_secs(random.random_range(2..6)));
        }
        if random.random_range(0..3) == 0 {
            request.conflate = Conflate::Topic;
        }
        request.coding = if random.random() { Coding::Gzip } else { Coding::Identity };
        Self {
            decoder: Decoder::of(request.coding),
            request,
            subscription: None,
            position: None,
            in_snapshot: false,
            is_conflated: false,
            drains_by_polls: random.random_range(0..4) == 0,
            snapshot_over_at: None,
            head_then: Cursor::new(Epoch(0), Sequence::ZERO),
            is_sent_away: false,
            is_probed: false,
            owes: None,
            is_acknowledged: false,
            tally: Tally::default(),
        }
    }

    async fn step(&mut self, edge: &Edge, log: &ModelLog, random: &mut StdRng) {
        if self.subscription.is_none() {
            return match random.random_range(0..3) {
                // An answer may die on its way.
                0 => self.poll(edge, log, random.random_range(0..5) > 0).await,
                _ => self.connect(edge, log).await,
            };
        }
        if random.random_range(0..4) == 0
            && let Some(connection) = &self.owes
            && edge.acknowledge(connection).await == Acknowledged::Noted
        {
            self.is_acknowledged = true;
            self.tally.acknowledged += 1;
            self.owes = None;
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

    async fn poll(&mut self, edge: &Edge, log: &ModelLog, arrives: bool) {
        self.request.last_event_id = self.point().map(|point| point.to_string());
        self.head_then = log.lock().head();
        let request =
            PollRequest { subscribe: self.request.clone(), timeout: Duration::from_millis(50) };
        if let Ok(answer) = edge.poll(request).await
            && arrives
        {
            self.check_answer(&answer, &log.lock());
        }
    }

    async fn connect(&mut self, edge: &Edge, log: &ModelLog) {
        self.request.last_event_id = self.point().map(|point| point.to_string());
        self.head_then = log.lock().head();
        self.subscription = edge.subscribe(self.request.clone()).await.ok();
        self.decoder = Decoder::of(self.request.coding);
        (self.is_sent_away, self.is_probed, self.is_acknowledged) = (false, false, false);
        self.owes = None;
        self.tally.cut_snapshots += u64::from(self.in_snapshot);
        self.tally.cut_conflations += u64::from(self.in_snapshot && self.is_conflated);
    }

    /// Whether nothing is to come for a client whose cursor moves with events only.
    fn has_all(&self, log: &ModelLog) -> bool {
        let log = log.lock();
        let Some(position) = self.position.filter(|_| !self.request.control) else { return false };
        let is_missing = |event: &Event| {
            event.cursor > position && self.request.interest.wants(&event.event.topic)
        };
        position.epoch == log.head().epoch && !log.truth[&position.epoch].iter().any(is_missing)
    }

    /// What a client would give back.
    fn point(&self) -> Option<ResumePoint> {
        let in_snapshot = self.in_snapshot;
        self.position.map(|after| ResumePoint { after, in_snapshot })
    }

    /// Reads what is there, of which so many frames arrive; says whether anything was.
    async fn read_one(&mut self, log: &ModelLog, arriving: usize) -> bool {
        let Some(subscription) = &mut self.subscription else { return false };
        let bytes = match timeout(Duration::from_millis(20), subscription.next()).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                let is_told = self.is_sent_away || !self.request.control;
                assert!(is_told, "no stream ends without a word");
                assert!(self.decoder.has_ended(), "nor without the end of its coding");
                self.subscription = None;
                return true;
            }
            Err(_) => return false,
        };
        assert!(!self.is_sent_away, "nothing comes behind the farewell");
        let frames = self.decoder.read(&bytes);
        for frame in frames.split_inclusive("\n\n").take(arriving) {
            assert!(!self.is_sent_away, "nothing comes behind the farewell");
            self.check(frame, log);
        }
        true
    }

    async fn catch_up(&mut self, edge: &Edge, log: &ModelLog) {
        let head = log.lock().head();
        let mut silences = 0;
        for _ in 0..10_000 {
            if self.point() == Some(head.into()) || self.has_all(log) {
                return;
            }
            if self.drains_by_polls {
                self.subscription = None;
                self.poll(edge, log, true).await;
                continue;
            }
            if self.subscription.is_none() {
                self.connect(edge, log).await;
            }
            if !self.read_one(log, usize::MAX).await {
                silences += 1;
                if self.position.is_none() && !self.request.control && silences > SILENCES_MAX {
                    return;
                }
                // A long silence: what is wanted has come, and the cursor frame catches up.
                tokio::time::sleep(Duration::from_secs(5)).await;
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
        if field("event") == Some("tidewire.buffered") {
            self.is_sent_away = true;
            assert!(self.is_probed && self.request.ack.is_some() && !self.is_acknowledged);
            self.tally.held_back += 1;
            return;
        }
        if field("event") == Some("tidewire.retry") {
            self.is_sent_away = true;
            let is_age = frame.contains("\"age\"");
            let count = if is_age { &mut self.tally.aged } else { &mut self.tally.drained };
            *count += 1;
            return;
        }
        let id: ResumePoint = field("id").expect("every frame has an id").parse().unwrap();
        let log = log.lock();
        match field("event") {
            Some("tidewire.hello") => {
                if self.position.is_none() {
                    assert!(frame.contains("\"resume\":\"live\""), "{frame}");
                    starts::check(&self.request, id, self.head_then, &log);
                    (self.position, self.in_snapshot) = (Some(id.after), id.in_snapshot);
                }
                assert_eq!(Some(id), self.point(), "the hello resumes where the client is");
            }
            Some("tidewire.gap") => {
                assert!(
                    self.position.is_some() || !self.request.control,
                    "a gap is told to who has a position"
                );
                assert!(!id.in_snapshot, "a snapshot does not go on after a gap");
                self.check_gap(frame, id.after, &log);
            }
            Some("tidewire.conflated") => {
                assert!(id.in_snapshot, "whoever is cut off here goes on with it");
                self.check_conflated(field("data").unwrap(), id.after, &log);
            }
            Some("tidewire.probe") => {
                let is_wanted = self.request.probe || self.request.ack.is_some();
                assert!(is_wanted && !self.is_probed, "one is sent to who asked for it");
                self.is_probed = true;
                let data: Value = serde_json::from_str(field("data").unwrap()).unwrap();
                let connection = data["connection"].as_str().map(str::to_owned);
                self.owes = connection.filter(|_| self.request.ack.is_some());
                self.tally.probed += 1;
                assert!(!id.in_snapshot, "more comes behind");
                match self.position {
                    None => self.position = Some(id.after),
                    Some(position) if position == id.after => {}
                    Some(_) => self.check_step(id, &log, None),
                }
            }
            Some("tidewire.cursor") if self.position.is_none() => self.position = Some(id.after),
            Some("tidewire.cursor") => self.check_step(id, &log, None),
            None => {
                let said = field("data").unwrap();
                if !self.request.control {
                    self.begin_before(id.after);
                }
                self.check_step(id, &log, Some(said));
                self.tally.delivered += 1;
            }
            Some(other) => panic!("an event of type {other}"),
        }
    }

    /// An answer is a gap, if there is one, then word of a conflation, then events, and then how far the log has got.
    fn check_answer(&mut self, answer: &PollAnswer, log: &State) {
        let reached: ResumePoint = answer.cursor.parse().unwrap();
        if let Some(gap) = &answer.gap {
            let gap = std::str::from_utf8(gap).unwrap();
            let parsed: Value = serde_json::from_str(gap).unwrap();
            let resumed_from = parsed["resumed_from"].as_str().unwrap().parse().unwrap();
            self.check_gap(gap, resumed_from, log);
        }
        if let Some(conflated) = &answer.conflated {
            let conflated = std::str::from_utf8(conflated).unwrap();
            let parsed: Value = serde_json::from_str(conflated).unwrap();
            let from = parsed["from"].as_str().unwrap().parse().unwrap();
            self.check_conflated(conflated, from, log);
        }
        for event in &answer.events {
            let event: Value = serde_json::from_slice(event).unwrap();
            let cursor: Cursor = event["tidewirecursor"].as_str().unwrap().parse().unwrap();
            self.begin_before(cursor);
            let point = ResumePoint { after: cursor, in_snapshot: self.in_snapshot };
            self.check_step(point, log, Some(event["data"].as_str().unwrap()));
            self.tally.delivered += 1;
        }
        self.tally.polled += answer.events.len() as u64;
        match self.position {
            // It began where it says, which is checked with streams.
            None => (self.position, self.in_snapshot) = (Some(reached.after), reached.in_snapshot),
            Some(position) if position == reached.after => {
                assert!(self.in_snapshot || !reached.in_snapshot);
                self.in_snapshot = reached.in_snapshot;
            }
            Some(_) => self.check_step(reached, log, None),
        }
    }

    /// A client that was not told where it began knows it from its first event.
    fn begin_before(&mut self, first: Cursor) {
        if self.position.is_none() {
            self.position = Some(Cursor::new(first.epoch, first.sequence.previous()));
            self.in_snapshot = self.request.from == From::Latest;
        }
    }

    /// From the position to `id` lies no wanted event but, where one came, that one; and in a
    /// snapshot those after which later ones of their topics come, or that are gone.
    fn check_step(&mut self, id: ResumePoint, log: &State, said: Option<&str>) {
        let position = self.position.expect("the hello comes first");
        let (id, in_snapshot) = (id.after, id.in_snapshot);
        assert!(!in_snapshot || self.in_snapshot, "a snapshot that is over stays so");
        // The end of a snapshot is told by a cursor, which may be its last event's.
        let tells_end = said.is_none() && (self.in_snapshot || self.snapshot_over_at == Some(id));
        assert!(id > position || (id == position && tells_end), "{id} comes after {position}");
        let interest = &self.request.interest;
        assert_eq!(id.epoch, position.epoch, "only a gap leads to another epoch");
        let place = |cursor: Cursor| usize::try_from(cursor.sequence.0).unwrap();
        let between = &log.truth[&id.epoch][place(position)..place(id)];
        let mut wanted: Vec<_> =
            between.iter().filter(|event| interest.wants(&event.event.topic)).collect();
        if let Some(said) = said {
            let last = wanted.pop().expect("what comes is wanted");
            assert_eq!(last.cursor, id, "what comes is wanted");
            assert_eq!(last.event.data.as_bytes(), said.as_bytes());
            if self.in_snapshot {
                let later = starts::later_of_its_topic(last, log);
                assert!(later.is_none_or(|later| later > self.head_then), "{later:?} is the last");
            }
        }
        if self.in_snapshot {
            let may_be_left_out = |event: &&Event| {
                let oldest = log.lost.get(&id.epoch).copied().unwrap_or(log.oldest);
                let later = starts::later_of_its_topic(event, log);
                event.cursor.sequence < oldest
                    || later.is_some_and(|later| later > id || said.is_some() && later == id)
            };
            let left_out = wanted.iter().find(|event| !may_be_left_out(event));
            assert_eq!(left_out, None, "a topic's last event is not passed over");
            self.tally.passed_over += wanted.len() as u64;
        } else {
            assert_eq!(wanted, Vec::<&Event>::new(), "nothing is passed over on the way to {id}");
        }
        if self.in_snapshot && !in_snapshot {
            self.snapshot_over_at = Some(id);
        }
        (self.position, self.in_snapshot) = (Some(id), in_snapshot);
    }

    /// From here on each topic's newest event comes in place of all, which are some.
    fn check_conflated(&mut self, data: &str, from: Cursor, log: &State) {
        assert_eq!(self.request.conflate, Conflate::Topic, "it is for those who asked for it");
        assert!(!self.in_snapshot, "it is said once");
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(data["from"], from.to_string());
        let to: Cursor = data["to"].as_str().unwrap().parse().unwrap();
        match self.position {
            Some(position) if position != from => self.check_step(from.into(), log, None),
            _ => self.position = Some(from),
        }
        let behind = &log.truth[&from.epoch][usize::try_from(from.sequence.0).unwrap()..];
        let missed = behind.iter().filter(|event| event.cursor <= to);
        let missed = missed.filter(|event| self.request.interest.wants(&event.event.topic));
        assert!(missed.count() > 0, "nothing wanted lies between {from} and {to}");
        (self.in_snapshot, self.is_conflated, self.head_then) = (true, true, to);
        self.tally.conflated += 1;
    }

    fn check_gap(&mut self, frame: &str, id: Cursor, log: &State) {
        let Some(position) = self.position else {
            // It was not told where it began: by a poll, or without control frames.
            self.position = Some(id);
            return;
        };
        let point = self.point().expect("there is a position");
        assert!(frame.contains(&format!("\"requested\":\"{point}\"")), "{frame} {point}");
        if position.epoch == id.epoch {
            assert!(frame.contains("\"expired\"") && !self.in_snapshot, "{frame}");
            // The epoch may have ended since: what it had lost by then counts.
            let oldest = log.lost.get(&id.epoch).copied().unwrap_or(log.oldest);
            assert!(position.sequence.next() < oldest, "a gap only where something is gone");
            assert!(id > position);
        } else {
            assert!(frame.contains("\"epoch\""), "{frame}");
            assert!(log.truth.contains_key(&id.epoch));
        }
        (self.position, self.in_snapshot) = (Some(id), false);
        self.tally.gaps += 1;
    }
}
