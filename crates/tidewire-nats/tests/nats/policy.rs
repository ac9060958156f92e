//! The stream: who makes it, what is said where it is otherwise, and what stops.

use futures_util::StreamExt;
use serde_json::{Value, json};
use tidewire_core::{Backbone as _, NewEvent, ReadError};
use tidewire_nats::{Config, Nats, StreamName, StreamPolicy, StreamSettings};
use tidewire_testbed::{NatsCluster, NatsOptions};
use tokio::time::timeout;

use crate::{
    PATIENCE, config, event, start,
    steps::{ask, cursors, done, interest, publish, read_all, take, texts, until, until_trouble},
    until_usable,
};

fn with(policy: StreamPolicy) -> StreamSettings {
    StreamSettings { policy, ..StreamSettings::default() }
}

/// What an edge is told: it keeps no stream.
fn edge(servers: &NatsCluster) -> Config {
    Config { keep: None, ..config(servers, StreamSettings::default()) }
}

/// What makes the stream go on, in the words that it ends with.
async fn failure(config: Config) -> String {
    let nats = Nats::start(config).await.unwrap();
    timeout(PATIENCE, nats.failed()).await.expect("it cannot go on").to_string()
}

/// How the stream is made where nothing else is said.
async fn made(servers: &NatsCluster) -> (async_nats::Client, Value) {
    let nats = start(config(servers, StreamSettings::default())).await;
    nats.close().await;
    let client = async_nats::connect(servers.urls()).await.unwrap();
    let info = done(&client, "STREAM.INFO.TIDEWIRE", json!({})).await;
    let mut config = info["config"].clone();
    // The server's own notes.
    config.as_object_mut().unwrap().remove("metadata");
    (client, config)
}

/// JetStream's own code for "error creating store for stream".
const CANNOT_MAKE_STORE: u64 = 10_049;

/// Deletes the stream and makes it with this field otherwise.
async fn remake(client: &async_nats::Client, mut config: Value, field: &str, value: &Value) {
    let is_there = ask(client, "STREAM.INFO.TIDEWIRE", json!({})).await.get("error").is_none();
    if is_there {
        done(client, "STREAM.DELETE.TIDEWIRE", json!({})).await;
    }
    config[field] = value.clone();
    until("the stream is made anew", || async {
        let made = ask(client, "STREAM.CREATE.TIDEWIRE", config.clone()).await;
        let error = &made["error"];
        // While the server clears away what it has deleted.
        assert!(error.is_null() || error["err_code"] == CANNOT_MAKE_STORE, "{made}");
        error.is_null()
    })
    .await;
}

#[tokio::test]
async fn a_missing_stream_is_made_by_whoever_comes_first_and_used_by_all() {
    let servers = NatsCluster::start(1).await;
    for round in 0..10 {
        let of = || Config {
            stream: format!("LOG-{round}").parse::<StreamName>().unwrap(),
            ..config(&servers, StreamSettings::default())
        };
        let (one, other, third) = tokio::join!(start(of()), start(of()), start(of()));
        let cursor = publish(&one, event("t", "1")).await;
        assert_eq!(publish(&other, event("t", "2")).await.epoch, cursor.epoch);
        assert_eq!(texts(&read_all(&third, &interest(&["t"])).await), ["1", "2"]);
    }
}

#[tokio::test]
async fn who_may_not_make_the_stream_waits_for_it_and_says_so() {
    let servers = NatsCluster::start(1).await;
    let waiting = Nats::start(config(&servers, with(StreamPolicy::Require))).await.unwrap();
    let reading = Nats::start(edge(&servers)).await.unwrap();
    until_trouble(&waiting, "there is no stream TIDEWIRE, and the policy is to wait for it").await;
    until_trouble(&reading, "there is no stream TIDEWIRE: an ingest makes it when it starts").await;
    let refused = waiting.publish(event("t", "x")).await.unwrap_err();
    assert!(refused.to_string().contains("there is no stream"), "{refused}");

    let making = start(config(&servers, with(StreamPolicy::Create))).await;
    until_usable(&waiting).await;
    until_usable(&reading).await;
    let cursor = publish(&waiting, event("t", "x")).await;
    assert_eq!(reading.bounds().await.unwrap().head(), cursor);
    assert_eq!(making.bounds().await.unwrap().head(), cursor);
}

#[tokio::test]
async fn a_stream_that_differs_is_told_field_by_field() {
    let servers = NatsCluster::start(1).await;
    let (client, config_made) = made(&servers).await;
    let seconds = |seconds: u64| json!(seconds * 1_000_000_000);
    for (field, value, difference) in [
        ("max_age", seconds(172_800), "max_age is 172800 s, not 86400 s"),
        ("max_bytes", json!(-1), "max_bytes is -1, not 1073741824"),
        ("max_msgs_per_subject", json!(7), "max_msgs_per_subject is 7, not -1"),
        ("discard", json!("new"), "discard is \"new\", not \"old\""),
        ("storage", json!("memory"), "storage is \"memory\", not \"file\""),
        ("duplicate_window", seconds(1), "duplicate_window is 1 s, not 120 s"),
        ("compression", json!("s2"), "compression is \"s2\", not \"none\""),
        ("allow_msg_ttl", json!(false), "allow_msg_ttl is false, not true"),
    ] {
        remake(&client, config_made.clone(), field, &value).await;
        let said = format!("the stream TIDEWIRE is not as the settings say: {difference};");
        for policy in [StreamPolicy::Verify, StreamPolicy::Require] {
            let failure = failure(config(&servers, with(policy))).await;
            assert!(failure.contains(&said), "{policy:?}: {failure}");
        }
        // Who makes a missing one goes on with one that is there, and who reads does not mind.
        let going_on = start(config(&servers, with(StreamPolicy::Create))).await;
        let reading = start(edge(&servers)).await;
        let cursor = publish(&going_on, event("t", "x")).await;
        assert_eq!(reading.bounds().await.unwrap().head(), cursor);
        // It would make the stream that is deleted next.
        going_on.close().await;
    }
}

#[tokio::test]
async fn a_stream_that_would_lose_events_is_refused_by_everyone() {
    let servers = NatsCluster::start(1).await;
    let (client, config_made) = made(&servers).await;
    for (field, value, difference) in [
        (
            "subjects",
            json!(["tw.OTHER.>"]),
            "subjects is [\"tw.OTHER.>\"], not [\"tw.TIDEWIRE.>\"]",
        ),
        ("subjects", json!(["tw.TIDEWIRE.*"]), "subjects is [\"tw.TIDEWIRE.*\"]"),
        ("subjects", json!(["tw.TIDEWIRE.>", "more"]), "subjects is ["),
        ("retention", json!("workqueue"), "retention is \"workqueue\", not \"limits\""),
        ("retention", json!("interest"), "retention is \"interest\", not \"limits\""),
    ] {
        remake(&client, config_made.clone(), field, &value).await;
        let policies = [StreamPolicy::Create, StreamPolicy::Verify, StreamPolicy::Require];
        let ingests = policies.map(|policy| config(&servers, with(policy)));
        for config in ingests.into_iter().chain([edge(&servers)]) {
            let keep = config.keep.as_ref().map(|settings| settings.policy);
            let failure = failure(config).await;
            assert!(
                failure.contains("cannot hold the log") && failure.contains(difference),
                "{keep:?}: {failure}"
            );
        }
    }
}

#[tokio::test]
async fn a_stream_deleted_under_a_running_ingest_is_made_anew_and_is_another_life_of_the_log() {
    let servers = NatsCluster::start(1).await;
    let ingest = start(config(&servers, StreamSettings::default())).await;
    let reading = start(edge(&servers)).await;
    let old = publish(&ingest, event("t", "old")).await;
    let mut tail = reading.tail(old).await.unwrap();
    let client = async_nats::connect(servers.urls()).await.unwrap();
    done(&client, "STREAM.DELETE.TIDEWIRE", json!({})).await;

    // It waits until the stream is there again.
    let new = publish(&ingest, event("t", "new")).await;
    assert_ne!(new.epoch, old.epoch);
    assert_eq!(new, ingest.bounds().await.unwrap().head());
    assert_eq!(texts(&read_all(&reading, &interest(&["t"])).await), ["new"]);
    let ended = timeout(PATIENCE, tail.next()).await.expect("the tail ends").unwrap();
    assert!(matches!(ended, Err(ReadError::ForeignEpoch { epoch }) if epoch == new.epoch));
    let foreign = reading.read(&interest(&["t"]), old, crate::steps::ALL).await;
    assert!(matches!(foreign, Err(ReadError::ForeignEpoch { epoch }) if epoch == new.epoch));
}

#[tokio::test]
async fn receipts_are_of_the_new_life_of_a_log_that_others_made_anew() {
    let servers = NatsCluster::start(1).await;
    let (client, config_made) = made(&servers).await;
    let one = start(config(&servers, StreamSettings::default())).await;
    publish(&one, event("t", "old")).await;
    remake(&client, config_made, "description", &json!("made anew")).await;
    let other = start(config(&servers, StreamSettings::default())).await;
    for n in 0..3 {
        publish(&other, event("t", n.to_string())).await;
    }
    let receipt = publish(&one, event("t", "new")).await;
    assert_eq!(receipt, other.bounds().await.unwrap().head());
}

#[tokio::test]
async fn an_operator_begins_another_life_of_the_log_by_its_metadata() {
    let servers = NatsCluster::start(1).await;
    let ingest = start(config(&servers, StreamSettings::default())).await;
    let mut tail = ingest.tail(ingest.bounds().await.unwrap().start()).await.unwrap();
    let old = publish(&ingest, event("t", "1")).await;
    take(&mut tail, 1).await;
    let client = async_nats::connect(servers.urls()).await.unwrap();
    let mut config_made = done(&client, "STREAM.INFO.TIDEWIRE", json!({})).await["config"].clone();
    config_made["metadata"]["tidewire.epoch"] = json!("2");
    done(&client, "STREAM.UPDATE.TIDEWIRE", config_made).await;

    let epoch = ingest.bounds().await.unwrap().epoch;
    assert_ne!(epoch, old.epoch);
    let receipt = publish(&ingest, event("t", "2")).await;
    let ended = timeout(PATIENCE, tail.next()).await.expect("the tail says so").unwrap();
    assert!(matches!(ended, Err(ReadError::ForeignEpoch { .. })), "{ended:?}");
    assert_eq!(receipt.epoch, epoch);
}

#[tokio::test]
async fn a_server_without_jetstream_and_a_name_in_use_are_told() {
    let options = NatsOptions {
        extra_config: "accounts { A: { users: [{user: a, password: b}] } }\nno_auth_user: a\n"
            .into(),
        ..NatsOptions::default()
    };
    let servers = NatsCluster::start_with(1, options).await;
    let nats = Nats::start(config(&servers, StreamSettings::default())).await.unwrap();
    until_trouble(&nats, "JetStream not enabled").await;

    let servers = NatsCluster::start(1).await;
    let client = async_nats::connect(servers.urls()).await.unwrap();
    let other = json!({ "name": "OTHER", "subjects": ["tw.>"], "storage": "memory" });
    done(&client, "STREAM.CREATE.OTHER", other).await;
    let nats = Nats::start(config(&servers, StreamSettings::default())).await.unwrap();
    until_trouble(&nats, "cannot make the stream TIDEWIRE: subjects overlap").await;
    done(&client, "STREAM.DELETE.OTHER", json!({})).await;
    until_usable(&nats).await;
}

#[tokio::test]
async fn a_ttl_on_a_stream_that_takes_none_is_refused_with_the_reason() {
    let servers = NatsCluster::start(1).await;
    let (client, config_made) = made(&servers).await;
    remake(&client, config_made, "allow_msg_ttl", &json!(false)).await;
    let nats = start(config(&servers, StreamSettings::default())).await;
    let ttl = tidewire_core::Ttl::from_seconds(5).unwrap();
    let brief = NewEvent { ttl: Some(ttl), ..event("t", "x") };
    let refused = nats.publish(brief).await.unwrap_err().to_string();
    assert!(refused.contains("TTL"), "{refused}");
    publish(&nats, event("t", "x")).await;
}

#[tokio::test]
async fn an_operator_changes_the_stream_while_the_hub_runs() {
    let servers = NatsCluster::start(1).await;
    let nats = start(config(&servers, StreamSettings::default())).await;
    let mut tail = nats.tail(nats.bounds().await.unwrap().start()).await.unwrap();
    let client = async_nats::connect(servers.urls()).await.unwrap();
    let epoch = publish(&nats, event("t", "x")).await.epoch;
    take(&mut tail, 1).await;
    for (field, value, may_change) in [
        ("max_age", json!(3_600_000_000_000_u64), true),
        ("max_bytes", json!(10_000_000), true),
        ("max_msgs_per_subject", json!(1_000), true),
        ("duplicate_window", json!(60_000_000_000_u64), true),
        ("compression", json!("s2"), true),
        ("description", json!("another"), true),
        ("storage", json!("memory"), false),
        ("allow_msg_ttl", json!(false), false),
        ("retention", json!("workqueue"), false),
    ] {
        let info = done(&client, "STREAM.INFO.TIDEWIRE", json!({})).await;
        let mut changed = info["config"].clone();
        changed[field] = value;
        let answer = ask(&client, "STREAM.UPDATE.TIDEWIRE", changed).await;
        assert_eq!(answer.get("error").is_none(), may_change, "{field}: {answer}");
        let cursor = publish(&nats, event("t", field)).await;
        assert_eq!(cursor.epoch, epoch);
        assert_eq!(cursors(&take(&mut tail, 1).await), [cursor], "{field}");
    }
    let failures = timeout(std::time::Duration::ZERO, nats.failed()).await;
    assert!(failures.is_err(), "{failures:?}");
}
