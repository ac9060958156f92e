//! What an operator sees at `/metrics`: the same series from the first moment on, whatever clients send,
//! and a latency that is that of deliveries.

use std::{collections::BTreeSet, time::Duration};

use serde_json::json;
use tidewire_client::{EventData, Item, NewEvent, Topic};
use tidewire_testbed::Process;
use tokio::{io::AsyncWriteExt, net::TcpStream, time::Instant};

use super::{
    hub::{Flags, Hub, tidewire},
    raw,
};

const TOPICS: usize = 100_000;
/// As many as one call may hold.
const BATCH: usize = 1_000;
const TOKENS: usize = 10_000;
/// Tokens, and more, that one connection shows.
const TOKENS_AT_ONCE: usize = 20;
const ODD_REQUESTS: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_clients_send_makes_a_series_with_a_log_of_its_own() {
    let mut hub = Hub::embedded().await;
    no_new_series(&mut hub).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_clients_send_makes_a_series_over_nats() {
    let mut hub = Hub::over_one_nats_server().await;
    no_new_series(&mut hub).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_counts_nothing_says_so_and_serves() {
    let flags: &[&str] = &["--metrics", "false"];
    let of_edge = if Hub::is_one_process() { &[] } else { flags };
    let mut hub = Hub::start_with(Flags { ingest: flags, edge: of_edge }).await;
    let mut subscriber = hub.subscriber("counted.>").build().unwrap();
    assert!(matches!(subscriber.next().await.unwrap(), Item::Connected { .. }));
    let topic = Topic::parse("counted.not").unwrap();
    let event = NewEvent::new(topic, EventData::parse("x", 1).unwrap());
    hub.publisher().publish(event).await.unwrap();
    assert!(matches!(subscriber.next().await.unwrap(), Item::Event { .. }));
    for process in hub.processes() {
        let metrics = raw::get(&process.operations, "/metrics", &[]).await;
        assert_eq!(metrics.status, 404);
        assert!(metrics.body.contains("--metrics false"), "{}", metrics.body);
        let status = raw::get(&process.operations, "/status", &[]).await.body;
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        assert_eq!((&status["is_counted"], &status["missing"]), (&false.into(), &json!([])));
    }
}

async fn no_new_series(hub: &mut Hub) {
    let mut before = Vec::new();
    for process in hub.processes() {
        before.push(series(process).await);
    }
    let names = declared();
    for series in before.iter().flatten() {
        assert!(
            names.contains(family(series)),
            "{series} is not among what `tidewire metrics` lists"
        );
    }

    publish_to_many_topics(hub).await;
    show_many_tokens(hub).await;
    ask_oddly(hub).await;
    stream_with_odd_cursors(hub).await;

    let stored = "tidewire_ingest_events_total{outcome=\"stored\",transport=\"grpc\"} ";
    assert!(hub.ingest().metric(stored).await >= 100_000.0);
    let mut after = Vec::new();
    for process in hub.processes() {
        after.push(series(process).await);
    }
    for (before, after) in before.iter().zip(&after) {
        let new: Vec<_> = after.difference(before).collect();
        assert!(new.is_empty(), "series that were not there from the start: {new:#?}");
        assert_eq!(before, after);
    }
}

/// The names and labels of all that a process tells.
async fn series(process: &Process) -> BTreeSet<String> {
    let text = raw::get(&process.operations, "/metrics", &[]).await.body;
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(' ').expect("a value").0.to_owned()).collect()
}

/// The metric that a series belongs to.
fn family(series: &str) -> &str {
    let name = series.split('{').next().unwrap_or_default();
    let of_histogram =
        ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
    of_histogram.unwrap_or(name)
}

/// What the binary says that it tells.
fn declared() -> BTreeSet<String> {
    let listed = tidewire().arg("metrics").output().unwrap();
    assert!(listed.status.success());
    let listed = String::from_utf8(listed.stdout).unwrap();
    let names = listed.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    names.map(str::to_owned).collect()
}

async fn publish_to_many_topics(hub: &Hub) {
    let publisher = hub.publisher();
    for batch in 0..TOPICS / BATCH {
        let events = (0..BATCH).map(|n| {
            let topic = Topic::parse(&format!("hostile.{batch}.{n}")).unwrap();
            NewEvent::new(topic, EventData::parse("x", 1).unwrap())
        });
        for outcome in publisher.publish_batch(events.collect()).await.unwrap() {
            outcome.unwrap();
        }
    }
}

/// Shows another token, user agent, path and header with each request, many on each connection.
async fn show_many_tokens(hub: &Hub) {
    for (base_url, from) in [(&hub.http, 0), (&hub.publish_http, TOKENS / 2)] {
        for first in (from..from + TOKENS / 2).step_by(TOKENS_AT_ONCE) {
            let requests: String = (first..first + TOKENS_AT_ONCE)
                .map(|n| {
                    let end =
                        if n + 1 == first + TOKENS_AT_ONCE { "Connection: close\r\n" } else { "" };
                    format!(
                        "GET /v1/odd/{n}?topic={n} HTTP/1.1\r\nHost: h{n}\r\nAuthorization: Bearer \
                         t{n}\r\nUser-Agent: a{n}\r\nX-Odd-{n}: {n}\r\n{end}\r\n"
                    )
                })
                .collect();
            let mut socket = raw::connect(base_url).await;
            socket.write_all(requests.as_bytes()).await.unwrap();
            let answers = raw::read_response(&mut socket).await;
            assert_eq!(answers.status, 404);
        }
    }
}

/// Asks for what there is, otherwise than is meant.
async fn ask_oddly(hub: &Hub) {
    let odd = |n: usize| format!("odd-{n}");
    for n in 0..ODD_REQUESTS {
        let (odd, length) = (odd(n), "{".len().to_string());
        let traceparent = format!("00-{n:032x}-{n:016x}-01");
        for (base_url, method, path) in [
            (&hub.http, &*format!("M{n}"), "/v1/events?topic=a"),
            (&hub.http, "GET", &*format!("/v1/events?topic={odd}&from={odd}")),
            (&hub.http, "GET", &*format!("/v1/poll?topic={odd}&cursor={odd}&timeout=0")),
            (&hub.http, "POST", &*format!("/v1/ack/{odd}")),
            (&hub.publish_http, "POST", &*format!("/v1/topics/{odd}?id={odd}&type={odd}")),
            (&hub.publish_http, "POST", &*format!("/v1/topics/*?{odd}")),
            (&hub.publish_http, "PUT", &*format!("/v1/topics/{odd}")),
            (&hub.publish_http, "POST", "/v1/events"),
        ] {
            let mut headers = vec![
                ("Last-Event-ID", &*odd),
                ("Content-Type", if n % 2 == 0 { "application/json" } else { &odd }),
                ("Accept-Encoding", &odd),
                ("Origin", &odd),
                ("traceparent", &traceparent),
            ];
            if method == "POST" {
                headers.push(("Content-Length", &length));
            }
            let mut socket = raw::connect(base_url).await;
            raw::send(&mut socket, method, path, &headers).await;
            if method == "POST" {
                socket.write_all(b"{").await.unwrap();
            }
            raw::read_response(&mut socket).await;
        }
        for said in [
            "\u{16}\u{3}\u{1} no TLS here",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnonsense",
            "\0\r\n\r\n",
        ] {
            let mut socket = raw::connect(&hub.http).await;
            socket.write_all(said.as_bytes()).await.unwrap();
        }
    }
}

/// Begins streams, live and behind gaps of every kind, and leaves them.
async fn stream_with_odd_cursors(hub: &Hub) {
    for n in 0..ODD_REQUESTS {
        let odd = format!("odd-{n}");
        for cursor in [&*odd, "00000001-1", "ffffffff-18446744073709551615", "~", ""] {
            let path = format!("/v1/events?topic=hostile.{n}.%3E&probe=1&conflate=topic");
            let mut socket = raw::connect(&hub.http).await;
            raw::send(&mut socket, "GET", &path, &[("Last-Event-ID", cursor)]).await;
            raw::read_until(&mut socket, "\n\n").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latency_is_told_once_for_each_delivery_and_not_of_what_is_older_than_its_stream() {
    let mut hub = Hub::start().await;
    publish(&hub, "old", 100).await;
    // A moment, so that they are older by more than a clock's tick.
    let published = Instant::now();
    while published.elapsed() < Duration::from_millis(20) {
        hub.edge.tells("tidewire_edge_events_sent_total ", 0.0).await;
    }
    // One that the edge writes itself, and one that is left to the HTTP library.
    let mut lean = streamed(&hub, "GET", "/v1/events?topic=t&from=earliest").await;
    let mut other = streamed(&hub, "POST", "/v1/events:subscribe").await;
    for socket in [&mut lean, &mut other] {
        raw::read_until(socket, "data: old-99\n").await;
    }
    hub.edge.tells("tidewire_edge_events_sent_total ", 200.0).await;
    hub.edge.tells("tidewire_edge_delivery_latency_seconds_count ", 0.0).await;
    hub.edge.tells("tidewire_edge_connect_seconds_count ", 2.0).await;

    publish(&hub, "new", 50).await;
    for socket in [&mut lean, &mut other] {
        raw::read_until(socket, "data: new-49\n").await;
    }
    hub.edge.tells("tidewire_edge_events_sent_total ", 300.0).await;
    hub.edge.tells("tidewire_edge_delivery_latency_seconds_count ", 100.0).await;
    let beyond = "tidewire_edge_delivery_latency_seconds_bucket{le=\"10\"} ";
    hub.edge.tells(beyond, 100.0).await;
    let recipients = "tidewire_edge_fanout_recipients_bucket{le=\"1\"} ";
    hub.edge.tells(recipients, 100.0).await;
    hub.edge.tells("tidewire_edge_fanout_recipients_sum ", 100.0).await;

    drop((lean, other));
    hub.edge.tells("tidewire_edge_connection_duration_seconds_count ", 2.0).await;
    let calls = "tidewire_ingest_calls_total{method=\"publish\",code=\"ok\"} ";
    hub.ingest().tells(calls, 150.0).await;
}

async fn publish(hub: &Hub, word: &str, events: usize) {
    let publisher = hub.publisher();
    for n in 0..events {
        let data = EventData::parse(format!("{word}-{n}"), 20).unwrap();
        publisher.publish(NewEvent::new(Topic::parse("t").unwrap(), data)).await.unwrap();
    }
}

async fn streamed(hub: &Hub, method: &str, path: &str) -> TcpStream {
    let mut socket = raw::connect(&hub.http).await;
    let body = if method == "POST" { "topic=t&from=earliest" } else { "" };
    let length = body.len().to_string();
    let mut headers = vec![];
    if method == "POST" {
        headers.push(("Content-Type", "application/x-www-form-urlencoded"));
        headers.push(("Content-Length", &length));
    }
    raw::send(&mut socket, method, path, &headers).await;
    socket.write_all(body.as_bytes()).await.unwrap();
    socket
}
