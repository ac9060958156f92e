//! One topic and many connections: what a delivery costs the server, alone and with others pending.

use std::time::Duration;

use anyhow::ensure;

use crate::{
    agreement,
    content::Content,
    latency::median,
    network, output,
    results::{self, Output, Results, Target},
    server::Peer,
    session::{self, Each, Measured, Of, Phase, Shape, Turn},
    source::numbered::Schedule,
};

/// Who connects, and what flows.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Servers, in turn.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "floor,tidewire")]
    peer: Vec<Peer>,
    /// Connections to each. Each is an open file of the server.
    #[arg(long, default_value_t = 15_000)]
    connections: u64,
    /// Bursts each second.
    #[arg(long, default_value_t = 1.0)]
    rate: f64,
    /// Events that are published together; one phase for each.
    #[arg(long, value_delimiter = ',', default_value = "1,8")]
    burst: Vec<u64>,
    /// Bursts of a phase.
    #[arg(long, default_value_t = 10)]
    bursts: u64,
    /// Bytes of an event's data.
    #[arg(long, default_value_t = 300)]
    event_bytes: usize,
    /// What the data consists of.
    #[arg(long, value_enum, default_value_t)]
    content: Content,
    /// Events that a client is handed at once when it comes (of this hub only).
    #[arg(long, default_value_t = 0)]
    replayed: u64,
    /// How often all servers have their turn.
    #[arg(long, default_value_t = 1)]
    rounds: u64,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Time to settle before memory is read.
const SETTLE: Duration = Duration::from_secs(2);
/// What metrics may make of a delivery's processor time: a few per cent more.
const COUNTING_MAX: f64 = 1.05;

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    ensure!(args.connections > 0 && args.rate > 0.0, "--connections and --rate begin above 0");
    let is_quoted = args.peer.contains(&Peer::Centrifugo);
    ensure!(
        args.content == Content::Letter || !is_quoted,
        "centrifugo puts data into JSON as it is"
    );
    let mut shape = Shape::of_one_topic(args.connections, args.event_bytes, SETTLE);
    shape.content = args.content;
    shape.replayed = args.replayed;
    shape.phases = phases(&args.burst, args.rate, args.bursts);
    output::line(network::describe());
    let mut results = Results::new("fanout");
    for _ in 0..args.rounds {
        for peer in &args.peer {
            let turn = session::run_compared(*peer, &shape).await?;
            print(&turn);
            results.turns.push(turn);
        }
    }
    results.targets = agreement::targets(&results.turns);
    results.targets.extend(args.burst.iter().filter_map(|burst| counting(&results.turns, *burst)));
    results::print_targets(&results.targets);
    results.finish(&args.output)
}

/// What counting costs, where a hub that counts and one that does not had their turns.
fn counting(turns: &[Turn], burst: u64) -> Option<Target> {
    let cost = |peer: Peer| {
        let turns = turns.iter().filter(|turn| turn.peer == peer);
        let costs = turns.filter_map(|turn| turn.phase(Of::Processor, |size| size == burst));
        median(costs.map(Phase::cpu_us).collect())
    };
    let ratio = cost(Peer::Tidewire) / cost(Peer::TidewireUncounted);
    let figure =
        format!("processor time of a delivery with metrics, {burst} at once, in that without");
    (!ratio.is_nan()).then(|| Target::most(&figure, "×", Some(ratio), COUNTING_MAX))
}

/// For each size of bursts what it costs, and for the first how long it takes.
pub(crate) fn phases(sizes: &[u64], rate: f64, bursts: u64) -> Vec<Measured> {
    let measured = |of: Of, burst: u64| {
        let what = match burst {
            1 => "one event at a time".to_owned(),
            _ => format!("{burst} events at once"),
        };
        let what = if of == Of::Latency { format!("{what}, not steered") } else { what };
        Measured { what, of, schedule: Schedule { rate, burst, bursts } }
    };
    let costs = sizes.iter().map(|burst| measured(Of::Processor, *burst));
    costs.chain(sizes.first().map(|burst| measured(Of::Latency, *burst))).collect()
}

/// What a turn has shown, in a few lines.
pub(crate) fn print(turn: &Turn) {
    let cost = turn.each.map_or_else(String::new, |each| {
        let Each { connect_us, idle_bytes, after_bytes } = each;
        format!(
            ", {connect_us:.1} µs of processor time and {idle_bytes:.0} bytes each; {after_bytes:.0} \
             bytes after the last event"
        )
    });
    output::line(format!("{}: {} connections{cost}", turn.peer, turn.connections));
    for phase in &turn.phases {
        print_phase(phase);
    }
    output::line(format!("  {}", turn.verdict.describe()));
}

fn print_phase(phase: &Phase) {
    let what = match phase.of {
        Of::Processor => format!(
            "{:.2} µs of processor time a delivery ({:.2} its own, {:.2} the kernel's), {:.0} bytes \
             on the wire",
            phase.cpu_us(),
            phase.own_us,
            phase.kernel_us,
            phase.wire_bytes,
        ),
        Of::Latency => {
            let told = phase.told.map_or_else(String::new, |told| format!(" ({told})"));
            let Phase { p50_ms, p99_ms, max_ms, .. } = phase;
            format!("p50 {p50_ms:.1}, p99 {p99_ms:.1}, max {max_ms:.1} ms{told}")
        }
    };
    output::line(format!(
        "  {}: {what}; {} deliveries in {:.1} s, {} segments sent again",
        phase.what, phase.deliveries, phase.seconds, phase.retransmissions
    ));
}
