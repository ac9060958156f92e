//! A hub says when it is ready, ends in order, hurries when told twice, and is gone when told again.

use std::{
    io::{BufRead, Read, Write},
    net::TcpStream,
};

use tidewire_client::{EventData, Item, NewEvent, Start, StreamOptions, Subscriber, Topic};
use tidewire_testbed::Process;
use tokio::io::AsyncReadExt as _;

use super::{
    hub::{Flags, Hub},
    raw::{self, Response},
};

/// A request that never becomes whole, which the process has begun to read.
fn half_a_request(ingest: &Process) -> TcpStream {
    let mut socket = connect(&ingest.http);
    let head = "POST /v1/events HTTP/1.1\r\nHost: hub\r\nContent-Type: application/json\r\n\
                Content-Length: 100\r\nExpect: 100-continue\r\n\r\n";
    socket.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100");
    socket
}

fn connect(url: &str) -> TcpStream {
    TcpStream::connect(url.trim_start_matches("http://")).unwrap()
}

async fn operations(process: &Process, path: &str) -> Response {
    raw::get(&process.operations, path, &[]).await
}

/// Waits until it says that it is stopping.
async fn not_ready(process: &Process) {
    loop {
        let answer = operations(process, "/readyz").await;
        if answer.body.contains("stopping") {
            return assert_eq!(answer.status, 503);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn says_what_listens_where_and_answers_there() {
    let mut hub = Hub::start().await;
    for process in hub.processes() {
        answers_where_it_says(process).await;
    }
    let ingest = operations(hub.ingest(), "/metrics").await.body;
    assert!(ingest.contains("tidewire_ingest_events_total{"), "{ingest}");
    let edge = operations(&hub.edge, "/metrics").await.body;
    assert!(edge.contains("tidewire_edge_connections 0\n"), "{edge}");
}

async fn answers_where_it_says(process: &mut Process) {
    let mut message = String::new();
    while !message.contains("Ctrl-C") {
        assert_ne!(process.stdout.read_line(&mut message).unwrap(), 0, "{message}");
    }
    for url in [&process.http, &process.grpc, &process.operations] {
        if !url.is_empty() {
            assert!(message.contains(&format!("{url} ")), "{url} is not in\n{message}");
            connect(url);
        }
    }
    assert_eq!(operations(process, "/livez").await.body, "ok\n");
    assert_eq!(operations(process, "/readyz").await.body, "ready\n");
    let metrics = operations(process, "/metrics").await.body;
    for name in [
        "process_resident_memory_bytes ",
        "process_cpu_seconds_total ",
        "process_open_fds ",
        "tidewire_build_info{version=",
    ] {
        assert!(metrics.contains(name), "{name} is not in\n{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_half_sent_does_not_hold_it_up() {
    let mut hub = Hub::start().await;
    let ingest = hub.ingest();
    let _held = half_a_request(ingest);
    ingest.signal("TERM");
    not_ready(ingest).await;
    assert_eq!(ingest.ended().await.code(), Some(0), "{}", ingest.log());
    assert!(!ingest.ready_file().exists());
}

/// Waits until its end has come so far.
pub(crate) async fn drain_state(process: &Process, state: f64) {
    process.tells("tidewire_drain_state ", state).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_hurries_it_twice_ends_it_at_once() {
    let (announced, ending) = (1.0, 3.0);
    for (signals, last, code) in [
        (&[("INT", ending)][..], "INT", 130),
        (&[("TERM", announced), ("INT", ending)], "TERM", 143),
        (&[("TERM", announced), ("TERM", ending)], "TERM", 143),
    ] {
        let flags = ["--drain-delay", "10m"];
        let mut hub = Hub::start_with(Flags { ingest: &flags, ..Flags::default() }).await;
        let ingest = hub.ingest();
        let _held = half_a_request(ingest);
        for (signal, state) in signals {
            ingest.signal(signal);
            drain_state(ingest, *state).await;
        }
        ingest.signal(last);
        assert_eq!(ingest.ended().await.code(), Some(code), "{}", ingest.log());
        assert!(!ingest.ready_file().exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn either_signal_ends_streams_cleanly_with_the_time_to_come_back() {
    for signal in ["TERM", "INT"] {
        ends_in_order(&mut Hub::start().await.edge, signal).await;
    }
}

async fn ends_in_order(edge: &mut Process, signal: &str) {
    let mut socket = raw::connect(&edge.http).await;
    raw::send(&mut socket, "GET", "/v1/events?topic=a&end=eof", &[]).await;
    raw::read_until(&mut socket, "tidewire.hello").await;
    edge.signal(signal);
    let (status, rest) = tokio::join!(edge.ended(), async {
        let mut rest = String::new();
        socket.read_to_string(&mut rest).await.unwrap();
        rest
    });
    assert!(status.success(), "{status}");
    assert!(rest.contains("event: tidewire.retry\nretry: "), "{rest}");
    assert!(rest.contains("data: {\"reason\":\"draining\"}\n\n"), "{rest}");
    assert!(rest.ends_with("0\r\n\r\n"), "the last chunk says that nothing was cut: {rest:?}");
    assert!(!edge.log().contains("ERROR"), "{}", edge.log());
    assert!(!edge.ready_file().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn publishes_in_flight_get_their_receipts_across_a_restart() {
    let mut hub = Hub::start().await;
    let stream = hub.publisher().stream(StreamOptions::default());
    let topic = Topic::parse("t").unwrap();
    let mut pending = Vec::new();
    for n in 0..2_000 {
        let data = EventData::parse(n.to_string(), 10).unwrap();
        pending.push(stream.send(NewEvent::new(topic.clone(), data)).await.unwrap());
        if n == 1_000 {
            hub.terminate().await;
            if hub.nats_nodes() == 1 {
                // As when the machine restarts.
                hub.kill_nats().await;
            }
            hub.start_again().await;
        }
    }
    stream.finish().await.unwrap();
    let mut last = None;
    for receipt in pending {
        let cursor = receipt.await.unwrap().cursor;
        assert!(last.is_none_or(|last| cursor > last), "in the order of sending");
        last = Some(cursor);
    }
    let mut subscriber = hub.subscriber("t").from(Start::Earliest).build().unwrap();
    for n in 0..2_000 {
        loop {
            match subscriber.next().await.unwrap() {
                Item::Event { data, .. } => break assert_eq!(data, n.to_string()),
                Item::Connected { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_tell_that_it_lives_is_ready_and_what_it_does() {
    let mut hub = Hub::start().await;
    for process in hub.processes() {
        assert_eq!(operations(process, "/livez").await.status, 200);
        assert_eq!(operations(process, "/readyz").await.status, 200);
        assert!(process.metric("process_resident_memory_bytes ").await > 1e6);
        let public = raw::get(&process.http, "/metrics", &[]).await;
        assert_eq!(public.status, 404, "not on the public port");
    }
    let _connected = publish_and_receive_three(&hub).await;
    for (line, value) in [
        ("tidewire_edge_connections ", 1.0),
        ("tidewire_edge_events_sent_total ", 3.0),
        ("tidewire_edge_connections_opened_total{resume=\"live\"} ", 1.0),
    ] {
        hub.edge.tells(line, value).await;
    }
    assert!(hub.edge.metric("tidewire_edge_bytes_sent_total ").await > 100.0);
    let stored = "tidewire_ingest_events_total{outcome=\"stored\",transport=\"grpc\"} ";
    hub.ingest().tells(stored, 3.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_of_a_hub_with_a_log_of_its_own_tell_what_is_in_it() {
    let hub = Hub::embedded().await;
    assert_eq!(hub.edge.metric("tidewire_log_head_sequence ").await, 0.0);
    let _connected = publish_and_receive_three(&hub).await;
    hub.edge.tells("tidewire_log_head_sequence ", 3.0).await;
    hub.edge.tells("tidewire_log_oldest_sequence ", 1.0).await;
}

/// The subscriber that received them, still connected.
async fn publish_and_receive_three(hub: &Hub) -> Subscriber {
    let topic = Topic::parse("t").unwrap();
    for n in 0..3 {
        let data = EventData::parse(n.to_string(), 10).unwrap();
        hub.publisher().publish(NewEvent::new(topic.clone(), data)).await.unwrap();
    }
    let mut subscriber = hub.subscriber("t").from(Start::Earliest).build().unwrap();
    for _ in 0..4 {
        subscriber.next().await.unwrap();
    }
    subscriber
}
