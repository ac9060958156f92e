//! Half of all clients read nothing: what a delivery to the others costs and how long it takes, beside
//! the others alone; and what one that is stalled costs in memory.

use std::time::Duration;

use anyhow::ensure;
use tokio::time::sleep;

use crate::{
    fanout,
    fleet::{Coming, Fleet},
    flow::{Flow, Wanted},
    latency::median,
    network, output,
    results::{Found, Output, Target},
    server::Server,
    session::{self, LOOK_EVERY, Measured, Of, Turn},
    sockets,
    source::numbered::{Numbered, Schedule},
    timeline::Timeline,
    usage,
};

/// How many, and how often.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Connections, of which half read nothing. A first turn of each round has only the others.
    #[arg(long, default_value_t = 5_000)]
    connections: u64,
    /// Rounds; figures are their medians.
    #[arg(long, default_value_t = 3)]
    rounds: u64,
    #[command(flatten)]
    pub(crate) output: Output,
}

const FLOW: Flow = Flow { number: 0, topics: 1 };
const EVENT_BYTES: usize = 300;
/// Nobody is let go while it is measured: that the stalled stay is what is asked here.
const PATIENT: &str = "--write-timeout=10m";
/// Time for the hub to settle before anything counts.
const SETTLE: Duration = Duration::from_secs(1);
/// Three times what fills the sockets of who reads nothing, at both ends.
const FILL: Schedule = Schedule { rate: 50.0, burst: 8, bursts: 100 };
/// What counts. Where how long it takes is the question, so seldom that the server's core, which then
/// receives for the clients too, has most of its time left.
const COSTS: Schedule = Schedule { rate: 25.0, burst: 1, bursts: 100 };
const TIMES: Schedule = Schedule { rate: 8.0, burst: 1, bursts: 40 };

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let is_even = args.connections > 0 && args.connections.is_multiple_of(2);
    ensure!(is_even && args.rounds > 0, "--connections is not even, or --rounds is 0");
    output::line(network::describe());
    let found = measure(args.connections, args.rounds).await?;
    found.finish("stalled", &args.output)
}

/// Some rounds of two turns each.
#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
pub(crate) async fn measure(connections: u64, rounds: u64) -> anyhow::Result<Found> {
    let half = connections / 2;
    let (mut turns, mut memory) = (Vec::new(), [Vec::new(), Vec::new()]);
    for _ in 0..rounds {
        let (without, with) = (turn(half, 0).await?, turn(half, half).await?);
        let each = |of: fn(&Seen) -> u64| (of(&with) as f64 - of(&without) as f64) / half as f64;
        let each = [each(|seen| seen.private_bytes), each(|seen| seen.kernel_bytes)];
        output::line(format!(
            "  one that is stalled: {:.0} bytes of the hub's memory and {:.0} of its socket's",
            each[0], each[1]
        ));
        (0..2).for_each(|part| memory[part].push(each[part]));
        turns.extend([without.turn, with.turn]);
    }
    let middle = |number: usize, phase: usize, figure: fn(&session::Phase) -> f64| {
        let turns = turns.iter().skip(number).step_by(2);
        median(turns.map(|turn| figure(&turn.phases[phase])).collect())
    };
    let ratio = |phase: usize, figure: fn(&session::Phase) -> f64| {
        Some(middle(1, phase, figure) / middle(0, phase, figure))
    };
    let targets = vec![
        Target::most(
            "half of all clients read nothing: processor time of a delivery to the others, in that \
             without them",
            "×",
            ratio(0, session::Phase::cpu_us),
            1.10,
        ),
        Target::most(
            "the same: p99 of the others, in that without them",
            "×",
            ratio(1, |phase| phase.p99_ms),
            1.10,
        ),
        Target::most(
            "a client that reads nothing: the hub's memory for it, and its socket's",
            "bytes",
            Some(memory.into_iter().map(median).sum()),
            32.0 * 1_024.0,
        ),
    ];
    Ok(Found { turns, targets })
}

/// A turn, and what the hub and its sockets held in it, with all sockets full that nobody reads from.
struct Seen {
    turn: Turn,
    private_bytes: u64,
    kernel_bytes: u64,
}

/// So many that read, and beside them so many that do not until everything has been measured.
async fn turn(good: u64, stalled: u64) -> anyhow::Result<Seen> {
    let server = Server::hub(&[PATIENT.to_owned()])?;
    let (pids, connections) = (server.pids(), good + stalled);
    let mut fleet = Fleet::start(connections)?;
    let mut numbered = Numbered::new(&server, FLOW, EVENT_BYTES).await?;
    let wanted = vec![Wanted::One(0)];
    let coming = Coming { flow: FLOW, wanted, count: connections, is_before: true, rate: 0 };
    fleet.open(&server, &coming).await?;
    fleet.all_live().await?;
    fleet.stall(FLOW, stalled).await?;
    sleep(SETTLE).await;
    let timeline = Timeline::start(fleet.heard.clone(), pids.clone(), LOOK_EVERY, None);
    let beside = match stalled {
        0 => format!("{good} that read"),
        _ => format!("{good} that read, beside {stalled} that do not"),
    };
    let measured = |of: Of, schedule: Schedule| {
        let what = if of == Of::Latency { ", not steered" } else { "" };
        Measured { what: format!("{beside}{what}"), of, schedule }
    };
    session::phase(&mut numbered, &mut fleet, &pids, &measured(Of::Processor, FILL)).await?;
    sleep(SETTLE).await;
    let full = sockets::held_at(server.http.port())?.full;
    ensure!(full == stalled, "{full} sockets are full, and {stalled} should be");
    let mut phases = Vec::new();
    for (of, schedule) in [(Of::Processor, COSTS), (Of::Latency, TIMES)] {
        let measured = measured(of, schedule);
        phases.push(session::phase(&mut numbered, &mut fleet, &pids, &measured).await?);
    }
    sleep(SETTLE).await;
    let private_bytes = usage::private_bytes(&pids)?;
    let kernel_bytes = sockets::held_at(server.http.port())?.bytes;
    // They are judged like all others: what they did not read is still to come.
    fleet.wake().await?;
    fleet.settle(&numbered.record).await?;
    let timeline = timeline.stop().await?;
    let verdict = fleet.finish(&[numbered.record]).await?;
    let peer = server.peer;
    let turn =
        Turn { peer, connections, is_compared: false, each: None, phases, verdict, timeline };
    fanout::print(&turn);
    Ok(Seen { turn, private_bytes, kernel_bytes })
}
