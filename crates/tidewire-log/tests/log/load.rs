//! Many at once: publishers beyond the queue, readers beside retention.

use futures_util::{StreamExt, future::join_all};
use tempfile::TempDir;
use tidewire_core::{Backbone, Interest, PageLimit, ReadError};
use tidewire_log::Config;

use crate::{cursors_of, event, open, publish_all};

#[tokio::test(flavor = "multi_thread")]
async fn publishes_beyond_the_queue_wait_their_turn_in_the_order_they_were_polled() {
    let dir = TempDir::new().unwrap();
    let log = open(&Config::new(dir.path())).await;
    let publishers = (0..3).map(|p| {
        let log = log.clone();
        tokio::spawn(async move {
            let events = (0..10_000).map(|n| event(&format!("p.{p}"), n.to_string()));
            let mut waiting: futures_util::stream::FuturesUnordered<_> =
                events.map(|event| log.publish(event)).collect();
            let mut stored = Vec::new();
            while let Some(receipt) = waiting.next().await {
                stored.push(receipt.unwrap().cursor);
            }
            stored.len()
        })
    });
    let stored: usize = join_all(publishers).await.into_iter().map(Result::unwrap).sum();
    assert_eq!(stored, 30_000);

    // Of each publisher, everything stands in the log in the order of the first polls.
    let mut next = [0_u32; 3];
    let start = log.bounds().await.unwrap().start();
    let mut tail = log.tail(start).await.unwrap().take(30_000);
    while let Some(stored) = tail.next().await {
        let event = stored.unwrap().event;
        let publisher: usize = event.topic.as_str()[2..].parse().unwrap();
        assert_eq!(event.data.as_bytes(), next[publisher].to_string().as_bytes());
        next[publisher] += 1;
    }
    assert_eq!(next, [10_000; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_beside_retention_see_every_event_or_are_told_that_it_has_left() {
    let dir = TempDir::new().unwrap();
    let config =
        Config { retention_bytes: 512 * 1024, segment_bytes: 16 * 1024, ..Config::new(dir.path()) };
    let log = open(&config).await;
    let last = 300 * 100;
    let readers = (0..4).map(|n| {
        let log = log.clone();
        tokio::spawn(async move {
            let limit = PageLimit { events: 50 << n, bytes: usize::MAX };
            let mut after = log.bounds().await.unwrap().start();
            let mut expired = 0;
            while after.sequence.0 < last {
                match log.read(&Interest::everything(), after, limit).await {
                    Ok(page) => {
                        for event in page.events {
                            assert_eq!(event.cursor.sequence, after.sequence.next());
                            after = event.cursor;
                        }
                        assert_eq!(page.next, after);
                        tokio::task::yield_now().await;
                    }
                    Err(ReadError::Expired { oldest }) => {
                        assert!(oldest > after, "it has left");
                        (after, expired) = (oldest, expired + 1);
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            expired
        })
    });
    let readers: Vec<_> = readers.collect();
    for _ in 0..300 {
        let events = (0..100).map(|n| event(&format!("t.{n}"), "x".repeat(200)));
        cursors_of(publish_all(&log, events).await);
    }
    let _expired: i32 = join_all(readers).await.into_iter().map(Result::unwrap).sum();
    let bounds = log.bounds().await.unwrap();
    assert!(bounds.oldest.0 > 25_000, "most has left: {bounds:?}");
    let newest = log.latest(&Interest::everything(), bounds.start(), crate::ALL).await.unwrap();
    assert_eq!(newest.events.len(), 100, "of every topic the last event is retained");
}
