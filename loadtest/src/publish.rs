//! Durable publishing: events for each second, and how long their receipts take.

use std::{path::PathBuf, sync::Arc};

use anyhow::Context;
use futures_util::{StreamExt, stream};
use tempfile::TempDir;
use tidewire_client::{EventData, EventId, NewEvent, Publisher, StreamOptions, Topic};
use tidewire_core::Backbone;
use tidewire_log::{Config, Log};
use tokio::{sync::mpsc, time::Instant};

use crate::{hub::Hub, latency::Latencies, output};

/// What to publish, and where the logs lie.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Bytes of an event's data.
    #[arg(long, default_value_t = 256)]
    event_bytes: usize,
    /// Events unanswered at once; one row of the table for each.
    #[arg(long, value_delimiter = ',', default_value = "1,256,4096")]
    in_flight: Vec<usize>,
    /// Events of a row with many in flight; a row with one in flight has a hundredth.
    #[arg(long, default_value_t = 200_000)]
    events: usize,
    /// Repetitions of the whole table.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// The directory under which the logs lie: on the disk that is to be measured.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
}

/// Measures both ways in turn, so that a machine whose speed drifts is fair to both.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let dir = TempDir::new_in(&args.dir)?;
    output::line(format!("{} bytes an event; every receipt is durable", args.event_bytes));
    output::line("way                in flight   events/s    p50 ms    p99 ms");
    for _ in 0..args.runs {
        for in_flight in &args.in_flight {
            let events = if *in_flight == 1 { args.events / 100 } else { args.events };
            let load = Load { in_flight: *in_flight, events, event_bytes: args.event_bytes };
            through_log(&load, &dir).await?;
            through_grpc(&load, &dir).await?;
        }
    }
    Ok(())
}

struct Load {
    in_flight: usize,
    events: usize,
    event_bytes: usize,
}

impl Load {
    fn event(&self, n: usize) -> anyhow::Result<NewEvent> {
        let data = EventData::parse(vec![b'x'; self.event_bytes], self.event_bytes)?;
        let id = EventId::parse(&format!("event-{n}"))?;
        Ok(NewEvent { id, ..NewEvent::new(Topic::parse("load.publish")?, data) })
    }

    #[expect(clippy::cast_precision_loss, reason = "a count of events is far below 2^52")]
    fn report(&self, way: &str, began: Instant, latencies: Latencies) {
        let rate = self.events as f64 / began.elapsed().as_secs_f64();
        let in_flight = self.in_flight;
        output::line(format!("{way:<18} {in_flight:>9} {rate:>10.0} {}", latencies.columns()));
    }
}

async fn through_log(load: &Load, dir: &TempDir) -> anyhow::Result<()> {
    let dir = TempDir::new_in(dir.path())?;
    let log = Arc::new(Log::open(Config::new(dir.path())).await?);
    let began = Instant::now();
    let events: Vec<_> = (0..load.events).map(|n| load.event(n)).collect::<Result<_, _>>()?;
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
    load.report("log alone", began, latencies);
    drop(receipts);
    log.close().await;
    Ok(())
}

async fn through_grpc(load: &Load, dir: &TempDir) -> anyhow::Result<()> {
    let hub = Hub::start(dir).await?;
    let options = StreamOptions { in_flight_max: load.in_flight, ..StreamOptions::default() };
    let stream = Publisher::connect(&hub.grpc)?.stream(options);
    let (pending, mut answers) = mpsc::channel(load.in_flight);
    let taking = tokio::spawn(async move {
        let mut latencies = Latencies::default();
        while let Some((answer, handed_in)) = answers.recv().await {
            let answer: tidewire_client::Pending = answer;
            let handed_in: Instant = handed_in;
            answer.await?;
            latencies.take(handed_in.elapsed());
        }
        anyhow::Ok(latencies)
    });
    let began = Instant::now();
    for n in 0..load.events {
        let handed_in = Instant::now();
        let answer = stream.send(load.event(n)?).await?;
        pending.send((answer, handed_in)).await.context("the taker of receipts ended")?;
    }
    drop(pending);
    let latencies = taking.await??;
    load.report("one PublishStream", began, latencies);
    stream.finish().await?;
    Ok(())
}
