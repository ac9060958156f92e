//! Pages near and far, snapshots, and how few reads of the server they take.

use futures_util::future::join_all;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tidewire_core::{Backbone as _, Cursor, Event, Interest, Page};
use tidewire_nats::{Nats, StreamSettings};
use tidewire_testbed::NatsCluster;

use crate::{
    config, event, start,
    steps::{ALL, cursors, interest, limit, publish, publish_all, read_after, texts},
};

/// More than are read in shared stretches of the log.
const EVENTS: usize = 50_000;
/// One event in so many is of the topic `seldom`.
const SELDOM: usize = 1_000;

/// A log in which most events are far behind the head.
async fn long_log() -> (NatsCluster, Nats) {
    let servers = NatsCluster::start(1).await;
    let nats = start(config(&servers, StreamSettings::default())).await;
    let events = (0..EVENTS).map(|n| {
        let topic = if n % SELDOM == 0 { "seldom".into() } else { format!("often.{}", n % 7) };
        event(&topic, n.to_string())
    });
    publish_all(&nats, events).await;
    (servers, nats)
}

/// A counter's value, over all its labels that begin so.
fn counted(handle: &PrometheusHandle, name: &str) -> u64 {
    let text = handle.render();
    let lines = text.lines().filter(|line| line.starts_with(name));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

async fn everything(nats: &Nats) -> Vec<Event> {
    let start = nats.bounds().await.unwrap().start();
    let read = read_after(nats, &Interest::everything(), start, limit(10_000)).await;
    assert_eq!(read.len(), EVENTS);
    read
}

fn wanted<'e>(events: &'e [Event], interest: &Interest, after: Cursor) -> Vec<&'e Event> {
    let is_wanted = |event: &&Event| interest.wants(&event.event.topic) && event.cursor > after;
    events.iter().filter(is_wanted).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_far_behind_the_head_agree_with_a_full_read() {
    let (_servers, nats) = long_log().await;
    let everything = everything(&nats).await;
    let start = nats.bounds().await.unwrap().start();
    for filters in
        [&["seldom"][..], &["often.3"], &["seldom", "often.*"], &["*", "often.>"], &["absent"]]
    {
        let interest = interest(filters);
        // From the far, over the border between both ways to read, and the near.
        for from in [start, everything[9_999].cursor, everything[EVENTS - 30_000].cursor] {
            let expected = wanted(&everything, &interest, from);
            for size in [13, 1_000, usize::MAX] {
                if size == 13 && expected.len() > 5_000 {
                    continue;
                }
                let read = read_after(&nats, &interest, from, limit(size)).await;
                assert!(
                    read.iter().eq(expected.iter().copied()),
                    "{filters:?} after {from}, {size}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_read_far_behind_at_once_all_get_what_is_theirs() {
    let (_servers, nats) = long_log().await;
    let everything = everything(&nats).await;
    let start = nats.bounds().await.unwrap().start();
    let readers = (0..200).map(|n| {
        let (nats, everything) = (&nats, &everything);
        let interest = interest(&[["seldom", "often.1", "often.2"][n % 3]]);
        let from = if n % 2 == 0 { start } else { everything[n * 10].cursor };
        async move {
            let page = nats.read(&interest, from, limit(50)).await.unwrap();
            let expected = wanted(everything, &interest, from);
            assert!(page.events.iter().eq(expected.into_iter().take(page.events.len())));
            assert!(page.next > from);
        }
    });
    join_all(readers).await;
}

#[tokio::test]
async fn many_who_read_one_stretch_at_once_cause_one_read() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let servers = NatsCluster::start(1).await;
    let nats = start(config(&servers, StreamSettings::default())).await;
    let published = publish_all(&nats, (0..1_000).map(|n| event(["a", "b"][n % 2], "x"))).await;
    let start = nats.bounds().await.unwrap().start();
    let readers = (0..100).map(|n| {
        let (nats, interest) = (&nats, interest(&[["a", "b"][n % 2]]));
        async move { nats.read(&interest, start, ALL).await.unwrap() }
    });
    for (n, page) in join_all(readers).await.iter().enumerate() {
        assert_eq!(page.events.len(), 500);
        assert_eq!(page.events[0].cursor, published[n % 2]);
        assert_eq!(page.next, published[999]);
    }
    assert_eq!(counted(&handle, "tidewire_nats_reads_total"), 1);
    assert_eq!(counted(&handle, "tidewire_nats_consumers_opened_total"), 1);
}

#[tokio::test]
async fn a_snapshot_of_thousands_of_topics_agrees_and_takes_few_reads() {
    const TOPICS: usize = 5_000;
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let servers = NatsCluster::start(1).await;
    let nats = start(config(&servers, StreamSettings::default())).await;
    let events = (0..2 * TOPICS).map(|n| event(&format!("t.{}", n % TOPICS), n.to_string()));
    let published = publish_all(&nats, events).await;
    let last = publish(&nats, event("other", "x")).await;

    let mut after = nats.bounds().await.unwrap().start();
    let (mut seen, mut pages) = (Vec::new(), 0);
    while after < last {
        let Page { events, next } =
            nats.latest(&interest(&["t.*"]), after, limit(500)).await.unwrap();
        assert!(next > after);
        (after, pages) = (next, pages + 1);
        seen.extend(events);
    }
    assert_eq!(cursors(&seen), published[TOPICS..]);
    assert_eq!(texts(&seen[..1]), ["5000"]);
    assert!(pages <= 11, "{pages}");
    assert!(counted(&handle, "tidewire_nats_consumers_opened_total") <= 2);
}

#[tokio::test]
async fn nothing_is_left_at_the_server_when_pages_are_read_and_the_backbone_is_closed() {
    let (servers, nats) = long_log().await;
    let start = nats.bounds().await.unwrap().start();
    for filters in [&["seldom"][..], &["often.1"], &["absent"], &[">"]] {
        read_after(&nats, &interest(filters), start, limit(10_000)).await;
        nats.latest(&interest(filters), start, ALL).await.unwrap();
    }
    nats.cursor_at(tidewire_core::UnixMillis(0)).await.unwrap();
    let consumers = || async {
        let jsz = servers.monitor(0, "/jsz").await;
        jsz["consumers"].as_u64().unwrap()
    };
    crate::steps::until("no consumer is left", || async { consumers().await == 0 }).await;
    nats.close().await;
    drop(nats);
    let connections = || async {
        let varz = servers.monitor(0, "/varz").await;
        varz["connections"].as_u64().unwrap()
    };
    crate::steps::until("no connection is left", || async { connections().await == 0 }).await;
}
