//! The same events with gzip and without: bytes on the wire, processor time, memory.

use std::time::Duration;

use anyhow::ensure;

use crate::{
    content::Content,
    fanout, network, output,
    results::{Output, Results},
    rounds::{Medians, Rounds},
    server::Peer,
    session::{self, Phase, Shape, Turn},
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
    #[command(flatten)]
    rounds: Rounds,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Time to settle before memory is read.
const SETTLE: Duration = Duration::from_secs(1);
/// In turns.
const PEERS: [Peer; 2] = [Peer::Tidewire, Peer::TidewireGzip];

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    ensure!(args.connections > 0, "--connections begins above 0");
    args.rounds.check()?;
    output::line(network::describe());
    let mut results = Results::new("gzip");
    let mut measured = vec![Vec::new(); args.event_bytes.len()];
    for _ in 0..args.rounds.rounds {
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
        shape.content = Content::Json;
        shape.phases = self.rounds.phases(format!("one event of {event_bytes} bytes at a time"));
        shape
    }
}

/// Medians of one server's turns, in one line.
fn describe(event_bytes: usize, peer: Peer, turns: &[Turn]) -> String {
    let medians = Medians::of(turns, peer);
    format!(
        "{event_bytes:>5} bytes of data, {peer:<14}: {:>5.0} bytes on the wire and {:.2} µs of \
         processor time a delivery ({:.2} its own, {:.2} the kernel's); {:>4.0} bytes of memory a \
         connection, {:.0} after the last event",
        medians.phases(|phase| phase.wire_bytes),
        medians.phases(Phase::cpu_us),
        medians.phases(|phase| phase.own_us),
        medians.phases(|phase| phase.kernel_us),
        medians.each(|each| each.idle_bytes),
        medians.each(|each| each.after_bytes),
    )
}
