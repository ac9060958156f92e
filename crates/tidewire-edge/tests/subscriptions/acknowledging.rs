//! Probes that are acknowledged, here or at another edge, and those that are not.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use parking_lot::Mutex;
use tidewire_core::{Backbone, EdgeNumber, Relay, RelayError, WordStream};
use tidewire_edge::{Acknowledged, Config, Edge};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::timing::{Reader, Story};

const PROBE: &str = "event: tidewire.probe\n";
const BUFFERED: &str = "event: tidewire.buffered\nretry: ";
const HEARTBEAT: &str = ":\n";
const WORDS_MAX: usize = 4_096;

/// A way between the edges of one test.
#[derive(Default)]
struct Hearsay(Mutex<HashMap<EdgeNumber, mpsc::Sender<Bytes>>>);

#[async_trait]
impl Relay for Hearsay {
    async fn say(&self, to: EdgeNumber, word: Bytes) -> Result<(), RelayError> {
        // What nobody hears is lost without a word.
        let _unheard = self.0.lock().get(&to).map(|listener| listener.try_send(word));
        Ok(())
    }

    async fn listen(&self, edge: EdgeNumber) -> Result<WordStream, RelayError> {
        let (listener, words) = mpsc::channel(WORDS_MAX);
        self.0.lock().insert(edge, listener);
        Ok(Box::pin(stream::unfold(words, async |mut words| Some((words.recv().await?, words)))))
    }
}

/// A quiet stream whose probe has come, and its connection's name.
async fn probed(story: &Story, ack: u64, control: bool) -> (Reader, String) {
    let mut reader = story
        .subscribe("quiet", |request| {
            request.ack = Some(Duration::from_secs(ack));
            request.control = control;
        })
        .await;
    reader.next().await;
    let probe = reader.next().await;
    assert!(probe.starts_with(PROBE), "who will acknowledge a probe gets one: {probe}");
    let (_, connection) = probe.split_once("\"connection\":\"").unwrap();
    let (connection, _) = connection.split_once('"').unwrap();
    (reader, connection.to_owned())
}

#[tokio::test(start_paused = true)]
async fn without_an_acknowledgement_in_time_the_stream_ends_and_says_why() {
    let story = Story::begin_with(Config::default());
    for (ack, control) in [(2, true), (5, true), (30, true), (2, false)] {
        let (mut reader, connection) = probed(&story, ack, control).await;
        let begun = Instant::now();
        let mut said = reader.next().await;
        while said == HEARTBEAT {
            said = reader.next().await;
        }
        let waited = begun.elapsed().as_millis();
        assert!(said.contains(BUFFERED), "{said}");
        assert!(said.ends_with("\ndata: {\"reason\":\"unacknowledged\"}\n\n"), "{said}");
        assert!((u128::from(ack) * 1_000..u128::from(ack) * 1_000 + 3).contains(&waited));
        assert_eq!(reader.0.next().await, None);
        drop(reader);
        let late = story.edge.acknowledge(&connection).await;
        assert_eq!(late, Acknowledged::Unknown, "it is too late");
    }
}

#[tokio::test(start_paused = true)]
async fn events_do_not_stand_for_an_acknowledgement() {
    let mut story = Story::begin_with(Config::default());
    let mut reader =
        story.subscribe(">", |request| request.ack = Some(Duration::from_secs(4))).await;
    reader.next().await;
    assert!(reader.next().await.starts_with(PROBE));
    let begun = Instant::now();
    loop {
        story.publish();
        let said = reader.next().await;
        if said.contains(BUFFERED) {
            break;
        }
        assert!(said.contains("data: "), "{said}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(begun.elapsed() < Duration::from_millis(4_400), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn with_one_it_goes_on_and_no_heartbeat_comes_early() {
    let story = Story::begin_with(Config::default());
    let (mut reader, connection) = probed(&story, 2, true).await;
    let begun = Instant::now();
    for _ in 0..2 {
        assert_eq!(story.edge.acknowledge(&connection).await, Acknowledged::Noted);
    }
    assert_eq!(reader.next().await, HEARTBEAT);
    assert!(begun.elapsed() >= Duration::from_secs(3), "{:?}", begun.elapsed());
    while begun.elapsed() < Duration::from_secs(60) {
        assert!(!reader.next().await.contains("tidewire.buffered"));
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_comes_while_the_stream_waits_counts_too() {
    let story = Story::begin_with(Config::default());
    let (mut reader, connection) = probed(&story, 2, true).await;
    let begun = Instant::now();
    let waiting = tokio::spawn(async move { reader.next().await });
    tokio::time::sleep(Duration::from_millis(1_900)).await;
    assert_eq!(story.edge.acknowledge(&connection).await, Acknowledged::Noted);
    assert_eq!(waiting.await.unwrap(), HEARTBEAT);
    assert!(begun.elapsed() >= Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn any_edge_takes_it_and_passes_it_on() {
    let story = Story::begin_with(Config::default());
    let other_ending = CancellationToken::new();
    let backbone = Arc::clone(&story.log) as Arc<dyn Backbone>;
    let other = Edge::start(Config::default(), backbone, other_ending.clone());
    let (mut reader, connection) = probed(&story, 2, true).await;
    // Before they know of each other.
    assert_eq!(other.acknowledge(&connection).await, Acknowledged::Unknown);
    let relay = Arc::new(Hearsay::default());
    story.edge.join(Arc::clone(&relay) as Arc<dyn Relay>);
    other.join(relay);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(other.acknowledge(&connection).await, Acknowledged::PassedOn);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(reader.next().await, HEARTBEAT);

    // Of the same edge, but never there; of no edge; and no name at all.
    let never = format!("{}0123456789abcdef", &connection[..8]);
    assert_eq!(story.edge.acknowledge(&never).await, Acknowledged::Unknown);
    assert_eq!(other.acknowledge(&never).await, Acknowledged::PassedOn);
    for nonsense in ["", "x", ">", &connection[1..], &connection.to_uppercase()] {
        assert_eq!(other.acknowledge(nonsense).await, Acknowledged::Unknown, "{nonsense}");
    }
    story.ending.cancel();
    other_ending.cancel();
    story.edge.stopped().await;
    other.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn before_its_probe_a_connection_waits_for_nothing() {
    let story = Story::begin_with(Config::default());
    let mut reader =
        story.subscribe("quiet", |request| request.ack = Some(Duration::from_secs(2))).await;
    let hello = reader.next().await;
    let (_, connection) = hello.split_once("\"connection\":\"").unwrap();
    assert_eq!(story.edge.acknowledge(&connection[..24]).await, Acknowledged::Unknown);
}

#[tokio::test(start_paused = true)]
async fn an_edge_passes_on_so_many_in_a_second_and_no_more() {
    let story = Story::begin_with(Config::default());
    story.edge.join(Arc::new(Hearsay::default()));
    tokio::time::sleep(Duration::from_secs(2)).await;
    for _ in 0..2 {
        let mut passed_on = 0;
        for number in 0..3_000 {
            let name = format!("00000000{number:016x}");
            match story.edge.acknowledge(&name).await {
                Acknowledged::PassedOn => passed_on += 1,
                outcome => assert_eq!(outcome, Acknowledged::NotPassedOn),
            }
        }
        assert_eq!(passed_on, 1_000);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
