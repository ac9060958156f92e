//! What a connection costs in memory: before anything has been delivered, and after a million
//! deliveries.

use std::time::Duration;

use anyhow::ensure;

use crate::{
    fanout, network, output,
    results::{Output, Results},
    server::Peer,
    session::{self, Measured, Of, Shape},
    source::numbered::Schedule,
};

/// Who connects.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Servers, in turn.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "floor,tidewire")]
    peer: Vec<Peer>,
    /// Connections to each. Each is an open file of the server.
    #[arg(long, default_value_t = 15_000)]
    connections: u64,
    /// Deliveries between the two looks.
    #[arg(long, default_value_t = 1_000_000)]
    deliveries: u64,
    /// Bytes of an event's data.
    #[arg(long, default_value_t = 300)]
    event_bytes: usize,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Time to settle before memory is read: allocators give back what is free.
const SETTLE: Duration = Duration::from_secs(6);
/// Events at once: deliveries are soon done, and as they are under load.
const BURST: u64 = 8;

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    ensure!(args.connections > 0, "--connections begins at 1");
    let mut shape = Shape::of_one_topic(args.connections, args.event_bytes, SETTLE);
    let bursts = args.deliveries.div_ceil(BURST * args.connections);
    let (what, schedule) =
        ("deliveries between".to_owned(), Schedule { rate: 4.0, burst: BURST, bursts });
    shape.phases = vec![Measured { what, of: Of::Processor, schedule }];
    output::line(network::describe());
    let mut results = Results::new("idle");
    for peer in &args.peer {
        let turn = session::run_compared(*peer, &shape).await?;
        fanout::print(&turn);
        results.turns.push(turn);
    }
    results.finish(&args.output)
}
