//! Everything that has a target, in one run: the floor, this hub and other servers in turn, on the same
//! core; and what only this hub is asked.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    agreement, fanout,
    fleet::{Coming, Fleet},
    flow::{Flow, Wanted},
    latency::median,
    mixed, network, output,
    results::{self, Output, Results, Target},
    server::{Peer, Server},
    session::{self, LOOK_EVERY, Measured, Of, Phase, Shape, Turn},
    source::numbered::{Numbered, Schedule},
    spread, stalled,
    timeline::Timeline,
    topic_memory,
};

/// How much of it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// One round with 5,000 connections instead of three with 15,000: in three minutes, and rougher.
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// How large each part is.
struct Size {
    connections: u64,
    rounds: u64,
    /// Bursts each second.
    rate: f64,
    /// Bursts of one event; as many deliveries as memory is to be looked at after come by the others.
    singles: u64,
    eights: u64,
    settle: Duration,
    mixed_seconds: u64,
    topics_rounds: u64,
    overload_bursts: u64,
}

const FULL: Size = Size {
    connections: 15_000,
    rounds: 3,
    rate: 2.0,
    singles: 10,
    eights: 8,
    settle: Duration::from_secs(3),
    mixed_seconds: 32,
    topics_rounds: 8,
    overload_bursts: 300,
};
const QUICK: Size = Size {
    connections: 5_000,
    rounds: 1,
    rate: 4.0,
    singles: 10,
    eights: 6,
    settle: Duration::from_secs(1),
    mixed_seconds: 8,
    topics_rounds: 4,
    overload_bursts: 300,
};

const EVENT_BYTES: usize = 300;
/// Servers that have a turn in every round, and those that have one in the first alone.
const EVERY_ROUND: [Peer; 4] = [Peer::Floor, Peer::Tidewire, Peer::Nchan, Peer::Naive];
const ONCE: [Peer; 1] = [Peer::Centrifugo];
/// Events that a client which comes is to get at once.
const REPLAYED: u64 = 10;
const CHURN: u64 = 50;
/// How often what the hub can deliver one by one is offered.
const OVERLOAD: f64 = 4.0;
/// The part of all that comes again, and the time in which it does.
const HERD_PART: u64 = 5;
const HERD_SECONDS: u64 = 5;
/// The bursts of that time, and how many there are in a second.
const HERD_BURSTS: u64 = 10;
const HERD_RATE: f64 = 2.0;
/// Connections of which half read nothing.
const STALLED_CONNECTIONS: u64 = 5_000;

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let size = if args.quick { QUICK } else { FULL };
    let begun = Instant::now();
    output::line(network::describe());
    let mut results = Results::new("bench");
    for peer in EVERY_ROUND.iter().chain(&ONCE).filter(|peer| !peer.is_available()) {
        results.notes.push(format!("{peer} is not there, and was left out: scripts/setup-peers"));
    }
    for round in 0..size.rounds {
        let once = ONCE.iter().filter(|_| round == 0);
        for peer in EVERY_ROUND.iter().chain(once).filter(|peer| peer.is_available()) {
            match session::run_compared(*peer, &size.side_by_side()).await {
                Ok(turn) => results.turns.push(said(turn)),
                Err(error) if peer.is_needed() => return Err(error),
                Err(error) => {
                    let note = format!("{peer} had no turn in round {}: {error:#}", round + 1);
                    output::line(&note);
                    results.notes.push(note);
                }
            }
        }
    }
    let figures = Figures::of(&results.turns);

    output::line(format!("what only the hub is asked, {} s on:", begun.elapsed().as_secs()));
    let replay = said(session::run(Peer::Tidewire, &size.replay()).await?);
    let overload = said(session::run(Peer::Tidewire, &size.overload(&figures)).await?);
    let (connections, rounds) = (size.connections, size.topics_rounds);
    let found = spread::measure(connections, rounds, 7_500, connections, EVENT_BYTES).await?;
    found.turns.iter().for_each(fanout::print);
    let mixed =
        mixed::measure(size.connections, size.mixed_seconds, CHURN, EVENT_BYTES, false).await?;
    let mixed = said(mixed);
    let herd = said(herd(&size).await?);
    let stalled = stalled::measure(STALLED_CONNECTIONS, size.rounds).await?;
    let topic_memory = topic_memory::measure(size.connections).await?;

    results.targets = figures.targets();
    results.targets.extend(agreement::targets(&results.turns));
    results.targets.extend([
        Target::most(
            "connect, hello and a replay of 10 events: processor time, in the floor's of a connect",
            "F",
            replay.each.map(|each| each.connect_us / figures.floor.connect_us),
            1.6,
        ),
        Target::most(
            "a topic of 10 clients while one of thousands broadcasts: its p99, in that of it alone",
            "×",
            Some(mixed.phases[1].p99_ms / mixed.phases[0].p99_ms),
            3.0,
        ),
        Target::most(
            "20 % of all clients come again within 5 s: p99 of all, in that of the time before",
            "×",
            Some(herd.phases[1].p99_ms / herd.phases[0].p99_ms),
            2.0,
        ),
        Target::most(
            "the same deliveries over as many topics as connections: processor time, in that of one \
             topic, publishing excluded",
            "×",
            Some(found.many_topics_us / found.one_topic_us),
            1.25,
        ),
        Target::least(
            "offered four times what it can deliver one by one: deliveries each second, in that",
            "×",
            Some(overload.phases[0].deliveries_per_second() / figures.tidewire.capacity()),
            1.0,
        ),
    ]);
    results.turns.extend([replay, overload]);
    results.turns.extend(found.turns);
    results.turns.extend([mixed, herd]);
    for found in [stalled, topic_memory] {
        results.targets.extend(found.targets);
        results.turns.extend(found.turns);
    }
    output::line("\ntargets: F is the floor's figure, N is nchan's");
    results::print_targets(&results.targets);
    for note in &results.notes {
        output::line(note);
    }
    output::line(format!("all in {} s", begun.elapsed().as_secs()));
    results.finish(&args.output)
}

fn said(turn: Turn) -> Turn {
    fanout::print(&turn);
    turn
}

impl Size {
    fn side_by_side(&self) -> Shape {
        let mut shape = Shape::of_one_topic(self.connections, EVENT_BYTES, self.settle);
        shape.phases = fanout::phases(&[1, 8], self.rate, self.singles);
        shape.phases[1].schedule.bursts = self.eights;
        shape
    }

    fn replay(&self) -> Shape {
        let mut shape = Shape::of_one_topic(self.connections, EVENT_BYTES, Duration::ZERO);
        shape.replayed = REPLAYED;
        shape
    }

    #[expect(clippy::cast_precision_loss, reason = "a number of connections")]
    fn overload(&self, figures: &Figures) -> Shape {
        let rate = OVERLOAD * figures.tidewire.capacity() / self.connections as f64;
        let schedule = Schedule { rate, burst: 1, bursts: self.overload_bursts };
        let what = "four times what it can deliver one by one".to_owned();
        let mut shape = Shape::of_one_topic(self.connections, EVENT_BYTES, Duration::ZERO);
        shape.phases = vec![Measured { what, of: Of::Processor, schedule }];
        shape
    }
}

/// Medians of one server's turns.
#[derive(Debug, Clone, Copy)]
struct Middle {
    single_us: f64,
    eight_us: f64,
    idle_bytes: f64,
    after_bytes: f64,
    p99_ms: f64,
    connect_us: f64,
}

impl Middle {
    /// Of a server that had no turn, figures that are none.
    fn of(turns: &[Turn], peer: Peer) -> Self {
        let middle = |figure: &dyn Fn(&Turn) -> Option<f64>| {
            let turns = turns.iter().filter(|turn| turn.peer == peer);
            median(turns.filter_map(figure).collect())
        };
        let cost = |wanted: u64| {
            middle(&|turn| Some(turn.phase(Of::Processor, |burst| burst == wanted)?.cpu_us()))
        };
        Self {
            single_us: cost(1),
            eight_us: cost(8),
            idle_bytes: middle(&|turn| Some(turn.each?.idle_bytes)),
            after_bytes: middle(&|turn| Some(turn.each?.after_bytes)),
            p99_ms: middle(&|turn| Some(turn.phase(Of::Latency, |_| true)?.p99_ms)),
            connect_us: middle(&|turn| Some(turn.each?.connect_us)),
        }
    }

    /// Deliveries of single events that one core carries in a second.
    fn capacity(&self) -> f64 {
        1e6 / self.single_us
    }
}

/// The servers that targets are about.
struct Figures {
    floor: Middle,
    tidewire: Middle,
    nchan: Middle,
}

impl Figures {
    fn of(turns: &[Turn]) -> Self {
        let [floor, tidewire, nchan] =
            [Peer::Floor, Peer::Tidewire, Peer::Nchan].map(|peer| Middle::of(turns, peer));
        Self { floor, tidewire, nchan }
    }

    fn targets(&self) -> Vec<Target> {
        let Self { floor, tidewire, nchan } = self;
        let ratio = |value: f64| (!value.is_nan()).then_some(value);
        vec![
            Target::most(
                "processor time of a delivery, one event at a time, in the floor's",
                "F",
                ratio(tidewire.single_us / floor.single_us),
                1.20,
            ),
            Target::most(
                "the same, in nchan's",
                "N",
                ratio(tidewire.single_us / nchan.single_us),
                0.45,
            ),
            Target::most(
                "processor time of a delivery, eight at once, in the floor's of a single one",
                "F",
                ratio(tidewire.eight_us / floor.single_us),
                0.20,
            ),
            Target::most(
                "the same, in nchan's of one of eight",
                "N",
                ratio(tidewire.eight_us / nchan.eight_us),
                1.0 / 12.0,
            ),
            Target::most(
                "private memory of an idle connection",
                "bytes",
                ratio(tidewire.idle_bytes),
                1_024.0,
            ),
            Target::most(
                "the same after the deliveries (a million in the full form)",
                "×",
                ratio(tidewire.after_bytes / tidewire.idle_bytes),
                1.05,
            ),
            Target::most(
                "p99 of one event to all connections, in the floor's",
                "F",
                ratio(tidewire.p99_ms / floor.p99_ms),
                1.25,
            ),
        ]
    }
}

impl Phase {
    #[expect(clippy::cast_precision_loss, reason = "a number of deliveries")]
    fn deliveries_per_second(&self) -> f64 {
        self.deliveries as f64 / self.seconds
    }
}

/// A part of all clients leaves at once and comes again over some seconds, while events flow.
async fn herd(size: &Size) -> anyhow::Result<Turn> {
    const FLOW: Flow = Flow { number: 0, topics: 1 };
    let server = Server::start(Peer::Tidewire).await?;
    let pids = server.pids();
    let mut fleet = Fleet::start(size.connections)?;
    let mut numbered = Numbered::new(&server, FLOW, EVENT_BYTES).await?;
    let coming = |count: u64, is_before: bool, rate: u64| {
        let wanted = vec![Wanted::One(0)];
        Coming { flow: FLOW, wanted, count, is_before, rate }
    };
    fleet.open(&server, &coming(size.connections, true, 0)).await?;
    fleet.all_live().await?;
    let timeline = Timeline::start(Arc::clone(&fleet.heard), pids.clone(), LOOK_EVERY, None);
    let measured = |what: &str, bursts: u64| {
        let schedule = Schedule { rate: HERD_RATE, burst: 1, bursts };
        Measured { what: what.to_owned(), of: Of::Latency, schedule }
    };
    let before = measured("before", HERD_BURSTS);
    let before = session::phase(&mut numbered, &mut fleet, &pids, &before).await?;
    let herd = size.connections / HERD_PART;
    fleet.close(FLOW, herd).await?;
    fleet.open(&server, &coming(herd, false, herd / HERD_SECONDS)).await?;
    let meanwhile = measured("while one of five comes again", HERD_BURSTS);
    let meanwhile = session::phase(&mut numbered, &mut fleet, &pids, &meanwhile).await?;
    fleet.all_live().await?;
    // It takes two words until the newcomers are sure what they must get.
    for _ in 0..2 {
        fleet.published(FLOW, numbered.record.events()).await?;
    }
    let last = measured("after", 1);
    session::phase(&mut numbered, &mut fleet, &pids, &last).await?;
    let timeline = timeline.stop().await?;
    let verdict = fleet.finish(&[numbered.record]).await?;
    let (peer, connections, phases) = (server.peer, size.connections, vec![before, meanwhile]);
    Ok(Turn { peer, connections, is_compared: false, each: None, phases, verdict, timeline })
}
