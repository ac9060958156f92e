//! More ingests and edges, beside one of each: publishing, and fan-out.

use std::{
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context, ensure};
use tidewire_testbed::Process;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
};

use crate::{
    crowd::Crowd,
    latency::Latencies,
    output,
    processes::{Cluster, NatsArgs},
    source::{Delivered, Pace, Source},
    sse,
    topics::{Topics, Wanted},
    usage::Meter,
    viewer::{Backlog, Progress, Viewer},
};

/// Which shapes of a cluster, and how much load.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    nats: NatsArgs,
    /// Ingests and edges, such as 2x3; each shape on NATS servers of its own.
    #[arg(long, value_delimiter = ',', default_value = "1x1,2x3")]
    shapes: Vec<Shape>,
    /// Bytes of an event's data.
    #[arg(long, default_value_t = 256)]
    event_bytes: usize,
    /// Events to publish, with nobody subscribed.
    #[arg(long, default_value_t = 400_000)]
    events: usize,
    /// Events unanswered at once, over all ingests.
    #[arg(long, default_value_t = 512)]
    in_flight: usize,
    /// Subscribers of the fan-out, over all edges. Each is an open file, here and in its edge.
    #[arg(long, default_value_t = 1_000)]
    subscribers: usize,
    /// Topics of the fan-out; each has as many subscribers.
    #[arg(long, default_value_t = 20)]
    topics: usize,
    /// Deliveries of the fan-out.
    #[arg(long, default_value_t = 2_000_000)]
    deliveries: usize,
    /// Events of the fan-out that may be published and not yet delivered to all.
    #[arg(long, default_value_t = 256)]
    ahead_max: usize,
}

/// How many of each.
#[derive(Debug, Clone, Copy)]
struct Shape {
    ingests: usize,
    edges: usize,
}

impl FromStr for Shape {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| text.parse().ok().filter(|number| (1..=16).contains(number));
        let numbers = text.split_once('x');
        let numbers = numbers.and_then(|(ingests, edges)| number(ingests).zip(number(edges)));
        let (ingests, edges) = numbers.ok_or("is not two numbers of 1 to 16, such as 2x3")?;
        Ok(Self { ingests, edges })
    }
}

/// How long edges may take to catch up with what was published.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often they are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// Measures each shape.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    for shape in &args.shapes {
        let parts = args.topics.is_multiple_of(shape.ingests) && args.topics > 0;
        ensure!(parts, "--topics is no multiple of the ingests");
    }
    ensure!(
        args.subscribers.is_multiple_of(args.topics),
        "--subscribers is no multiple of --topics"
    );
    ensure!(args.subscribers > 0 && args.in_flight > 0, "0 subscribers, or 0 in flight");
    for shape in &args.shapes {
        Scene::start(&args, *shape).await?.play().await?;
    }
    Ok(())
}

/// A cluster of one shape.
struct Scene<'a> {
    args: &'a Args,
    cluster: Cluster,
    ingests: Vec<Process>,
    edges: Vec<Process>,
}

impl<'a> Scene<'a> {
    async fn start(args: &'a Args, shape: Shape) -> anyhow::Result<Self> {
        let cluster = Cluster::start(&args.nats).await;
        let ingests = (0..shape.ingests).map(|_| cluster.ingest()).collect::<Result<_, _>>()?;
        let edges = (0..shape.edges).map(|_| cluster.edge(&[])).collect::<Result<_, _>>()?;
        let Shape { ingests: i, edges: e } = shape;
        output::line(format!("{i} ingests, {e} edges; {}", cluster.describe().await));
        Ok(Self { args, cluster, ingests, edges })
    }

    async fn play(self) -> anyhow::Result<()> {
        self.publish().await?;
        self.fan_out().await
    }

    /// Publishes as fast as it goes, on all ingests at once.
    async fn publish(&self) -> anyhow::Result<()> {
        let each = self.args.events / self.ingests.len();
        let meters = self.meters()?;
        let began = Instant::now();
        let (mut latencies, mut last) = (Latencies::default(), 0);
        let mut sources = self.sources(|_| Pace::Free(each))?;
        for source in &mut sources {
            let events = source.finish().await?;
            let cursor = events.checked_sub(1).and_then(|number| source.cursor(number));
            last = last.max(cursor.context("a receipt")?.sequence.0);
            latencies.append(source.latencies(began, Instant::now()));
        }
        let took = began.elapsed();
        let lag = self.caught_up(last).await?;
        output::line(format!(
            "publishing: {:.0} events/s, receipts p50 and p99 ms {}; all edges had followed {} ms later",
            rate(latencies.count(), took),
            latencies.columns(),
            lag.as_millis()
        ));
        meters.print(took)
    }

    /// Publishes as fast as every event is delivered to all its subscribers.
    async fn fan_out(&self) -> anyhow::Result<()> {
        let counts: Vec<_> = self.ingests.iter().map(|_| Arc::new(AtomicU64::new(0))).collect();
        let crowds = self.crowds(&counts).await?;
        let each = self.args.subscribers / self.args.topics;
        let events = self.args.deliveries / each / self.ingests.len();
        let ahead_max = (self.args.ahead_max / self.ingests.len()).max(1);
        let meters = self.meters()?;
        let began = Instant::now();
        let sources = self.sources(|number| {
            let count = Arc::clone(&counts[number]);
            Pace::Delivered(Delivered { events, count, each, ahead_max })
        })?;
        for (mut source, crowd) in sources.into_iter().zip(crowds) {
            let events = source.finish().await?;
            let connected_again = crowd.finish(events).await?;
            ensure!(connected_again == 0, "{connected_again} streams were lost");
        }
        let took = began.elapsed();
        let delivered: u64 = counts.iter().map(|count| count.load(Relaxed)).sum();
        output::line(format!(
            "fan-out: {:.0} deliveries/s to {} subscribers, {each} of each event",
            rate(usize::try_from(delivered)?, took),
            self.args.subscribers
        ));
        meters.print(took)
    }

    /// A source on each ingest, with its share of the topics.
    fn sources(&self, pace: impl Fn(usize) -> Pace) -> anyhow::Result<Vec<Source>> {
        let in_flight = (self.args.in_flight / self.ingests.len()).max(1);
        let start = |(number, ingest): (usize, &Process)| {
            let topics = self.topics(number);
            Source::start(&ingest.grpc, topics, self.args.event_bytes, in_flight, pace(number))
        };
        self.ingests.iter().enumerate().map(start).collect()
    }

    fn topics(&self, source: usize) -> Topics {
        let count = self.args.topics / self.ingests.len();
        Topics { first: source * count, count }
    }

    /// The subscribers of each source's topics, each topic's spread over the edges. Returns when
    /// all are there.
    async fn crowds(&self, counts: &[Arc<AtomicU64>]) -> anyhow::Result<Vec<Crowd>> {
        let (connected, mut told) = mpsc::channel(self.args.subscribers);
        let viewer = |source: usize, topic: usize, nth: usize| {
            let topics = self.topics(source);
            let wanted = Wanted::One(topics.first + topic);
            Viewer {
                http: self.edges[nth % self.edges.len()].http.clone(),
                progress: Progress::after(topics, wanted, 0, None),
                begins: Instant::now(),
                backlog: Some(Backlog { events: 0, caught_up: connected.clone() }),
                delivered: Arc::clone(&counts[source]),
                arrivals: None,
            }
        };
        let each = self.args.subscribers / self.args.topics;
        let crowds = (0..self.ingests.len()).map(|source| {
            let topics = 0..self.topics(source).count;
            let seats = topics.flat_map(|topic| (0..each).map(move |nth| (topic, nth)));
            Crowd::start(seats.map(|(topic, nth)| viewer(source, topic, nth)))
        });
        let crowds = crowds.collect();
        for _ in 0..self.args.subscribers {
            let told = timeout(PATIENCE, told.recv()).await;
            told.ok().flatten().context("not all subscribers were let in")?;
        }
        Ok(crowds)
    }

    /// Waits until every edge has followed this far; says how long that took.
    async fn caught_up(&self, sequence: u64) -> anyhow::Result<Duration> {
        let began = Instant::now();
        for edge in &self.edges {
            while sse::head(&edge.http).await? < sequence {
                ensure!(began.elapsed() < PATIENCE, "an edge does not catch up");
                sleep(LOOK_INTERVAL).await;
            }
        }
        Ok(began.elapsed())
    }

    fn meters(&self) -> anyhow::Result<Meters> {
        let pids = |processes: &[Process]| processes.iter().map(Process::pid).collect();
        Ok(Meters(vec![
            ("NATS", self.cluster.meter()?),
            ("the ingests", Meter::begin(pids(&self.ingests))?),
            ("the edges", Meter::begin(pids(&self.edges))?),
            ("publishers and subscribers", Meter::own()?),
        ]))
    }
}

/// What all processes use.
struct Meters(Vec<(&'static str, Meter)>);

impl Meters {
    /// Says how many processors each part kept busy on average.
    fn print(&self, took: Duration) -> anyhow::Result<()> {
        for (name, meter) in &self.0 {
            let busy = meter.cpu_seconds()? / took.as_secs_f64();
            let megabytes = meter.peak_bytes()? / 1_000_000;
            output::line(format!("  {name}: {busy:.2} cores, at most {megabytes} MB each"));
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of events is far below 2^52")]
fn rate(events: usize, took: Duration) -> f64 {
    events as f64 / took.as_secs_f64()
}
