//! As many clients at once as this machine holds: several edges on NATS, and every client served and
//! judged.

use std::{sync::Arc, time::Duration};

use anyhow::ensure;
use tokio::time::{Instant, sleep};

use crate::{
    fanout,
    fleet::{CONNECTIONS_MAX, Coming, Fleet},
    flow::{Flow, Wanted},
    network, output,
    processes::{Cluster, NatsArgs},
    results::{Found, Output, Target},
    server::Server,
    session::{self, Each, LOOK_EVERY, Measured, Of, Turn},
    source::numbered::{Numbered, Schedule},
    timeline::Timeline,
    usage,
};

/// How many come, and how fast.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Connections over all edges.
    #[arg(long, default_value_t = 100_000)]
    connections: u64,
    /// Connections of one edge at most: each is an open file of it.
    #[arg(long, default_value_t = 17_000)]
    edge_connections_max: u64,
    /// New connections each second.
    #[arg(long, default_value_t = 5_000)]
    rate: u64,
    /// Bytes of an event's data.
    #[arg(long, default_value_t = 300)]
    event_bytes: usize,
    #[command(flatten)]
    pub(crate) output: Output,
}

const FLOW: Flow = Flow { number: 0, topics: 1 };
/// What is to be reached.
const CONNECTIONS_MUST: f64 = 100_000.0;
const SETTLE: Duration = Duration::from_secs(2);
/// Bursts each second, so few that all clients have the one before.
const RATE: f64 = 0.2;
const BURSTS: u64 = 3;
const MEGABYTE: f64 = 1e6;

/// Connects all to one edge after the other, has each event go to everybody, and judges.
#[expect(clippy::cast_precision_loss, reason = "counts and sizes are far below 2^52")]
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    ensure!(
        args.connections > 1 && args.edge_connections_max > 0 && args.rate > 0,
        "--connections begins at 2, --edge-connections-max and --rate at 1"
    );
    output::line(network::describe());
    let connections = args.connections;
    let nats = NatsArgs { replicas: 1, sync_always: false };
    let cluster = Arc::new(Cluster::start(&nats).await);
    let ingest = cluster.ingest()?;
    let edges = connections.div_ceil(args.edge_connections_max);
    let servers = (0..edges).map(|_| Server::edge(&cluster, &ingest));
    let servers = servers.collect::<anyhow::Result<Vec<_>>>()?;
    let pids: Vec<_> = servers.iter().flat_map(Server::pids).collect();
    let mut fleet = Fleet::start(connections)?;
    let mut numbered = Numbered::new(&servers[0], FLOW, args.event_bytes).await?;
    output::line(format!(
        "{edges} edges, an ingest, {}; {} processes of clients",
        cluster.describe().await,
        connections.div_ceil(CONNECTIONS_MAX)
    ));
    sleep(SETTLE).await;

    let before = Looked::at(&servers)?;
    let timeline = Timeline::start(fleet.heard.clone(), pids.clone(), LOOK_EVERY, None);
    let began = Instant::now();
    come(&args, &servers, &mut fleet).await?;
    let took = began.elapsed();
    let came = Looked::at(&servers)?;
    sleep(SETTLE).await;
    let idle = Looked::at(&servers)?;
    output::line(format!("all have their streams after {:.1} s", took.as_secs_f64()));
    idle.print(&before, connections);

    let warm_up = measured("before it counts", Of::Processor, 1, 1);
    session::phase(&mut numbered, &mut fleet, &pids, &warm_up).await?;
    let mut phases = Vec::new();
    for measured in [
        measured("one event at a time", Of::Processor, 1, BURSTS),
        measured("one event at a time, not steered", Of::Latency, 1, BURSTS),
        measured("8 events at once", Of::Processor, 8, 2),
    ] {
        phases.push(session::phase(&mut numbered, &mut fleet, &pids, &measured).await?);
    }
    sleep(SETTLE).await;
    let after = Looked::at(&servers)?;
    let timeline = timeline.stop().await?;
    let verdict = fleet.finish(&[numbered.record]).await?;

    let each = |of: f64| of / connections as f64;
    let each = Some(Each {
        connect_us: each((came.cpu_seconds - before.cpu_seconds) * 1e6),
        idle_bytes: each(idle.grown(&before)),
        after_bytes: each(after.grown(&before)),
    });
    let served = verdict.connections as f64;
    let peer = servers[0].peer;
    let turn = Turn { peer, connections, is_compared: false, each, phases, verdict, timeline };
    fanout::print(&turn);
    let figure = "connected to the end, over all edges; each got every event";
    let targets = vec![Target::least(figure, "clients", Some(served), CONNECTIONS_MUST)];
    Found { turns: vec![turn], targets }.finish("most", &args.output)
}

/// Has all come, one edge after the other, so that the rate is that of all.
async fn come(args: &Args, servers: &[Server], fleet: &mut Fleet) -> anyhow::Result<()> {
    let edges = servers.len() as u64;
    for (number, server) in (0..).zip(servers) {
        let count = args.connections * (number + 1) / edges - args.connections * number / edges;
        let wanted = vec![Wanted::One(0)];
        let coming = Coming { flow: FLOW, wanted, count, is_before: true, rate: args.rate };
        fleet.open(server, &coming).await?;
        fleet.all_live().await?;
    }
    Ok(())
}

fn measured(what: &str, of: Of, burst: u64, bursts: u64) -> Measured {
    Measured { what: what.to_owned(), of, schedule: Schedule { rate: RATE, burst, bursts } }
}

/// What the edges and the kernel have at a moment.
struct Looked {
    /// Private memory of each edge.
    edges: Vec<u64>,
    kernel_bytes: u64,
    cpu_seconds: f64,
}

#[expect(clippy::cast_precision_loss, reason = "counts and sizes are far below 2^52")]
impl Looked {
    fn at(servers: &[Server]) -> anyhow::Result<Self> {
        let edges = servers.iter().map(|server| usage::private_bytes(&server.pids()));
        let pids: Vec<_> = servers.iter().flat_map(Server::pids).collect();
        Ok(Self {
            edges: edges.collect::<anyhow::Result<_>>()?,
            kernel_bytes: usage::slab_bytes()?,
            cpu_seconds: usage::cpu_times(&pids)?.iter().sum(),
        })
    }

    /// How much more memory all edges have.
    fn grown(&self, before: &Self) -> f64 {
        self.edges.iter().sum::<u64>() as f64 - before.edges.iter().sum::<u64>() as f64
    }

    fn print(&self, before: &Self, connections: u64) {
        for (number, (edge, before)) in self.edges.iter().zip(&before.edges).enumerate() {
            output::line(format!(
                "  edge {}: {:.1} MB, and {:.1} MB before anybody came",
                number + 1,
                *edge as f64 / MEGABYTE,
                *before as f64 / MEGABYTE
            ));
        }
        let kernel = self.kernel_bytes as f64 - before.kernel_bytes as f64;
        output::line(format!(
            "  all edges: {:.1} MB; the kernel's memory for its objects has grown by {:.1} MB, {:.0} \
             bytes for both ends of each connection",
            self.edges.iter().sum::<u64>() as f64 / MEGABYTE,
            kernel / MEGABYTE,
            kernel / connections as f64
        ));
    }
}
