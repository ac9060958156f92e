//! Publishing to a hub of one process, beside the log's own rate without gRPC.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use tempfile::TempDir;
use tidewire_client::EventId;
use tidewire_core::{Backbone, NewEvent};
use tidewire_log::{Config, Log};
use tokio::time::Instant;

use super::{Args, Load, Outcome, print_head, through_grpc};
use crate::{latency::Latencies, output, processes};

/// Measures both ways in turn, so that a machine whose speed drifts is fair to both.
pub(super) async fn run(args: &Args) -> anyhow::Result<()> {
    output::line(format!("{} bytes an event; every receipt is durable", args.event_bytes));
    print_head("");
    for _ in 0..args.runs {
        for load in args.loads() {
            through_log(&load).await?.print("log alone", &load, "");
            let hub = processes::standalone(&[])?;
            through_grpc(&hub.grpc, &load).await?.print("one PublishStream", &load, "");
        }
    }
    Ok(())
}

async fn through_log(load: &Load) -> anyhow::Result<Outcome> {
    let dir = TempDir::new()?;
    let log = Arc::new(Log::open(Config::new(dir.path())).await?);
    let began = Instant::now();
    let events = (0..load.events).map(|number| {
        let id = EventId::parse(&format!("event-{number}"))?;
        anyhow::Ok(NewEvent { id, ..load.event()? })
    });
    let events: Vec<_> = events.collect::<Result<_, _>>()?;
    let mut receipts = stream::iter(events)
        .map(|event| {
            let log = Arc::clone(&log);
            async move {
                let handed_in = Instant::now();
                log.publish(event).await.map(|_| handed_in.elapsed())
            }
        })
        .buffer_unordered(load.in_flight);
    let mut latencies = Latencies::default();
    while let Some(latency) = receipts.next().await {
        latencies.take(latency?);
    }
    let elapsed = began.elapsed();
    drop(receipts);
    log.close().await;
    Ok(Outcome::new(elapsed, latencies))
}
