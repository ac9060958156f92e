//! Others write to the stream's subjects, too: what is no event is left out, and nothing stops.

use metrics_exporter_prometheus::PrometheusBuilder;
use tidewire_core::{Backbone as _, Interest};
use tidewire_nats::StreamSettings;
use tidewire_testbed::{NatsCluster, NatsOptions};

use crate::{
    config, event,
    raw::Raw,
    start,
    steps::{ALL, interest, publish, read_all, take, texts},
};

/// Subject, headers and payload, each as bytes.
type Written<'b> = (&'b [u8], &'b [u8], &'b [u8]);

const SUBJECT: &[u8] = b"tw.TIDEWIRE.greetings";

/// Writes this between two events, and looks whether both are seen in every way to read, and
/// nothing else.
async fn is_left_out(written: &[Written<'_>]) {
    is_left_out_of(NatsCluster::start(1).await, written).await;
}

async fn is_left_out_of(servers: NatsCluster, written: &[Written<'_>]) {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let nats = start(config(&servers, StreamSettings::default())).await;
    let begin = nats.bounds().await.unwrap().start();
    let mut tail = nats.tail(begin).await.unwrap();
    publish(&nats, event("greetings", "before")).await;
    let mut raw = Raw::connect(&servers).await;
    for (subject, headers, payload) in written {
        raw.publish(subject, headers, payload).await;
    }
    let last = publish(&nats, event("greetings", "after")).await;
    assert_eq!(last.sequence.0, 2 + written.len() as u64, "what was written is in the stream");

    assert_eq!(texts(&take(&mut tail, 2).await), ["before", "after"]);
    assert_eq!(texts(&read_all(&nats, &Interest::everything()).await), ["before", "after"]);
    let page = nats.latest(&interest(&["greetings"]), begin, ALL).await.unwrap();
    assert_eq!(texts(&page.events), ["after"]);
    let counted = recorder.handle().render();
    let unreadable = counted.lines().find(|line| line.starts_with("tidewire_nats_unreadable"));
    let times = unreadable.and_then(|line| line.rsplit(' ').next()?.parse::<usize>().ok());
    assert!(times >= Some(written.len()), "{unreadable:?}");
}

#[tokio::test]
async fn data_that_is_no_text_is_left_out() {
    is_left_out(&[
        (SUBJECT, b"", b"\xff\xfe"),
        (SUBJECT, b"", b""),
        (SUBJECT, b"", b"a\0b"),
        (SUBJECT, b"NATS/1.0\r\nA: b\r\n\r\n", b""),
    ])
    .await;
}

#[tokio::test]
async fn a_subject_that_no_topic_has_is_left_out() {
    is_left_out(&[
        (b"tw.TIDEWIRE.100%", b"", b"x"),
        (b"tw.TIDEWIRE.%41", b"", b"x"),
        (b"tw.TIDEWIRE.%c3%a9", b"", b"x"),
        (b"tw.TIDEWIRE.\xc3\xa9", b"", b"x"),
        (b"tw.TIDEWIRE.a%2Eb", b"", b"x"),
        (b"tw.TIDEWIRE.a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q", b"", b"x"),
        (format!("tw.TIDEWIRE.{}", "x".repeat(1_000)).as_bytes(), b"", b"x"),
    ])
    .await;
}

#[tokio::test]
async fn a_header_of_ours_with_something_else_in_it_is_left_out() {
    let long_id = format!("NATS/1.0\r\nNats-Msg-Id: {}\r\n\r\n", "x".repeat(129));
    is_left_out(&[
        (SUBJECT, b"NATS/1.0\r\nTidewire-Type: a b\r\n\r\n", b"x"),
        (SUBJECT, b"NATS/1.0\r\nTidewire-Type: tidewire.gap\r\n\r\n", b"x"),
        (SUBJECT, b"NATS/1.0\r\nTidewire-Attributes: no\r\n\r\n", b"x"),
        (SUBJECT, b"NATS/1.0\r\nTidewire-Attributes: {\"A\":\"b\"}\r\n\r\n", b"x"),
        (SUBJECT, b"NATS/1.0\r\nTidewire-Attributes: {\"a\":1}\r\n\r\n", b"x"),
        (SUBJECT, long_id.as_bytes(), b"x"),
    ])
    .await;
}

#[tokio::test]
async fn a_message_that_looks_like_the_servers_own_word_is_left_out() {
    is_left_out(&[
        (SUBJECT, b"NATS/1.0 100\r\n\r\n", b"\xff"),
        (SUBJECT, b"NATS/1.0 404 No Messages\r\n\r\n", b"\xff"),
        (SUBJECT, b"NATS/1.0 409 Consumer Deleted\r\n\r\n", b"\xff"),
        (SUBJECT, b"NATS/1.0 408\r\nNats-Pending-Messages: 4000\r\n\r\n", b"\xff"),
        (SUBJECT, b"NATS/1.0 503\r\n\r\n", b"\xff"),
    ])
    .await;
}

/// The NATS library ends its connection over each of these, wherever it comes to them. A status goes
/// unseen where the stream's leader is asked for the message: without it the rest would be an event.
#[tokio::test]
async fn headers_that_cannot_be_read_are_left_out() {
    is_left_out(&[
        (SUBJECT, b"NATS/1.0\r\nno colon\r\n\r\n", b"x"),
        (SUBJECT, b"NATS/1.0\r\nA b: c\r\n\r\n", b"x"),
        (SUBJECT, b"NATS/1.0\r\nA: \xff\r\n\r\n", b"x"),
        (SUBJECT, b"NATS/1.0 abc\r\n\r\n", b"\xff"),
        (SUBJECT, b"rubbish\r\n\r\n", b"x"),
    ])
    .await;
}

/// As it does over this.
#[tokio::test]
async fn a_subject_that_is_no_text_is_left_out() {
    is_left_out(&[(b"tw.TIDEWIRE.\xff", b"", b"x")]).await;
}

#[tokio::test]
async fn what_is_larger_than_is_asked_for_at_once_is_left_out() {
    let options = NatsOptions { extra_config: "max_payload: 32MB\n".into(), ..Default::default() };
    let servers = NatsCluster::start_with(1, options).await;
    let (large, larger) = (vec![b'x'; 5_000_000], vec![b'x'; 20_000_000]);
    is_left_out_of(servers, &[(SUBJECT, b"", &large), (SUBJECT, b"", &larger)]).await;
}

/// JetStream knows the last message of a subject, and not the one before.
#[tokio::test]
async fn something_else_behind_a_topics_last_event_hides_it_from_snapshots_only() {
    let servers = NatsCluster::start(1).await;
    let nats = start(config(&servers, StreamSettings::default())).await;
    let begin = nats.bounds().await.unwrap().start();
    publish(&nats, event("greetings", "hello")).await;
    Raw::connect(&servers).await.publish(SUBJECT, b"", b"\xff").await;
    let last = publish(&nats, event("other", "x")).await;
    let page = nats.latest(&interest(&[">"]), begin, ALL).await.unwrap();
    assert_eq!((texts(&page.events), page.next), (vec!["x"], last));
    assert_eq!(texts(&read_all(&nats, &interest(&["greetings"])).await), ["hello"]);
}

#[tokio::test]
async fn what_others_write_as_plain_text_is_an_event() {
    let servers = NatsCluster::start(1).await;
    let nats = start(config(&servers, StreamSettings::default())).await;
    let client = async_nats::connect(servers.urls()).await.unwrap();
    client.publish("tw.TIDEWIRE.greetings", "hello".into()).await.unwrap();
    client.flush().await.unwrap();
    publish(&nats, event("other", "x")).await;
    let events = read_all(&nats, &interest(&["greetings"])).await;
    assert_eq!(texts(&events), ["hello"]);
    assert_eq!(events[0].event, event("greetings", "hello"));
}
