//! Clients that post what they subscribe to, since something between them and the hub holds the
//! streams of GETs back.

use serde_json::Value;
use tidewire_client::{Cursor, EventData, NewEvent, Topic};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::{
    hub::{Flags, Hub},
    raw,
};

const PATH: &str = "/v1/events:subscribe";
const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";
const PREFLIGHT: [(&str, &str); 3] = [
    ("Origin", "https://good.example"),
    ("Access-Control-Request-Method", "POST"),
    ("Access-Control-Request-Headers", "content-type,last-event-id"),
];

async fn publish(hub: &Hub, n: usize) -> Cursor {
    let event =
        NewEvent::new(Topic::parse("a.b").unwrap(), EventData::parse(format!("{n}"), 9).unwrap());
    hub.publisher().publish(event).await.unwrap().cursor
}

async fn post(hub: &Hub, content_type: &str, body: &str, headers: &[(&str, &str)]) -> TcpStream {
    let mut socket = raw::connect(&hub.http).await;
    let length = body.len().to_string();
    let mut headers = headers.to_vec();
    headers.extend([("Content-Length", &*length), ("Content-Type", content_type)]);
    raw::send(&mut socket, "POST", PATH, &headers).await;
    socket.write_all(body.as_bytes()).await.unwrap();
    socket
}

#[tokio::test(flavor = "multi_thread")]
async fn a_posted_subscription_is_answered_as_one_by_url_is() {
    let hub = Hub::start().await;
    let first = publish(&hub, 1).await;
    let second = publish(&hub, 2).await;
    let events = format!("id: {second}\ndata: 2\n\n");
    for (content_type, body) in [
        (FORM, "topic=a.%3E&from=earliest"),
        ("Application/JSON; charset=utf-8", r#"{"topic": ["a.>"], "from": "earliest"}"#),
    ] {
        let mut socket = post(&hub, content_type, body, &[]).await;
        let text = raw::read_until(&mut socket, &events).await;
        let head = text.to_lowercase();
        assert!(head.contains("content-type: text/event-stream\r\n"), "{text}");
        assert!(head.contains("connection: close\r\n"), "{text}");
        assert!(text.contains("\"live\"") && text.contains("data: 1\n"), "{text}");

        let resuming = [("Last-Event-ID", &*first.to_string())];
        let mut socket = post(&hub, content_type, body, &resuming).await;
        let text = raw::read_until(&mut socket, &events).await;
        assert!(text.contains("\"resumed\"") && !text.contains("data: 1\n"), "{text}");
        let third = publish(&hub, 3).await;
        raw::read_until(&mut socket, &format!("id: {third}\n")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_posted_stream_is_probed() {
    let hub = Hub::start().await;
    let mut socket = post(&hub, JSON, r#"{"topic": "a", "probe": true}"#, &[]).await;
    raw::read_until(&mut socket, "event: tidewire.probe\n").await;
    hub.edge.tells("tidewire_edge_probes_total ", 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_none_is_refused_and_says_why() {
    let hub = Hub::start().await;
    let long = format!("topic={}", "a".repeat(40_000));
    for (content_type, body, status, detail) in [
        (FORM, "", 400, "topic: is missing: name at least one filter"),
        (FORM, "topic=a&probe=2", 400, "probe: is neither `1` nor `0`"),
        (FORM, "topic=a&end=x", 400, "end: is neither `eof` nor `abort`"),
        (JSON, r#"{"topic": [{}]}"#, 400, "topic: is neither a string, a number, "),
        (JSON, "topic=a", 400, "body: is no JSON object: "),
        (FORM, &long, 413, "the body has more than 32768 bytes"),
        ("text/plain", "topic=a", 415, "post `application/x-www-form-urlencoded` or "),
    ] {
        let answer = raw::read_response(&mut post(&hub, content_type, body, &[]).await).await;
        assert_eq!(answer.status, status, "{}", answer.body);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        let problem: Value = serde_json::from_str(&answer.body).unwrap();
        assert!(problem["detail"].as_str().unwrap().starts_with(detail), "{problem}");
    }
    assert_eq!(raw::get(&hub.http, PATH, &[]).await.status, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_configured_origins_may_post_too() {
    let flags = ["--cors-origin", "https://good.example"];
    let hub = Hub::start_with(Flags { edge: &flags, ..Flags::default() }).await;
    for path in ["/v1/ack/x", PATH] {
        let answer = raw::request(&hub.http, "OPTIONS", path, &PREFLIGHT).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://good.example"));
        assert_eq!(answer.header("access-control-allow-methods"), Some("POST"));
    }
    let answer = raw::request(&hub.http, "OPTIONS", PATH, &PREFLIGHT).await;
    let allowed = answer.header("access-control-allow-headers").unwrap();
    assert!(allowed.contains("content-type") && allowed.contains("last-event-id"), "{allowed}");

    let origin = [("Origin", "https://good.example")];
    let mut socket = post(&hub, FORM, "topic=a", &origin).await;
    let text = raw::read_until(&mut socket, "tidewire.hello").await;
    assert!(text.contains("access-control-allow-origin: https://good.example\r\n"), "{text}");

    // What may be posted to events in one process is published: no page may do that.
    let answer = raw::request(&hub.http, "OPTIONS", "/v1/events", &PREFLIGHT).await;
    assert_eq!(answer.header("access-control-allow-methods"), Some("GET"));
}
