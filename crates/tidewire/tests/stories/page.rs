//! The demonstration page in a real Chromium, through an outage of the hub.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::Value;
use tidewire_client::{EventData, NewEvent, Topic};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::{sleep, timeout},
};

use super::{
    certificate::Certificate,
    hub::{self, Flags, Hub},
};

const PATIENCE: Duration = Duration::from_secs(90);
/// The outage that a user would notice.
const OUTAGE: Duration = Duration::from_secs(5);
/// Sooner than a heartbeat would push it on.
const IN_TIME: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread")]
async fn the_page_goes_on_without_a_gap_or_a_repeat_when_the_hub_was_away() {
    let mut hub = Hub::start().await;
    let mut demo: Command = hub::tidewire().into();
    demo.args(["demo", "--url", &hub.grpc, "--interval", "250ms"]);
    let _demo = demo.stdout(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    let mut page = Page::open(&hub.http).await;
    let before = page.ask("wait {\"events\":30}").await;
    assert_eq!(before["reconnects"], 0, "{before}");

    hub.terminate().await;
    sleep(OUTAGE).await;
    hub.start_again().await;
    let after = page.ask("wait {\"events\":60}").await;
    println!("the page's own log: {:#}", after["log"]);
    assert_eq!(after["state"], "live");
    assert!(after["reconnects"].as_u64().unwrap() >= 1, "{after}");
    assert_eq!((&after["gaps"], &after["repeats"]), (&0.into(), &0.into()), "{after}");
    for (topic, n) in before["lastN"].as_object().unwrap() {
        let seen = after["lastN"][topic].as_u64().unwrap();
        // What was measured during the outage came too: the numbers have no hole.
        assert!(seen > n.as_u64().unwrap() + 10, "{topic}: {n} then {seen}");
    }

    page.ask("follow greetings.*").await;
    page.ask("wait {\"events\":5}").await;
    let topic = Topic::parse("greetings.browser").unwrap();
    let event = NewEvent::new(topic, EventData::parse("hello from a test", 100).unwrap());
    hub.publisher().publish(event).await.unwrap();
    let followed = page.ask("see hello from a test").await;
    assert_eq!((&followed["gaps"], &followed["repeats"]), (&0.into(), &0.into()), "{followed}");
    let picture = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page.png");
    let end = page.ask(&format!("shot {}", picture.display())).await;
    assert_eq!(end["troubles"], Value::Array(Vec::new()), "nothing is wrong in the console");
    println!("a picture of it: {}", picture.display());
}

#[tokio::test(flavor = "multi_thread")]
async fn by_gzip_the_page_shows_every_event_when_it_comes_and_comes_back_from_its_end() {
    let mut hub =
        Hub::start_with(Flags { edge: &["--compression", "gzip"], ..Flags::default() }).await;
    let mut page = Page::open(&hub.http).await;
    page.ask("follow gzip.>").await;
    for n in 0..10 {
        let text = format!("number {n} and {}", "more ".repeat(n * 20));
        let topic = Topic::parse("gzip.browser").unwrap();
        let event = NewEvent::new(topic, EventData::parse(text, 10_000).unwrap());
        hub.publisher().publish(event).await.unwrap();
        let question = format!("see number {n} and");
        let seen = timeout(IN_TIME, page.ask(&question)).await.expect("nothing holds it back");
        assert_eq!((&seen["gaps"], &seen["repeats"]), (&0.into(), &0.into()), "{seen}");
        if n == 5 {
            // A native `EventSource` gets an end in good order.
            hub.terminate().await;
            hub.start_again().await;
        }
    }
    let coded = hub.edge.metric("tidewire_edge_gzip_bytes_total{side=\"gzip\"} ").await;
    assert!(coded > 0.0, "it was compressed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_runs_over_tls_and_http2() {
    let certificate = Certificate::new();
    let hub = Hub::start_with(Flags { edge: &certificate.flags(), ..Flags::default() }).await;
    let mut demo: Command = hub::tidewire().into();
    demo.args(["demo", "--url", &hub.grpc, "--interval", "250ms"]);
    let _demo = demo.stdout(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    let mut page = Page::open(&hub.http).await;
    let seen = page.ask("wait {\"events\":30}").await;
    assert_eq!(seen["protocol"], "h2", "{seen}");
    assert_eq!((&seen["gaps"], &seen["repeats"]), (&0.into(), &0.into()), "{seen}");
    assert!(hub.edge.metric("tidewire_edge_tls_certificate_expiry_seconds ").await > 1e9);
}

/// The page, in a browser of its own.
pub(crate) struct Page {
    _browser: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Page {
    pub(crate) async fn open(url: &str) -> Self {
        Self::open_with("page.mjs", url).await
    }

    /// Another page, by the script that knows it.
    pub(crate) async fn open_with(script: &str, url: &str) -> Self {
        let clients = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        let mut command = Command::new("node");
        command.args([script, url]).current_dir(clients).env("CHROMIUM", chromium());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut browser = command.spawn().expect("node is there");
        let stdin = browser.stdin.take().unwrap();
        let lines = BufReader::new(browser.stdout.take().unwrap()).lines();
        let mut page = Self { _browser: browser, stdin, lines };
        assert_eq!(page.answer().await["ready"], true);
        page
    }

    pub(crate) async fn ask(&mut self, question: &str) -> Value {
        self.stdin.write_all(format!("{question}\n").as_bytes()).await.unwrap();
        let answer = self.answer().await;
        assert!(answer.get("error").is_none(), "{question}: {answer:#}");
        answer
    }

    async fn answer(&mut self) -> Value {
        let line = timeout(PATIENCE, self.lines.next_line()).await.expect("the page answers");
        let line = line.unwrap().expect("the browser runs; `make setup-tests` was run?");
        serde_json::from_str(&line).unwrap()
    }
}

fn chromium() -> PathBuf {
    let given = std::env::var_os("CHROMIUM").map(PathBuf::from);
    let usual = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
    given
        .into_iter()
        .chain(usual.map(PathBuf::from))
        .find(|path| path.exists())
        .expect("Chromium is installed (`make setup-tests`), or CHROMIUM names it")
}
