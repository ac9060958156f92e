//! What traces cost the hub: of each event that is published, and of its deliveries.

use std::time::Duration;

use anyhow::ensure;
use tokio::time::sleep;

use crate::{
    collector::Collector,
    fanout,
    latency::median,
    network, output,
    publish::{self, Load},
    results::{self, Output, Results, Target},
    server::Server,
    session::{self, Measured, Of, Shape, Turn},
    source::numbered::Schedule,
    usage::Meter,
};

/// What is published, and to whom.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Events that are published as fast as receipts come, with nobody subscribed.
    #[arg(long, default_value_t = 200_000)]
    events: usize,
    /// Those of them that are unanswered at once.
    #[arg(long, default_value_t = 256)]
    in_flight: usize,
    /// Subscribers of a second part, who all get every event.
    #[arg(long, default_value_t = 100)]
    connections: u64,
    /// Events a second of that part.
    #[arg(long, default_value_t = 500.0)]
    rate: f64,
    /// Its events.
    #[arg(long, default_value_t = 3_000)]
    delivered: u64,
    /// Bytes of an event's data.
    #[arg(long, default_value_t = 256)]
    event_bytes: usize,
    /// Repetitions, in turns.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Which share of what nobody has decided on is recorded; nothing where traces are off. The second is
/// the default. All is also what a publisher makes of it that has everything recorded.
const SHARES: [Option<f64>; 3] = [None, Some(0.01), Some(1.0)];
/// What traces may make of an event's processor time at the default share: a few per cent more.
const COST_MAX: f64 = 1.05;
/// Longer than spans wait until they are sent.
const SPANS_WAIT: Duration = Duration::from_secs(6);

/// What an event has cost in each round, in microseconds, by share.
#[derive(Default)]
struct Costs([Vec<f64>; SHARES.len()]);

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    ensure!(args.events > 0 && args.in_flight > 0, "--events and --in-flight begin at 1");
    ensure!(args.connections > 0 && args.rate > 0.0, "--connections and --rate begin above 0");
    output::line(network::describe());
    let (collector, url) = Collector::start().await?;
    let mut results = Results::new("traces");
    let (mut published, mut delivered) = <(Costs, Costs)>::default();
    for _ in 0..args.rounds {
        for (at, share) in SHARES.into_iter().enumerate() {
            let name = named(share);
            let before = collector.spans();
            let (cost, rate) = args.publish(&flags(share, &url)).await?;
            published.0[at].push(cost);
            output::line(format!(
                "{name}: publishing, {rate:.0} events/s: {cost:.2} µs of processor time an event, {} \
                 spans came",
                collector.spans() - before
            ));
            let before = collector.spans();
            let (cost, turn) = args.deliver(&flags(share, &url)).await?;
            delivered.0[at].push(cost);
            fanout::print(&turn);
            output::line(format!(
                "{name}: {cost:.1} µs an event with its deliveries, {} spans came",
                collector.spans() - before
            ));
            results.turns.push(turn);
        }
    }
    results.notes.push(published.describe("publishing an event"));
    results.notes.push(delivered.describe("an event with its deliveries"));
    results.notes.iter().for_each(output::line);
    results.targets = vec![
        published.target("publishing an event"),
        delivered.target("an event with its deliveries"),
    ];
    results::print_targets(&results.targets);
    results.finish(&args.output)
}

impl Args {
    /// Publishes with nobody subscribed. Says what an event cost, and how many there were in a second.
    #[expect(clippy::cast_precision_loss, reason = "a count of events is far below 2^52")]
    async fn publish(&self, flags: &[String]) -> anyhow::Result<(f64, f64)> {
        let hub = Server::hub(flags)?;
        let Self { in_flight, events, event_bytes, .. } = *self;
        let meter = Meter::begin(hub.pids())?;
        let load = Load { in_flight, events, event_bytes };
        let elapsed = publish::through_grpc(&hub.publish, &load).await?.elapsed;
        // What is sent later is of these events too.
        sleep(SPANS_WAIT).await;
        let events = events as f64;
        Ok((meter.cpu_seconds()? * 1e6 / events, events / elapsed.as_secs_f64()))
    }

    /// Publishes one by one to all subscribers. Says what an event cost.
    #[expect(clippy::cast_precision_loss, reason = "a count of events is far below 2^52")]
    async fn deliver(&self, flags: &[String]) -> anyhow::Result<(f64, Turn)> {
        let mut shape = Shape::of_one_topic(self.connections, self.event_bytes, Duration::ZERO);
        let schedule = Schedule { rate: self.rate, burst: 1, bursts: self.delivered };
        let what = "one event at a time".to_owned();
        shape.phases = vec![Measured { what, of: Of::Processor, schedule }];
        let turn = session::run_on(Server::hub(flags)?, &shape).await?;
        let cpu_seconds: f64 = turn.phases.iter().map(|phase| phase.cpu_seconds).sum();
        Ok((cpu_seconds * 1e6 / self.delivered as f64, turn))
    }
}

fn flags(share: Option<f64>, collector: &str) -> Vec<String> {
    share.map_or_else(Vec::new, |share| {
        vec![format!("--otlp-endpoint={collector}"), format!("--trace-sample-ratio={share}")]
    })
}

fn named(share: Option<f64>) -> String {
    share.map_or_else(|| "traces off".to_owned(), |share| format!("{share} of all traced"))
}

impl Costs {
    fn medians(&self) -> [f64; SHARES.len()] {
        self.0.clone().map(median)
    }

    fn describe(&self, what: &str) -> String {
        let medians = self.medians();
        let each = SHARES.iter().zip(medians).map(|(share, cost)| {
            format!("{}: {cost:.2} µs ({:.3} ×)", named(*share), cost / medians[0])
        });
        format!("{what}: {}", each.collect::<Vec<_>>().join("; "))
    }

    fn target(&self, what: &str) -> Target {
        let [off, usual, _] = self.medians();
        let figure = format!("{what}: processor time with 0.01 of all traced, in that without");
        Target::most(&figure, "×", Some(usual / off), COST_MAX)
    }
}
