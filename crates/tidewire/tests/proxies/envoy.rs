//! Envoy's defaults end streams and allow few of them: the example's settings do neither.

use tokio::{
    join,
    time::{Instant, sleep, timeout},
};

use crate::{
    hub::{Hub, texts},
    program::Kind,
    proxy::Proxy,
    stream::{FRONTS, PATIENCE, SILENCE, Stream, browser},
    table::ours,
};

const BY_DEFAULT: &str = include_str!("defaults/envoy.yaml");

#[tokio::test(flavor = "multi_thread")]
async fn envoy_has_room_for_more_streams_than_its_defaults() {
    let hub = Hub::start().await;
    for (config, streams) in [(BY_DEFAULT, 1_024), (&ours("envoy.yaml"), 1_100)] {
        let proxy = Proxy::start(Kind::Envoy, config, hub.upstreams()).await;
        let browsers: Vec<_> = (0..11).map(|_| browser(&proxy, 100)).collect();
        hub.has_subscribers(streams).await;
        sleep(SILENCE).await;
        assert_eq!(hub.subscribers().await, f64::from(streams), "and no more");
        drop(browsers);
        hub.has_subscribers(0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_keeps_a_stream_that_its_defaults_cut_off_after_15_seconds() {
    let hub = Hub::start().await;
    let by_default = Proxy::start(Kind::Envoy, BY_DEFAULT, hub.upstreams()).await;
    let ours = Proxy::start(Kind::Envoy, &ours("envoy.yaml"), hub.upstreams()).await;
    let [http1, http2] = FRONTS.map(|front| {
        let (by_default, ours, hub) = (&by_default, &ours, &hub);
        async move {
            let began = Instant::now();
            let topic = format!("long.{front:?}");
            let query = format!("topic={topic}&heartbeat=2");
            let mut kept = Stream::open(ours, front, &query, None);
            let mut cut = Stream::open(by_default, front, &query, None);
            kept.hello().await;
            cut.hello().await;
            assert!(timeout(PATIENCE, cut.event()).await.expect("it is cut off").is_none());
            let lived = began.elapsed().as_secs();
            assert!((14..25).contains(&lived), "{lived} s");
            let text = texts(0..1);
            hub.publish(&topic, &text).await;
            kept.expect(&text).await;
        }
    });
    join!(http1, http2);
}
