//! What people are told once a process is ready: what listens where, and what to type next.
//!
//! `program` is always how this process was called, so that what is shown can be typed.

use std::fmt::Write as _;

use crate::{listeners::Urls, settings::NatsArgs};

/// Where clients look when they are told nothing else; then the examples need not tell them.
const HTTP_URL_DEFAULT: &str = "http://127.0.0.1:8080";
const GRPC_URL_DEFAULT: &str = "http://127.0.0.1:50051";

/// Of a whole hub.
pub(crate) fn of_standalone(program: &str, urls: &Urls, data_dir: &str, page: bool) -> String {
    let http = &urls.http;
    let (subscribe, to_grpc) = (subscribe(program, urls), to_grpc(urls));
    let mut text = ready();
    row(&mut text, "http", http, "subscribe over SSE, publish with POST");
    row_of_grpc(&mut text, urls);
    row_of_operations(&mut text, urls);
    row(&mut text, "data", data_dir, "the log");
    if page {
        text += &open_page(http);
    }
    text + &format!(
        "
In another terminal:
  {program} demo{to_grpc}
{subscribe}  {program} publish --topic greetings --data hello{to_grpc}
  curl -N '{http}/v1/events?topic=greetings'

Ctrl-C ends it.
"
    )
}

/// Of a publishing service.
pub(crate) fn of_ingest(program: &str, urls: &Urls, nats: &NatsArgs) -> String {
    let (http, to_grpc, place) = (&urls.http, to_grpc(urls), nats.place_as_flags());
    let mut text = ready();
    row(&mut text, "http", http, "publish with POST");
    row_of_grpc(&mut text, urls);
    row_of_operations(&mut text, urls);
    row_of_nats(&mut text, nats);
    text += &format!(
        "
In another terminal:
  {program} edge --http-listen 127.0.0.1:0 --operations-listen 127.0.0.1:0{place}
  {program} publish --topic greetings --data hello{to_grpc}
  {program} demo{to_grpc}
  curl --data hello '{http}/v1/topics/greetings'

The edge says where to subscribe."
    );
    if nats.has_access_settings() {
        text += " It needs the same NATS login and TLS settings as this.";
    }
    text + "\nCtrl-C ends it.\n"
}

/// Of a subscribing service.
pub(crate) fn of_edge(program: &str, urls: &Urls, nats: &NatsArgs, page: bool) -> String {
    let (http, subscribe) = (&urls.http, subscribe(program, urls));
    let mut text = ready();
    row(&mut text, "http", http, "subscribe over SSE");
    row_of_operations(&mut text, urls);
    row_of_nats(&mut text, nats);
    if page {
        text += &open_page(http);
    }
    text + &format!(
        "
In another terminal:
{subscribe}  curl -N '{http}/v1/events?topic=greetings'

What is published at an ingest on the same stream (`{program} ingest`) comes out here.
Ctrl-C ends it.
"
    )
}

fn ready() -> String {
    format!("Tidewire {} is ready.\n\n", env!("CARGO_PKG_VERSION"))
}

fn open_page(http: &str) -> String {
    format!("\nOpen {http}/ in a browser.\n")
}

/// The line that subscribes with this program, which does not speak TLS.
fn subscribe(program: &str, urls: &Urls) -> String {
    let to_http = match &*urls.http {
        HTTP_URL_DEFAULT => String::new(),
        url if url.starts_with("https:") => return String::new(),
        url => format!(" --url {url}"),
    };
    format!("  {program} subscribe --topic '>'{to_http}\n")
}

fn to_grpc(urls: &Urls) -> String {
    match urls.grpc.as_deref() {
        None | Some(GRPC_URL_DEFAULT) => String::new(),
        Some(url) => format!(" --url {url}"),
    }
}

fn row_of_grpc(text: &mut String, urls: &Urls) {
    if let Some(grpc) = &urls.grpc {
        row(text, "grpc", grpc, "publish");
    }
}

fn row_of_operations(text: &mut String, urls: &Urls) {
    row(text, "operations", &urls.operations, "a status page; /livez, /readyz, /metrics");
}

fn row_of_nats(text: &mut String, nats: &NatsArgs) {
    row(text, "nats", &nats.servers(), &format!("stream {}", nats.nats_stream));
}

fn row(text: &mut String, name: &str, value: &str, meaning: &str) {
    let _infallible = writeln!(text, "  {name:<11} {value:<25} {meaning}");
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        nats: NatsArgs,
    }

    fn nats(flags: &[&str]) -> NatsArgs {
        Typed::try_parse_from(["t"].iter().chain(flags)).unwrap().nats
    }

    fn urls(http_port: u16, grpc_port: Option<u16>) -> Urls {
        let url = |port| format!("http://127.0.0.1:{port}");
        Urls { http: url(http_port), grpc: grpc_port.map(url), operations: url(9090) }
    }

    #[test]
    fn the_examples_name_an_address_only_where_it_is_needed() {
        let message = of_standalone("tidewire", &urls(8080, Some(50051)), "./data", true);
        assert!(message.contains("Open http://127.0.0.1:8080/ in"), "{message}");
        assert!(!message.contains("--url"), "{message}");
        let message = of_standalone("./tidewire", &urls(41234, Some(50051)), "./data", false);
        assert!(
            message.contains("  ./tidewire subscribe --topic '>' --url http://127.0.0.1:41234\n"),
            "{message}"
        );
        assert!(message.contains("'http://127.0.0.1:41234/v1/events?"), "{message}");
        assert!(!message.contains("Open"), "{message}");
    }

    #[test]
    fn an_ingest_says_where_to_publish_and_how_to_start_an_edge() {
        let message = of_ingest("tidewire", &urls(8080, Some(50051)), &nats(&[]));
        for line in [
            "  nats        nats://127.0.0.1:4222     stream TIDEWIRE",
            "  tidewire publish --topic greetings --data hello",
            "  tidewire edge --http-listen 127.0.0.1:0 --operations-listen 127.0.0.1:0",
            "The edge says where to subscribe.",
        ] {
            assert!(message.lines().any(|shown| shown == line), "{line} is not in\n{message}");
        }
        let flags = ["--nats-url", "nats://n1:4222", "--nats-stream", "S", "--nats-token", "t0k3n"];
        let message = of_ingest("tidewire", &urls(1, Some(2)), &nats(&flags));
        for part in [
            "edge --http-listen 127.0.0.1:0 --operations-listen 127.0.0.1:0 --nats-url \
             'nats://n1:4222' --nats-stream S\n",
            "demo --url http://127.0.0.1:2\n",
            "the same NATS login",
        ] {
            assert!(message.contains(part), "{part} is not in\n{message}");
        }
        assert!(!message.contains("t0k3n"), "{message}");
    }

    #[test]
    fn an_edge_says_where_to_subscribe_and_nothing_of_grpc() {
        let message = of_edge("tidewire", &urls(41234, None), &nats(&[]), false);
        assert!(
            message.contains("  tidewire subscribe --topic '>' --url http://127.0.0.1:41234\n"),
            "{message}"
        );
        assert!(!message.contains("grpc") && !message.contains("Open"), "{message}");
        let message = of_edge("tidewire", &urls(8080, None), &nats(&[]), true);
        assert!(message.contains("Open http://127.0.0.1:8080/ in"), "{message}");
    }
}
