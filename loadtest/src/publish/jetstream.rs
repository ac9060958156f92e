//! Publishing through an ingest on NATS, beside `async-nats` alone on the same stream.

use anyhow::{Context, ensure};
use tidewire_testbed::Process;

use super::{Args, Load, Outcome, print_head, raw, tail, through_grpc};
use crate::{latency::median, output, processes::Cluster, usage::Meter};

/// Measures both ways in turn, so that a machine whose speed drifts is fair to both; then the
/// ingest again, with an edge that follows.
pub(super) async fn run(args: &Args) -> anyhow::Result<()> {
    let cluster = Cluster::start(&args.nats).await;
    let ingest = cluster.ingest()?;
    output::line(cluster.describe().await);
    output::line(format!(
        "{} bytes an event; behind the times, microseconds of processor time for each event",
        args.event_bytes
    ));
    print_head("    client    ingest      NATS");
    let mut published = 0;
    let mut rates: Vec<Rates> = args.loads().map(|_| Rates::default()).collect();
    for _ in 0..args.runs {
        for (load, rates) in args.loads().zip(&mut rates) {
            rates.raw.push(through_raw(&cluster, &load).await?);
            rates.ingest.push(through_ingest(&cluster, &ingest, &load).await?);
            published += 2 * load.events as u64;
        }
    }
    let is_reached = summarise(args, rates);
    let load = args.loads().max_by_key(|load| load.events).context("a row")?;
    published += tail::follow(&cluster, &ingest, &load).await?;
    let stored = cluster.stored().await?;
    ensure!(stored == published, "{published} events have receipts, and {stored} are stored");
    ensure!(is_reached, "the ingest is too far below raw publishing");
    Ok(())
}

/// Events for each second, of each run.
#[derive(Default)]
struct Rates {
    raw: Vec<f64>,
    ingest: Vec<f64>,
}

async fn through_raw(cluster: &Cluster, load: &Load) -> anyhow::Result<f64> {
    let nats = cluster.meter()?;
    let (outcome, client) = raw::publish(cluster, load).await?;
    Ok(print("raw async-nats", load, &outcome, [client, 0.0, nats.cpu_seconds()?]))
}

async fn through_ingest(cluster: &Cluster, ingest: &Process, load: &Load) -> anyhow::Result<f64> {
    let (nats, own) = (cluster.meter()?, Meter::own()?);
    let between = Meter::begin(vec![ingest.pid()])?;
    let outcome = through_grpc(&ingest.grpc, load).await?;
    let used = [own.cpu_seconds()?, between.cpu_seconds()?, nats.cpu_seconds()?];
    Ok(print("one PublishStream", load, &outcome, used))
}

/// Prints a row; says its rate.
#[expect(clippy::cast_precision_loss, reason = "a count of events is far below 2^52")]
fn print(way: &str, load: &Load, outcome: &Outcome, cpu_seconds: [f64; 3]) -> f64 {
    let [client, ingest, nats] = cpu_seconds.map(|seconds| seconds * 1e6 / load.events as f64);
    outcome.print(way, load, &format!("{client:>10.1}{ingest:>10.1}{nats:>10.1}"));
    outcome.rate(load)
}

/// Says what share of raw publishing the ingest reaches, and whether that is enough.
fn summarise(args: &Args, rates: Vec<Rates>) -> bool {
    let mut is_reached = true;
    for (load, rates) in args.loads().zip(rates) {
        let (raw, ingest) = (median(rates.raw), median(rates.ingest));
        let ratio = ingest / raw;
        is_reached &= args.ratio_min.is_none_or(|least| ratio >= least);
        output::line(format!(
            "{} in flight: {ingest:.0} of {raw:.0} events/s, {ratio:.2} (medians of {})",
            load.in_flight, args.runs
        ));
    }
    is_reached
}
