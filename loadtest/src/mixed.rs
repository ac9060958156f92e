//! A dashboard's day: busy topics and sparse ones, and clients that come and leave all the time.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use anyhow::ensure;
use tokio::{
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use crate::{
    fanout,
    fleet::{Coming, Fleet},
    flow::{Flow, Wanted},
    network, output,
    results::{Output, Results},
    server::Server,
    session::{Each, Look, Measured, Of, Turn},
    source::numbered::{Numbered, Record, Schedule},
    timeline::Timeline,
    usage,
};

/// What comes, and for how long.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Connections: nine of ten want one busy topic, ten a topic of their own, and the rest one of a
    /// thousand sparse topics, or ten of them by a wildcard.
    #[arg(long, default_value_t = 15_000)]
    connections: u64,
    /// How long, in seconds: 60 for `mixed`, 3,600 for `soak`. In the first quarter, of a minute at
    /// most, only the topic of ten has events.
    #[arg(long)]
    seconds: Option<u64>,
    /// Clients that leave each second, while as many come.
    #[arg(long, default_value_t = 50)]
    churn: u64,
    /// Bytes of an event's data.
    #[arg(long, default_value_t = 300)]
    event_bytes: usize,
    #[command(flatten)]
    pub(crate) output: Output,
}

const SMALL: Flow = Flow { number: 0, topics: 1 };
const BUSY: Flow = Flow { number: 1, topics: 1 };
const SPARSE: Flow = Flow { number: 2, topics: 1_000 };
/// Clients of the small topic, and its events each second.
const SMALL_CLIENTS: u64 = 10;
const SMALL_RATE: f64 = 20.0;
const BUSY_RATE: f64 = 1.0;
const SPARSE_RATE: f64 = 100.0;
const ALONE_SECONDS_MAX: u64 = 60;
/// Samples of a whole run at most: a page shows no more.
const SAMPLES_MAX: u64 = 600;
const SAID_EVERY: Duration = Duration::from_secs(10);
const SETTLE: Duration = Duration::from_secs(2);

/// A minute, or what was said.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    run_for(60, "mixed", args).await
}

/// An hour, or what was said.
pub(crate) async fn soak(args: Args) -> anyhow::Result<()> {
    run_for(3_600, "soak", args).await
}

async fn run_for(seconds: u64, scenario: &'static str, args: Args) -> anyhow::Result<()> {
    let seconds = args.seconds.unwrap_or(seconds);
    ensure!(args.connections >= 1_000, "--connections begins at 1,000");
    ensure!(seconds >= 8, "--seconds begins at 8");
    output::line(network::describe());
    let turn = measure(args.connections, seconds, args.churn, args.event_bytes, true).await?;
    fanout::print(&turn);
    let mut results = Results::new(scenario);
    results.turns.push(turn);
    results.finish(&args.output)
}

/// Says in the first phase how long deliveries of the small topic take alone, and in the second with
/// everything beside.
pub(crate) async fn measure(
    connections: u64,
    seconds: u64,
    churn: u64,
    event_bytes: usize,
    is_said: bool,
) -> anyhow::Result<Turn> {
    // How long things take is the question here.
    network::steer(false)?;
    let server = Server::hub(&[])?;
    let pids = server.pids();
    let mut fleet = Fleet::start(connections + churn)?;
    let mut small = Numbered::new(&server, SMALL, event_bytes).await?;
    let before = Before { memory: usage::private_bytes(&pids)?, cpu: usage::cpu_times(&pids)? };
    let busy_clients = connections * 9 / 10;
    let sparse_clients = connections - busy_clients - SMALL_CLIENTS;
    for coming in [
        coming(SMALL, SMALL_CLIENTS, true),
        coming(BUSY, busy_clients, true),
        coming(SPARSE, sparse_clients, true),
    ] {
        fleet.open(&server, &coming).await?;
    }
    fleet.all_live().await?;
    let connect_us = before.cpu_us_each(&pids, connections)?;
    sleep(SETTLE).await;
    let idle_bytes = before.bytes_each(&pids, connections)?;

    let every =
        Duration::from_millis(500).max(Duration::from_secs(seconds) / u32::try_from(SAMPLES_MAX)?);
    let said = is_said.then_some(SAID_EVERY);
    let timeline = Timeline::start(Arc::clone(&fleet.heard), pids.clone(), every, said);
    let alone_seconds = (seconds / 4).min(ALONE_SECONDS_MAX);
    let alone = small_topic("a topic of ten, alone", lasting(SMALL_RATE, alone_seconds));
    let look = Look::begin(&fleet, &pids)?;
    small.publish(alone.schedule).await?;
    fleet.settle(&small.record).await?;
    let small_before = small.record.events();
    let alone = look.end(&fleet, SMALL, small_before, &alone)?;

    let rest = Duration::from_secs(seconds - alone_seconds);
    let flows = vec![
        Flowing::start(small, SMALL_RATE),
        Flowing::start(Numbered::new(&server, BUSY, event_bytes).await?, BUSY_RATE),
        Flowing::start(Numbered::new(&server, SPARSE, event_bytes).await?, SPARSE_RATE),
    ];
    let look = Look::begin(&fleet, &pids)?;
    come_and_go(&server, &mut fleet, &flows, churn, rest).await?;
    let mut records = Vec::new();
    for flow in flows {
        records.push(flow.stop().await?);
    }
    for record in &records {
        fleet.settle(record).await?;
    }
    let published = records.iter().map(Record::events).sum::<u64>() - small_before;
    let beside =
        small_topic("a topic of ten, beside all the others", lasting(SMALL_RATE, rest.as_secs()));
    let beside = look.end(&fleet, SMALL, published, &beside)?;
    sleep(SETTLE).await;
    let after_bytes = before.bytes_each(&pids, connections)?;
    let timeline = timeline.stop().await?;
    let verdict = fleet.finish(&records).await?;
    network::steer(true)?;
    let (peer, phases) = (server.peer, vec![alone, beside]);
    let each = Some(Each { connect_us, idle_bytes, after_bytes });
    Ok(Turn { peer, connections, is_compared: false, each, phases, verdict, timeline })
}

/// A phase whose times are the small topic's.
fn small_topic(what: &str, schedule: Schedule) -> Measured {
    Measured { what: what.to_owned(), of: Of::Latency, schedule }
}

/// What there was before anybody came.
struct Before {
    memory: u64,
    cpu: [f64; 2],
}

#[expect(clippy::cast_precision_loss, reason = "counts and sizes are far below 2^52")]
impl Before {
    fn cpu_us_each(&self, pids: &[u32], connections: u64) -> anyhow::Result<f64> {
        let now: f64 = usage::cpu_times(pids)?.iter().sum();
        Ok((now - self.cpu.iter().sum::<f64>()) * 1e6 / connections as f64)
    }

    fn bytes_each(&self, pids: &[u32], connections: u64) -> anyhow::Result<f64> {
        let now = usage::private_bytes(pids)?;
        Ok((now as f64 - self.memory as f64) / connections as f64)
    }
}

fn coming(flow: Flow, count: u64, is_before: bool) -> Coming {
    let wanted = if flow.topics == 1 {
        vec![Wanted::One(0)]
    } else {
        // Every tenth wants the whole group.
        let wanted = |turn: u64| match turn % 10 {
            9 => Wanted::Group(turn / 10),
            _ => Wanted::One(turn),
        };
        (0..flow.topics).map(wanted).collect()
    };
    Coming { flow, wanted, count, is_before, rate: 0 }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of events")]
#[expect(clippy::cast_precision_loss, reason = "a number of seconds")]
fn lasting(rate: f64, seconds: u64) -> Schedule {
    Schedule { rate, burst: 1, bursts: (rate * seconds as f64) as u64 }
}

/// A flow that is published beside others.
struct Flowing {
    flow: Flow,
    handed_in: Arc<std::sync::atomic::AtomicU64>,
    is_over: Arc<std::sync::atomic::AtomicBool>,
    publishing: JoinHandle<anyhow::Result<Record>>,
}

impl Flowing {
    fn start(mut numbered: Numbered, rate: f64) -> Self {
        let (handed_in, is_over) = (Arc::clone(&numbered.handed_in), Arc::clone(&numbered.is_over));
        let flow = numbered.record.flow;
        let publishing = tokio::spawn(async move {
            numbered.publish(Schedule { rate, burst: 1, bursts: u64::MAX }).await?;
            Ok(numbered.record)
        });
        Self { flow, handed_in, is_over, publishing }
    }

    async fn stop(self) -> anyhow::Result<Record> {
        self.is_over.store(true, Relaxed);
        self.publishing.await?
    }
}

/// Each second some clients leave, and as many come.
async fn come_and_go(
    server: &Server,
    fleet: &mut Fleet,
    flows: &[Flowing],
    churn: u64,
    time: Duration,
) -> anyhow::Result<()> {
    let until = Instant::now() + time;
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while Instant::now() < until {
        seconds.tick().await;
        for (flow, count) in [(BUSY, churn - churn / 10), (SPARSE, churn / 10)] {
            fleet.close(flow, count).await?;
            fleet.open(server, &coming(flow, count, false)).await?;
        }
        for flow in flows {
            fleet.published(flow.flow, flow.handed_in.load(Relaxed)).await?;
        }
    }
    // Who has just come must get what comes from now on: it takes two words to know that.
    fleet.all_live().await?;
    for _ in 0..2 {
        for flow in flows {
            fleet.published(flow.flow, flow.handed_in.load(Relaxed)).await?;
        }
    }
    Ok(())
}
