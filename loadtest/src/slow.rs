//! Readers that read nothing or almost nothing, among others: what the others feel, and what they
//! cost.

mod bad;

use std::{sync::Arc, time::Duration};

use anyhow::{Context, ensure};
use tidewire_testbed::Process;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, interval, sleep, timeout_at},
};

use self::bad::Bad;
use crate::{
    arrivals::Arrivals,
    crowd::Crowd,
    output, processes,
    source::{Pace, Source},
    topics::{Topics, Wanted},
    usage::{self, Meter},
    viewer::{Backlog, Progress, Viewer},
};

/// How many of each, and what flows.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Readers that take everything at once, of one topic each. Each is an open file, here and in
    /// the hub.
    #[arg(long, default_value_t = 5_000)]
    good: usize,
    /// Readers that do not, of ten topics each, by a wildcard: half read nothing, half 100 bytes a
    /// second. There are none in a first round.
    #[arg(long, default_value_t = 1_000)]
    bad: usize,
    /// Events published each second.
    #[arg(long, default_value_t = 1_000)]
    rate: u32,
    /// Topics over which the events go in turn: a multiple of 10.
    #[arg(long, default_value_t = 250)]
    topics: usize,
    /// Bytes of an event's data.
    #[arg(long, default_value_t = 256)]
    event_bytes: usize,
    /// How long events flow, in seconds. Deliveries count from the sixth on, when the bad readers'
    /// buffers are full.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(6..))]
    seconds: u64,
    /// The hub's `--write-timeout`, in seconds.
    #[arg(long, default_value_t = 30)]
    write_timeout_seconds: u64,
    /// The hub's `--window-events-max`: what is older is read from its log. So few that the bad
    /// readers are soon behind it.
    #[arg(long, default_value_t = 4_096)]
    window_events_max: usize,
}

/// The time over which readers come.
const COMING: Duration = Duration::from_secs(4);
/// How long all of them may take for that.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long events flow before deliveries count: until then bad readers' buffers fill up, and cost
/// the hub as much as good readers'.
const WARM_UP: Duration = Duration::from_secs(5);
/// Time for the hub to settle before its memory is read.
const SETTLE: Duration = Duration::from_secs(3);
/// How often it is looked at what the kernel's sockets hold.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Events unanswered at once.
const IN_FLIGHT: usize = 4_096;
/// What the hub counts of them, by the lines of its metrics, and in words.
const COUNTED: [(&str, &str); 4] = [
    (r#"tidewire_edge_connections_broken_total{reason="write_timeout"}"#, "let go by the timeout"),
    (r#"tidewire_edge_connections_broken_total{reason="cut"}"#, "broken off"),
    (r#"tidewire_edge_replays_total{because="lagged"}"#, "times that one fell behind the window"),
    ("tidewire_edge_pages_read_total", "pages read from the log"),
];

/// Measures without the bad readers and with them, each on a fresh hub.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    ensure!(args.good > 0 && args.rate > 0, "--good and --rate begin at 1");
    let is_whole = args.topics > 0 && args.topics.is_multiple_of(10);
    ensure!(is_whole, "--topics is no multiple of 10");
    measure(&args, 0).await?;
    measure(&args, args.bad).await
}

async fn measure(args: &Args, bad: usize) -> anyhow::Result<()> {
    let kernel_before = usage::socket_bytes()?;
    let hub = processes::standalone(&[
        format!("--write-timeout={}s", args.write_timeout_seconds),
        format!("--window-events-max={}", args.window_events_max),
    ])?;
    let arrivals = Arc::new(Arrivals::default());
    let crowd = come(args, &hub, &arrivals).await?;
    let mut bad_readers = JoinSet::new();
    for number in 0..bad {
        let kind = if number.is_multiple_of(2) { Bad::ReadsNothing } else { Bad::Trickles };
        let filter = Wanted::GroupOf(number % args.topics).filter();
        bad_readers.spawn(kind.subscribe(hub.http.clone(), filter).await?.read());
    }
    sleep(SETTLE).await;
    let connected = usage::resident_bytes(hub.pid())?;

    let meter = Meter::begin(vec![hub.pid()])?;
    let (topics, pace) = (topics(args), Pace::EachSecond(args.rate));
    let mut source = Source::start(&hub.grpc, topics, args.event_bytes, IN_FLIGHT, pace)?;
    let counts_from = Instant::now() + WARM_UP;
    let kernel_most = watch_kernel(Duration::from_secs(args.seconds)).await?;
    let mut counted = Vec::with_capacity(COUNTED.len());
    for (line, _) in COUNTED {
        counted.push(hub.metric(line).await);
    }
    let events = source.stop().await?;
    let connected_again = crowd.finish(events).await?;
    let (cpu_seconds, most) = (meter.cpu_seconds()?, meter.peak_bytes()?);

    output::line(format!("{} good readers and {bad} bad ones, {events} events", args.good));
    let latencies = arrivals.latencies(&source, counts_from);
    let deliveries = latencies.count();
    output::line(format!(
        "  {deliveries} deliveries to the good ones, p50 and p99 ms {}; all got every event once, \
         {connected_again} connected again",
        latencies.columns()
    ));
    output::line(format!(
        "  the hub: {} MB when all had come, {} MB at most, {cpu_seconds:.1} s of processor time",
        megabytes(connected),
        megabytes(most),
    ));
    output::line(format!(
        "  the kernel's TCP sockets, at both ends: {} MB before, {} MB at most",
        megabytes(kernel_before),
        megabytes(kernel_most)
    ));
    for ((_, words), counted) in COUNTED.iter().zip(counted) {
        output::line(format!("  {words}: {counted}"));
    }
    ensure!(connected_again == 0, "{connected_again} good readers' streams were lost");
    Ok(())
}

fn topics(args: &Args) -> Topics {
    Topics { first: 0, count: args.topics }
}

/// Starts the good readers. Returns when each has its stream.
async fn come(args: &Args, hub: &Process, arrivals: &Arc<Arrivals>) -> anyhow::Result<Crowd> {
    let (connected, mut told) = mpsc::channel(args.good);
    let now = Instant::now();
    let viewer = |number: usize| Viewer {
        http: hub.http.clone(),
        progress: Progress::after(topics(args), Wanted::One(number % args.topics), 0, None),
        begins: now + COMING.mul_f64(number as f64 / args.good as f64),
        backlog: Some(Backlog { events: 0, caught_up: connected.clone() }),
        delivered: Arc::default(),
        arrivals: Some(Arc::clone(arrivals)),
    };
    let crowd = Crowd::start((0..args.good).map(viewer));
    let deadline = now + COMING + PATIENCE;
    for _ in 0..args.good {
        let told = timeout_at(deadline, told.recv()).await;
        told.ok().flatten().context("not all readers were let in")?;
    }
    Ok(crowd)
}

/// The most that the kernel's sockets hold while this time passes.
async fn watch_kernel(time: Duration) -> anyhow::Result<u64> {
    let mut looks = interval(LOOK_INTERVAL);
    let until = Instant::now() + time;
    let mut most = 0;
    while Instant::now() < until {
        looks.tick().await;
        most = most.max(usage::socket_bytes()?);
    }
    Ok(most)
}

fn megabytes(bytes: u64) -> u64 {
    bytes / 1_000_000
}
