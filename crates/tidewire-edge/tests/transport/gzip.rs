//! What a client gets that takes gzip: said in the head, readable as it comes, whole at the end.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use flate2::{Decompress, FlushDecompress, Status};
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderValue, Request};
use tidewire_edge::{Coding, Config};
use tokio::time::timeout;
use tower::ServiceExt as _;

use super::port::{PATIENCE, Port};

const ORIGIN: &str = "https://app.example.com";
/// More than any client is handed at once.
const LONG: usize = 300_000;
/// Sooner than a heartbeat would push it on.
const IN_TIME: Duration = Duration::from_secs(8);

async fn serve(compression: Coding) -> Port {
    let cors_origins = vec![HeaderValue::from_static(ORIGIN)];
    Port::serve(Config { compression, cors_origins, ..Config::default() }).await
}

async fn ask(port: &Port, accept: &str) -> (HeaderMap, BodyDataStream) {
    let request = Request::get("/v1/events?topic=t&end=eof")
        .header("accept-encoding", accept)
        .header("origin", ORIGIN);
    let answer = port.edge.router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (head, body) = answer.into_parts();
    (head.headers, body.into_data_stream())
}

/// All names of the header.
fn vary(headers: &HeaderMap) -> String {
    let lines: Vec<_> = headers.get_all("vary").iter().map(|line| line.to_str().unwrap()).collect();
    lines.join(", ")
}

struct Client {
    body: BodyDataStream,
    gzip: Decompress,
    seen: String,
}

impl Client {
    /// Reads what comes next, all of it as soon as it has come.
    async fn read(&mut self) -> Option<Status> {
        let bytes = timeout(PATIENCE, self.body.next()).await.expect("something comes")?.unwrap();
        let before = self.gzip.total_in();
        let mut read = Vec::with_capacity(2 * LONG);
        let status = self.gzip.decompress_vec(&bytes, &mut read, FlushDecompress::Sync).unwrap();
        assert_eq!(self.gzip.total_in() - before, bytes.len() as u64, "nothing is left over");
        self.seen.push_str(std::str::from_utf8(&read).unwrap());
        Some(status)
    }

    async fn sees(&mut self, wanted: &str) {
        let reading = async {
            while !self.seen.contains(wanted) {
                assert_eq!(self.read().await, Some(Status::Ok), "it has not ended");
            }
        };
        timeout(IN_TIME, reading).await.expect("nothing holds it back");
        assert!(self.seen.ends_with("\n\n"), "whole frames");
    }
}

#[tokio::test]
async fn a_stream_by_gzip_says_so_can_be_read_as_it_comes_and_ends_as_gzip_does() {
    let port = serve(Coding::Gzip).await;
    let (headers, body) = ask(&port, "gzip, deflate, br, zstd").await;
    assert_eq!(headers["content-encoding"], "gzip");
    assert!(vary(&headers).contains("accept-encoding") && vary(&headers).contains("origin"));

    let mut client = Client { body, gzip: Decompress::new_gzip(15), seen: String::new() };
    client.sees("tidewire.hello").await;
    for n in 0..3 {
        let data = format!("event {n} {}", "again ".repeat(n * n * n * 100));
        port.log.publish(&data);
        client.sees(&format!("data: {data}\n\n")).await;
    }
    port.log.publish(&"x".repeat(LONG));
    client.sees(&"x".repeat(LONG)).await;
    port.ending.cancel();
    while client.read().await.expect("the end of gzip") != Status::StreamEnd {}
    assert!(client.seen.ends_with("data: {\"reason\":\"draining\"}\n\n"), "{}", client.seen);
    assert_eq!(client.read().await, None, "the sum has come with the last frame");
    port.end().await;
}

#[tokio::test]
async fn who_would_rather_not_have_gzip_or_asks_where_it_is_off_gets_none() {
    for (compression, accept, varies) in [
        (Coding::Gzip, "identity", true),
        (Coding::Gzip, "br, gzip;q=0", true),
        (Coding::Identity, "gzip", false),
    ] {
        let port = serve(compression).await;
        let (headers, mut body) = ask(&port, accept).await;
        assert!(!headers.contains_key("content-encoding"));
        assert_eq!(vary(&headers).contains("accept-encoding"), varies, "{}", vary(&headers));
        let hello = timeout(PATIENCE, body.next()).await.unwrap().unwrap().unwrap();
        assert!(hello.starts_with(b"event: tidewire.hello\n"));
        drop(body);
        port.end().await;
    }
}
