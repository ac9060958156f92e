//! The same deliveries over one topic and over thousands: what topics cost.

use std::time::Duration;

use anyhow::ensure;

use crate::{
    content::Content,
    fanout,
    flow::Wanted,
    network, output,
    results::{Output, Results},
    server::Peer,
    session::{self, Measured, Of, Shape, Turn},
    source::numbered::Schedule,
};

/// How many of each.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Connections, and in the second turn as many topics: a multiple of 10. In the third, ten
    /// connections want the same ten topics each, by a wildcard.
    #[arg(long, default_value_t = 15_000)]
    connections: u64,
    /// Events of each topic; of the one topic too.
    #[arg(long, default_value_t = 8)]
    rounds: u64,
    /// Events published each second over all topics.
    #[arg(long, default_value_t = 7_500)]
    rate: u32,
    /// Events handed in together where there are many topics. By default as many as there are
    /// connections: then each gets its event in the same moments as from one topic.
    #[arg(long)]
    burst: Option<u64>,
    /// Bytes of an event's data.
    #[arg(long, default_value_t = 300)]
    event_bytes: usize,
    #[command(flatten)]
    pub(crate) output: Output,
}

const SETTLE: Duration = Duration::from_secs(1);

/// What was found: the server's processor time for a delivery.
pub(crate) struct Found {
    pub(crate) turns: Vec<Turn>,
    pub(crate) one_topic_us: f64,
    /// Without what publishing costs where nobody is subscribed.
    pub(crate) many_topics_us: f64,
    pub(crate) wildcards_us: f64,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let is_whole = args.connections > 0 && args.connections.is_multiple_of(10);
    ensure!(is_whole, "--connections is no multiple of 10");
    ensure!(args.rounds > 0 && args.rate > 0, "--rounds and --rate begin at 1");
    let burst = args.burst.unwrap_or(args.connections);
    ensure!(burst > 0, "--burst begins at 1");
    output::line(network::describe());
    let found = measure(args.connections, args.rounds, args.rate, burst, args.event_bytes).await?;
    let mut results = Results::new("topics");
    found.turns.iter().for_each(fanout::print);
    let note = format!(
        "processor time of a delivery, publishing excluded: one topic {:.2} µs, {} topics {:.2} µs \
         ({:.2} times), by wildcards of ten topics {:.2} µs",
        found.one_topic_us,
        args.connections,
        found.many_topics_us,
        found.many_topics_us / found.one_topic_us,
        found.wildcards_us
    );
    output::line(&note);
    results.notes.push(note);
    results.turns = found.turns;
    results.finish(&args.output)
}

/// Four turns of the hub: one topic, many, many by wildcards, and many with nobody there.
pub(crate) async fn measure(
    connections: u64,
    rounds: u64,
    rate: u32,
    burst: u64,
    event_bytes: usize,
) -> anyhow::Result<Found> {
    #[expect(clippy::cast_precision_loss, reason = "numbers of connections and events")]
    let rate_of = |deliveries: u64| f64::from(rate) / deliveries as f64;
    // As many deliveries in a second.
    let one = Schedule { rate: rate_of(connections), burst: 1, bursts: rounds };
    let bursts = (connections * rounds).div_ceil(burst);
    let over_all = Schedule { rate: rate_of(burst), burst, bursts };
    let shape = |what: &str, topics: u64, wanted: Vec<Wanted>, schedule: Schedule| Shape {
        connections,
        topics,
        wanted,
        event_bytes,
        content: Content::Letter,
        phases: vec![Measured { what: what.to_owned(), of: Of::Processor, schedule }],
        replayed: 0,
        settle: SETTLE,
    };
    let each: Vec<_> = (0..connections).map(Wanted::One).collect();
    let groups = (0..connections / 10).map(Wanted::Group).collect();
    // A connection gets each event of its ten topics.
    let few = Schedule { bursts: over_all.bursts.div_ceil(10), ..over_all };
    let mut nobody =
        shape("many topics, with one subscriber of none of them", connections, vec![], over_all);
    // Someone must be there to be waited for, and gets nothing.
    (nobody.connections, nobody.topics) = (1, connections + 10);
    nobody.wanted = vec![Wanted::One(connections + 9)];
    let shapes = [
        shape("one topic", 1, vec![Wanted::One(0)], one),
        shape("as many topics as connections", connections, each, over_all),
        shape("ten topics each, by a wildcard", connections, groups, few),
        nobody,
    ];
    let mut turns = Vec::new();
    for shape in &shapes {
        turns.push(session::run(Peer::Tidewire, shape).await?);
    }
    #[expect(clippy::cast_precision_loss, reason = "a number of events")]
    let event_us = turns[3].phases[0].cpu_seconds * 1e6 / turns[3].phases[0].published as f64;
    #[expect(clippy::cast_precision_loss, reason = "a number of events")]
    let without_publishing = |turn: &Turn| {
        let phase = &turn.phases[0];
        let publishing = event_us * phase.published as f64;
        (phase.cpu_seconds * 1e6 - publishing) / phase.deliveries.max(1) as f64
    };
    let [one_topic_us, many_topics_us, wildcards_us] =
        [0, 1, 2].map(|turn| without_publishing(&turns[turn]));
    Ok(Found { turns, one_topic_us, many_topics_us, wildcards_us })
}
