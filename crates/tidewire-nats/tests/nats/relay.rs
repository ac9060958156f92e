//! What edges say to each other: to the one that is meant, past the stream, also after interruptions.

use std::time::Duration;

use futures_util::StreamExt as _;
use tidewire_core::{Backbone as _, EdgeNumber, Relay as _};
use tidewire_nats::StreamSettings;
use tidewire_testbed::NatsCluster;
use tokio::time::{sleep, timeout};

use crate::{PATIENCE, config, start};

const HERE: EdgeNumber = EdgeNumber(0x07c1);
const THERE: EdgeNumber = EdgeNumber(0x07c2);

#[tokio::test]
async fn a_word_is_heard_by_the_edge_that_is_meant_and_kept_nowhere() {
    let servers = NatsCluster::start(1).await;
    let one = start(config(&servers, StreamSettings::default())).await;
    let other = start(config(&servers, StreamSettings::default())).await;
    let mut here = one.listen(HERE).await.unwrap();
    let mut there = other.listen(THERE).await.unwrap();
    // A word of its own goes out behind the listening, on the same connection.
    other.say(THERE, "ready".into()).await.unwrap();
    assert_eq!(heard(&mut there).await, "ready");
    one.say(HERE, "ready".into()).await.unwrap();
    assert_eq!(heard(&mut here).await, "ready");

    for n in 0..100 {
        one.say(THERE, format!("{n}").into()).await.unwrap();
    }
    other.say(HERE, "last".into()).await.unwrap();
    for n in 0..100 {
        assert_eq!(heard(&mut there).await, format!("{n}"));
    }
    assert_eq!(heard(&mut here).await, "last", "and nothing that was for another");
    let bounds = one.bounds().await.unwrap();
    assert_eq!(bounds.head(), bounds.start(), "the log has nothing of it");
}

#[tokio::test]
async fn without_a_server_a_word_is_refused_and_after_it_heard_again() {
    let servers = NatsCluster::start(1).await;
    let one = start(config(&servers, StreamSettings::default())).await;
    let mut here = one.listen(HERE).await.unwrap();
    servers.kill(0);
    let refused = async {
        while one.say(HERE, "lost".into()).await.is_ok() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, refused).await.expect("it is noticed");
    servers.start_node(0);
    let again = async {
        loop {
            // It may be connected before it listens again.
            let _unsaid = one.say(HERE, "again".into()).await;
            if let Ok(word) = timeout(Duration::from_millis(100), heard(&mut here)).await
                && word == "again"
            {
                break;
            }
        }
    };
    timeout(PATIENCE, again).await.expect("it is heard again");
}

async fn heard(words: &mut tidewire_core::WordStream) -> bytes::Bytes {
    timeout(PATIENCE, words.next()).await.expect("a word comes").expect("it goes on")
}
