//! A rolling restart: every edge is replaced in turn, and its clients go to the others.

mod answer;
mod journal;
mod targets;
mod visitor;

use std::{process::ExitStatus, sync::Arc, time::Duration};

use anyhow::{Context, ensure};
use tidewire_testbed::Process;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout, timeout_at},
};

use self::{
    journal::Journal,
    targets::Targets,
    visitor::{Manner, Visitor},
};
use crate::{
    crowd::Crowd,
    output,
    processes::{Cluster, NatsArgs},
    source::{Pace, Source},
    topics::{Topics, Wanted},
    usage::Meter,
    viewer::Progress,
};

/// How many edges and clients, and how an edge leaves.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    nats: NatsArgs,
    /// Edges, each of which is replaced.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=16))]
    edges: u8,
    /// Clients over all edges. Each is an open file, here and in its edge.
    #[arg(long, default_value_t = 6_000)]
    clients: usize,
    /// One client of so many is a library's, which takes error statuses and waits as they say; the
    /// others are browsers' own.
    #[arg(long, default_value_t = 10)]
    library_every: usize,
    /// Events published each second.
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// Topics over which the events go in turn: a multiple of 10.
    #[arg(long, default_value_t = 100)]
    topics: usize,
    /// One client of so many wants ten topics, by a wildcard; the others want one topic each.
    #[arg(long, default_value_t = 50)]
    wildcard_every: usize,
    /// Bytes of an event's data.
    #[arg(long, default_value_t = 256)]
    event_bytes: usize,
    /// The edges' `--drain-delay`, in seconds. New clients stop coming when half of it is over.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(0..=20))]
    drain_delay_seconds: u64,
    /// The edges' `--drain-window`, in seconds.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=60))]
    drain_window_seconds: u64,
    /// The edges' `--drain-rate-max`. More than that come back in one second: a violation.
    #[arg(long, default_value_t = 250)]
    drain_rate_max: u32,
}

/// The time over which all clients come first, so that they are not refused for coming at once.
const COMING: Duration = Duration::from_secs(6);
/// How long all of them may take for that, and an edge to end beyond its drain.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often an edge that leaves is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// How long is waited after each edge, so that its last clients have come back: a `retry` is 5 s at
/// most.
const SETTLE: Duration = Duration::from_secs(7);
/// Events unanswered at once: seconds of any rate that is asked for here.
const IN_FLIGHT: usize = 4_096;

/// Lets all clients come, and replaces edge after edge while events flow.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let positive = [args.clients, args.topics, args.library_every, args.wildcard_every];
    let limits = "--clients, --rate, --topics and those of one in so many begin at 1";
    ensure!(positive.iter().all(|number| *number > 0) && args.rate > 0, limits);
    ensure!(args.topics.is_multiple_of(10), "--topics is no multiple of 10");
    let cluster = Cluster::start(&args.nats).await;
    let ingest = cluster.ingest()?;
    let mut edges = Edges::start(&args, &cluster)?;
    output::line(cluster.describe().await);
    let journal = Arc::new(Journal::default());
    let crowd = come(&args, &edges.targets, &journal).await?;

    let others =
        [("NATS", cluster.meter()?), ("ingest", meter(&ingest)?), ("clients", Meter::own()?)];
    let (topics, pace) = (topics(&args), Pace::EachSecond(args.rate));
    let mut source = Source::start(&ingest.grpc, topics, args.event_bytes, IN_FLIGHT, pace)?;
    let began = Instant::now();
    sleep(SETTLE).await;
    for number in 0..usize::from(args.edges) {
        edges.replace(number).await?;
        sleep(SETTLE).await;
    }
    let events = source.stop().await?;
    let took = began.elapsed();
    let used = others.iter().map(|(name, meter)| Ok((*name, Used::of(meter)?)));
    let used = used.collect::<anyhow::Result<Vec<_>>>()?;
    for (name, used) in used.into_iter().chain([("edges, old and new", edges.used()?)]) {
        used.print(name, took);
    }
    let returns_most = journal.print();
    let connected_again = crowd.finish(events).await?;
    output::line(format!(
        "{} clients got every one of {events} events once, in order and without a gap; they \
         connected again {connected_again} times",
        args.clients
    ));
    let rate_max = usize::try_from(args.drain_rate_max)?;
    ensure!(returns_most <= rate_max, "more than {rate_max} came back in one second");
    Ok(())
}

fn topics(args: &Args) -> Topics {
    Topics { first: 0, count: args.topics }
}

/// Starts all clients. Returns when each has its stream.
async fn come(
    args: &Args,
    targets: &Arc<Targets>,
    journal: &Arc<Journal>,
) -> anyhow::Result<Crowd> {
    let (arrived, mut told) = mpsc::channel(args.clients);
    let now = Instant::now();
    let visitor = |number: usize| {
        let topic = number % args.topics;
        let is_wide = number.is_multiple_of(args.wildcard_every);
        let wanted = if is_wide { Wanted::GroupOf(topic) } else { Wanted::One(topic) };
        let is_library = number.is_multiple_of(args.library_every);
        let manner = if is_library { Manner::Library } else { Manner::Browser };
        let progress = Progress::after(topics(args), wanted, 0, None);
        let begins = now + COMING.mul_f64(number as f64 / args.clients as f64);
        let (targets, journal) = (Arc::clone(targets), Arc::clone(journal));
        Visitor::new(targets, manner, progress, begins, journal, arrived.clone())
    };
    let crowd = Crowd::of((0..args.clients).map(visitor), Visitor::watch);
    let deadline = now + COMING + PATIENCE;
    for _ in 0..args.clients {
        let told = timeout_at(deadline, told.recv()).await;
        told.ok().flatten().context("not all clients were let in")?;
    }
    journal.forget();
    Ok(crowd)
}

/// The edges that there are, and what those used that there were.
struct Edges<'a> {
    args: &'a Args,
    cluster: &'a Cluster,
    targets: Arc<Targets>,
    running: Vec<(Process, Meter)>,
    gone: Used,
}

impl<'a> Edges<'a> {
    fn start(args: &'a Args, cluster: &'a Cluster) -> anyhow::Result<Self> {
        let targets = Arc::new(Targets::default());
        let mut edges = Self { args, cluster, targets, running: Vec::new(), gone: Used::default() };
        for _ in 0..args.edges {
            let edge = edges.another()?;
            edges.running.push(edge);
        }
        Ok(edges)
    }

    /// Starts one more, and lets clients come to it.
    fn another(&self) -> anyhow::Result<(Process, Meter)> {
        let args = self.args;
        let edge = self.cluster.edge(&[
            format!("--drain-delay={}s", args.drain_delay_seconds),
            format!("--drain-window={}s", args.drain_window_seconds),
            format!("--drain-rate-max={}", args.drain_rate_max),
        ])?;
        self.targets.add(&edge.http);
        let meter = meter(&edge)?;
        Ok((edge, meter))
    }

    /// Replaces an edge as Kubernetes does: the new one is ready first, and the balancer learns a
    /// while after the signal that the old one leaves.
    async fn replace(&mut self, number: usize) -> anyhow::Result<()> {
        let new = self.another()?;
        let (mut old, meter) = std::mem::replace(&mut self.running[number], new);
        let streams = old.metric("tidewire_edge_connections").await;
        let signalled = Instant::now();
        old.signal("TERM");
        sleep(Duration::from_secs(self.args.drain_delay_seconds) / 2).await;
        self.targets.remove(&old.http);
        // A drain takes twice its window at most.
        let drain = self.args.drain_delay_seconds + 2 * self.args.drain_window_seconds;
        let ended = timeout(Duration::from_secs(drain) + PATIENCE, until_ended(&mut old, &meter));
        let (status, used) = ended.await.context("an edge does not end")??;
        output::line(format!(
            "edge {}: {streams:.0} streams when it was told to end; gone {:.1} s later",
            number + 1,
            signalled.elapsed().as_secs_f64()
        ));
        ensure!(status.success(), "an edge ended with {status}:\n{}", old.log());
        self.gone.add(used);
        Ok(())
    }

    /// What all have used together.
    fn used(&self) -> anyhow::Result<Used> {
        let mut all = self.gone;
        for (_, meter) in &self.running {
            all.add(Used::of(meter)?);
        }
        Ok(all)
    }
}

/// Observes a process that leaves, until it has.
async fn until_ended(process: &mut Process, meter: &Meter) -> anyhow::Result<(ExitStatus, Used)> {
    let mut used = Used::of(meter)?;
    loop {
        // Of one that has just ended there is nothing to read: what it had used before counts.
        used = Used::of(meter).unwrap_or(used);
        if let Some(status) = process.has_ended() {
            return Ok((status, used));
        }
        sleep(LOOK_INTERVAL).await;
    }
}

fn meter(process: &Process) -> anyhow::Result<Meter> {
    Meter::begin(vec![process.pid()])
}

/// What one or several processes have used.
#[derive(Debug, Clone, Copy, Default)]
struct Used {
    cpu_seconds: f64,
    /// The most that any of them had.
    peak_bytes: u64,
}

impl Used {
    fn of(meter: &Meter) -> anyhow::Result<Self> {
        Ok(Self { cpu_seconds: meter.cpu_seconds()?, peak_bytes: meter.peak_bytes()? })
    }

    fn add(&mut self, other: Self) {
        self.cpu_seconds += other.cpu_seconds;
        self.peak_bytes = self.peak_bytes.max(other.peak_bytes);
    }

    fn print(self, name: &str, took: Duration) {
        let cores = self.cpu_seconds / took.as_secs_f64();
        let megabytes = self.peak_bytes / 1_000_000;
        output::line(format!("{name}: {cores:.2} cores on average, at most {megabytes} MB each"));
    }
}
