//! The documents' table: each row is looked at again, and must be there as it is found.

use crate::{browser::Browser, client::Program, finding::Candidate, hub::Form};

const DOCUMENT: &str = include_str!("../../../../docs/clients.md");
/// Where the versions are pinned.
const NPM: &str = include_str!("../clients/package.json");
const PYTHON: &str = include_str!("../clients/requirements.txt");
const RUST: &str = include_str!("../clients/rust/Cargo.toml");

#[tokio::test(flavor = "multi_thread")]
async fn chromium_is_as_the_table_says() {
    has_row("Chromium", Program::Page(Browser::Chromium, "native.html"), "").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs `make setup-clients`; `make test-clients` runs it"]
async fn firefox_is_as_the_table_says() {
    has_row("Firefox", Program::Page(Browser::Firefox, "native.html"), "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn npm_eventsource_4_is_as_the_table_says() {
    let name = format!("npm `eventsource` {}", pinned(NPM, "\"eventsource\": \""));
    has_row(&name, Program::Script("node", "eventsource.mjs", &[]), "&overload=soft").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs `make setup-clients`; `make test-clients` runs it"]
async fn npm_eventsource_5_is_as_the_table_says() {
    let name = format!("npm `eventsource` {}", pinned(NPM, "npm:eventsource@"));
    let program = Program::Script("newer node", "eventsource.mjs", &["eventsource-5"]);
    has_row(&name, program, "&overload=soft").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn npm_reconnecting_eventsource_is_as_the_table_says() {
    let version = pinned(NPM, "\"reconnecting-eventsource\": \"");
    let program = Program::Script("node", "eventsource.mjs", &["eventsource", "reconnecting"]);
    has_row(&format!("npm `reconnecting-eventsource` {version}"), program, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn npm_fetch_event_source_is_as_the_table_says() {
    let version = pinned(NPM, "\"@microsoft/fetch-event-source\": \"");
    let name = format!("npm `@microsoft/fetch-event-source` {version}, in Chromium");
    has_row(&name, Program::Page(Browser::Chromium, "fetch.html"), "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn htmx_is_as_the_table_says() {
    let name = format!("npm `htmx-ext-sse` {}, in Chromium", pinned(NPM, "\"htmx-ext-sse\": \""));
    has_row(&name, Program::Page(Browser::Chromium, "htmx.html"), "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn datastar_is_as_the_table_says() {
    let version = pinned(NPM, "\"@starfederation/datastar\": \"");
    let name = format!("npm `@starfederation/datastar` {version}, in Chromium");
    let program = Program::Page(Browser::Chromium, "datastar.html");
    has_row_of(&name, Candidate { program, form: Form::Datastar, needs: "&overload=soft" }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_httpx_sse_is_as_the_table_says() {
    let name = format!("Python `httpx-sse` {}", pinned(PYTHON, "httpx-sse=="));
    has_row(&name, Program::Script("python", "httpx_client.py", &["httpx-sse"]), "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_sseclient_is_as_the_table_says() {
    let name = format!("Python `sseclient-py` {}", pinned(PYTHON, "sseclient-py=="));
    has_row(&name, Program::Script("python", "httpx_client.py", &["sseclient-py"]), "").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs `make setup-clients`; `make test-clients` runs it"]
async fn rust_eventsource_client_is_as_the_table_says() {
    let name = format!("Rust `eventsource-client` {}", pinned(RUST, "eventsource-client = \"="));
    has_row(&name, Program::Rust("eventsource-client"), "").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs `make setup-clients`; `make test-clients` runs it"]
async fn rust_reqwest_eventsource_is_as_the_table_says() {
    let name = format!("Rust `reqwest-eventsource` {}", pinned(RUST, "reqwest-eventsource = \"="));
    has_row(&name, Program::Rust("reqwest-eventsource"), "&overload=soft").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_is_as_the_table_says() {
    has_row("curl", Program::Script("bash", "curl.sh", &[]), "").await;
}

async fn has_row(name: &str, program: Program, needs: &'static str) {
    has_row_of(name, Candidate { program, form: Form::Plain, needs }).await;
}

async fn has_row_of(name: &str, candidate: Candidate) {
    let row = format!("| {name} | {}", candidate.cells().await);
    assert!(DOCUMENT.lines().any(|line| line == row), "found, and not in docs/clients.md:\n{row}");
}

/// The version that stands behind this in a file.
fn pinned<'a>(file: &'a str, before: &str) -> &'a str {
    let (_, rest) = file.split_once(before).expect("it is pinned");
    rest.split(['"', ' ']).next().expect("a version")
}
