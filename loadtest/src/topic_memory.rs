//! What topics cost the hub in memory: each further one that a client wants, those that one client
//! alone wants, and those that nobody wants.

use std::time::Duration;

use anyhow::ensure;
use tokio::time::sleep;

use crate::{
    fanout,
    fleet::{Coming, Fleet},
    flow::{Flow, Wanted},
    network, output,
    results::{Found, Output, Target},
    server::{Peer, Server},
    session::{self, LOOK_EVERY, Measured, Of, Shape, Turn},
    source::numbered::{Numbered, Schedule},
    timeline::Timeline,
    usage,
};

/// How many.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Connections of each turn; where each wants ten topics of its own, ten times as many topics.
    #[arg(long, default_value_t = 15_000)]
    connections: u64,
    #[command(flatten)]
    pub(crate) output: Output,
}

const EVENT_BYTES: usize = 300;
/// Topics of a client that wants several.
const TOPICS: u64 = 10;
/// Time for the hub to settle before its memory is read.
const SETTLE: Duration = Duration::from_secs(1);
/// 50,000 events a second at most.
const BURST: u64 = 50;
const RATE: f64 = 1_000.0;
/// Topics that get one event and have no subscriber.
const UNHEARD_TOPICS: u64 = 100_000;
/// So few recent events in memory that theirs have left it, all but for one of a hundred.
const WINDOW_EVENTS: u64 = 1_024;

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    ensure!(args.connections > 1, "--connections begins at 2");
    output::line(network::describe());
    let found = measure(args.connections).await?;
    found.finish("topic-memory", &args.output)
}

/// Four turns with subscribers, and two with events that nobody wants.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(crate) async fn measure(connections: u64) -> anyhow::Result<Found> {
    let each = 0..connections;
    let shapes = [
        shape("all want one topic", connections, 1, vec![Wanted::One(0)]),
        shape("all want the same ten", connections, TOPICS, vec![Wanted::Named(0)]),
        shape("one of its own", connections, connections, each.clone().map(Wanted::One).collect()),
        shape(
            "ten of its own",
            connections,
            connections * TOPICS,
            each.map(Wanted::Named).collect(),
        ),
    ];
    let mut turns = Vec::new();
    for shape in &shapes {
        turns.push(session::run(Peer::Tidewire, shape).await?);
        fanout::print(&turns[turns.len() - 1]);
    }
    let idle = |turn: usize| turns[turn].each.map(|each| each.idle_bytes);
    let more = |turn: usize, than: usize| Some(idle(turn)? - idle(than)?);
    let further = (TOPICS - 1) as f64;
    let [same, own_first, own_further] = [more(1, 0), more(2, 0), more(3, 2)];

    let (one, in_one) = unheard(1).await?;
    let (many, in_many) = unheard(UNHEARD_TOPICS).await?;
    let unheard = (in_many - in_one) / UNHEARD_TOPICS as f64;
    let targets = vec![
        bytes(
            "each further topic of a client: all want the same ten",
            same.map(|b| b / further),
            32.0,
        ),
        bytes("a topic that one client alone wants, its only one", own_first, 512.0),
        bytes("the same, of ten that it wants", own_further.map(|b| b / further), 512.0),
        bytes("a topic that had one event once, and has no subscriber", Some(unheard), 512.0),
    ];
    turns.extend([one, many]);
    Ok(Found { turns, targets })
}

fn bytes(figure: &str, value: Option<f64>, must: f64) -> Target {
    Target::most(figure, "bytes", value, must)
}

fn shape(what: &str, connections: u64, topics: u64, wanted: Vec<Wanted>) -> Shape {
    let schedule = Schedule { rate: RATE, burst: BURST, bursts: topics.div_ceil(BURST) };
    let phases = vec![Measured { what: what.to_owned(), of: Of::Processor, schedule }];
    Shape { topics, wanted, phases, ..Shape::of_one_topic(connections, EVENT_BYTES, SETTLE) }
}

/// Has as many events published over so many topics as there may be, and says by how many bytes the
/// hub has grown. A few clients of another topic say whether it does its work.
#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
async fn unheard(topics: u64) -> anyhow::Result<(Turn, f64)> {
    const HEARD: Flow = Flow { number: 0, topics: 1 };
    const CLIENTS: u64 = 10;
    let server = Server::hub(&[format!("--window-events-max={WINDOW_EVENTS}")])?;
    let pids = server.pids();
    let mut fleet = Fleet::start(CLIENTS)?;
    let mut heard = Numbered::new(&server, HEARD, EVENT_BYTES).await?;
    let mut unheard = Numbered::new(&server, Flow { number: 1, topics }, EVENT_BYTES).await?;
    let wanted = vec![Wanted::One(0)];
    let coming = Coming { flow: HEARD, wanted, count: CLIENTS, is_before: true, rate: 0 };
    fleet.open(&server, &coming).await?;
    fleet.all_live().await?;
    let timeline = Timeline::start(fleet.heard.clone(), pids.clone(), LOOK_EVERY, None);
    // The window is full, of other events, before it counts.
    let over = |events: u64| Schedule { rate: RATE, burst: BURST, bursts: events.div_ceil(BURST) };
    let full = Measured {
        what: "what fills the window".to_owned(),
        of: Of::Processor,
        schedule: over(2 * WINDOW_EVENTS),
    };
    let full = session::phase(&mut heard, &mut fleet, &pids, &full).await?;
    sleep(SETTLE).await;
    let before = usage::private_bytes(&pids)?;
    unheard.publish(over(UNHEARD_TOPICS)).await?;
    sleep(SETTLE).await;
    let grown = usage::private_bytes(&pids)? as f64 - before as f64;
    output::line(format!("{UNHEARD_TOPICS} events over {topics} topics: {:.1} MB", grown / 1e6));
    let last = Measured {
        what: format!("after {UNHEARD_TOPICS} events of {topics} topics that nobody wants"),
        of: Of::Latency,
        schedule: over(BURST),
    };
    let last = session::phase(&mut heard, &mut fleet, &pids, &last).await?;
    let timeline = timeline.stop().await?;
    let verdict = fleet.finish(&[heard.record, unheard.record]).await?;
    let (peer, connections, phases) = (server.peer, CLIENTS, vec![full, last]);
    let turn =
        Turn { peer, connections, is_compared: false, each: None, phases, verdict, timeline };
    Ok((turn, grown))
}
