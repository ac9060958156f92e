//! A backup of the stream, put back: another life of the log where its metadata says so.

use async_nats::Client;
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tidewire_core::{Backbone as _, Interest};
use tidewire_nats::StreamSettings;
use tidewire_testbed::{NatsCluster, NatsOptions};

use crate::{
    config, event, start,
    steps::{cursors, done, publish_all, read_all},
};

struct Backup {
    config: Value,
    state: Value,
    chunks: Vec<Bytes>,
}

/// What `nats stream backup` does.
async fn back_up(client: &Client) -> Backup {
    let inbox = client.new_inbox();
    let mut received = client.subscribe(inbox.clone()).await.unwrap();
    let question = json!({ "deliver_subject": inbox, "no_consumers": true, "chunk_size": 65_536 });
    let begun = done(client, "STREAM.SNAPSHOT.TIDEWIRE", question).await;
    let mut chunks = Vec::new();
    loop {
        let chunk = received.next().await.unwrap();
        if chunk.payload.is_empty() {
            break;
        }
        chunks.push(chunk.payload);
        if let Some(reply) = chunk.reply {
            client.publish(reply, Bytes::new()).await.unwrap();
        }
    }
    Backup { config: begun["config"].clone(), state: begun["state"].clone(), chunks }
}

/// What `nats stream restore --config` does.
async fn restore(client: &Client, backup: &Backup, epoch: &str) {
    let mut settings = backup.config.clone();
    settings["metadata"]["tidewire.epoch"] = json!(epoch);
    let question = json!({ "config": settings, "state": backup.state });
    let begun = done(client, "STREAM.RESTORE.TIDEWIRE", question).await;
    let to = begun["deliver_subject"].as_str().unwrap().to_owned();
    for chunk in backup.chunks.iter().cloned().chain([Bytes::new()]) {
        let answer = client.request(to.clone(), chunk).await.unwrap();
        let text = String::from_utf8_lossy(&answer.payload).into_owned();
        assert!(!text.contains("\"error\""), "{text}");
    }
}

/// Servers before 2.15 keep the moment at which the stream was made, by which lives are told apart.
#[tokio::test]
async fn a_restored_backup_is_another_life_of_the_log_where_its_metadata_says_so() {
    for version in [None, Some("2.11.11".to_owned())] {
        let servers =
            NatsCluster::start_with(1, NatsOptions { version, ..Default::default() }).await;
        let client = async_nats::connect(servers.urls()).await.unwrap();
        let nats = start(config(&servers, StreamSettings::default())).await;
        let kept = publish_all(&nats, (0..100).map(|n| event("t", n.to_string()))).await;
        let backup = back_up(&client).await;
        publish_all(&nats, (0..10).map(|n| event("t", format!("lost {n}")))).await;
        nats.close().await;

        done(&client, "STREAM.DELETE.TIDEWIRE", json!({})).await;
        restore(&client, &backup, "2").await;
        let nats = start(config(&servers, StreamSettings::default())).await;
        let bounds = nats.bounds().await.unwrap();
        assert_eq!(bounds.head.0, 100);
        assert_ne!(bounds.epoch, kept[0].epoch);
        let read = read_all(&nats, &Interest::everything()).await;
        assert!(cursors(&read).iter().map(|c| c.sequence).eq(kept.iter().map(|c| c.sequence)));
    }
}
