//! Where a subscription goes on: right after a receipt, and behind what is kept no more.

use tidewire_client::{Cursor, EventData, GapReason, Item, NewEvent, Publisher, Resume, Topic};

use super::hub::{Flags, Hub};

/// Three times what is kept.
const EVENTS: usize = 63;
const EVENT_BYTES: usize = 50_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_can_be_resumed_from_as_soon_as_it_is_there() {
    let hub = Hub::start().await;
    let publisher = hub.publisher();
    for n in 0..100 {
        let cursor = publish(&publisher, n.to_string()).await;
        let mut subscriber = hub.subscriber("t").cursor(cursor).build().unwrap();
        match subscriber.next().await.unwrap() {
            Item::Connected { resume: Resume::Resumed, cursor: at, .. } => assert_eq!(at, cursor),
            other => panic!("{n}: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_behind_what_is_kept_is_answered_with_a_gap_and_all_that_is_kept() {
    // What an edge holds in memory is there whether or not the log keeps it.
    let (ingest, edge) = (["--retention-bytes", "1MiB"], ["--window-events-max", "5"]);
    let hub = Hub::start_with(Flags { ingest: &ingest, edge: &edge }).await;
    let publisher = hub.publisher();
    let mut receipts = Vec::new();
    for _ in 0..EVENTS {
        receipts.push(publish(&publisher, "x".repeat(EVENT_BYTES)).await);
    }
    // An edge that has not followed so far yet would learn only later that the first are gone.
    let newest = *receipts.last().unwrap();
    let mut follows = hub.subscriber("t").cursor(newest).build().unwrap();
    receipts.push(publish(&publisher, "x".repeat(EVENT_BYTES)).await);
    while !matches!(follows.next().await.unwrap(), Item::Event { .. }) {}

    let mut subscriber = hub.subscriber("t").cursor(receipts[0]).build().unwrap();
    let Item::Gap { reason, requested, resumed_from } = subscriber.next().await.unwrap() else {
        panic!("a gap comes first");
    };
    assert_eq!((reason, requested), (GapReason::Expired, receipts[0].to_string()));
    let connected = subscriber.next().await.unwrap();
    assert!(
        matches!(connected, Item::Connected { resume: Resume::Gap, cursor, .. } if cursor == resumed_from),
        "{connected:?}"
    );
    let kept: Vec<_> = receipts.into_iter().filter(|cursor| *cursor > resumed_from).collect();
    assert!((10..EVENTS).contains(&kept.len()), "{}", kept.len());
    for expected in kept {
        match subscriber.next().await.unwrap() {
            Item::Event { cursor, .. } => assert_eq!(cursor, expected),
            other => panic!("{other:?}"),
        }
    }
}

async fn publish(publisher: &Publisher, text: String) -> Cursor {
    let data = EventData::parse(text, EVENT_BYTES).unwrap();
    let event = NewEvent::new(Topic::parse("t").unwrap(), data);
    publisher.publish(event).await.unwrap().cursor
}
