//! A hub of a test's own, of two edges over one NATS server. Dropping it ends it.

use std::path::Path;

use tidewire_client::{EventData, NewEvent, Publisher, Topic};
use tidewire_testbed::{NatsCluster, Process};
use tokio::time::{sleep, timeout};

use crate::{
    proxy::Upstream,
    stream::{LOOK_INTERVAL, PATIENCE},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tidewire");

pub(crate) struct Hub {
    pub(crate) edges: [Process; 2],
    publisher: Publisher,
    _ingest: Process,
    /// Last, since the others stand on it.
    _nats: NatsCluster,
}

impl Hub {
    pub(crate) async fn start() -> Self {
        let nats = NatsCluster::start(1).await;
        let url = nats.urls().join(",");
        let launch = |service| {
            let flags = ["--nats-url", &url].map(str::to_owned);
            Process::launch(Path::new(PROGRAM), service, &flags)
        };
        let mut ingest = launch("ingest");
        let mut edges = [launch("edge"), launch("edge")];
        ingest.ready().await;
        for edge in &mut edges {
            edge.ready().await;
        }
        let publisher = Publisher::connect(&ingest.grpc).unwrap();
        Self { edges, publisher, _ingest: ingest, _nats: nats }
    }

    /// Where a proxy finds the edges.
    pub(crate) fn upstreams(&self) -> [Upstream; 2] {
        let port = |url: &str| url.rsplit(':').next().unwrap().parse().unwrap();
        [&self.edges[0], &self.edges[1]]
            .map(|edge| Upstream { http: port(&edge.http), operations: port(&edge.operations) })
    }

    /// Publishes events and waits for their receipts. Returns the last one's cursor.
    pub(crate) async fn publish(&self, topic: &str, texts: &[String]) -> String {
        let topic = Topic::parse(topic).unwrap();
        let event = |text: &String| {
            NewEvent::new(topic.clone(), EventData::parse(text.clone(), 60_000).unwrap())
        };
        let results = self.publisher.publish_batch(texts.iter().map(event).collect()).await;
        let receipts: Vec<_> = results.unwrap().into_iter().map(Result::unwrap).collect();
        receipts.last().expect("something is published").cursor.to_string()
    }

    /// Waits until the edges have that many subscribers together.
    pub(crate) async fn has_subscribers(&self, wanted: u32) {
        let counted = async {
            while self.subscribers().await != f64::from(wanted) {
                sleep(LOOK_INTERVAL).await;
            }
        };
        let outcome = timeout(PATIENCE, counted).await;
        outcome.unwrap_or_else(|_| panic!("the edges never had {wanted} subscribers"));
    }

    /// How many subscribers the edges have together.
    pub(crate) async fn subscribers(&self) -> f64 {
        let [one, other] = &self.edges;
        let line = "tidewire_edge_connections ";
        one.metric(line).await + other.metric(line).await
    }
}

/// Texts of events by their numbers.
pub(crate) fn texts(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("event-number-{number}")).collect()
}
