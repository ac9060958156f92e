//! A thousand clients come back at once, to an edge that does not have in memory what they want.

use tidewire_client::{Cursor, Item, Subscriber};
use tidewire_testbed::{
    Process,
    checker::{Seen, Truth},
};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

use super::{
    audience::{last, subscriber, wants},
    fleet::{Fleet, PATIENCE},
    publishing::Publishing,
};

const CLIENTS: u64 = 1_000;
/// A fifth of them. In truth it is about one for each page of the log, however many read it.
const READS_MAX: f64 = 200.0;
const TOPICS: u64 = 20;
const EVENTS_PER_SECOND: u64 = 1_000;
/// How old the cursors are, in seconds.
const AGE: u64 = 5;
/// What the edge has in memory, in events: the last second.
const WINDOW: &str = "1024";

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_clients_with_old_cursors_are_served_by_few_reads() {
    let fleet = Fleet::start().await;
    let publishing = Publishing::begin(&fleet.intake.url(), TOPICS, EVENTS_PER_SECOND);
    publishing.flow(1).await;
    let known = publishing.receipts();
    publishing.flow(AGE).await;
    let edge = fleet.another_edge(&["--window-events-max", WINDOW]).await;
    let before = reads(&edge).await;

    // Each stopped at another place of the last second before.
    let cursors: Vec<_> = known.iter().rev().flatten().take(1_000).copied().collect();
    let began = Instant::now();
    let mut clients = JoinSet::new();
    let head = last(&publishing.receipts(), |_| true).unwrap();
    for (k, cursor) in (0..CLIENTS).zip(cursors.into_iter().cycle()) {
        let client = subscriber(&edge.http, k, TOPICS).cursor(cursor).build().unwrap();
        clients.spawn(catch_up(client, k, cursor, head));
    }
    let all = clients.join_all().await;
    let took = began.elapsed();
    let receipts = publishing.end().await.receipts;
    let truth = Truth { receipts };

    let events: usize = all.iter().map(|client| client.seen.len()).sum();
    let reads = reads(&edge).await - before;
    println!(
        "{CLIENTS} clients caught up with {events} events in {:.2} s, by {reads} reads",
        took.as_secs_f64()
    );
    for client in &all {
        let missed = |n: u64| {
            let receipt = truth.receipts[usize::try_from(n).unwrap()];
            receipt.is_some_and(|receipt| client.from < receipt && receipt <= client.to)
        };
        let verdict = truth.judge(|n| wants(client.k, n, TOPICS) && missed(n), &client.seen);
        assert_eq!(verdict, Ok(()), "client {}", client.k);
    }
    assert!(reads > 0.0, "they had to be read");
    assert!(reads < READS_MAX, "{reads} reads for {CLIENTS} clients");
}

struct Client {
    k: u64,
    /// Where it came back.
    from: Cursor,
    /// Where it went away.
    to: Cursor,
    seen: Vec<Seen>,
}

/// Listens until it has all there was when it came back.
async fn catch_up(mut subscriber: Subscriber, k: u64, from: Cursor, head: Cursor) -> Client {
    let mut seen = Vec::new();
    let mut to = from;
    while to < head {
        let item = timeout(PATIENCE, subscriber.next()).await.expect("events go on coming");
        match item.unwrap() {
            Item::Event { cursor, data, .. } => {
                seen.push(Seen { n: data.parse().unwrap(), cursor })
            }
            Item::Connected { .. } | Item::Disconnected { .. } => {}
            other => panic!("{other:?}"),
        }
        to = subscriber.cursor().unwrap_or(from);
    }
    Client { k, from, to, seen }
}

/// How often JetStream was read for subscribers, and for the tail.
async fn reads(edge: &Process) -> f64 {
    let mut reads = edge.metric("tidewire_nats_consumers_opened_total").await;
    for kind in ["shared", "wanted", "latest"] {
        reads += edge.metric(&format!("tidewire_nats_reads_total{{kind=\"{kind}\"}}")).await;
    }
    reads
}
