//! The same events with gzip and without: bytes on the wire, processor time, memory.

use std::time::Duration;

use anyhow::ensure;

use crate::{
    content::Content,
    fanout,
    latency::median,
    network, output,
    results::{Output, Results},
    server::Peer,
    session::{self, Measured, Of, Phase, Shape, Turn},
    source::numbered::Schedule,
};

/// Who connects, and what flows.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Connections in each turn. Each is an open file of the hub.
    #[arg(long, default_value_t = 5_000)]
    connections: u64,
    /// Bytes of an event's data, one after the other.
    #[arg(long, value_delimiter = ',', default_value = "300,1000")]
    event_bytes: Vec<usize>,
    /// Events each second.
    #[arg(long, default_value_t = 20.0)]
    rate: f64,
    /// Events of a turn.
    #[arg(long, default_value_t = 60)]
    events: u64,
    /// How often each size has a turn with gzip and one without.
    #[arg(long, default_value_t = 3)]
    rounds: u64,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Time to settle before memory is read.
const SETTLE: Duration = Duration::from_secs(1);
/// In turns.
const PEERS: [Peer; 2] = [Peer::Tidewire, Peer::TidewireGzip];

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    ensure!(args.connections > 0 && args.rate > 0.0, "--connections and --rate begin above 0");
    ensure!(args.events > 0 && args.rounds > 0, "--events and --rounds begin at 1");
    output::line(network::describe());
    let mut results = Results::new("gzip");
    let mut measured = vec![Vec::new(); args.event_bytes.len()];
    for _ in 0..args.rounds {
        for (bytes, turns) in args.event_bytes.iter().zip(&mut measured) {
            let shape = args.shape(*bytes);
            for peer in PEERS {
                let turn = session::run(peer, &shape).await?;
                fanout::print(&turn);
                turns.push(turn);
            }
        }
    }
    for (bytes, turns) in args.event_bytes.iter().zip(measured) {
        for peer in PEERS {
            let note = describe(*bytes, peer, &turns);
            output::line(&note);
            results.notes.push(note);
        }
        results.turns.extend(turns);
    }
    results.finish(&args.output)
}

impl Args {
    fn shape(&self, event_bytes: usize) -> Shape {
        let mut shape = Shape::of_one_topic(self.connections, event_bytes, SETTLE);
        let what = format!("one event of {event_bytes} bytes at a time");
        let schedule = Schedule { rate: self.rate, burst: 1, bursts: self.events };
        shape.content = Content::Json;
        shape.phases = vec![Measured { what, of: Of::Processor, schedule }];
        shape
    }
}

/// Medians of one server's turns, in one line.
fn describe(event_bytes: usize, peer: Peer, turns: &[Turn]) -> String {
    let turns: Vec<_> = turns.iter().filter(|turn| turn.peer == peer).collect();
    let phases = |figure: fn(&Phase) -> f64| {
        median(turns.iter().flat_map(|turn| &turn.phases).map(figure).collect())
    };
    let each = |figure: fn(&session::Each) -> f64| {
        median(turns.iter().filter_map(|turn| turn.each.as_ref()).map(figure).collect())
    };
    format!(
        "{event_bytes:>5} bytes of data, {peer:<14}: {:>5.0} bytes on the wire and {:.2} µs of \
         processor time a delivery ({:.2} its own, {:.2} the kernel's); {:>4.0} bytes of memory a \
         connection, {:.0} after the last event",
        phases(|phase| phase.wire_bytes),
        phases(Phase::cpu_us),
        phases(|phase| phase.own_us),
        phases(|phase| phase.kernel_us),
        each(|each| each.idle_bytes),
        each(|each| each.after_bytes),
    )
}
