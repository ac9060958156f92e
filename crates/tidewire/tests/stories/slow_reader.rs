//! A reader that takes nothing costs the hub little, and loses nothing.

use tidewire_client::{EventData, Item, NewEvent, Start, StreamOptions, Subscriber, Topic};

use super::hub::{Flags, Hub};

const READERS: usize = 20;
const EVENTS: usize = 30_000;
const EVENT_BYTES: usize = 1_000;

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_stall_are_served_from_the_log_when_they_read_again() {
    // A window that holds a thirtieth of what passes.
    let flags = ["--window-events-max", "1000"];
    let hub = Hub::start_with(Flags { edge: &flags, ..Flags::default() }).await;
    let mut stalled = Vec::new();
    for _ in 0..READERS {
        let mut subscriber = hub.subscriber("t").from(Start::Earliest).build().unwrap();
        assert!(matches!(subscriber.next().await.unwrap(), Item::Connected { .. }));
        stalled.push(subscriber);
    }
    let before = hub.edge.metric("process_resident_memory_bytes ").await;

    publish(&hub).await;
    let during = hub.edge.metric("process_resident_memory_bytes ").await;
    let grown = (during - before) / 1e6;
    println!("{READERS} stalled readers, {EVENTS} events: resident memory grew by {grown:.1} MB");
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let unbounded = (READERS * EVENTS * EVENT_BYTES) as f64 / 1e6;
    assert!(grown < unbounded / 6.0, "{grown:.1} MB, where queues would hold {unbounded:.0} MB");

    hub.edge.tells("tidewire_edge_slow_readers ", 20.0).await;
    for subscriber in &mut stalled {
        read_all(subscriber).await;
    }
    assert!(hub.edge.metric("tidewire_edge_replays_total{because=\"lagged\"} ").await >= 1.0);
    assert!(hub.edge.metric("tidewire_edge_replay_events_total ").await >= 1.0);
    hub.edge.tells("tidewire_edge_slow_readers ", 0.0).await;
}

async fn publish(hub: &Hub) {
    let stream = hub.publisher().stream(StreamOptions::default());
    let topic = Topic::parse("t").unwrap();
    let mut last = None;
    for n in 0..EVENTS {
        let text = format!("{n:0EVENT_BYTES$}");
        let data = EventData::parse(text, EVENT_BYTES).unwrap();
        last = Some(stream.send(NewEvent::new(topic.clone(), data)).await.unwrap());
    }
    stream.finish().await.unwrap();
    last.unwrap().await.unwrap();
}

async fn read_all(subscriber: &mut Subscriber) {
    for n in 0..EVENTS {
        loop {
            match subscriber.next().await.unwrap() {
                Item::Event { data, .. } => break assert_eq!(data.parse(), Ok(n)),
                Item::Connected { .. } | Item::Disconnected { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
}
