//! Load on Tidewire from outside, what it costs, and whether everything came.

mod agreement;
mod arrivals;
mod bench;
mod clock;
mod collector;
mod content;
mod crowd;
mod fanout;
mod fleet;
mod floor;
mod flow;
mod gzip;
mod histogram;
mod idle;
mod latency;
mod memory;
mod mixed;
mod most;
mod naive;
mod network;
mod output;
mod page;
mod pipeline;
mod processes;
mod publish;
mod results;
mod rollout;
mod rounds;
mod scale;
mod server;
mod session;
mod slow;
mod sockets;
mod source;
mod spread;
mod sse;
mod stalled;
mod storm;
mod thin;
mod timeline;
mod topic_memory;
mod topics;
mod traces;
mod transports;
mod usage;
mod viewer;

use clap::{Parser, Subcommand};

/// Puts load on a hub of its own, checks what comes out, and says what it costs.
///
/// Build first: `cargo build --release --workspace`, and for what runs on NATS also `cargo build
/// --release -p tidewire-nats --example raw_publish`. Every process of a run is its own, on free
/// ports of 127.0.0.1; what they store lies in the directory for temporary files, so TMPDIR says
/// which disk is measured. NATS servers are those of scripts/nats-server. It fails where an event
/// is lost, repeated or out of order. Linux only.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// Durable publishing on one PublishStream, beside what it stands on: the log without gRPC, or
    /// on NATS `async-nats` alone.
    ///
    /// On NATS both ways publish in turn to the same stream. A last row has an edge that follows,
    /// and says whether it keeps up.
    Publish(publish::Args),
    /// The hub's resident memory: idle subscribers, and readers that take nothing.
    Memory(memory::Args),
    /// Thousands of clients with old cursors, all at once, to an edge that has just been started.
    ///
    /// Events flow all the time, over many topics. A client has caught up when it has everything
    /// that had been published when it came; each is watched for some seconds more, and until the
    /// last event. Says how long it took, what the edge read from JetStream, what it cost, and what
    /// publishers felt.
    Storm(storm::Args),
    /// Several ingests and edges, beside one of each: publishing, and fan-out to subscribers.
    ///
    /// First events are published as fast as receipts come, with nobody subscribed; then as fast as
    /// they are delivered to everybody. All parts share this machine: what is said of the
    /// processors shows which part had how much of it.
    Scale(scale::Args),
    /// A rolling restart: edge after edge is replaced while thousands of clients are connected and
    /// events flow.
    ///
    /// A new edge is ready before an old one gets SIGTERM, and clients find the old one for half of
    /// its drain delay more. Every connection goes to an edge at random. Most clients are as
    /// browsers' own EventSource, which any status but 200 ends for good; all come back when they
    /// are told to. Fails where somebody lost, repeated or misplaced an event, got a gap or such a
    /// status, or where more came back in one second than `--drain-rate-max`.
    Rollout(rollout::Args),
    /// Readers that read nothing or 100 bytes a second among good ones: what the good ones feel, and
    /// the memory of the hub and of the kernel, beside a round without them.
    ///
    /// The time of a delivery begins when its event is handed in to be published, and ends when a
    /// reader has it. The kernel's figure is the whole machine's.
    Slow(slow::Args),
    /// Events to thousands of connections, one at a time and several at once: what a delivery costs
    /// the server, how long it takes, and whether everybody got everything.
    ///
    /// Servers have their turn one after the other on the same core. The time of a delivery begins
    /// when its event was due, however late its publisher was.
    Fanout(fanout::Args),
    /// What gzip saves and what it costs: bytes on the wire and processor time of a delivery, and
    /// memory of a connection, of this hub with it and without.
    ///
    /// The data is such as measuring and trading programs write: the numbers that the judge goes by,
    /// and a JSON object of names that come again (symbol, bid, venue, ...) and values of which most
    /// are random, cut off at `--event-bytes`. One event goes to all connections at a time. Every
    /// client by gzip inflates all that it gets, as it comes, and is judged like the others.
    Gzip(gzip::Args),
    /// What TLS and HTTP/2 cost: memory of a stream, processor time of its beginning and of a delivery,
    /// and bytes on the wire, beside plain HTTP/1.1.
    ///
    /// Every handshake is a full one: clients bring no tickets. Streams of HTTP/2 come alone on a
    /// connection, or a hundred on each.
    Transports(transports::Args),
    /// What traces cost: processor time of publishing an event, and of its deliveries, with traces off,
    /// with the usual share of them, and with all.
    ///
    /// What is recorded goes to a collector in this process, which keeps nothing.
    Traces(traces::Args),
    /// Memory of each connection: as they have come, and after a million deliveries.
    Idle(idle::Args),
    /// The same deliveries over one topic, over thousands, and by wildcards.
    Topics(spread::Args),
    /// What topics cost the hub in memory: further ones of a client, those of one client alone, and
    /// those of nobody.
    TopicMemory(topic_memory::Args),
    /// Half of all clients read nothing, while the others are served: beside a turn without them.
    ///
    /// When all has been measured they read again, and must get everything that they have missed.
    Stalled(stalled::Args),
    /// As many clients at once as fit: several edges on NATS, and every client gets every event.
    ///
    /// Each process of clients has up to 15,000 of them, and a loopback address of its own. The
    /// kernel's memory is the whole machine's growth: run it where nothing else runs.
    Most(most::Args),
    /// A dashboard's day: clients come and leave, sparse topics and busy ones; and a topic of ten
    /// clients, alone and while a topic of thousands has its events.
    Mixed(mixed::Args),
    /// The same for an hour, or for as long as is said.
    Soak(mixed::Args),
    /// Everything that has a target, beside the floor and other servers: `make bench`.
    Bench(bench::Args),
    /// Clients, as they are told on the input.
    #[command(hide = true)]
    Clients,
    /// The same over TLS and HTTP/2.
    #[command(hide = true)]
    CarriedClients,
    /// The floor that servers are compared with.
    #[command(hide = true)]
    Floor(floor::Args),
    /// The server that one writes first.
    #[command(hide = true)]
    Naive(naive::Args),
}

fn main() -> anyhow::Result<()> {
    let scenario = Cli::parse().scenario;
    if let Some(is_plain_wanted) = scenario.wants_own_network() {
        network::enter(is_plain_wanted)?;
        network::leave_server_core()?;
    }
    match scenario {
        Scenario::Clients => thin::run(),
        Scenario::CarriedClients => thin::carried::run(),
        Scenario::Floor(args) => floor::run(&args),
        scenario => run(scenario),
    }
}

#[tokio::main]
async fn run(scenario: Scenario) -> anyhow::Result<()> {
    match scenario {
        Scenario::Publish(args) => publish::run(args).await,
        Scenario::Memory(args) => memory::run(args).await,
        Scenario::Storm(args) => storm::run(args).await,
        Scenario::Scale(args) => scale::run(args).await,
        Scenario::Rollout(args) => rollout::run(args).await,
        Scenario::Slow(args) => slow::run(args).await,
        Scenario::Fanout(args) => fanout::run(args).await,
        Scenario::Bench(args) => bench::run(args).await,
        Scenario::Gzip(args) => gzip::run(args).await,
        Scenario::Transports(args) => transports::run(args).await,
        Scenario::Traces(args) => traces::run(args).await,
        Scenario::Idle(args) => idle::run(args).await,
        Scenario::Topics(args) => spread::run(args).await,
        Scenario::TopicMemory(args) => topic_memory::run(args).await,
        Scenario::Stalled(args) => stalled::run(args).await,
        Scenario::Most(args) => most::run(args).await,
        Scenario::Mixed(args) => mixed::run(args).await,
        Scenario::Soak(args) => mixed::soak(args).await,
        Scenario::Naive(args) => naive::run(args).await,
        Scenario::Clients | Scenario::CarriedClients | Scenario::Floor(_) => Ok(()),
    }
}

impl Scenario {
    /// Of one that measures beside other servers, whether it shall stay on plain loopback.
    fn wants_own_network(&self) -> Option<bool> {
        match self {
            Self::Fanout(args) => Some(args.output.plain_network),
            Self::Bench(args) => Some(args.output.plain_network),
            Self::Gzip(args) => Some(args.output.plain_network),
            Self::Transports(args) => Some(args.output.plain_network),
            Self::Traces(args) => Some(args.output.plain_network),
            Self::Idle(args) => Some(args.output.plain_network),
            Self::Topics(args) => Some(args.output.plain_network),
            Self::TopicMemory(args) => Some(args.output.plain_network),
            Self::Stalled(args) => Some(args.output.plain_network),
            Self::Most(args) => Some(args.output.plain_network),
            Self::Mixed(args) | Self::Soak(args) => Some(args.output.plain_network),
            _ => None,
        }
    }
}
