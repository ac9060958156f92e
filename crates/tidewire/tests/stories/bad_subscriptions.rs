//! Bad requests to the edge, each with its exact answer; and cursors that cannot be resumed.

use serde_json::{Value, json};
use tidewire_client::{EventData, NewEvent, Topic};
use tokio::io::AsyncWriteExt;

use super::{
    hub::{Flags, Hub},
    raw::{self, Response},
};

const STREAM: (&str, &str) = ("Accept", "text/event-stream");

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_request_has_its_exact_answer() {
    let hub = Hub::start().await;
    let long = format!("/v1/events?topic={}", "a".repeat(256));
    let deep = format!("/v1/events?topic={}", ["a"; 17].join("."));
    let many = format!("/v1/events?{}", "topic=a&".repeat(101));
    let from = "is none of `now`, `earliest`, `latest`, `last:N` and a time as RFC 3339 has it, such \
                as 2026-01-31T12:00:00Z";
    let last = "has no number of events from 1 to 1000 in `last:N`";
    for (path, field, reason) in [
        ("/v1/events", "topic", "is missing: name at least one filter"),
        ("/v1/events?topics=a", "topic", "is missing: name at least one filter"),
        ("/v1/events?topic=", "topic", "is empty"),
        ("/v1/events?topic=a..b", "topic", "has an empty token (a dot at an end, or two in a row)"),
        ("/v1/events?topic=a*", "topic", "a wildcard must be a token of its own"),
        ("/v1/events?topic=%3E.a", "topic", "`>` is allowed as the last token only"),
        (
            "/v1/events?topic=a%0D%0Ab",
            "topic",
            "holds U+000D: white space, control and invisible characters are not allowed",
        ),
        (
            "/v1/events?topic=a%00",
            "topic",
            "holds U+0000: white space, control and invisible characters are not allowed",
        ),
        ("/v1/events?topic=%C3%28", "query", "is not UTF-8 where its percent signs are decoded"),
        (&long, "topic", "has 256 bytes; at most 255 are allowed"),
        (&deep, "topic", "has 17 tokens; at most 16 are allowed"),
        (&many, "topic", "is given more than 100 times"),
        ("/v1/events?topic=a&from=then", "from", from),
        ("/v1/events?topic=a&from=", "from", from),
        ("/v1/events?topic=a&from=2026-02-30T00:00:00Z", "from", from),
        ("/v1/events?topic=a&from=1700000000", "from", from),
        ("/v1/events?topic=a&from=last:0", "from", last),
        ("/v1/events?topic=a&from=last:1001", "from", last),
        ("/v1/events?topic=a&from=last:", "from", last),
        ("/v1/events?topic=a&on_gap=x", "on_gap", "is neither `earliest` nor `now`"),
        ("/v1/events?topic=a&envelope=x", "envelope", "is neither `none` nor `cloudevents`"),
        ("/v1/events?topic=a&control=2", "control", "is neither `1` nor `0`"),
        (
            "/v1/events?topic=a&heartbeat=31",
            "heartbeat",
            "is not a whole number of seconds from 2 to 30",
        ),
    ] {
        let answer = raw::get(&hub.http, path, &[STREAM]).await;
        assert_eq!(
            problem(&answer),
            json!({
                "type": "about:blank", "title": "Bad Request", "status": 400,
                "detail": format!("{field}: {reason}"), "field": field, "reason": reason,
            }),
            "{path}"
        );
    }

    for (method, path, status, title, detail) in [
        ("GET", "/v1/nothing", 404, "Not Found", "there is nothing at this path"),
        ("DELETE", "/v1/events", 405, "Method Not Allowed", "this path has no such method"),
    ] {
        let answer = raw::request(&hub.http, method, path, &[STREAM]).await;
        assert_eq!(
            problem(&answer),
            json!({
                "type": "about:blank", "title": title, "status": status, "detail": detail,
            })
        );
    }
    let many_headers: Vec<_> = (0..200).map(|n| (format!("x-{n}"), "v".to_owned())).collect();
    let many_headers: Vec<_> = many_headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(raw::get(&hub.http, "/v1/events?topic=a", &many_headers).await.status, 431);
    let huge = [("x", "v".repeat(64 * 1024))];
    let huge = [(huge[0].0, huge[0].1.as_str())];
    assert_eq!(raw::get(&hub.http, "/v1/events?topic=a", &huge).await.status, 431);

    let good = open(&hub, "/v1/events?topic=a", &[]).await;
    assert!(good.contains("event: tidewire.hello"), "the hub still serves");
    hub.edge.tells("tidewire_edge_connections_opened_total{resume=\"live\"}", 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_cannot_be_resumed_is_answered_with_a_gap() {
    let hub = Hub::start().await;
    let topic = Topic::parse("t").unwrap();
    let event = NewEvent::new(topic, EventData::parse("x", 10).unwrap());
    let head = hub.publisher().publish(event).await.unwrap().cursor;
    let epoch = head.epoch;
    let start = format!("{epoch}-0");
    let foreign = "00000000-1".to_owned();
    let ahead = format!("{epoch}-2");
    let long = "x".repeat(5_000);
    let cut = "x".repeat(64);

    for (requested, reason, repeated) in [
        (&*foreign, "epoch", &*foreign),
        (&ahead, "ahead", &ahead),
        ("nonsense", "malformed", "nonsense"),
        ("5F3A91C2-1", "malformed", "5F3A91C2-1"),
        (&long, "malformed", &cut),
    ] {
        for (on_gap, resumed_from) in [("earliest", &*start), ("now", &*head.to_string())] {
            let path = format!("/v1/events?topic=t&on_gap={on_gap}");
            let text = open(&hub, &path, &[("Last-Event-ID", requested)]).await;
            // The gap before the hello, so that no cut can hide it.
            let opening = format!(
                "event: tidewire.gap\nid: {resumed_from}\ndata: {{\"reason\":\"{reason}\",\
                 \"requested\":\"{repeated}\",\"resumed_from\":\"{resumed_from}\"}}\n\n\
                 event: tidewire.hello\nid: {resumed_from}\n"
            );
            assert!(text.contains(&opening), "{text}");
            assert!(text.contains("\"resume\":\"gap\""), "{text}");
            let header = format!("tidewire-resumed-from: {resumed_from}");
            assert!(text.contains(&header), "{text}");
        }
    }
    for resumable in [start, head.to_string()] {
        let text = open(&hub, "/v1/events?topic=t", &[("Last-Event-ID", &resumable)]).await;
        assert!(
            text.contains("\"resume\":\"resumed\"") && !text.contains("tidewire.gap"),
            "{text}"
        );
    }
    let path = format!("/v1/events?topic=t&last_event_id={epoch}-1&control=0");
    let text = open(&hub, &path, &[("Last-Event-ID", "nonsense")]).await;
    assert!(text.contains("tidewire.gap") && !text.contains("tidewire.hello"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_pages_of_configured_origins_may_read() {
    let flags = ["--cors-origin", "https://good.example"];
    let hub = Hub::start_with(Flags { edge: &flags, ..Flags::default() }).await;
    for (origin, allowed) in [
        ("https://good.example", true),
        ("https://good.example.evil.example", false),
        ("http://good.example", false),
        ("null", false),
    ] {
        let text = open(&hub, "/v1/events?topic=a", &[("Origin", origin)]).await;
        let allow = format!("access-control-allow-origin: {origin}\r\n");
        assert_eq!(text.contains(&allow), allowed, "{text}");
        assert_eq!(text.contains("access-control-allow-origin"), allowed, "{text}");
        assert!(text.to_lowercase().contains("vary: origin"), "{text}");
    }
    let preflight = [
        ("Origin", "https://good.example"),
        ("Access-Control-Request-Method", "GET"),
        ("Access-Control-Request-Headers", "last-event-id"),
    ];
    let answer = raw::request(&hub.http, "OPTIONS", "/v1/events?topic=a", &preflight).await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("access-control-allow-headers").unwrap().contains("last-event-id"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_cannot_publish() {
    let mut hub = Hub::start().await;
    let host = hub.publish_http.trim_start_matches("http://").to_owned();
    let own = format!("http://{host}");
    for (headers, status) in [
        (&[("Origin", "https://evil.example")][..], 403),
        (&[("Origin", "null")], 403),
        (&[("Sec-Fetch-Site", "cross-site"), ("Origin", &*own)], 403),
        (&[("Sec-Fetch-Site", "same-site")], 403),
        (&[("Sec-Fetch-Site", "same-origin")], 200),
        (&[("Origin", &*own)], 200),
        (&[], 200),
    ] {
        for (path, body) in [("/v1/topics/t", "x"), ("/v1/events", r#"{"topic":"t","data":"x"}"#)] {
            let length = body.len().to_string();
            let mut headers = headers.to_vec();
            headers.extend([("Content-Length", &*length), ("Content-Type", "application/json")]);
            let mut socket = raw::connect(&hub.publish_http).await;
            raw::send_as(&mut socket, "POST", path, &host, &headers).await;
            socket.write_all(body.as_bytes()).await.unwrap();
            let answer = raw::read_response(&mut socket).await;
            assert_eq!(answer.status, status, "{path} {headers:?}: {}", answer.body);
        }
    }
    let stored = "tidewire_ingest_events_total{outcome=\"stored\",transport=\"http\"} ";
    let stored = hub.ingest().metric(stored).await;
    assert!((6.0..7.0).contains(&stored), "{stored}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_carries_the_headers_that_proxies_and_browsers_need() {
    let hub = Hub::start().await;
    let text = open(&hub, "/v1/events?topic=a", &[]).await.to_lowercase();
    for header in [
        "http/1.1 200 ok\r\n",
        "content-type: text/event-stream\r\n",
        "cache-control: no-cache, no-store, no-transform\r\n",
        "x-accel-buffering: no\r\n",
        "x-content-type-options: nosniff\r\n",
    ] {
        assert!(text.contains(header), "{header} in {text}");
    }
}

fn problem(answer: &Response) -> Value {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(body["status"], answer.status);
    body
}

/// Opens a stream and reads its first frames.
async fn open(hub: &Hub, path: &str, headers: &[(&str, &str)]) -> String {
    let mut socket = raw::connect(&hub.http).await;
    raw::send(&mut socket, "GET", path, headers).await;
    // A frame's end and its chunk's: what leaves first leaves in one write.
    raw::read_until(&mut socket, "\n\n\r\n").await
}
