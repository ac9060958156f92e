//! Thousands of clients that come back at once to an edge that has just been started.

mod costs;

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use anyhow::{Context, ensure};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout_at},
};

use self::costs::Costs;
use crate::{
    crowd::Crowd,
    latency::Latencies,
    output,
    processes::{Cluster, NatsArgs},
    source::{Pace, Source},
    topics::{Topics, Wanted},
    viewer::{Backlog, Progress, Viewer},
};

/// Who comes back, and to what.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    nats: NatsArgs,
    /// Clients that come at once. Each is an open file, here and in the edge.
    #[arg(long, default_value_t = 5_000)]
    clients: usize,
    /// Seconds over which they come, one after the other.
    #[arg(long, default_value_t = 0)]
    spread_seconds: u64,
    /// How old their cursors are when the first comes, in seconds.
    #[arg(long, default_value_t = 10)]
    age_seconds: u64,
    /// Events published each second.
    #[arg(long, default_value_t = 5_000)]
    rate: u32,
    /// Topics over which the events go in turn: a multiple of 10.
    #[arg(long, default_value_t = 1_000)]
    topics: usize,
    /// One client of so many wants ten topics, by a wildcard; the others want one topic each.
    #[arg(long, default_value_t = 50)]
    wildcard_every: usize,
    /// Bytes of an event's data.
    #[arg(long, default_value_t = 256)]
    event_bytes: usize,
    /// How many recent events the edge holds; what is older is read from JetStream.
    #[arg(long)]
    window_events_max: Option<usize>,
}

/// How long publishing goes on before it counts, so that everything is warm.
const WARM_UP: Duration = Duration::from_secs(3);
/// How long all of them may take to catch up.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long clients are watched once they have caught up.
const LIVE: Duration = Duration::from_secs(5);
/// Events unanswered at once: some tenths of a second, so that receipts tell of a slow server.
const IN_FLIGHT: usize = 4_096;

/// Publishes for a while, starts an edge, and lets all clients come.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let limits = "--clients, --rate, --topics and --wildcard-every begin at 1";
    ensure!(args.clients.min(args.topics).min(args.wildcard_every) > 0 && args.rate > 0, limits);
    ensure!(args.topics.is_multiple_of(10), "--topics is no multiple of 10");
    let cluster = Cluster::start(&args.nats).await;
    let ingest = cluster.ingest()?;
    let topics = Topics { first: 0, count: args.topics };
    let pace = Pace::EachSecond(args.rate);
    let mut source = Source::start(&ingest.grpc, topics, args.event_bytes, IN_FLIGHT, pace)?;
    output::line(cluster.describe().await);
    sleep(WARM_UP).await;
    let quiet = Instant::now();
    let age = Duration::from_secs(args.age_seconds);
    sleep(age).await;

    let starting = Instant::now();
    let window = args.window_events_max.map(|events| format!("--window-events-max={events}"));
    let edge = cluster.edge(window.as_slice())?;
    output::line(format!("the edge is ready after {} ms", starting.elapsed().as_millis()));
    let costs = Costs::begin(&cluster, &edge).await?;
    let (caught_up, told) = mpsc::channel(args.clients);
    let began = Instant::now();
    let crowd = Crowd::start(clients(&args, &edge.http, &source, age, caught_up)?.into_iter());
    let mut times = collect(told).await;
    let over = Instant::now();
    print_times(&mut times);
    costs.print(&edge).await?;
    sleep(LIVE).await;
    print_receipts(&source, [quiet, starting, began, over, Instant::now()]);
    let connected_again = crowd.finish(source.stop().await?).await?;
    output::line(format!("every client got every event once; {connected_again} connected again"));
    ensure!(times.count() == args.clients, "not all clients caught up in time");
    Ok(())
}

/// Clients that have seen what had been stored at that age of theirs.
#[expect(clippy::cast_precision_loss, reason = "clients are far fewer than 2^52")]
fn clients(
    args: &Args,
    http: &str,
    source: &Source,
    age: Duration,
    caught_up: mpsc::Sender<Duration>,
) -> anyhow::Result<Vec<Viewer>> {
    let since = Instant::now();
    let (seen, events) = (source.stored_by(since - age), source.stored());
    let delivered = Arc::new(AtomicU64::new(0));
    let spread = Duration::from_secs(args.spread_seconds);
    let client = |number: usize| {
        let topic = number % args.topics;
        let is_wide = number.is_multiple_of(args.wildcard_every);
        let wanted = if is_wide { Wanted::GroupOf(topic) } else { Wanted::One(topic) };
        let last = wanted.topics().filter_map(|topic| source.topics.last_before(seen, topic)).max();
        let last = last.context("every topic has an event older than the cursors")?;
        let cursor = source.cursor(last);
        Ok(Viewer {
            http: http.to_owned(),
            progress: Progress::after(source.topics, wanted, last + 1, cursor),
            begins: since + spread.mul_f64(number as f64 / args.clients as f64),
            backlog: Some(Backlog { events, caught_up: caught_up.clone() }),
            delivered: Arc::clone(&delivered),
            arrivals: None,
        })
    };
    (0..args.clients).map(client).collect()
}

/// The times that they tell, until all have.
async fn collect(mut told: mpsc::Receiver<Duration>) -> Latencies {
    let deadline = Instant::now() + PATIENCE;
    let mut times = Latencies::default();
    while let Ok(Some(time)) = timeout_at(deadline, told.recv()).await {
        times.take(time);
    }
    times
}

fn print_times(times: &mut Latencies) {
    let seconds = [0, 50, 99, 100].map(|percent| times.percentile(percent).as_secs_f64());
    let [first, half, most, last] = seconds;
    output::line(format!(
        "{} clients caught up: the first after {first:.2} s, half after {half:.2} s, 99 of 100 \
         after {most:.2} s, the last after {last:.2} s",
        times.count()
    ));
}

/// What publishers felt from each of these moments to the next.
fn print_receipts(source: &Source, moments: [Instant; 5]) {
    let phases = ["before", "while the edge started", "while clients caught up", "after"];
    for (phase, span) in phases.iter().zip(moments.windows(2)) {
        let receipts = source.latencies(span[0], span[1]).columns();
        output::line(format!("receipts {phase:<24} p50 and p99 ms {receipts}"));
    }
}
