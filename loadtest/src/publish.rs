//! Durable publishing: events for each second, and how long their receipts take.

mod embedded;
mod jetstream;
mod raw;
mod tail;

use std::time::Duration;

use anyhow::ensure;
use tidewire_client::{EventData, NewEvent, Topic};
use tokio::time::Instant;

use crate::{latency, latency::Latencies, output, pipeline, processes::NatsArgs};

/// The topic of all events.
const TOPIC: &str = "load.publish";

/// What to publish, and where to.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What keeps the log: the hub's own, or NATS.
    #[arg(long, value_enum, default_value_t = On::Log)]
    on: On,
    #[command(flatten)]
    nats: NatsArgs,
    /// Bytes of an event's data.
    #[arg(long, default_value_t = 256)]
    event_bytes: usize,
    /// Events unanswered at once; one row of the table for each.
    #[arg(long, value_delimiter = ',', default_value = "1,256,4096")]
    in_flight: Vec<usize>,
    /// Events of a row with many in flight; a row with one in flight has a twentieth.
    #[arg(long, default_value_t = 200_000)]
    events: usize,
    /// Repetitions of the whole table.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// On NATS: fail where the ingest does not reach this share of raw publishing.
    #[arg(long)]
    ratio_min: Option<f64>,
}

/// What keeps the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum On {
    /// A hub of one process, beside its log without gRPC.
    Log,
    /// An ingest on NATS, beside `async-nats` alone on the same stream, and an edge that follows.
    Nats,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    ensure!(args.in_flight.iter().all(|in_flight| *in_flight > 0), "0 in flight publish nothing");
    match args.on {
        On::Log => embedded::run(&args).await,
        On::Nats => jetstream::run(&args).await,
    }
}

impl Args {
    /// What each row of the table publishes.
    fn loads(&self) -> impl Iterator<Item = Load> {
        self.in_flight.iter().map(|in_flight| {
            let events = if *in_flight == 1 { self.events / 20 } else { self.events };
            Load { in_flight: *in_flight, events: events.max(1), event_bytes: self.event_bytes }
        })
    }
}

/// What is published, as fast as receipts come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) in_flight: usize,
    pub(crate) events: usize,
    pub(crate) event_bytes: usize,
}

impl Load {
    fn event(&self) -> anyhow::Result<NewEvent> {
        let data = EventData::parse(vec![b'x'; self.event_bytes], self.event_bytes)?;
        Ok(NewEvent::new(Topic::parse(TOPIC)?, data))
    }
}

/// How one row went.
pub(crate) struct Outcome {
    pub(crate) elapsed: Duration,
    /// The median, and the 99th percentile.
    receipts: [Duration; 2],
}

impl Outcome {
    fn new(elapsed: Duration, mut latencies: Latencies) -> Self {
        Self { elapsed, receipts: [50, 99].map(|percent| latencies.percentile(percent)) }
    }

    #[expect(clippy::cast_precision_loss, reason = "a count of events is far below 2^52")]
    fn rate(&self, load: &Load) -> f64 {
        load.events as f64 / self.elapsed.as_secs_f64()
    }

    /// A row of the table, with what stands behind it.
    fn print(&self, way: &str, load: &Load, rest: &str) {
        let (rate, in_flight) = (self.rate(load), load.in_flight);
        let receipts = latency::milliseconds(self.receipts);
        output::line(format!("{way:<18} {in_flight:>9} {rate:>10.0} {receipts}{rest}"));
    }
}

/// The head of the table, with what stands behind it.
fn print_head(rest: &str) {
    output::line(format!("way                in flight   events/s    p50 ms    p99 ms{rest}"));
}

/// Publishes over one stream. Each event gets a random id from the client.
pub(crate) async fn through_grpc(grpc: &str, load: &Load) -> anyhow::Result<Outcome> {
    let (sending, mut receipts) = pipeline::open(grpc, load.in_flight)?;
    let taking = tokio::spawn(async move {
        let mut latencies = Latencies::default();
        while let Some(taken) = receipts.next().await? {
            ensure!(!taken.receipt.duplicate, "a random id was stored before");
            latencies.take(taken.took);
        }
        anyhow::Ok(latencies)
    });
    let event = load.event()?;
    let began = Instant::now();
    for _ in 0..load.events {
        sending.send(event.clone()).await?;
    }
    sending.finish().await?;
    let latencies = taking.await??;
    Ok(Outcome::new(began.elapsed(), latencies))
}
