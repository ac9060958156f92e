//! When streams end by the hub's will: at their age, and in a drain.

use std::time::Duration;

use tidewire_edge::Config;
use tokio::{
    task::{JoinSet, yield_now},
    time::{Instant, timeout},
};

use super::timing::{Reader, Story};

const MINUTE: Duration = Duration::from_secs(60);

fn draining(window_seconds: u64, rate_max: u32) -> Config {
    Config {
        drain_window: Duration::from_secs(window_seconds),
        drain_rate_max: rate_max,
        ..Config::default()
    }
}

/// What a stream said last, and when it ended.
struct Ended {
    farewell: String,
    at: Instant,
}

/// Reads to the end.
async fn to_the_end(mut reader: Reader) -> Ended {
    let mut farewell = String::new();
    while let Some(bytes) = reader.0.next().await {
        farewell = String::from_utf8(bytes.to_vec()).unwrap();
    }
    Ended { farewell, at: Instant::now() }
}

/// So many streams that are being read.
async fn streams(story: &Story, streams: usize) -> JoinSet<Ended> {
    let mut reading = JoinSet::new();
    for _ in 0..streams {
        reading.spawn(to_the_end(story.subscribe("quiet", |_| {}).await));
    }
    // Each waits for what comes.
    yield_now().await;
    reading
}

/// Ends by the second in which they came.
fn by_second(ends: &[Ended], began: Instant) -> Vec<usize> {
    let mut by_second = vec![0; 1_000];
    for end in ends {
        by_second[usize::try_from((end.at - began).as_secs()).unwrap()] += 1;
    }
    by_second
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_at_an_age_of_its_own_which_the_hello_tells() {
    let story = Story::begin_with(Config::default());
    let (mut reading, mut told) = (JoinSet::new(), Vec::new());
    let began = Instant::now();
    for _ in 0..200 {
        let mut reader = story.subscribe("quiet", |_| {}).await;
        let hello = reader.next().await;
        let (_, age) = hello.split_once("\"max_age_seconds\":").expect("the hello tells");
        told.push(age.trim_end().trim_end_matches('}').parse::<u64>().unwrap());
        reading.spawn(to_the_end(reader));
    }
    let mut ages: Vec<_> = reading
        .join_all()
        .await
        .into_iter()
        .map(|end| {
            assert!(end.farewell.starts_with("event: tidewire.retry\nretry: "), "{}", end.farewell);
            assert!(end.farewell.ends_with("data: {\"reason\":\"age\"}\n\n"), "{}", end.farewell);
            (end.at - began).as_secs()
        })
        .collect();
    ages.sort_unstable();
    told.sort_unstable();
    // A timer rings up to a millisecond late, which may be in the next second.
    assert!(ages.iter().zip(&told).all(|(age, told)| age - told <= 1), "{ages:?} {told:?}");
    let (least, most) = (24 * 60, 36 * 60);
    assert!(ages.iter().all(|age| (least..=most).contains(age)), "{ages:?}");
    assert!(ages[0] < least + 120 && ages[199] > most - 120, "over all of the range: {ages:?}");
}

#[tokio::test(start_paused = true)]
async fn a_busy_stream_ends_at_its_age_too() {
    let config = Config { connection_age_max: MINUTE, ..Config::default() };
    let mut story = Story::begin_with(config);
    let mut reader = story.subscribe(">", |_| {}).await;
    let began = Instant::now();
    let mut said = String::new();
    while !said.contains("tidewire.retry") {
        assert!(began.elapsed() <= MINUTE * 12 / 10, "it is long over: {said}");
        story.publish();
        tokio::time::sleep(Duration::from_millis(100)).await;
        said = reader.next().await;
    }
    assert_eq!(reader.0.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn without_a_maximum_nobody_ages() {
    let config = Config { connection_age_max: Duration::ZERO, ..Config::default() };
    let story = Story::begin_with(config);
    let mut reader = story.subscribe("quiet", |_| {}).await;
    assert!(!reader.next().await.contains("max_age_seconds"));
    let day = timeout(Duration::from_secs(86_400), to_the_end(reader)).await;
    assert!(day.is_err(), "it goes on");
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_each_stream_at_its_own_moment_of_the_window() {
    let story = Story::begin_with(draining(60, 1_000));
    let reading = streams(&story, 600).await;
    let began = Instant::now();
    let plan = story.edge.drain();
    assert_eq!((plan.streams, plan.spread, plan.keeps_rate), (600, MINUTE, true));
    story.edge.drained().await;
    assert!(began.elapsed() <= MINUTE);
    let ends = reading.join_all().await;
    for end in &ends {
        assert!(end.farewell.starts_with("event: tidewire.retry\nretry: "), "{}", end.farewell);
        assert!(end.farewell.ends_with("{\"reason\":\"draining\"}\n\n"), "{}", end.farewell);
    }
    let by_second = by_second(&ends, began);
    assert!(by_second[..60].iter().all(|ends| (9..=11).contains(ends)), "{by_second:?}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_takes_longer_where_too_many_would_end_in_a_second() {
    let story = Story::begin_with(draining(30, 10));
    let reading = streams(&story, 500).await;
    let began = Instant::now();
    let plan = story.edge.drain();
    assert_eq!((plan.spread.as_secs(), plan.keeps_rate), (52, true), "at 9.5 a second");
    let by_second = by_second(&reading.join_all().await, began);
    assert!(by_second.iter().all(|ends| *ends <= 10), "{by_second:?}");
    assert_eq!(by_second.iter().sum::<usize>(), 500);
}

#[tokio::test(start_paused = true)]
async fn a_drain_never_takes_longer_than_twice_its_window() {
    let story = Story::begin_with(draining(30, 1));
    let reading = streams(&story, 500).await;
    let began = Instant::now();
    let plan = story.edge.drain();
    assert_eq!((plan.spread, plan.keeps_rate), (MINUTE, false));
    let ends = reading.join_all().await;
    assert!(ends.iter().all(|end| end.at - began <= MINUTE));
    let by_second = by_second(&ends, began);
    assert!(by_second[..60].iter().all(|ends| (7..=10).contains(ends)), "{by_second:?}");
}

#[tokio::test(start_paused = true)]
async fn events_go_on_until_a_streams_own_moment() {
    let mut story = Story::begin_with(draining(60, 1_000));
    let mut readers = Vec::new();
    for _ in 0..20 {
        let mut reader = story.subscribe(">", |_| {}).await;
        reader.next().await;
        readers.push(reader);
    }
    let began = Instant::now();
    story.edge.drain();
    let mut ended = 0;
    while !readers.is_empty() {
        story.publish();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut staying = Vec::new();
        for mut reader in readers {
            let said = reader.next().await;
            if said.contains("tidewire.retry") {
                ended += 1;
            } else {
                assert!(said.contains("data: "), "{said}");
                staying.push(reader);
            }
        }
        readers = staying;
    }
    assert_eq!(ended, 20);
    assert!(began.elapsed() >= Duration::from_secs(50), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_does_not_hold_a_drain_up() {
    let story = Story::begin_with(draining(60, 1_000));
    let stalled = story.subscribe("quiet", |_| {}).await;
    let reading = streams(&story, 10).await;
    let began = Instant::now();
    story.edge.drain();
    timeout(2 * MINUTE, story.edge.drained()).await.expect("nobody waits for it");
    assert!(began.elapsed() <= MINUTE);
    assert_eq!(reading.join_all().await.len(), 10);
    drop(stalled);
}

#[tokio::test(start_paused = true)]
async fn a_drain_without_streams_is_over_at_once() {
    let story = Story::begin_with(draining(60, 1_000));
    let began = Instant::now();
    story.edge.drain();
    story.edge.drained().await;
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn ending_hurries_a_drain() {
    let story = Story::begin_with(draining(60, 1_000));
    let reading = streams(&story, 500).await;
    let began = Instant::now();
    story.edge.drain();
    tokio::time::sleep(Duration::from_secs(3)).await;
    story.ending.cancel();
    let ends = reading.join_all().await;
    assert!(ends.iter().all(|end| end.farewell.contains("\"draining\"")));
    assert!(ends.iter().all(|end| end.at - began <= Duration::from_secs(3)));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_opens_during_a_drain_ends_within_it() {
    let story = Story::begin_with(draining(60, 1_000));
    let _first = story.subscribe("quiet", |_| {}).await;
    let began = Instant::now();
    story.edge.drain();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let reading = streams(&story, 20).await;
    let ends = reading.join_all().await;
    assert!(ends.iter().all(|end| end.at - began <= MINUTE));
    assert!(ends.iter().any(|end| end.at - began >= MINUTE / 2), "not all at once");
}

#[tokio::test(start_paused = true)]
async fn many_that_end_at_once_are_told_to_come_back_one_after_the_other() {
    let story = Story::begin_with(draining(0, 1_000));
    let reading = streams(&story, 20_000).await;
    story.edge.drain();
    let ends = reading.join_all().await;
    let mut by_second = [0; 40];
    for end in ends {
        let retry = end.farewell.lines().find_map(|line| line.strip_prefix("retry: "));
        by_second[retry.unwrap().parse::<usize>().unwrap() / 1_000] += 1;
    }
    // The second is where a sum of two draws lies, so a second may have a few more than its share.
    assert!(by_second.iter().all(|returns| *returns <= 1_150), "{by_second:?}");
}
