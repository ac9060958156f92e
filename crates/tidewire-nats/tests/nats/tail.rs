//! What may happen under a tail: it goes on without a hole, or says that it cannot.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use serde_json::json;
use tidewire_core::{Backbone as _, EventStream, ReadError};
use tidewire_nats::StreamSettings;
use tidewire_testbed::{NatsCluster, NatsOptions};

use crate::{
    config, event, start,
    steps::{cursors, done, publish, publish_all, take},
};

/// So little that it is soon full.
fn little() -> StreamSettings {
    StreamSettings { retention_bytes: 1024 * 1024, ..StreamSettings::default() }
}

/// Follows a tail on which one event after another stands until it says what is wrong; says how
/// many came.
async fn until_it_ends(tail: &mut EventStream, first: u64) -> (u64, ReadError) {
    let mut wanted = first;
    loop {
        match tail.next().await.expect("an error is its last item") {
            Ok(event) => assert_eq!(event.cursor.sequence.0, wanted, "a hole that nobody tells of"),
            Err(error) => return (wanted - first, error),
        }
        wanted += 1;
    }
}

#[tokio::test]
async fn a_tail_that_retention_overtakes_says_so() {
    let servers = NatsCluster::start(1).await;
    let nats = start(config(&servers, little())).await;
    let mut tail = nats.tail(nats.bounds().await.unwrap().start()).await.unwrap();
    publish(&nats, event("t", "first")).await;
    take(&mut tail, 1).await;
    // More than the tail has asked for, and more than is retained.
    publish_all(&nats, (0..20_000).map(|_| event("t", "x".repeat(100)))).await;
    let (events, error) = until_it_ends(&mut tail, 2).await;
    assert!(matches!(error, ReadError::Expired { .. }), "after {events}: {error}");
}

#[tokio::test]
async fn a_tail_before_events_that_an_operator_purges_says_so() {
    let servers = NatsCluster::start(1).await;
    let nats = start(config(&servers, StreamSettings::default())).await;
    let mut tail = nats.tail(nats.bounds().await.unwrap().start()).await.unwrap();
    publish(&nats, event("t", "first")).await;
    take(&mut tail, 1).await;
    publish_all(&nats, (0..10_000).map(|n| event("t", n.to_string()))).await;
    let client = async_nats::connect(servers.urls()).await.unwrap();
    done(&client, "STREAM.PURGE.TIDEWIRE", json!({})).await;
    publish(&nats, event("t", "after")).await;
    let (events, error) = until_it_ends(&mut tail, 2).await;
    assert!(matches!(error, ReadError::Expired { .. }), "after {events}: {error}");
}

#[tokio::test]
async fn a_tail_at_the_head_goes_on_when_all_before_it_is_purged() {
    let servers = NatsCluster::start(1).await;
    let nats = start(config(&servers, StreamSettings::default())).await;
    let mut tail = nats.tail(nats.bounds().await.unwrap().start()).await.unwrap();
    publish(&nats, event("t", "first")).await;
    take(&mut tail, 1).await;
    let client = async_nats::connect(servers.urls()).await.unwrap();
    done(&client, "STREAM.PURGE.TIDEWIRE", json!({})).await;
    let after = publish(&nats, event("t", "after")).await;
    assert_eq!(cursors(&take(&mut tail, 1).await), [after]);
}

#[tokio::test]
async fn a_tail_whose_consumer_is_deleted_goes_on() {
    let servers = NatsCluster::start(1).await;
    let nats = start(config(&servers, StreamSettings::default())).await;
    let client = async_nats::connect(servers.urls()).await.unwrap();
    let mut tail = nats.tail(nats.bounds().await.unwrap().start()).await.unwrap();
    let mut published = Vec::new();
    for round in 0..5 {
        published.push(publish(&nats, event("t", round.to_string())).await);
        let seen = cursors(&take(&mut tail, 1).await);
        assert_eq!(seen.last(), published.last());
        let names = done(&client, "CONSUMER.NAMES.TIDEWIRE", json!({})).await;
        let names = names["consumers"].as_array().unwrap();
        assert_eq!(names.len(), 1, "a tail has one consumer: {names:?}");
        let delete = format!("CONSUMER.DELETE.TIDEWIRE.{}", names[0].as_str().unwrap());
        done(&client, &delete, json!({})).await;
    }
    published.push(publish(&nats, event("t", "last")).await);
    assert_eq!(cursors(&take(&mut tail, 1).await).last(), published.last());
}

/// What a computer that loses power loses: the end of what was acknowledged and not yet synced.
/// Where it is filled again before anybody looks, nobody can tell; the documents say so.
#[tokio::test]
async fn a_tail_of_a_log_that_lost_its_end_says_so() {
    let store = tempfile::tempdir().unwrap();
    let options = NatsOptions {
        store_dirs: BTreeMap::from([(0, store.path().join("store"))]),
        ..NatsOptions::default()
    };
    let servers = NatsCluster::start_with(1, options).await;
    let nats = start(config(&servers, StreamSettings::default())).await;
    let mut tail = nats.tail(nats.bounds().await.unwrap().start()).await.unwrap();
    publish_all(&nats, (0..100).map(|n| event("t", n.to_string()))).await;
    servers.terminate(0).await;
    copy(&store.path().join("store"), &store.path().join("earlier"));
    servers.start_node(0);
    servers.ready().await;
    publish_all(&nats, (100..110).map(|n| event("t", n.to_string()))).await;
    take(&mut tail, 110).await;
    servers.kill(0);
    std::fs::remove_dir_all(store.path().join("store")).unwrap();
    copy(&store.path().join("earlier"), &store.path().join("store"));
    servers.start_node(0);
    servers.ready().await;
    let (events, error) = until_it_ends(&mut tail, 111).await;
    assert!(events == 0 && matches!(error, ReadError::Ahead { .. }), "after {events}: {error}");
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    let copied = std::process::Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(copied.success());
}
