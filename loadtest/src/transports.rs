//! The same events over TLS and HTTP/2, beside plain HTTP/1.1: memory, processor time, bytes on the wire.

use std::time::Duration;

use anyhow::ensure;

use crate::{
    fanout, network, output,
    results::{Output, Results},
    rounds::{Medians, Rounds},
    server::Peer,
    session::{self, Phase, Shape, Turn},
};

/// Who connects, and what flows.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Streams in each turn. Each is a connection, but where a hundred share one.
    #[arg(long, default_value_t = 2_000)]
    streams: u64,
    /// Bytes of an event's data.
    #[arg(long, default_value_t = 300)]
    event_bytes: usize,
    #[command(flatten)]
    rounds: Rounds,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Time to settle before memory is read.
const SETTLE: Duration = Duration::from_secs(2);
/// In turns.
const WAYS: [Peer; 7] = [
    Peer::Tidewire,
    Peer::TidewireHyper,
    Peer::TidewireTls,
    Peer::TidewireH2c,
    Peer::TidewireHttp2,
    Peer::TidewireH2cShared,
    Peer::TidewireHttp2Shared,
];

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    ensure!(args.streams > 1, "--streams begins at 2");
    args.rounds.check()?;
    output::line(network::describe());
    let mut results = Results::new("transports");
    for _ in 0..args.rounds.rounds {
        for way in WAYS {
            let turn = session::run(way, &args.shape()).await?;
            fanout::print(&turn);
            results.turns.push(turn);
        }
    }
    let heads = ["bytes a stream", "after", "connect µs", "µs a delivery", "own", "kernel", "wire"];
    let [idle, after, connect, cost, own, kernel, wire] = heads;
    output::line(format!(
        "{:<52} {idle:>14} {after:>7} {connect:>10} {cost:>13} {own:>5} {kernel:>6} {wire:>5}",
        ""
    ));
    for way in WAYS {
        let row = row(way, &results.turns);
        output::line(&row);
        results.notes.push(row);
    }
    results.finish(&args.output)
}

impl Args {
    fn shape(&self) -> Shape {
        let mut shape = Shape::of_one_topic(self.streams, self.event_bytes, SETTLE);
        shape.phases = self.rounds.phases("one event at a time".to_owned());
        shape
    }
}

/// Medians of one way's turns.
fn row(way: Peer, turns: &[Turn]) -> String {
    let medians = Medians::of(turns, way);
    format!(
        "{:<52} {:>14.0} {:>7.0} {:>10.0} {:>13.2} {:>5.2} {:>6.2} {:>5.0}",
        way.to_string(),
        medians.each(|each| each.idle_bytes),
        medians.each(|each| each.after_bytes),
        medians.each(|each| each.connect_us),
        medians.phases(Phase::cpu_us),
        medians.phases(|phase| phase.own_us),
        medians.phases(|phase| phase.kernel_us),
        medians.phases(|phase| phase.wire_bytes),
    )
}
