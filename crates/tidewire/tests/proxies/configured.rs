//! What every proxy must do with the configuration that the documents give.

use std::time::Duration;

use tokio::{
    join,
    time::{Instant, sleep, timeout},
};

use crate::{
    hub::{Hub, texts},
    program::Kind,
    proxy::Proxy,
    stream::{FRONTS, Front, PATIENCE, SILENCE, Stream, browser},
    table::ours,
};

/// Streams over one connection: above the 100 that several proxies allow by themselves.
const STREAMS: u32 = 130;
/// What Apache takes of them.
const APACHE_STREAMS: u32 = 6;
/// What the time-outs of the examples, 75 s, become: not to wait for as long.
const TIMEOUT_SECONDS: u64 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn nginx_serves_subscribers() {
    serves_subscribers(Kind::Nginx).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_serves_subscribers() {
    serves_subscribers(Kind::Haproxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn caddy_serves_subscribers() {
    serves_subscribers(Kind::Caddy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_serves_subscribers() {
    serves_subscribers(Kind::Envoy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apache_serves_subscribers() {
    serves_subscribers(Kind::Apache).await;
}

async fn serves_subscribers(kind: Kind) {
    let hub = Hub::start().await;
    let proxy = Proxy::start(kind, &ours(kind.example()), hub.upstreams()).await;
    for front in FRONTS {
        brings_every_event(&hub, &proxy, front).await;
        keeps_clients_apart(&hub, &proxy, front).await;
        lets_go_of_clients(&hub, &proxy, front).await;
    }
    has_room_for_the_streams_of_a_browser(kind, &hub, &proxy).await;
}

async fn brings_every_event(hub: &Hub, proxy: &Proxy, front: Front) {
    let topic = format!("many.{front:?}");
    let mut stream = Stream::open(proxy, front, &format!("topic={topic}&heartbeat=2"), None);
    stream.hello().await;
    let many = texts(0..200);
    hub.publish(&topic, &many).await;
    stream.expect(&many).await;
}

/// A stream that is kept for one client would be the next one's.
async fn keeps_clients_apart(hub: &Hub, proxy: &Proxy, front: Front) {
    let topic = format!("apart.{front:?}");
    let query = format!("topic={topic}&heartbeat=2");
    let mut first = Stream::open(proxy, front, &query, None);
    let hello = first.hello().await;
    let (before, after) = (texts(0..5), texts(5..10));
    hub.publish(&topic, &before).await;
    first.expect(&before).await;

    let mut second = Stream::open(proxy, front, &query, None);
    assert_ne!(second.hello().await.data, hello.data, "each has a connection of its own");
    hub.publish(&topic, &after).await;
    first.expect(&after).await;
    second.expect(&after).await;
}

/// Their streams end at the edge when their connections do.
async fn lets_go_of_clients(hub: &Hub, proxy: &Proxy, front: Front) {
    hub.has_subscribers(0).await;
    // So often that a proxy which notices only when it writes does so soon.
    let query = "topic=gone&heartbeat=2";
    let mut streams: Vec<_> = (0..3).map(|_| Stream::open(proxy, front, query, None)).collect();
    for stream in &mut streams {
        stream.hello().await;
    }
    hub.has_subscribers(3).await;
    drop(streams);
    hub.has_subscribers(0).await;
}

/// As many as a browser may want of one host, over the one connection that it opens.
async fn has_room_for_the_streams_of_a_browser(kind: Kind, hub: &Hub, proxy: &Proxy) {
    let browser = browser(proxy, STREAMS);
    if kind == Kind::Apache {
        // It has more only as others end, and these do not.
        hub.has_subscribers(APACHE_STREAMS).await;
        sleep(SILENCE).await;
        assert_eq!(hub.subscribers().await, f64::from(APACHE_STREAMS), "the documents say so");
    } else {
        hub.has_subscribers(STREAMS).await;
    }
    drop(browser);
    hub.has_subscribers(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_ends_a_silent_stream_and_keeps_one_with_heartbeats() {
    ends_silence(Kind::Nginx, "75s").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_ends_a_silent_stream_and_keeps_one_with_heartbeats() {
    ends_silence(Kind::Haproxy, "75s").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_ends_a_silent_stream_and_keeps_one_with_heartbeats() {
    ends_silence(Kind::Envoy, "75s").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apache_ends_a_silent_stream_and_keeps_one_with_heartbeats() {
    ends_silence(Kind::Apache, "timeout=75").await;
}

/// The time-out of an example, shortened to less than the one heartbeat and more than the other.
async fn ends_silence(kind: Kind, setting: &str) {
    let hub = Hub::start().await;
    let config = ours(kind.example());
    let shortened = config.replace(setting, &setting.replace("75", &TIMEOUT_SECONDS.to_string()));
    assert_ne!(config, shortened, "it has the setting");
    let proxy = Proxy::start(kind, &shortened, hub.upstreams()).await;
    let [http1, http2] = FRONTS.map(|front| ends_silence_before(&hub, &proxy, front));
    join!(http1, http2);
}

async fn ends_silence_before(hub: &Hub, proxy: &Proxy, front: Front) {
    let began = Instant::now();
    let topic = format!("silent.{front:?}");
    let open = |heartbeat| {
        let query = format!("topic={topic}&heartbeat={heartbeat}");
        Stream::open(proxy, front, &query, None)
    };
    let (mut silent, mut quiet) = (open(30), open(2));
    silent.hello().await;
    quiet.hello().await;
    // The silent one ends, which takes at least the time-out; the other must outlive it by as much.
    timeout(PATIENCE, silent.event()).await.expect("it ends");
    assert!(began.elapsed() >= Duration::from_secs(TIMEOUT_SECONDS - 1), "not before its time");
    let outlived = Duration::from_secs(2 * TIMEOUT_SECONDS);
    assert!(timeout(outlived, quiet.event()).await.is_err(), "heartbeats keep it");
    let text = texts(0..1);
    hub.publish(&topic, &text).await;
    quiet.expect(&text).await;
}
