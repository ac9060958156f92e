//! Publishing: what is too large, what finds no room, what comes twice, and the order of the rest.

use std::{collections::HashSet, time::Duration};

use futures_util::{FutureExt, future::join_all, poll};
use serde_json::json;
use tidewire_core::{
    Attributes, Backbone as _, EventId, EventType, Interest, NewEvent, PublishError, ReadError, Ttl,
};
use tidewire_nats::{Login, Nats, StreamSettings};
use tidewire_testbed::{NatsCluster, NatsOptions};
use tokio::time::timeout;

use crate::{
    PATIENCE, config, event, start,
    steps::{
        ALL, cursors, done, interest, publish, publish_all, read_after, read_all, take, texts,
        until,
    },
};

fn with_id(id: &str, event: NewEvent) -> NewEvent {
    NewEvent { id: EventId::parse(id).unwrap(), ..event }
}

fn brief(event: NewEvent) -> NewEvent {
    NewEvent { ttl: Some(Ttl::from_seconds(1).unwrap()), ..event }
}

async fn unavailable(nats: &Nats, event: NewEvent) -> String {
    match nats.publish(event).await {
        Err(PublishError::Unavailable(why)) => why.to_string(),
        other => panic!("{other:?}"),
    }
}

/// Waits until the server holds so many messages.
async fn until_stored(servers: &NatsCluster, messages: usize) {
    let client = async_nats::connect(servers.urls()).await.unwrap();
    let stored = || async {
        let info = done(&client, "STREAM.INFO.TIDEWIRE", json!({})).await;
        info["state"]["messages"] == messages
    };
    until("the server has removed what it should", stored).await;
}

#[tokio::test]
async fn thousands_in_flight_keep_their_order() {
    let servers = NatsCluster::start(1).await;
    let nats = start(config(&servers, StreamSettings::default())).await;
    // More than are in flight at once: the rest wait in line.
    let together = (0..20_000).map(|n| nats.publish(event("t", n.to_string())));
    let receipts = join_all(together).await;
    let published: Vec<_> = receipts.into_iter().map(|receipt| receipt.unwrap().cursor).collect();
    assert!(published.is_sorted_by(|a, b| a < b));
    let read = read_all(&nats, &Interest::everything()).await;
    assert_eq!(cursors(&read), published);
    assert!(
        read.iter().enumerate().all(|(n, event)| event.event == self::event("t", n.to_string()))
    );
}

#[tokio::test]
async fn an_event_too_large_for_the_server_harms_no_other() {
    let payload_max = 20_000;
    let extra_config = format!("max_payload: {payload_max}\n");
    let servers =
        NatsCluster::start_with(1, NatsOptions { extra_config, ..NatsOptions::default() }).await;
    let nats = start(config(&servers, StreamSettings::default())).await;
    let mut tail = nats.tail(nats.bounds().await.unwrap().start()).await.unwrap();
    let attributes = Attributes::parse([("source", "x".repeat(4_000))]).unwrap();
    let too_large = [
        event("t", "x".repeat(payload_max + 1)),
        // These are, together with their headers.
        event("t", "x".repeat(payload_max)),
        event("t", "x".repeat(payload_max - 20)),
        NewEvent { attributes, ..event("t", "x".repeat(payload_max - 2_000)) },
    ];
    let events = (0..1_000).map(|n| match n % 250 {
        125 => too_large[n / 250].clone(),
        _ => event("t", n.to_string()),
    });
    let outcomes = join_all(events.map(|event| nats.publish(event))).await;
    let mut published = Vec::new();
    for (n, outcome) in outcomes.into_iter().enumerate() {
        match outcome {
            Ok(receipt) => published.push(receipt.cursor),
            Err(PublishError::TooLarge { bytes_max }) => {
                assert_eq!((n % 250, bytes_max), (125, payload_max));
            }
            Err(error) => panic!("{n}: {error}"),
        }
    }
    assert_eq!(published.len(), 996);
    assert!(published.is_sorted_by(|a, b| a < b));
    assert_eq!(cursors(&take(&mut tail, 996).await), published);
    let connections = servers.monitor(0, "/varz").await["total_connections"].as_u64().unwrap();
    assert_eq!(connections, 3, "no connection was lost");
}

#[tokio::test]
async fn an_event_too_large_for_the_stream_is_too_large() {
    let servers = NatsCluster::start(1).await;
    let nats = start(config(&servers, StreamSettings::default())).await;
    let client = async_nats::connect(servers.urls()).await.unwrap();
    let mut settings = done(&client, "STREAM.INFO.TIDEWIRE", json!({})).await["config"].clone();
    settings["max_msg_size"] = json!(1_000);
    done(&client, "STREAM.UPDATE.TIDEWIRE", settings).await;
    let refused = nats.publish(event("t", "x".repeat(1_000))).await.unwrap_err();
    assert!(matches!(refused, PublishError::TooLarge { .. }), "{refused}");
    publish(&nats, event("t", "x")).await;
}

#[tokio::test]
async fn a_full_stream_or_account_is_unavailable_and_says_why() {
    let servers = NatsCluster::start(1).await;
    let settings = StreamSettings { retention_bytes: 100_000, ..StreamSettings::default() };
    let nats = start(config(&servers, settings)).await;
    let client = async_nats::connect(servers.urls()).await.unwrap();
    let mut settings = done(&client, "STREAM.INFO.TIDEWIRE", json!({})).await["config"].clone();
    settings["discard"] = json!("new");
    done(&client, "STREAM.UPDATE.TIDEWIRE", settings).await;
    let outcomes = join_all((0..20).map(|_| nats.publish(event("t", "x".repeat(10_000))))).await;
    let stored = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert!((5..10).contains(&stored), "{stored}");
    let why = unavailable(&nats, event("t", "x".repeat(10_000))).await;
    assert!(why.contains("maximum bytes exceeded"), "{why}");
    assert_eq!(read_all(&nats, &Interest::everything()).await.len(), stored);
    done(&client, "STREAM.PURGE.TIDEWIRE", json!({})).await;
    publish(&nats, event("t", "x")).await;
}

#[tokio::test]
async fn a_server_without_room_for_the_stream_is_told() {
    let options = NatsOptions { store_bytes_max: Some(1024 * 1024), ..NatsOptions::default() };
    let servers = NatsCluster::start_with(1, options).await;
    let nats = Nats::start(config(&servers, StreamSettings::default())).await.unwrap();
    let words = "cannot make the stream TIDEWIRE: insufficient storage resources available";
    crate::steps::until_trouble(&nats, words).await;
    let why = unavailable(&nats, event("t", "x")).await;
    assert!(why.contains("insufficient storage"), "{why}");
}

#[tokio::test]
async fn the_same_id_from_two_processes_at_once_is_stored_once() {
    let servers = NatsCluster::start(1).await;
    let one = start(config(&servers, StreamSettings::default())).await;
    let other = start(config(&servers, StreamSettings::default())).await;
    let events =
        |from: &'static str| (0..500).map(move |n| with_id(&format!("id {n}"), event("t", from)));
    let (ones, others) = tokio::join!(
        join_all(events("one").map(|event| one.publish(event))),
        join_all(events("other").map(|event| other.publish(event))),
    );
    let mut firsts = HashSet::new();
    for (one, other) in ones.into_iter().zip(others) {
        let (one, other) = (one.unwrap(), other.unwrap());
        assert_eq!(one.cursor, other.cursor);
        assert!(one.duplicate != other.duplicate, "one of them was first");
        assert!(firsts.insert(one.cursor));
    }
    assert_eq!(read_all(&one, &Interest::everything()).await.len(), 500);
}

#[tokio::test]
async fn ids_and_attributes_of_all_sorts_come_back_and_stay_apart() {
    let servers = NatsCluster::start(1).await;
    let nats = start(config(&servers, StreamSettings::default())).await;
    let longest = "é".repeat(64);
    let ids = [
        "a",
        "A",
        "i:a",
        "r:a",
        "r:00000000000000000000000000000000",
        "a:b",
        "a: b",
        ":",
        "é",
        "e\u{301}",
        "a\u{a0}b",
        "a\u{2028}b",
        "a\u{200b}",
        "\u{feff}a",
        "Nats-Msg-Id: b",
        "\"",
        "%0D%0A",
        &longest,
    ];
    let events: Vec<_> = ids
        .iter()
        .map(|id| {
            let values = [("a", *id), ("b", "\"{}\\\u{2029}"), ("c", "")];
            let attributes = Attributes::parse(values).unwrap();
            let event_type = EventType::parse("a.b/c:d~e-f_g").unwrap();
            NewEvent { attributes, event_type, ..with_id(id, event("t", (*id).to_owned())) }
        })
        .collect();
    let receipts = join_all(events.iter().map(|event| nats.publish(event.clone()))).await;
    for (receipt, id) in receipts.into_iter().zip(ids) {
        assert!(!receipt.unwrap().duplicate, "{id:?}");
    }
    let read = read_all(&nats, &Interest::everything()).await;
    assert_eq!(read.into_iter().map(|event| event.event).collect::<Vec<_>>(), events);
    for event in events {
        assert!(nats.publish(event.clone()).await.unwrap().duplicate, "{:?}", event.id);
    }
}

/// The first, the last and some in between are gone; what reads stumbles over none of them.
#[tokio::test]
async fn events_whose_ttl_has_passed_leave_holes_that_nobody_stumbles_over() {
    let servers = NatsCluster::start(1).await;
    let nats = start(config(&servers, StreamSettings::default())).await;
    let stay = |n: usize| !n.is_multiple_of(3) && n != 1_000;
    let all = publish_all(
        &nats,
        (0..=1_000).map(|n| {
            let event = event(["a", "b"][n % 2], n.to_string());
            if stay(n) { event } else { brief(event) }
        }),
    )
    .await;
    let staying: Vec<_> = (0..=1_000).filter(|n| stay(*n)).map(|n| all[n]).collect();
    until_stored(&servers, staying.len()).await;

    let bounds = nats.bounds().await.unwrap();
    assert_eq!(bounds.head(), all[1_000], "the last one has left a hole, too");
    assert_eq!(cursors(&read_all(&nats, &Interest::everything()).await), staying);
    let mut tail = nats.tail(bounds.start()).await.unwrap();
    assert_eq!(cursors(&take(&mut tail, staying.len()).await), staying);
    let page = nats.latest(&interest(&["a", "b"]), bounds.start(), ALL).await.unwrap();
    assert_eq!((texts(&page.events), page.next), (vec!["997", "998"], bounds.head()));
    let later = publish(&nats, event("a", "later")).await;
    assert_eq!(cursors(&take(&mut tail, 1).await), [later]);
}

/// What leaves the log's beginning by its ttl cannot be told from what leaves it by its age.
#[tokio::test]
async fn a_cursor_before_the_oldest_events_counts_as_expired_though_only_their_ttl_has_passed() {
    let servers = NatsCluster::start(1).await;
    let nats = start(config(&servers, StreamSettings::default())).await;
    let begin = nats.bounds().await.unwrap().start();
    let brief_ones = publish_all(&nats, (0..10).map(|n| brief(event("t", n.to_string())))).await;
    let last = publish(&nats, event("t", "stays")).await;
    until_stored(&servers, 1).await;
    let read = nats.read(&Interest::everything(), begin, ALL).await;
    let Err(ReadError::Expired { oldest }) = read else { panic!("{read:?}") };
    assert_eq!(oldest, brief_ones[9]);
    assert_eq!(cursors(&read_after(&nats, &Interest::everything(), oldest, ALL).await), [last]);
}

#[tokio::test]
async fn publishes_that_nobody_waits_for_any_more_take_no_place() {
    let servers = NatsCluster::start(1).await;
    let nats = start(config(&servers, StreamSettings::default())).await;
    // Several times as many as may be in flight.
    for _ in 0..4 {
        for n in 0..16_000 {
            let mut publishing = Box::pin(nats.publish(event("t", n.to_string())));
            assert!(poll!(&mut publishing).is_pending() || publishing.now_or_never().is_none());
        }
        publish(&nats, event("t", "waited for")).await;
    }
}

#[tokio::test]
async fn a_publish_gets_an_answer_in_the_end_though_no_server_comes_back() {
    let servers = NatsCluster::start(1).await;
    // An event is not sent again for longer than half of this.
    let deduplication_window = Duration::from_secs(8);
    let settings = StreamSettings { deduplication_window, ..StreamSettings::default() };
    let nats = start(config(&servers, settings)).await;
    publish(&nats, event("t", "x")).await;
    servers.kill(0);
    // One is sent and waits for its acknowledgement; the next one comes when that is known.
    let one = nats.publish(event("t", "1"));
    let other = async {
        until("its loss is known", || async { nats.bounds().await.is_err() }).await;
        nats.publish(event("t", "2")).await
    };
    let outcomes = timeout(PATIENCE, async { tokio::join!(one, other) }).await;
    let (one, other) = outcomes.expect("each gets an answer");
    assert!(matches!(one, Err(PublishError::Unavailable(_))), "{one:?}");
    assert!(matches!(other, Err(PublishError::Unavailable(_))), "{other:?}");
}

#[tokio::test]
async fn what_may_not_be_published_is_said_with_the_reason() {
    let extra_config = "authorization { users: [{ user: u, password: p, permissions: { publish: \
                        { deny: \"tw.>\" } } }] }\n";
    let options = NatsOptions { extra_config: extra_config.into(), ..NatsOptions::default() };
    let servers = NatsCluster::start_with(1, options).await;
    let deduplication_window = Duration::from_secs(2);
    let settings = StreamSettings { deduplication_window, ..StreamSettings::default() };
    let mut config = config(&servers, settings);
    config.access.login = Some(Login::UserPassword { user: "u".into(), password: "p".into() });
    let nats = start(config).await;
    let why = unavailable(&nats, event("t", "x")).await;
    assert!(why.to_lowercase().contains("permissions violation"), "{why}");
}

#[tokio::test]
async fn what_is_published_before_the_servers_are_there_waits_in_its_order() {
    let servers = NatsCluster::start(1).await;
    servers.kill(0);
    let nats = Nats::start(config(&servers, StreamSettings::default())).await.unwrap();
    let together: Vec<_> =
        (0..2_000).map(|n| Box::pin(nats.publish(event("t", n.to_string())))).collect();
    let mut together = join_all(together);
    assert!(poll!(&mut together).is_pending(), "each has its place");
    servers.start_node(0);
    let receipts = timeout(PATIENCE, together).await.expect("the server is there");
    let published: Vec<_> = receipts.into_iter().map(|receipt| receipt.unwrap().cursor).collect();
    assert!(published.is_sorted_by(|a, b| a < b));
}
