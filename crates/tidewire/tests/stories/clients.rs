//! Real subscribers that others wrote: each resumes exactly when the hub dies and when it restarts.

use std::{path::PathBuf, process::Stdio, time::Duration};

use tidewire_client::{EventData, NewEvent, Publisher, Topic};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use super::{
    certificate::Certificate,
    hub::{Flags, Hub},
};

const PATIENCE: Duration = Duration::from_secs(60);
const EVENTS: usize = 300;

#[tokio::test(flavor = "multi_thread")]
async fn npm_eventsource_resumes() {
    resumes(&["node", "eventsource.mjs"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_httpx_sse_resumes() {
    let python = clients_dir().join("venv/bin/python");
    resumes(&[python.to_str().unwrap(), "httpx_client.py"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_resumes_by_hand() {
    resumes(&["bash", "curl.sh"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_resumes_over_tls_and_http2() {
    let certificate = Certificate::new();
    let hub = Hub::start_with(Flags { edge: &certificate.flags(), ..Flags::default() }).await;
    assert!(hub.http.starts_with("https://"), "{}", hub.http);
    // Without HTTP/2 or with another certificate curl would fail: it may not speak anything else.
    let options = ["--http2-prior-knowledge", "--cacert", certificate.path()];
    resumes_at(hub, &["bash", "curl.sh"], &options).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn npm_eventsource_resumes_by_gzip() {
    resumes_by_gzip(&["node", "eventsource.mjs"], &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_httpx_sse_resumes_by_gzip() {
    let python = clients_dir().join("venv/bin/python");
    resumes_by_gzip(&[python.to_str().unwrap(), "httpx_client.py"], &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_resumes_by_gzip() {
    resumes_by_gzip(&["bash", "curl.sh"], &["--compressed"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_subscriber_resumes_and_prints_json() {
    let mut hub = Hub::start().await;
    let publisher = hub.publisher();
    let mut command: Command = super::hub::tidewire().into();
    command.args(["subscribe", "--topic", "clients", "--json", "--from", "earliest"]);
    command.args(["--url", &hub.http, "--count", &EVENTS.to_string()]);
    let mut client = Client::spawn(command);
    for (round, third) in (0..EVENTS).collect::<Vec<_>>().chunks(EVENTS / 3).enumerate() {
        publish(&publisher, third).await;
        for n in third {
            let data = loop {
                let line = client.line().await.expect("one line for each event");
                let said: serde_json::Value = serde_json::from_str(&line).unwrap();
                assert_ne!(said["kind"], "gap", "{line}");
                if let Some(data) = said["data"].as_str() {
                    break data.to_owned();
                }
            };
            assert_eq!(data, text(*n));
        }
        away(&mut hub, round).await;
    }
    assert!(client.child.wait().await.unwrap().success(), "it ends after --count");
}

/// Publishes in three parts; the hub dies after the first and restarts after the second.
async fn resumes(command: &[&str]) {
    resumes_at(Hub::start().await, command, &[]).await;
}

/// The same at a hub that compresses, by a client that asks for it.
async fn resumes_by_gzip(command: &[&str], options: &[&str]) {
    let hub = Hub::start_with(Flags { edge: &["--compression", "gzip"], ..Flags::default() }).await;
    let hub = resumes_at(hub, command, options).await;
    let sent = hub.edge.metric("tidewire_edge_gzip_bytes_total{side=\"gzip\"} ").await;
    assert!(sent > 0.0, "it was compressed");
}

/// The same at a given hub, the client getting options after the usual arguments.
async fn resumes_at(mut hub: Hub, command: &[&str], options: &[&str]) -> Hub {
    let publisher = hub.publisher();
    let url = format!("{}/v1/events?topic=clients&from=earliest", hub.http);
    let mut process = Command::new(command[0]);
    process
        .args(&command[1..])
        .args([&url, &text(EVENTS - 1)])
        .args(options)
        .current_dir(clients_dir());
    let mut client = Client::spawn(process);
    let mut last_cursor = None;
    for (round, third) in (0..EVENTS).collect::<Vec<_>>().chunks(EVENTS / 3).enumerate() {
        publish(&publisher, third).await;
        for n in third {
            let (cursor, data) = client.event().await;
            assert_eq!(data, text(*n), "each once, in order");
            let cursor = cursor.parse::<tidewire_client::Cursor>().unwrap();
            assert!(last_cursor.is_none_or(|last| cursor > last));
            last_cursor = Some(cursor);
        }
        if round < 2 {
            away(&mut hub, round).await;
        }
    }
    let mut opened = client.opened;
    while let Some(line) = client.line().await {
        opened += usize::from(line == "open");
        assert!(!line.starts_with("event") && !line.starts_with("gap"), "{line}");
    }
    assert!(opened >= 3, "it came back twice: {opened}");
    hub
}

async fn away(hub: &mut Hub, round: usize) {
    match round {
        0 => hub.kill(),
        1 => hub.terminate().await,
        _ => return,
    }
    hub.start_again().await;
}

async fn publish(publisher: &Publisher, numbers: &[usize]) {
    let topic = Topic::parse("clients").unwrap();
    let events = numbers
        .iter()
        .map(|n| NewEvent::new(topic.clone(), EventData::parse(text(*n), 100).unwrap()));
    // The first try after a restart may find the old connection dead.
    let events: Vec<_> = events.collect();
    let results = match publisher.publish_batch(events.clone()).await {
        Ok(results) => results,
        Err(_) => publisher.publish_batch(events).await.unwrap(),
    };
    for result in results {
        result.unwrap();
    }
}

fn text(n: usize) -> String {
    format!("event-number-{n}")
}

fn clients_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

struct Client {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    opened: usize,
}

impl Client {
    fn spawn(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap_or_else(|error| {
            panic!("{command:?}: {error}; `make setup-tests` installs what the tests need")
        });
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines, opened: 0 }
    }

    async fn line(&mut self) -> Option<String> {
        timeout(PATIENCE, self.lines.next_line()).await.expect("the client speaks").unwrap()
    }

    /// The next event's id and data.
    async fn event(&mut self) -> (String, String) {
        loop {
            let line = self.line().await.expect("the client goes on; `make setup-tests` was run?");
            match line.split_once(' ') {
                Some(("event", event)) => {
                    let (id, data) = event.split_once(' ').unwrap();
                    return (id.into(), data.into());
                }
                _ if line == "open" => self.opened += 1,
                // How a stream ended, where its client leaves coming back to its caller.
                _ if matches!(&*line, "ended" | "failed") => {}
                _ => panic!("{line}"),
            }
        }
    }
}
