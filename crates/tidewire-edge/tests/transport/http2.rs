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

/// A browser would come back on the same connection, and so to the same edge, for ever.
#[tokio::test]
async fn a_connection_takes_no_more_streams_when_its_edge_drains_and_goes_on_with_those_it_has() {
    let port = Port::serve(Config::default()).await;
    let mut client = Http2::connect(port.connect().await).await;
    // The first moment of a drain is now, the second half a minute later.
    let mut streams = [client.subscribe().await, client.subscribe().await];
    port.edge.drain();
    client.takes_no_more().await;
    port.log.publish("late news");
    let mut informed = 0;
    for stream in &mut streams {
        while !stream.seen.contains("late news") && stream.more().await.unwrap().is_some() {}
        informed += usize::from(stream.seen.contains("data: late news"));
    }
    assert_eq!(informed, 1, "the other one has ended");
    port.end().await;
}

#[tokio::test]
async fn a_connection_of_an_age_takes_no_more_streams_either() {
    let age = std::time::Duration::from_secs(1);
    let port = Port::serve(Config { connection_age_max: age, ..Config::default() }).await;
    let mut client = Http2::connect(port.connect().await).await;
    let mut stream = client.subscribe().await;
    client.takes_no_more().await;
    stream.sees("{\"reason\":\"age\"}").await;
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
