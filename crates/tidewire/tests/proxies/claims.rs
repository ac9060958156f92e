//! What a client claims of itself stays at the proxy, and what it needs goes on to the edge.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
    time::timeout,
};

use crate::{
    program::Kind,
    proxy::{Proxy, Upstream},
    stream::{FRONTS, Front, PATIENCE, curl},
    table::ours,
};

/// An address that is nobody's (RFC 5737).
const CLAIMED: &str = "192.0.2.1";

#[tokio::test(flavor = "multi_thread")]
async fn nginx_tells_the_edge_who_the_client_is() {
    tells_who_the_client_is(Kind::Nginx).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_tells_the_edge_who_the_client_is() {
    tells_who_the_client_is(Kind::Haproxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn caddy_tells_the_edge_who_the_client_is() {
    tells_who_the_client_is(Kind::Caddy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_tells_the_edge_who_the_client_is() {
    tells_who_the_client_is(Kind::Envoy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apache_tells_the_edge_who_the_client_is() {
    tells_who_the_client_is(Kind::Apache).await;
}

async fn tells_who_the_client_is(kind: Kind) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (heads, mut seen) = mpsc::channel(1);
    let edge = tokio::spawn(stand_in(listener, heads));
    let upstream = Upstream { http: port, operations: port };
    let proxy = Proxy::start(kind, &ours(kind.example()), [upstream; 2]).await;
    for front in FRONTS {
        let mut client = curl(front);
        for name in ["X-Forwarded-For", "Forwarded", "X-Forwarded-Proto"] {
            client.args(["--header", &format!("{name}: {CLAIMED}")]);
        }
        client.args(["--header", "Last-Event-ID: 5f3a91c2-7"]);
        client.arg(format!("{}/v1/events?topic=t", proxy.url(front)));
        let _client = client.spawn().expect("curl runs");
        let head = timeout(PATIENCE, seen.recv()).await.expect("a request").unwrap();
        assert!(head.starts_with("get /v1/events?topic=t http/1.1\r\n"), "{head}");
        assert!(!head.contains(CLAIMED), "{head}");
        let value = |name| head.lines().find_map(|line| line.strip_prefix(name));
        assert_eq!(value("x-forwarded-for: "), Some("127.0.0.1"), "{head}");
        assert_eq!(value("last-event-id: "), Some("5f3a91c2-7"), "{head}");
        let scheme = if front == Front::Http1 { "http" } else { "https" };
        assert_eq!(value("x-forwarded-proto: "), Some(scheme), "{head}");
    }
    edge.abort();
}

/// Answers every request, and hands on the heads of those for events, in lower case.
async fn stand_in(listener: TcpListener, heads: mpsc::Sender<String>) {
    while let Ok((mut socket, _)) = listener.accept().await {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            // A proxy that only looks whether somebody listens sends nothing.
            if !matches!(socket.read_buf(&mut head).await, Ok(1..)) {
                break;
            }
        }
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        socket.write_all(answer).await.ok();
        let head = String::from_utf8(head).unwrap().to_lowercase();
        if head.contains("/v1/events") && heads.send(head).await.is_err() {
            return;
        }
    }
}
