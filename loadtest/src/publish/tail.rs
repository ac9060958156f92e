//! Whether an edge keeps up with the highest rate that an ingest reaches.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::ensure;
use tidewire_testbed::Process;
use tokio::time::{Instant, sleep};

use super::Load;
use crate::{output, pipeline, processes::Cluster, sse, usage::Meter};

/// How often it is looked how far the edge is.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// The same, once publishing is over.
const LAST_LOOK_INTERVAL: Duration = Duration::from_millis(1);
/// How long the edge may take to catch up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Publishes with an edge that follows and serves nobody. Says how many events that were.
#[expect(clippy::cast_precision_loss, reason = "a count of events is far below 2^52")]
pub(super) async fn follow(
    cluster: &Cluster,
    ingest: &Process,
    load: &Load,
) -> anyhow::Result<u64> {
    let edge = cluster.edge(&[])?;
    let meter = Meter::begin(vec![edge.pid()])?;
    let stored_to = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let publishing = tokio::spawn(publish(ingest.grpc.clone(), *load, Arc::clone(&stored_to)));
    let mut lag_max = 0;
    while !publishing.is_finished() {
        sleep(LOOK_INTERVAL).await;
        let last = stored_to.load(Relaxed);
        lag_max = lag_max.max(last.saturating_sub(sse::head(&edge.http).await?));
    }
    let took = publishing.await?? - began;

    let over = Instant::now();
    let last = stored_to.load(Relaxed);
    while sse::head(&edge.http).await? < last {
        ensure!(over.elapsed() < PATIENCE, "the edge does not catch up");
        sleep(LAST_LOOK_INTERVAL).await;
    }
    let events = load.events as f64;
    output::line(format!(
        "with an edge that follows, {} in flight: {:.0} events/s; the edge at most {lag_max} events \
         behind, {} ms after the last receipt not at all; it used {:.1} µs of processor time an \
         event, with nobody subscribed",
        load.in_flight,
        events / took.as_secs_f64(),
        over.elapsed().as_millis(),
        meter.cpu_seconds()? * 1e6 / events,
    ));
    Ok(load.events as u64)
}

/// Publishes; says when the last receipt came.
async fn publish(grpc: String, load: Load, stored_to: Arc<AtomicU64>) -> anyhow::Result<Instant> {
    let (sending, mut receipts) = pipeline::open(&grpc, load.in_flight)?;
    let taking = tokio::spawn(async move {
        while let Some(taken) = receipts.next().await? {
            stored_to.fetch_max(taken.receipt.cursor.sequence.0, Relaxed);
        }
        anyhow::Ok(Instant::now())
    });
    let event = load.event()?;
    for _ in 0..load.events {
        sending.send(event.clone()).await?;
    }
    sending.finish().await?;
    taking.await?
}
