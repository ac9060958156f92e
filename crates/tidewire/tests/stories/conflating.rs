//! A reader that stalled, and wants each topic's newest event in place of all that it has missed.

use std::collections::HashMap;

use serde_json::Value;
use tidewire_client::{Cursor, EventData, NewEvent, StreamOptions, Topic};
use tokio::net::TcpStream;

use super::{
    hub::{Flags, Hub},
    raw,
};

const TOPICS: usize = 40;
const EVENTS: usize = 20_000;
const EVENT_BYTES: usize = 1_000;
/// Events that are more than the sockets of one with little room hold.
const FILLING: usize = 200;
const PATH: &str = "/v1/events?topic=t.*&conflate=topic";

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stalled_is_told_and_sees_each_topics_newest_event() {
    // A window that holds a twentieth of what passes, which is more than sockets hold.
    let flags = ["--window-events-max", "1000"];
    let hub = Hub::start_with(Flags { edge: &flags, ..Flags::default() }).await;
    let mut stalled = raw::connect_with_little_room(&hub.http).await;
    raw::send(&mut stalled, "GET", PATH, &[]).await;
    raw::read_until(&mut stalled, "event: tidewire.hello\n").await;
    // Its socket is full before the window moves on, and stays so until it reads: it falls behind once.
    let mut published = publish(&hub, 0..FILLING).await;
    hub.edge.tells("tidewire_edge_slow_readers ", 1.0).await;
    published.extend(publish(&hub, FILLING..EVENTS).await);

    let (_, end) = &published[EVENTS - 1];
    let text = raw::read_until(&mut stalled, &format!("event: tidewire.cursor\nid: {end}\n")).await;
    let (before, behind) = text.split_once("event: tidewire.conflated\n").expect("it is told");
    let seen = events(before);
    assert_eq!(seen, published[..seen.len()], "every event until then");
    assert!(behind.starts_with(&format!("id: {}~\n", seen[seen.len() - 1].1)), "from there");
    let newest = newest(&published);
    assert_eq!(events(behind), newest);
    hub.edge.tells("tidewire_edge_conflations_total ", 1.0).await;

    // One that is cut off in the middle of it gets the rest.
    let (_, middle) = newest[TOPICS / 2];
    let id = format!("{middle}~");
    let mut back = raw::connect(&hub.http).await;
    raw::send(&mut back, "GET", PATH, &[("Last-Event-ID", &id)]).await;
    let text = raw::read_until(&mut back, "event: tidewire.cursor\n").await;
    assert_eq!(events(&text), newest[TOPICS / 2 + 1..]);

    // From there on it is a stream like any other.
    let more = publish(&hub, EVENTS..EVENTS + 100).await;
    for reader in [&mut stalled, &mut back] {
        assert_eq!(read_to(reader, &more).await, more);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_from_long_ago_says_so_too() {
    let flags = ["--window-events-max", "1000"];
    let hub = Hub::start_with(Flags { edge: &flags, ..Flags::default() }).await;
    let published = publish(&hub, 0..EVENTS).await;
    let (_, first) = published[0];
    let (mut cursor, mut seen, mut is_told) = (first.to_string(), Vec::new(), false);
    // An answer need not hold all of it; the next one goes on with it, and does not tell it again.
    while !is_told || cursor.ends_with('~') {
        let path = format!("/v1/poll?topic=t.*&conflate=topic&timeout=0&cursor={cursor}");
        let answer = raw::get(&hub.http, &path, &[]).await;
        let answer: Value = serde_json::from_str(&answer.body).unwrap();
        let expected = if is_told { Value::Null } else { first.to_string().into() };
        assert_eq!(answer["conflated"]["from"], expected, "{answer}");
        is_told = true;
        seen.extend(answer["events"].as_array().unwrap().iter().map(cursor_of));
        cursor = answer["cursor"].as_str().unwrap().to_owned();
    }
    let newest: Vec<_> = newest(&published).into_iter().map(|(_, at)| at.to_string()).collect();
    assert_eq!(seen, newest);
    assert_eq!(cursor, published[EVENTS - 1].1.to_string(), "it is over");
}

fn cursor_of(event: &Value) -> String {
    event["tidewirecursor"].as_str().unwrap().to_owned()
}

async fn read_to(reader: &mut TcpStream, published: &[(usize, Cursor)]) -> Vec<(usize, Cursor)> {
    let (n, end) = published[published.len() - 1];
    let last = format!("id: {end}\ndata: {n:0EVENT_BYTES$}\n\n");
    let seen = events(&raw::read_until(reader, &last).await);
    seen[seen.len().saturating_sub(published.len())..].to_vec()
}

/// Publishes events of all topics in turn, numbered.
async fn publish(hub: &Hub, numbers: std::ops::Range<usize>) -> Vec<(usize, Cursor)> {
    let stream = hub.publisher().stream(StreamOptions::default());
    let mut pending = Vec::new();
    for n in numbers.clone() {
        let topic = Topic::parse(&format!("t.{}", n % TOPICS)).unwrap();
        let data = EventData::parse(format!("{n:0EVENT_BYTES$}"), EVENT_BYTES).unwrap();
        pending.push(stream.send(NewEvent::new(topic, data)).await.unwrap());
    }
    stream.finish().await.unwrap();
    let mut published = Vec::new();
    for (n, receipt) in numbers.zip(pending) {
        published.push((n, receipt.await.unwrap().cursor));
    }
    published
}

fn newest(published: &[(usize, Cursor)]) -> Vec<(usize, Cursor)> {
    let newest: HashMap<_, _> = published.iter().map(|(n, at)| (n % TOPICS, (*n, *at))).collect();
    let mut newest: Vec<_> = newest.into_values().collect();
    newest.sort_by_key(|(n, _)| *n);
    newest
}

/// The events that whole frames of a stream hold.
fn events(text: &str) -> Vec<(usize, Cursor)> {
    let frames = text.split("\n\n").filter(|frame| !frame.contains("event: "));
    let read = |frame: &str| {
        let field = |name| frame.lines().find_map(|line| line.strip_prefix(name));
        let cursor = field("id: ")?.trim_end_matches('~').parse().ok()?;
        Some((field("data: ")?.parse().ok()?, cursor))
    };
    frames.filter_map(read).collect()
}
