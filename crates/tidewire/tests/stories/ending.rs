//! How streams end and are refused: on the wire, with the signals of a rollout, in a real browser.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tidewire_client::{EventData, Item, NewEvent, Publisher, Start, StreamOptions, Topic};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
    time::{Instant, sleep, timeout},
};

use super::{
    hub::{self, Flags, Hub},
    lifecycle::drain_state,
    page::Page,
    raw,
};

const PATIENCE: Duration = Duration::from_secs(60);
/// What a browser's own `EventSource` sends.
const NATIVE: [(&str, &str); 3] =
    [("Sec-Fetch-Mode", "cors"), ("Accept", "text/event-stream"), ("Cache-Control", "no-cache")];
const LIBRARY: [(&str, &str); 1] = [("Accept", "text/event-stream")];
const PATH: &str = "/v1/events?topic=t";
/// The end of a body in chunks.
const LAST_CHUNK: &str = "\r\n0\r\n\r\n";

async fn hub_of(edge: &[&str]) -> Hub {
    Hub::start_with(Flags { edge, ..Flags::default() }).await
}

async fn publish(publisher: &Publisher, text: &str) {
    let data = EventData::parse(text.to_owned(), 60_000).unwrap();
    publisher.publish(NewEvent::new(Topic::parse("t").unwrap(), data)).await.unwrap();
}

/// A stream that has begun.
async fn stream(hub: &Hub, path: &str, headers: &[(&str, &str)]) -> TcpStream {
    let mut socket = raw::connect(&hub.http).await;
    raw::send(&mut socket, "GET", path, headers).await;
    raw::read_until(&mut socket, "tidewire.hello").await;
    socket
}

async fn rest(mut socket: TcpStream) -> String {
    let mut rest = String::new();
    timeout(PATIENCE, socket.read_to_string(&mut rest)).await.expect("it ends").unwrap();
    rest
}

/// Waits until a metric of the edge has come so far.
async fn reaches(hub: &Hub, metric: &str, value: f64) {
    let reaching = async {
        while hub.edge.metric(metric).await < value {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, reaching).await.unwrap_or_else(|_| panic!("{metric}never comes to {value}"));
}

fn assert_ended(said: &str, reason: &str, is_clean: bool) {
    assert!(said.contains("event: tidewire.retry\nretry: "), "{said}");
    let farewell = format!("data: {{\"reason\":\"{reason}\"}}\n\n\r\n");
    let expected = if is_clean { farewell + &LAST_CHUNK[2..] } else { farewell };
    assert!(said.ends_with(&expected), "{said:?} does not end {expected:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aged_stream_ends_in_the_form_that_its_client_survives() {
    // Long enough for an event to come on a busy machine before the youngest ends.
    let hub = hub_of(&["--connection-age-max", "6s"]).await;
    let forms = [
        (PATH, &NATIVE[..], true),
        (PATH, &LIBRARY, false),
        (PATH, &[], false),
        ("/v1/events?topic=t&end=eof", &LIBRARY, true),
        ("/v1/events?topic=t&end=abort", &NATIVE, false),
    ];
    let mut streams = Vec::new();
    for (path, headers, is_clean) in forms {
        streams.push((stream(&hub, path, headers).await, is_clean));
    }
    let large = "x".repeat(50_000);
    publish(&hub.publisher(), &large).await;
    for (socket, is_clean) in streams {
        let said = rest(socket).await;
        assert!(said.contains(&format!("data: {large}\n\n")), "the event is whole");
        assert_ended(&said, "age", is_clean);
    }
    let closed = "tidewire_edge_connections_closed_total{reason=\"age\"} ";
    hub.edge.tells(closed, 5.0).await;
    let broken = "tidewire_edge_connections_broken_total{reason=\"cut\"} ";
    assert_eq!(hub.edge.metric(broken).await, 0.0, "what the hub breaks off is not broken");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_request_comes_on_another_connection() {
    let hub = hub_of(&["--connection-age-max", "1s"]).await;
    let mut socket = raw::connect(&hub.http).await;
    // As a browser asks, which would keep the connection.
    let mut request = format!("GET {PATH} HTTP/1.1\r\nHost: hub\r\n");
    for (name, value) in NATIVE {
        request += &format!("{name}: {value}\r\n");
    }
    socket.write_all((request + "\r\n").as_bytes()).await.unwrap();
    let said = rest(socket).await;
    assert!(said.contains("\r\nconnection: close\r\n"), "{said}");
    assert_ended(&said, "age", true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_hub_answers_each_client_in_its_form() {
    let mut hub = hub_of(&["--connections-max", "32"]).await;
    let mut held = Vec::new();
    for _ in 0..32 {
        held.push(stream(&hub, PATH, &LIBRARY).await);
    }
    for _ in 0..5 {
        let soft = raw::get(&hub.http, PATH, &NATIVE).await;
        assert_eq!(soft.status, 200);
        assert_eq!(soft.header("content-type"), Some("text/event-stream"));
        assert_ended(&soft.body, "full", true);
        let hard = raw::get(&hub.http, PATH, &LIBRARY).await;
        assert_eq!(hard.status, 503);
        let seconds: u64 = hard.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=6).contains(&seconds), "{seconds}");
        let problem: Value = serde_json::from_str(&hard.body).unwrap();
        assert_eq!(problem["title"], json!("Service Unavailable"));
    }
    let refused = "tidewire_edge_connections_refused_total{reason=\"full\"} ";
    hub.edge.tells(refused, 10.0).await;

    // Those who say nothing hold no more than their share, and the next is closed unheard.
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(raw::connect(&hub.http).await);
    }
    reaches(&hub, refused, 18.0).await;
    assert_eq!(rest(raw::connect(&hub.http).await).await, "");
    silent.clear();

    // Our own client goes on trying, whatever it is told.
    let mut subscriber = hub.subscriber("t").build().unwrap();
    let told = timeout(PATIENCE, subscriber.next()).await.unwrap().unwrap();
    assert!(matches!(told, Item::Disconnected { .. }), "{told:?}");
    drop(held.pop());
    let connected =
        async { while !matches!(subscriber.next().await.unwrap(), Item::Connected { .. }) {} };
    timeout(PATIENCE, connected).await.expect("there is room again");
    hub.terminate().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn goes_on_serving_for_the_delay_and_then_drains() {
    let flags = ["--drain-delay", "2s"];
    let mut hub = if Hub::is_one_process() {
        hub_of(&["--drain-delay", "2s", "--drain-window", "2s"]).await
    } else {
        let edge = ["--drain-delay", "2s", "--drain-window", "2s"];
        Hub::start_with(Flags { ingest: &flags, edge: &edge }).await
    };
    let old = stream(&hub, PATH, &NATIVE).await;
    let began = Instant::now();
    hub.processes().for_each(|process| process.signal("TERM"));
    for process in hub.processes() {
        drain_state(process, 1.0).await;
        assert_eq!(raw::get(&process.operations, "/readyz", &[]).await.status, 503);
        let deadline = process.metric("tidewire_drain_deadline_timestamp_seconds ").await;
        assert!(deadline > 1e9, "{deadline}");
    }
    let new = stream(&hub, PATH, &LIBRARY).await;
    publish(&hub.publisher(), "published while it leaves").await;
    let mut others = Vec::new();
    for _ in 0..20 {
        others.push(stream(&hub, PATH, &LIBRARY).await);
    }
    drain_state(&hub.edge, 2.0).await;
    assert!(began.elapsed() >= Duration::from_secs(2));
    let soft = raw::get(&hub.http, PATH, &NATIVE).await;
    assert_eq!(soft.status, 200);
    assert_ended(&soft.body, "draining", true);
    assert_eq!(raw::get(&hub.http, PATH, &LIBRARY).await.status, 503);

    for (socket, is_clean) in [(old, true), (new, false)] {
        let said = rest(socket).await;
        assert!(said.contains("data: published while it leaves\n\n"), "{said}");
        assert_ended(&said, "draining", is_clean);
    }
    for process in hub.processes() {
        assert!(process.ended().await.success(), "{}", process.log());
        assert!(process.log().contains("gone within "), "{}", process.log());
        assert!(!process.log().contains("ERROR"), "{}", process.log());
    }
    assert!(hub.edge.log().contains("streams=1"), "{}", hub.edge.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_hurries() {
    let mut hub = hub_of(&["--drain-window", "1h"]).await;
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(stream(&hub, PATH, &NATIVE).await);
    }
    let began = Instant::now();
    hub.edge.signal("TERM");
    drain_state(&hub.edge, 2.0).await;
    hub.edge.signal("TERM");
    for socket in held {
        assert_ended(&rest(socket).await, "draining", true);
    }
    assert!(hub.edge.ended().await.success(), "{}", hub.edge.log());
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_reader_is_cut_off_when_the_drain_is_over() {
    let mut hub = hub_of(&["--drain-window", "1s"]).await;
    // It takes nothing, and far more is sent to it than sockets hold.
    let _stalled = stream(&hub, PATH, &NATIVE).await;
    let other = stream(&hub, PATH, &NATIVE).await;
    let sending = hub.publisher().stream(StreamOptions::default());
    let topic = Topic::parse("t").unwrap();
    let mut receipts = Vec::new();
    for _ in 0..400 {
        let data = EventData::parse("x".repeat(50_000), 60_000).unwrap();
        receipts.push(sending.send(NewEvent::new(topic.clone(), data)).await.unwrap());
    }
    for receipt in receipts {
        receipt.await.unwrap();
    }
    let reading = tokio::spawn(rest(other));
    let began = Instant::now();
    hub.edge.signal("TERM");
    assert!(hub.edge.ended().await.success(), "{}", hub.edge.log());
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_ended(&reading.await.unwrap(), "draining", true);
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_lose_nothing_over_rotations_and_drains_while_events_flow() {
    const SUBSCRIBERS: usize = 20;
    let flags = ["--drain-delay=1s", "--drain-window=2s", "--connection-age-max=1s"];
    let mut hub = hub_of(&flags).await;
    let stop = Arc::new(AtomicBool::new(false));
    let publishing = tokio::spawn({
        let (sending, stop) = (hub.publisher().stream(StreamOptions::default()), stop.clone());
        async move {
            let topic = Topic::parse("t").unwrap();
            let event =
                |text: String| NewEvent::new(topic.clone(), EventData::parse(text, 100).unwrap());
            let mut receipts = Vec::new();
            while !stop.load(Relaxed) {
                let text = receipts.len().to_string();
                receipts.push(sending.send(event(text)).await.unwrap());
                sleep(Duration::from_millis(5)).await;
            }
            let sent = receipts.len();
            receipts.push(sending.send(event("end".into())).await.unwrap());
            for receipt in receipts {
                receipt.await.unwrap();
            }
            sent
        }
    });
    let reading: Vec<_> = (0..SUBSCRIBERS)
        .map(|_| {
            let mut subscriber = hub.subscriber("t").from(Start::Earliest).build().unwrap();
            tokio::spawn(async move {
                let (mut seen, mut connections) = (0, 0);
                loop {
                    match subscriber.next().await.unwrap() {
                        Item::Event { data, .. } if data == "end" => return (seen, connections),
                        Item::Event { data, .. } => {
                            assert_eq!(data, seen.to_string(), "each once, in order");
                            seen += 1;
                        }
                        Item::Connected { .. } => connections += 1,
                        Item::Disconnected { .. } => {}
                        other => panic!("{other:?}"),
                    }
                }
            })
        })
        .collect();
    for _ in 0..2 {
        sleep(Duration::from_secs(2)).await;
        assert!(hub.edge.terminate().await.success(), "{}", hub.edge.log());
        hub.edge.launch_again();
        hub.edge.ready().await;
    }
    sleep(Duration::from_secs(1)).await;
    stop.store(true, Relaxed);
    let sent = publishing.await.unwrap();
    for reading in reading {
        let (seen, connections) = timeout(PATIENCE, reading).await.expect("the end comes").unwrap();
        assert_eq!(seen, sent);
        assert!(connections >= 3, "{connections}");
    }
    println!("{SUBSCRIBERS} subscribers saw all of {sent} events over rotations and two drains");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_comes_back_by_itself_after_age_drain_and_a_full_hub() {
    let flags = ["--connection-age-max=3s", "--drain-delay=1s", "--drain-window=2s"];
    let mut hub = hub_of(&flags).await;
    let mut demo: Command = hub::tidewire().into();
    demo.args(["demo", "--url", &hub.grpc, "--interval", "250ms"]);
    let _demo = demo.stdout(std::process::Stdio::null()).kill_on_drop(true).spawn().unwrap();
    let mut page = Page::open(&hub.http).await;
    page.ask("wait {\"events\":30}").await;

    let aged = "tidewire_edge_connections_closed_total{reason=\"age\"} ";
    reaches(&hub, aged, 2.0).await;
    let after_age = page.ask("wait {\"events\":30}").await;
    assert!(after_age["reconnects"].as_u64().unwrap() >= 2, "{after_age}");

    // It comes back while the hub drains, and is refused; and then to one that is full.
    assert!(hub.edge.terminate().await.success(), "{}", hub.edge.log());
    hub.edge.launch_again_as(|mut command| {
        command.arg("--connections-max=1");
        command
    });
    hub.edge.ready().await;
    let held = timeout(PATIENCE, the_only_place(&hub)).await.expect("streams age");
    let refused = "tidewire_edge_connections_refused_total{reason=\"full\"} ";
    let refused_before = hub.edge.metric(refused).await;
    reaches(&hub, refused, refused_before + 2.0).await;
    drop(held);
    let end = page.ask("wait {\"events\":60}").await;
    println!("the page's own log: {:#}", end["log"]);
    assert_eq!(end["state"], "live");
    assert_eq!((&end["gaps"], &end["repeats"]), (&0.into(), &0.into()), "{end}");
}

/// A stream at a hub that holds one; the browser may have it first.
async fn the_only_place(hub: &Hub) -> TcpStream {
    loop {
        let mut socket = raw::connect(&hub.http).await;
        raw::send(&mut socket, "GET", PATH, &LIBRARY).await;
        let mut status = [0; 12];
        if socket.read_exact(&mut status).await.is_ok() && &status == b"HTTP/1.1 200" {
            return socket;
        }
        // Each refusal puts the browser's next attempt off.
        sleep(Duration::from_millis(20)).await;
    }
}
