//! Each starting point on a log at rest, exactly.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rand::{SeedableRng, rngs::StdRng};
use tidewire_core::{
    Backbone, Cursor, Event, Interest, ResumePoint, Sequence, TopicFilter, UnixMillis,
};
use tidewire_edge::{Config, Edge, From, SubscribeRequest, Subscription};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::model::ModelLog;

/// Windows that hold all of the log, some of it and hardly any.
const WINDOWS: [usize; 3] = [100_000, 2_000, 5];

struct Story {
    log: Arc<ModelLog>,
    edge: Edge,
    random: StdRng,
}

impl Story {
    /// A log of so many events, all of which the edge has seen.
    async fn begin(events: usize, window_events_max: usize) -> Self {
        let mut random = StdRng::seed_from_u64(1);
        let log = Arc::new(ModelLog::new(1));
        log.publish(events, 0, &mut random);
        log.settle();
        let config = Config { window_events_max, ..Config::default() };
        let backbone = Arc::clone(&log) as Arc<dyn Backbone>;
        let edge = Edge::start(config, backbone, CancellationToken::new());
        while edge.trouble().is_some() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Self { log, edge, random }
    }

    /// What is wanted of the log, in order.
    fn wanted(&self, filter: &str) -> Vec<Event> {
        let log = self.log.lock();
        let events = log.truth[&log.head().epoch].iter();
        events.filter(|event| interest(filter).wants(&event.event.topic)).cloned().collect()
    }

    async fn subscribe(&self, filter: &str, from: From) -> Subscription {
        let request = SubscribeRequest { from, ..SubscribeRequest::new(interest(filter)) };
        self.edge.subscribe(request).await.unwrap()
    }
}

fn interest(filter: &str) -> Interest {
    Interest::new([TopicFilter::parse(filter).unwrap()]).unwrap()
}

/// The frames that come at once, each with its type and id.
async fn frames(subscription: &mut Subscription) -> Vec<(String, ResumePoint)> {
    let mut frames = Vec::new();
    while let Ok(bytes) = timeout(Duration::from_millis(20), subscription.next()).await {
        let bytes = bytes.unwrap();
        for frame in std::str::from_utf8(&bytes).unwrap().split_inclusive("\n\n") {
            let field = |name| frame.lines().find_map(|line| line.strip_prefix(name));
            let kind = field("event: ").unwrap_or("message").to_owned();
            frames.push((kind, field("id: ").unwrap().parse().unwrap()));
        }
    }
    frames
}

/// The cursors of those that are events.
fn events(frames: &[(String, ResumePoint)]) -> Vec<Cursor> {
    frames.iter().filter(|(kind, _)| kind == "message").map(|(_, point)| point.after).collect()
}

fn cursors(events: &[Event]) -> Vec<Cursor> {
    events.iter().map(|event| event.cursor).collect()
}

#[tokio::test(start_paused = true)]
async fn last_begins_with_exactly_so_many_wanted_events() {
    for window in WINDOWS {
        let story = Story::begin(5_000, window).await;
        for (filter, last) in [(">", 1), (">", 300), ("a", 1), ("a", 100), ("c.*", 7)] {
            let mut subscription = story.subscribe(filter, From::Last(last)).await;
            let wanted = story.wanted(filter);
            let expected = cursors(&wanted[wanted.len() - usize::from(last)..]);
            let seen = events(&frames(&mut subscription).await);
            assert_eq!(seen, expected, "{last} of {filter}, window {window}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn last_begins_with_all_there_are_where_those_are_fewer() {
    for window in WINDOWS {
        let story = Story::begin(30, window).await;
        for filter in [">", "a", "quiet"] {
            let mut subscription = story.subscribe(filter, From::Last(1_000)).await;
            let seen = events(&frames(&mut subscription).await);
            assert_eq!(seen, cursors(&story.wanted(filter)), "{filter}, window {window}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_search_for_the_last_events_has_an_end_and_keeps_what_it_has_found() {
    let story = Story::begin(5_000, 5).await;
    let mut subscription = story.subscribe("quiet", From::Last(1)).await;
    let head = story.log.lock().head();
    assert_eq!(frames(&mut subscription).await, [("tidewire.hello".into(), head.into())]);
    assert!(story.log.lock().reads < 300, "{} reads", story.log.lock().reads);

    let mut subscription = story.subscribe("a", From::Last(1_000)).await;
    let seen = events(&frames(&mut subscription).await);
    assert!((50..500).contains(&seen.len()), "the model reads little at once: {}", seen.len());
    let wanted = story.wanted("a");
    assert_eq!(seen, cursors(&wanted[wanted.len() - seen.len()..]), "the last ones all the same");
}

#[tokio::test(start_paused = true)]
async fn last_counts_from_the_logs_head_also_while_the_tail_lags() {
    let mut random = StdRng::seed_from_u64(1);
    let log = Arc::new(ModelLog::new(1));
    log.publish(50, 0, &mut random);
    let backbone = Arc::clone(&log) as Arc<dyn Backbone>;
    let edge = Edge::start(Config::default(), backbone, CancellationToken::new());
    // Some are let through, so that there is something in memory to be misled by.
    log.release_to(30);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(edge.trouble().is_some(), "the tail is behind");
    let request = SubscribeRequest { from: From::Last(5), ..SubscribeRequest::new(interest(">")) };
    let hello = loop {
        // The model fails now and then.
        if let Ok(mut subscription) = edge.subscribe(request.clone()).await {
            break frames(&mut subscription).await.swap_remove(0);
        }
    };
    let epoch = log.lock().head().epoch;
    assert_eq!(hello.1.after, Cursor::new(epoch, Sequence(45)));
}

#[tokio::test(start_paused = true)]
async fn a_time_begins_with_everything_of_that_moment_or_later() {
    let story = Story::begin(500, 50).await;
    let newest = story.log.lock().time.0;
    for time in [0, 1, 7, newest / 2, newest, newest + 1, u64::MAX].map(UnixMillis) {
        let mut subscription = story.subscribe("a", From::Since(time)).await;
        let mut expected = story.wanted("a");
        expected.retain(|event| event.time >= time);
        assert_eq!(events(&frames(&mut subscription).await), cursors(&expected), "{time:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn latest_is_the_last_event_of_each_topic_and_then_what_comes() {
    for window in WINDOWS {
        let mut story = Story::begin(500, window).await;
        for filter in [">", "c.*", "a", "quiet"] {
            let mut subscription = story.subscribe(filter, From::Latest).await;
            let mut last = BTreeMap::new();
            for event in story.wanted(filter) {
                last.insert(event.event.topic.clone(), event.cursor);
            }
            let mut expected: Vec<_> = last.into_values().collect();
            expected.sort_unstable_by_key(|cursor| cursor.sequence);

            let seen = frames(&mut subscription).await;
            assert_eq!(events(&seen), expected, "{filter}, window {window}");
            let head = story.log.lock().head();
            let end = ("tidewire.cursor".to_owned(), head.into());
            assert_eq!(seen.last(), Some(&end), "the end of the snapshot is told");

            story.log.publish(20, 0, &mut story.random);
            story.log.settle();
            let live: Vec<_> = story.wanted(filter);
            let live: Vec<_> = cursors(&live).into_iter().filter(|cursor| *cursor > head).collect();
            assert_eq!(events(&frames(&mut subscription).await), live, "{filter}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_without_control_frames_still_gives_its_client_a_cursor_to_go_on_from() {
    let story = Story::begin(50, 10).await;
    let head = story.log.lock().head();
    for (filter, last_kind) in [(">", "message"), ("quiet", "tidewire.cursor")] {
        let request = SubscribeRequest {
            from: From::Latest,
            control: false,
            ..SubscribeRequest::new(interest(filter))
        };
        let mut subscription = story.edge.subscribe(request).await.unwrap();
        assert_eq!(subscription.next().await.unwrap(), ":\n", "no hello");
        let seen = frames(&mut subscription).await;
        assert_eq!(seen.last(), Some(&(last_kind.to_owned(), head.into())));
        assert!(seen[..seen.len() - 1].iter().all(|(_, point)| point.in_snapshot), "{seen:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cursor_beats_every_starting_point() {
    let story = Story::begin(50, 10).await;
    let wanted = cursors(&story.wanted(">"));
    for from in [From::Now, From::Earliest, From::Latest, From::Last(3), From::Since(UnixMillis(0))]
    {
        let request = SubscribeRequest {
            from,
            last_event_id: Some(wanted[20].to_string()),
            ..SubscribeRequest::new(interest(">"))
        };
        let mut subscription = story.edge.subscribe(request).await.unwrap();
        assert_eq!(events(&frames(&mut subscription).await), wanted[21..], "{from:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn many_who_come_back_to_one_place_at_once_cause_the_reads_of_one() {
    const CLIENTS: usize = 200;
    let story = Story::begin(1_000, 5).await;
    story.log.lock().read_takes = Duration::from_millis(1);
    let before = story.log.lock().reads;
    frames(&mut story.subscribe("a", From::Earliest).await).await;
    let reads_of_one = story.log.lock().reads - before;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(story.subscribe("a", From::Earliest).await);
    }
    let seen = futures_util::future::join_all(clients.iter_mut().map(frames)).await;
    let wanted = cursors(&story.wanted("a"));
    assert!(seen.iter().all(|frames| events(frames) == wanted));
    let reads_of_all = story.log.lock().reads - before - reads_of_one;
    // How much the model reads at once is drawn by lot, so no two ways through it are alike.
    assert!(reads_of_all < 3 * reads_of_one, "{reads_of_all}, and of one alone {reads_of_one}");
}
