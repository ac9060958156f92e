//! HTTP/2 in the clear, as a proxy speaks it: with prior knowledge (RFC 9113, section 3.3).

use axum::{Router, http::HeaderMap, routing::post};
use http::Request;
use tidewire_edge::Config;

use super::port::{Http2, Port};

#[tokio::test]
async fn one_connection_carries_more_streams_than_a_browser_has_tabs() {
    let port = Port::serve(Config::default()).await;
    let mut client = Http2::connect(port.connect().await).await;
    let mut streams = Vec::new();
    for _ in 0..256 {
        streams.push(client.subscribe().await);
    }
    port.log.publish("for everyone");
    for stream in &mut streams {
        stream.sees("data: for everyone\n\n").await;
    }
    port.end().await;
}

#[tokio::test]
async fn both_versions_are_spoken_on_one_port() {
    let port = Port::serve(Config::default()).await;
    let mut old = port.subscriber().await;
    let mut new = Http2::connect(port.connect().await).await.subscribe().await;
    port.log.publish("news");
    old.sees("data: news").await;
    new.sees("data: news").await;
}

#[tokio::test]
async fn at_the_end_each_stream_says_when_to_come_back_and_the_connection_closes_in_order() {
    let port = Port::serve(Config::default()).await;
    let mut client = Http2::connect(port.connect().await).await;
    let mut streams = vec![client.subscribe().await, client.subscribe().await];
    port.ending.cancel();
    for stream in &mut streams {
        while stream.more().await.unwrap().is_some() {}
        assert!(stream.seen.ends_with("data: {\"reason\":\"draining\"}\n\n"), "{}", stream.seen);
    }
    client.closed().await;
    port.end().await;
}

#[tokio::test]
async fn routes_find_the_host_where_they_look_for_it() {
    let host = async |headers: HeaderMap| headers["host"].to_str().unwrap().to_owned();
    let port = Port::serve_with(Config::default(), Router::new().route("/host", post(host))).await;
    let mut client = Http2::connect(port.connect().await).await;
    let request = Request::post("http://hub.example:81/host").body(()).unwrap();
    client.send(request, "x").await.sees("hub.example:81").await;
}
