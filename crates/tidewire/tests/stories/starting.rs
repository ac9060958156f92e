//! Every starting point, at rest and with events flowing: nothing between it and what comes is lost,
//! and nothing comes twice.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;
use tidewire_client::{
    Cursor, Envelope, EventData, Item, NewEvent, Publisher, Resume, Start, Subscriber, Topic,
    TopicFilter,
};

use super::{
    hub::{Flags, Hub},
    raw,
};

/// Topics that are spoken of in turn.
const TOPICS: usize = 40;
/// Events published before anybody subscribes, and while they do.
const EVENTS: usize = 600;
/// What is published last, so that readers know when they have seen everything.
const END: &str = "t.end";

#[tokio::test(flavor = "multi_thread")]
async fn each_starting_point_at_rest_is_exact() {
    // From memory, and from the log.
    for window in ["65536", "16"] {
        let hub = hub_with_window(window).await;
        let published = publish(&hub.publisher(), 0..EVENTS).await;
        let everything = read(&hub, "t.*", Start::Earliest).await;
        assert_eq!(cursors(&everything), cursors(&published));

        assert_eq!(read(&hub, "t.*", Start::Last(7)).await, everything[published.len() - 7..]);
        let of_one_topic = |topic: &str| {
            everything.iter().filter(|event| event.topic == topic).cloned().collect::<Vec<_>>()
        };
        let mut expected = of_one_topic("t.3");
        expected.drain(..expected.len() - 5);
        expected.push(everything[published.len() - 1].clone());
        assert_eq!(read_of(&hub, &["t.3", END], Start::Last(6)).await, expected, "{window}");

        for at in [0, EVENTS / 2, EVENTS] {
            let time = &everything[at].time;
            let begins = everything.iter().position(|event| event.time == *time).unwrap();
            let seen = read(&hub, "t.*", Start::Since(time.clone())).await;
            assert_eq!(seen, everything[begins..], "since {time}");
        }

        let mut last = BTreeMap::new();
        for event in &everything {
            last.insert(&event.topic, event.cursor);
        }
        let mut last: Vec<_> = last.into_values().collect();
        last.sort_by_key(|cursor| cursor.sequence);
        assert_eq!(cursors(&read(&hub, "t.*", Start::Latest).await), last);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_flows_meanwhile_comes_behind_each_starting_point_without_a_hole_or_a_repeat() {
    for window in ["65536", "16"] {
        let hub = hub_with_window(window).await;
        let mut published = publish_some(&hub.publisher(), 0..EVENTS).await;
        let time = read_first(&hub).await.time;
        let publisher = hub.publisher();
        let flowing = tokio::spawn(async move { publish(&publisher, EVENTS..2 * EVENTS).await });
        let (latest, last, since, earliest) = tokio::join!(
            read(&hub, "t.*", Start::Latest),
            read(&hub, "t.*", Start::Last(100)),
            read(&hub, "t.*", Start::Since(time)),
            read(&hub, "t.*", Start::Earliest),
        );
        published.extend(flowing.await.unwrap());
        let published = cursors(&published);
        assert_eq!(cursors(&earliest), published);
        assert_eq!(cursors(&since), published, "the first event's time is that of the first");

        let begins = published.len() - last.len();
        assert_eq!(cursors(&last), published[begins..], "100 events and all that came");
        assert!(begins >= EVENTS - 100 - TOPICS, "{begins}: hardly more than 100");

        let seen: HashSet<_> = cursors(&latest).into_iter().map(|c| c.sequence).collect();
        assert!(latest.is_sorted_by(|a, b| a.cursor < b.cursor), "in order, none twice");
        for (place, event) in earliest.iter().enumerate() {
            let later = earliest[place + 1..]
                .iter()
                .find(|later| later.topic == event.topic && seen.contains(&later.cursor.sequence));
            let is_seen = seen.contains(&event.cursor.sequence);
            assert!(is_seen || later.is_some(), "{event:?} is lost");
        }
        assert!(latest.len() < published.len(), "what was there before is told by its last");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_cut_off_anywhere_goes_on_at_its_next_topic() {
    const MANY: usize = 600;
    let hub = hub_with_window("16").await;
    let publisher = hub.publisher();
    for n in 0..2 * MANY {
        publish_one(&publisher, &format!("many.{}", n % MANY), n).await;
    }
    let path = "/v1/events?topic=many.*&from=latest";
    let whole = snapshot(&hub, path, &[]).await;
    let end = whole.last().unwrap().clone();
    assert_eq!(whole.len(), MANY + 2, "the hello, each topic's last event, and the end");
    for arrived in [1, 2, 100, 300, MANY, MANY + 1] {
        let id = &whole[arrived - 1];
        assert_eq!(id.ends_with('~'), arrived <= MANY, "{id}");
        let rest = snapshot(&hub, path, &[("Last-Event-ID", id)]).await;
        assert_eq!(&rest[0], id, "the hello is where the client is");
        if arrived <= MANY {
            assert_eq!(rest[1..], whole[arrived..], "what had not arrived of {arrived}");
        }
    }
    // What changes meanwhile comes in its new form, at its new place, and once.
    let changed = publish_one(&publisher, "many.599", 0).await.to_string();
    let rest = snapshot(&hub, path, &[("Last-Event-ID", &whole[590])]).await;
    let mut expected = whole[591..MANY].to_vec();
    expected.extend([changed.clone(), changed]);
    assert_eq!(rest[1..], expected, "its last event and the end are one place, after {end}");
}

async fn hub_with_window(events: &str) -> Hub {
    Hub::start_with(Flags { edge: &["--window-events-max", events], ..Flags::default() }).await
}

/// The ids of a stream up to the end of its snapshot.
async fn snapshot(hub: &Hub, path: &str, headers: &[(&str, &str)]) -> Vec<String> {
    let mut socket = raw::connect(&hub.http).await;
    raw::send(&mut socket, "GET", path, headers).await;
    let is_over = headers.iter().any(|(_, id)| !id.ends_with('~'));
    let end = if is_over { "event: tidewire.hello\n" } else { "event: tidewire.cursor\n" };
    let mut text = raw::read_until(&mut socket, end).await;
    if !text.rsplit(end).next().unwrap().contains("\n\n") {
        text.push_str(&raw::read_until(&mut socket, "\n\n").await);
    }
    text.lines().filter_map(|line| line.strip_prefix("id: ")).map(str::to_owned).collect()
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    cursor: Cursor,
    topic: String,
    time: String,
}

fn cursors(events: &[Seen]) -> Vec<Cursor> {
    events.iter().map(|event| event.cursor).collect()
}

/// Publishes events of all topics in turn, and the last one.
async fn publish(publisher: &Publisher, numbers: std::ops::Range<usize>) -> Vec<Seen> {
    let mut published = publish_some(publisher, numbers).await;
    published.push(seen(publish_one(publisher, END, 0).await, END));
    published
}

async fn publish_some(publisher: &Publisher, numbers: std::ops::Range<usize>) -> Vec<Seen> {
    let mut published = Vec::new();
    for n in numbers {
        let topic = format!("t.{}", n % TOPICS);
        published.push(seen(publish_one(publisher, &topic, n).await, &topic));
    }
    published
}

fn seen(cursor: Cursor, topic: &str) -> Seen {
    Seen { cursor, topic: topic.to_owned(), time: String::new() }
}

async fn publish_one(publisher: &Publisher, topic: &str, n: usize) -> Cursor {
    let data = EventData::parse(n.to_string(), 100).unwrap();
    let event = NewEvent::new(Topic::parse(topic).unwrap(), data);
    publisher.publish(event).await.unwrap().cursor
}

async fn read(hub: &Hub, filter: &str, from: Start) -> Vec<Seen> {
    read_of(hub, &[filter], from).await
}

/// What a subscriber sees up to the last event.
async fn read_of(hub: &Hub, filters: &[&str], from: Start) -> Vec<Seen> {
    let mut builder = hub.subscriber(filters[0]).envelope(Envelope::CloudEvents).from(from);
    for filter in &filters[1..] {
        builder = builder.filter(TopicFilter::parse(filter).unwrap());
    }
    let mut subscriber = builder.build().unwrap();
    let connected = subscriber.next().await.unwrap();
    assert!(matches!(connected, Item::Connected { resume: Resume::Live, .. }), "{connected:?}");
    let mut events = Vec::new();
    loop {
        let event = next(&mut subscriber).await;
        let is_last = event.topic == END;
        events.push(event);
        if is_last {
            return events;
        }
    }
}

async fn read_first(hub: &Hub) -> Seen {
    let builder = hub.subscriber("t.*").envelope(Envelope::CloudEvents).from(Start::Earliest);
    let mut subscriber = builder.build().unwrap();
    subscriber.next().await.unwrap();
    next(&mut subscriber).await
}

async fn next(subscriber: &mut Subscriber) -> Seen {
    match subscriber.next().await.unwrap() {
        Item::Event { cursor, data, .. } => {
            let event: Value = serde_json::from_str(&data).unwrap();
            let text = |name: &str| event[name].as_str().unwrap().to_owned();
            Seen { cursor, topic: text("subject"), time: text("time") }
        }
        other => panic!("{other:?}"),
    }
}
