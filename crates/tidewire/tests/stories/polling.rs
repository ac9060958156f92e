//! Clients that poll, since something between them and the hub holds streams back.

use serde_json::Value;
use tidewire_client::{Cursor, EventData, Item, NewEvent, Publisher, Topic};

use super::{
    hub::{Flags, Hub},
    raw,
};

const EVENTS: usize = 1_200;

struct Answer {
    cursor: String,
    events: Vec<Cursor>,
}

/// Polls, and reads the answer strictly.
async fn poll(hub: &Hub, query: &str) -> Answer {
    let answer = raw::get(&hub.http, &format!("/v1/poll?topic=p.*&{query}"), &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(body.get("gap"), None, "{}", answer.body);
    let events = body["events"].as_array().unwrap().iter().map(|event| {
        assert_eq!(event["specversion"], "1.0");
        event["tidewirecursor"].as_str().unwrap().parse().unwrap()
    });
    Answer { cursor: body["cursor"].as_str().unwrap().to_owned(), events: events.collect() }
}

async fn publish(publisher: &Publisher, n: usize) -> Cursor {
    // What is laid out over lines and paragraphs is JSON all the same.
    let data = EventData::parse(format!("{{\n\n\"n\":\r\n{n}}}\n"), 100).unwrap();
    let topic = Topic::parse(&format!("p.{}", n % 7)).unwrap();
    publisher.publish(NewEvent::new(topic, data)).await.unwrap().cursor
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_polls_and_streams_in_turn_sees_each_event_once_in_order() {
    // Some of it is read from the log.
    let flags = Flags { edge: &["--window-events-max", "100"], ..Flags::default() };
    let hub = Hub::start_with(flags).await;
    let begun = poll(&hub, "").await;
    assert_eq!(begun.events, [], "without a cursor it is answered at once");
    let publisher = hub.publisher();
    let publishing = tokio::spawn(async move {
        let mut published = Vec::new();
        for n in 0..EVENTS {
            published.push(publish(&publisher, n).await);
        }
        published
    });

    let (mut cursor, mut seen) = (begun.cursor, Vec::new());
    for round in 0.. {
        if seen.len() >= EVENTS {
            break;
        }
        if round % 3 < 2 {
            let answer = poll(&hub, &format!("timeout=5&cursor={cursor}")).await;
            seen.extend(answer.events);
            cursor = answer.cursor;
        } else {
            let mut subscriber =
                hub.subscriber("p.*").cursor(cursor.parse().unwrap()).build().unwrap();
            for _ in 0..20.min(EVENTS - seen.len()) {
                seen.push(next(&mut subscriber).await);
            }
            cursor = seen[seen.len() - 1].to_string();
        }
    }
    assert_eq!(seen, publishing.await.unwrap());
    let polled = hub.edge.metric("tidewire_edge_poll_events_total ").await;
    assert!(polled > 0.0 && polled < 1_200.0, "{polled}");
    hub.edge.tells("tidewire_edge_polls ", 0.0).await;
}

async fn next(subscriber: &mut tidewire_client::Subscriber) -> Cursor {
    loop {
        match subscriber.next().await.unwrap() {
            Item::Event { cursor, .. } => return cursor,
            Item::Connected { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_begin_where_streams_do_and_answer_in_pieces() {
    let hub = Hub::start().await;
    let publisher = hub.publisher();
    let mut published = Vec::new();
    for n in 0..700 {
        published.push(publish(&publisher, n).await);
    }
    let first = poll(&hub, "from=earliest").await;
    assert!((1..=500).contains(&first.events.len()), "{}", first.events.len());
    let mut seen = first.events;
    let mut cursor = first.cursor;
    while seen.len() < published.len() {
        let answer = poll(&hub, &format!("timeout=0&cursor={cursor}")).await;
        assert!(answer.events.len() <= 500);
        (cursor, seen) = (answer.cursor, [seen, answer.events].concat());
    }
    assert_eq!(seen, published);
    assert_eq!(poll(&hub, "from=last:9").await.events, published[691..]);

    let snapshot = poll(&hub, "from=latest").await;
    let rest = poll(&hub, &format!("timeout=0&cursor={}", snapshot.cursor)).await;
    assert_eq!([snapshot.events, rest.events].concat(), published[693..], "whole or gone on with");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_polls_are_refused_and_pages_of_other_origins_may_not_read() {
    let hub = Hub::start().await;
    for (query, field) in [
        ("", "topic"),
        ("topic=a..b", "topic"),
        ("topic=a&timeout=31", "timeout"),
        ("topic=a&timeout=x", "timeout"),
        ("topic=a&timeout=", "timeout"),
        ("topic=a&cursor=%FF", "query"),
        ("topic=a&from=then", "from"),
        ("topic=a&on_gap=x", "on_gap"),
    ] {
        let answer = raw::get(&hub.http, &format!("/v1/poll?{query}"), &[]).await;
        assert_eq!(answer.status, 400, "{query}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(body["field"], field, "{query}: {}", answer.body);
    }
    assert_eq!(raw::request(&hub.http, "POST", "/v1/poll?topic=a", &[]).await.status, 405);

    let origin = [("Origin", "https://elsewhere.example")];
    let answer = raw::get(&hub.http, "/v1/poll?topic=a", &origin).await;
    assert_eq!(answer.header("access-control-allow-origin"), None);

    let gap = raw::get(&hub.http, "/v1/poll?topic=a&cursor=00000000-7", &[]).await;
    let body: Value = serde_json::from_str(&gap.body).unwrap();
    assert_eq!(body["gap"]["reason"], "epoch", "{}", gap.body);
    assert_eq!(body["gap"]["resumed_from"], body["cursor"]);
    let header = [("Last-Event-ID", body["cursor"].as_str().unwrap())];
    let answer = raw::get(&hub.http, "/v1/poll?topic=a&cursor=00000000-7&timeout=0", &header).await;
    assert!(!answer.body.contains("gap"), "the header beats the cursor: {}", answer.body);
}
