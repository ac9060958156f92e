//! A hub says when it is ready, ends in order, and ends at once when told twice.

use std::{
    io::{BufRead, Read, Write},
    net::TcpStream,
};

use tidewire_client::{EventData, Item, NewEvent, Start, StreamOptions, Topic};
use tokio::io::AsyncReadExt as _;

use super::{
    hub::Hub,
    raw::{self, Response},
};

/// A request that never becomes whole, which the hub has begun to read.
fn half_a_request(hub: &Hub) -> TcpStream {
    let mut socket = connect(&hub.http);
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

async fn operations(hub: &Hub, path: &str) -> Response {
    raw::get(&hub.operations, path, &[]).await
}

/// Waits until it says that it is stopping.
async fn not_ready(hub: &Hub) {
    loop {
        let answer = operations(hub, "/readyz").await;
        if answer.body.contains("stopping") {
            return assert_eq!(answer.status, 503);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn says_what_listens_where_and_answers_there() {
    let mut hub = Hub::start();
    let mut message = String::new();
    while !message.contains("Ctrl-C") {
        assert_ne!(hub.stdout.read_line(&mut message).unwrap(), 0, "{message}");
    }
    for url in [&hub.http, &hub.grpc, &hub.operations] {
        assert!(message.contains(&format!("{url} ")), "{url} is not in\n{message}");
        connect(url);
    }
    assert_eq!(operations(&hub, "/livez").await.body, "ok\n");
    assert_eq!(operations(&hub, "/readyz").await.body, "ready\n");
    let metrics = operations(&hub, "/metrics").await.body;
    for name in [
        "process_resident_memory_bytes ",
        "process_cpu_seconds_total ",
        "process_open_fds ",
        "tidewire_build_info{version=",
        "tidewire_log_head_sequence 0\n",
        "tidewire_ingest_events_total{",
    ] {
        assert!(metrics.contains(name), "{name} is not in\n{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_half_sent_does_not_hold_it_up() {
    let mut hub = Hub::start();
    let _held = half_a_request(&hub);
    hub.signal("TERM");
    not_ready(&hub).await;
    assert_eq!(hub.ended().await.code(), Some(0), "{}", hub.log());
    assert!(!hub.ready_file().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    for (second, code) in [("INT", 130), ("TERM", 143)] {
        let mut hub = Hub::start();
        let _held = half_a_request(&hub);
        hub.signal("TERM");
        not_ready(&hub).await;
        hub.signal(second);
        assert_eq!(hub.ended().await.code(), Some(code), "{}", hub.log());
        assert!(!hub.ready_file().exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn either_signal_ends_streams_cleanly_with_the_time_to_come_back() {
    for signal in ["TERM", "INT"] {
        ends_in_order(Hub::start(), signal).await;
    }
}

async fn ends_in_order(mut hub: Hub, signal: &str) {
    let mut socket = raw::connect(&hub.http).await;
    raw::send(&mut socket, "GET", "/v1/events?topic=a", &[]).await;
    raw::read_until(&mut socket, "tidewire.hello").await;
    hub.signal(signal);
    let (status, rest) = tokio::join!(hub.ended(), async {
        let mut rest = String::new();
        socket.read_to_string(&mut rest).await.unwrap();
        rest
    });
    assert!(status.success(), "{status}");
    assert!(rest.contains("event: tidewire.retry\nretry: "), "{rest}");
    assert!(rest.contains("data: {\"reason\":\"stopping\"}\n\n"), "{rest}");
    assert!(rest.ends_with("0\r\n\r\n"), "the last chunk says that nothing was cut: {rest:?}");
    assert!(!hub.log().contains("ERROR"), "{}", hub.log());
    assert!(!hub.ready_file().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn publishes_in_flight_get_their_receipts_across_a_restart() {
    let mut hub = Hub::start();
    let stream = hub.publisher().stream(StreamOptions::default());
    let topic = Topic::parse("t").unwrap();
    let mut pending = Vec::new();
    for n in 0..2_000 {
        let data = EventData::parse(n.to_string(), 10).unwrap();
        pending.push(stream.send(NewEvent::new(topic.clone(), data)).await.unwrap());
        if n == 1_000 {
            assert!(hub.terminate().await.success());
            hub.start_again();
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
    let hub = Hub::start();
    let get = async |path| raw::get(&hub.operations, path, &[]).await;
    assert_eq!(get("/livez").await.status, 200);
    assert_eq!(get("/readyz").await.status, 200);
    let topic = Topic::parse("t").unwrap();
    for n in 0..3 {
        let data = EventData::parse(n.to_string(), 10).unwrap();
        hub.publisher().publish(NewEvent::new(topic.clone(), data)).await.unwrap();
    }
    let mut subscriber = hub.subscriber("t").from(Start::Earliest).build().unwrap();
    for _ in 0..4 {
        subscriber.next().await.unwrap();
    }
    for (line, value) in [
        ("tidewire_log_head_sequence ", 3.0),
        ("tidewire_log_oldest_sequence ", 1.0),
        ("tidewire_edge_connections ", 1.0),
        ("tidewire_edge_events_sent_total ", 3.0),
        ("tidewire_edge_connections_opened_total{resume=\"live\"} ", 1.0),
        ("tidewire_ingest_events_total{outcome=\"stored\",transport=\"grpc\"} ", 3.0),
    ] {
        assert_eq!(hub.metric(line).await, value, "{line}");
    }
    assert!(hub.metric("process_resident_memory_bytes ").await > 1e6);
    assert!(hub.metric("tidewire_edge_bytes_sent_total ").await > 100.0);
    assert_eq!(raw::get(&hub.http, "/metrics", &[]).await.status, 404, "not on the public port");
}
