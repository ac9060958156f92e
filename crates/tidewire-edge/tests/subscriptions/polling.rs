//! When polls are answered, and with how much.

use std::{sync::Arc, time::Duration};

use rand::{SeedableRng, rngs::StdRng};
use serde_json::Value;
use tidewire_core::{Backbone, Cursor, Interest, TopicFilter};
use tidewire_edge::{Config, Edge, From, PollAnswer, PollError, PollRequest, SubscribeRequest};
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use super::model::ModelLog;

struct Story {
    log: Arc<ModelLog>,
    edge: Arc<Edge>,
    ending: CancellationToken,
    random: StdRng,
}

impl Story {
    /// A log of so many events, all of which the edge has seen.
    async fn begin(events: usize, config: Config) -> Self {
        let mut random = StdRng::seed_from_u64(1);
        let log = Arc::new(ModelLog::new(1));
        log.publish(events, 0, &mut random);
        log.settle();
        let ending = CancellationToken::new();
        let backbone = Arc::clone(&log) as Arc<dyn Backbone>;
        let edge = Arc::new(Edge::start(config, backbone, ending.clone()));
        while edge.trouble().is_some() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Self { log, edge, ending, random }
    }

    fn publish(&mut self, events: usize) {
        self.log.publish(events, 0, &mut self.random);
        self.log.settle();
    }

    fn head(&self) -> Cursor {
        self.log.lock().head()
    }

    /// A poll that goes on by itself, and when it was answered.
    fn poll(&self, request: PollRequest) -> JoinHandle<(Result<PollAnswer, PollError>, Instant)> {
        let edge = Arc::clone(&self.edge);
        tokio::spawn(async move { (edge.poll(request).await, Instant::now()) })
    }
}

fn request(filter: &str, cursor: Option<&str>, seconds: u64) -> PollRequest {
    let interest = Interest::new([TopicFilter::parse(filter).unwrap()]).unwrap();
    let last_event_id = cursor.map(str::to_owned);
    let subscribe = SubscribeRequest { last_event_id, ..SubscribeRequest::new(interest) };
    PollRequest { subscribe, timeout: Duration::from_secs(seconds) }
}

fn cursors(answer: &PollAnswer) -> Vec<String> {
    let cursor = |event| {
        let event: Value = serde_json::from_slice(event).unwrap();
        event["tidewirecursor"].as_str().unwrap().to_owned()
    };
    answer.events.iter().map(|event| cursor(event)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_waiting_poll_is_answered_with_what_comes_and_what_comes_with_it() {
    let mut story = Story::begin(3, Config::default()).await;
    let head = story.head().to_string();
    let waiting = story.poll(request(">", Some(&head), 25));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let published = Instant::now();
    story.publish(1);
    tokio::time::sleep(Duration::from_millis(10)).await;
    story.publish(1);
    let (answer, answered) = waiting.await.unwrap();
    let answer = answer.unwrap();
    assert_eq!(answer.events.len(), 2, "what comes within a few milliseconds leaves together");
    assert_eq!(answer.cursor, story.head().to_string());
    assert!(answered - published < Duration::from_millis(50), "{:?}", answered - published);
}

#[tokio::test(start_paused = true)]
async fn a_poll_waits_as_long_as_it_was_asked_to_and_moves_its_cursor_on() {
    let mut story = Story::begin(3, Config::default()).await;
    let mut cursor = story.head().to_string();
    for seconds in [0, 1, 25, 30] {
        story.publish(5);
        let began = Instant::now();
        let (answer, answered) =
            story.poll(request("quiet", Some(&cursor), seconds)).await.unwrap();
        let answer = answer.unwrap();
        assert_eq!(answer.events, Vec::<bytes::Bytes>::new());
        let waited = (answered - began).as_millis();
        let most = u128::from(seconds) * 1_000 + 20;
        assert!((u128::from(seconds) * 1_000..=most).contains(&waited), "{waited} ms");
        assert_eq!(answer.cursor, story.head().to_string(), "over what was not wanted");
        cursor = answer.cursor;
    }
}

#[tokio::test(start_paused = true)]
async fn a_poll_without_a_cursor_is_answered_at_once() {
    let story = Story::begin(30, Config::default()).await;
    let head = story.head().to_string();
    for (from, events) in [(From::Now, 0), (From::Earliest, 30), (From::Last(7), 7)] {
        let mut request = request(">", None, 25);
        request.subscribe.from = from;
        let began = Instant::now();
        let (answer, answered) = story.poll(request).await.unwrap();
        let answer = answer.unwrap();
        assert_eq!((answer.events.len(), &answer.cursor), (events, &head), "{from:?}");
        assert!(answered - began < Duration::from_millis(50), "{from:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn polls_one_after_the_other_are_the_whole_log_in_answers_of_limited_size() {
    // From memory, and page by page from the log.
    for window_events_max in [100_000, 5] {
        let story = Story::begin(1_234, Config { window_events_max, ..Config::default() }).await;
        let head = story.head();
        let mut cursor = Cursor::new(head.epoch, tidewire_core::Sequence::ZERO).to_string();
        let mut seen = Vec::new();
        let mut largest = 0;
        while cursor != head.to_string() {
            let (answer, _) = story.poll(request(">", Some(&cursor), 0)).await.unwrap();
            let answer = answer.unwrap();
            assert!(!answer.events.is_empty(), "a backlog is answered at once");
            largest = largest.max(answer.events.len());
            seen.extend(cursors(&answer));
            cursor = answer.cursor;
        }
        let expected = (1..=1_234).map(|n| format!("{}-{n}", head.epoch));
        assert!(seen.into_iter().eq(expected), "each once, in order");
        assert_eq!(largest, 500, "window {window_events_max}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_poll_goes_over_a_long_stretch_without_anything_wanted_whatever_its_timeout() {
    let story = Story::begin(5_000, Config { window_events_max: 5, ..Config::default() }).await;
    let head = story.head();
    let start = Cursor::new(head.epoch, tidewire_core::Sequence::ZERO).to_string();
    let (answer, _) = story.poll(request("quiet", Some(&start), 0)).await.unwrap();
    assert_eq!(answer.unwrap().cursor, head.to_string());
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_an_answer() {
    let story = Story::begin(10, Config::default()).await;
    for (cursor, reason) in [("00000000-1", "epoch"), ("nonsense", "malformed")] {
        let began = Instant::now();
        let (answer, answered) = story.poll(request("quiet", Some(cursor), 25)).await.unwrap();
        let answer = answer.unwrap();
        let gap: Value = serde_json::from_slice(&answer.gap.unwrap()).unwrap();
        assert_eq!((&gap["reason"], &gap["requested"]), (&reason.into(), &cursor.into()));
        assert_eq!(answer.cursor, story.head().to_string());
        assert!(answered - began < Duration::from_secs(1), "{:?}", answered - began);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stopping_edge_sends_polls_away_at_once() {
    let story = Story::begin(3, Config::default()).await;
    let head = story.head().to_string();
    let waiting = story.poll(request(">", Some(&head), 25));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let stopped = Instant::now();
    story.ending.cancel();
    let (answer, answered) = waiting.await.unwrap();
    assert!(matches!(answer, Err(PollError::Stopping)), "{answer:?}");
    assert!(answered - stopped < Duration::from_millis(50));
    let (answer, _) = story.poll(request(">", Some(&head), 25)).await.unwrap();
    assert!(matches!(answer, Err(PollError::Stopping)), "{answer:?}");
}
