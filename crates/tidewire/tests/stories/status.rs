//! What an operator sees of one process without a dashboard: the status page, and what it is made of.

use std::{env, path::Path, time::Duration};

use serde_json::{Value, json};
use tidewire_client::{EventData, NewEvent, StreamOptions, Topic};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

use super::{hub::Hub, page::Page, raw};

const PATIENCE: Duration = Duration::from_secs(30);
/// As many as may view the page at once.
const VIEWERS_MAX: usize = 16;

#[tokio::test(flavor = "multi_thread")]
async fn the_status_says_who_is_there_who_was_refused_and_who_reads_nothing() {
    let hub = Hub::start().await;
    assert_eq!(raw::get(&hub.http, "/v1/events", &[]).await.status, 400);
    let answer = raw::get(&hub.edge.operations, "/status", &[]).await;
    assert_eq!(answer.header("content-type"), Some("application/json"));

    let _idle = subscribed(&hub, "quiet").await;
    let _stalled = subscribed(&hub, "t&topic=secret-topic").await;
    publish(&hub).await;
    let (text, status) =
        until(&hub, |status| !status["slowest"].as_array().unwrap().is_empty()).await;
    let slow = &status["slowest"][0];
    assert_eq!(
        status["slowest"].as_array().unwrap().len(),
        1,
        "who has all is not named: {status:#}"
    );
    assert_eq!(slow["state"], "stalled", "{slow}");
    assert_eq!((&slow["client"], &slow["filters"]), (&"127.0.0.1".into(), &2.into()), "{slow}");
    assert!(slow["events"].as_u64().unwrap() > 10, "{slow}");
    assert!(slow["connection"].as_str().unwrap().len() < 24, "it is not named whole: {slow}");
    assert!(slow["since"].as_u64() <= status["at"].as_u64(), "{slow}");

    let refusal = &status["refusals"][0];
    assert_eq!(refusal["reason"], "bad_request");
    assert_eq!(refusal["client"], "127.0.0.1");
    assert!(refusal["at"].as_u64().unwrap() > 1_600_000_000_000, "{refusal}");
    assert_eq!(status["connections"]["now"], 2.0, "{status:#}");
    assert_eq!(status["drain"]["state"], "serving");
    assert_eq!((&status["missing"], &status["backbone"]["connected"]), (&json!([]), &true.into()));
    assert!(status["process"]["memory_bytes"].as_f64().unwrap() > 1e6);
    let open_files = status["process"]["open_files"].as_f64().unwrap();
    assert!(open_files > 5.0 && status["process"]["open_files_max"].as_f64().unwrap() > open_files);
    assert!(!text.contains("secret-topic"), "nothing of what somebody asks for");

    // The same figures as a scrape has.
    let metric = hub.edge.metric("tidewire_edge_connections_max ").await;
    assert_eq!(status["connections"]["max"], metric);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_public_port_serves_nothing_of_it() {
    let hub = Hub::start().await;
    for path in ["/status", "/status/stream"] {
        assert_eq!(raw::get(&hub.http, path, &[]).await.status, 404, "{path}");
    }
    let page = raw::get(&hub.http, "/", &[]).await;
    assert!(!page.body.contains("status/stream"), "{}", page.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_get_reports_until_the_end_and_one_too_many_is_told_so() {
    let mut hub = Hub::start().await;
    let mut viewers = Vec::new();
    for _ in 0..VIEWERS_MAX {
        let mut viewer = raw::connect(&hub.edge.operations).await;
        raw::send(&mut viewer, "GET", "/status/stream", &[]).await;
        raw::read_until(&mut viewer, "event: status\ndata: {").await;
        viewers.push(viewer);
    }
    let refused = raw::get(&hub.edge.operations, "/status/stream", &[]).await;
    assert_eq!(refused.status, 503);
    assert!(refused.body.contains("16 already view this page"), "{}", refused.body);
    // The next ones come by themselves.
    for viewer in &mut viewers {
        raw::read_until(viewer, "event: status\ndata: {").await;
    }
    viewers.pop();
    timeout(PATIENCE, async {
        loop {
            let mut viewer = raw::connect(&hub.edge.operations).await;
            raw::send(&mut viewer, "GET", "/status/stream", &[]).await;
            if raw::read_until(&mut viewer, "HTTP/1.1 ").await.contains(" 200 ") {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("there is room again");
    hub.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_live_numbers_and_says_when_they_are_old() {
    let mut hub = Hub::start().await;
    assert_eq!(raw::get(&hub.http, "/v1/events", &[]).await.status, 400);
    let mut page = Page::open_with("status.mjs", &hub.edge.operations).await;
    let before = page.ask("see Nobody is behind").await;
    assert_eq!((&before["link"], &before["figures"]["Connections"]), (&"live".into(), &"0".into()));
    assert_eq!(before["refusals"][0][1], "bad request");

    let _stalled = subscribed(&hub, "t&topic=secret-topic").await;
    publish(&hub).await;
    let after = page.ask("see takes nothing now").await;
    assert_eq!(after["figures"]["Connections"], "1", "{after:#}");
    assert_eq!(after["slowest"][0][1], "127.0.0.1", "{after:#}");
    assert!(after["drawn"].as_u64().unwrap() >= 4, "{after:#}");
    let pictures = env::var("STATUS_PICTURES");
    let pictures = pictures.as_deref().unwrap_or(env!("CARGO_TARGET_TMPDIR"));
    for (name, width, dark) in [
        ("light", 1280, false),
        ("dark", 1280, true),
        ("phone", 390, false),
        ("phone-dark", 390, true),
    ] {
        let path = Path::new(pictures).join(format!("status-{name}.png"));
        let shot = json!({ "path": path, "width": width, "dark": dark });
        let shown = page.ask(&format!("shot {shot}")).await;
        assert_eq!(shown["overflow"], 0, "nothing is wider than {width} pixels");
    }
    let origin = format!("{}/", hub.edge.operations);
    let requests = after["requests"].as_array().unwrap();
    assert!(requests.iter().all(|url| url.as_str().unwrap().starts_with(&origin)), "{requests:?}");

    hub.kill();
    page.ask("see stale: nothing for").await;
    hub.start_again().await;
    let again = page.ask("see Nobody was refused").await;
    assert_eq!(again["link"], "live");
    assert_eq!(again["troubles"], json!([]), "nothing is wrong in the console");
}

/// A client that reads nothing behind its hello.
async fn subscribed(hub: &Hub, topics: &str) -> TcpStream {
    let mut socket = raw::connect(&hub.http).await;
    raw::send(&mut socket, "GET", &format!("/v1/events?topic={topics}"), &[]).await;
    raw::read_until(&mut socket, "hello").await;
    socket
}

/// More than fits into a socket that nobody reads from.
async fn publish(hub: &Hub) {
    let stream = hub.publisher().stream(StreamOptions::default());
    let topic = Topic::parse("t").unwrap();
    let mut last = None;
    for n in 0..500 {
        let data = EventData::parse(format!("{n:020000}"), 20_000).unwrap();
        last = Some(stream.send(NewEvent::new(topic.clone(), data)).await.unwrap());
    }
    stream.finish().await.unwrap();
    last.unwrap().await.unwrap();
}

/// Asks for the status until it is as expected; as text, too.
async fn until(hub: &Hub, is_expected: impl Fn(&Value) -> bool) -> (String, Value) {
    timeout(PATIENCE, async {
        loop {
            let text = raw::get(&hub.edge.operations, "/status", &[]).await.body;
            let status = serde_json::from_str(&text).unwrap();
            if is_expected(&status) {
                return (text, status);
            }
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the status becomes what is expected")
}
