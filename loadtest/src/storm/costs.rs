//! What a storm costs the edge and the NATS servers.

use tidewire_testbed::Process;

use crate::{output, processes::Cluster, usage::Meter};

/// What an edge counts of its reading, by the lines of its metrics, and in words.
const COUNTED: [(&str, &str); 7] = [
    (r#"tidewire_nats_reads_total{kind="shared"}"#, "shared stretches read from JetStream"),
    (r#"tidewire_nats_reads_total{kind="wanted"}"#, "single interests' reads from JetStream"),
    (r#"tidewire_nats_reads_total{kind="latest"}"#, "reads of latest events from JetStream"),
    ("tidewire_nats_consumers_opened_total", "JetStream consumers opened"),
    ("tidewire_nats_questions_total", "questions to JetStream"),
    (r#"tidewire_edge_replays_total{because="began"}"#, "clients served from the log"),
    ("tidewire_edge_pages_read_total", "pages read from the log for them"),
];

/// Observes them from a moment on.
pub(super) struct Costs {
    /// NATS, the edge, and this process.
    meters: [(&'static str, Meter); 3],
    /// The most memory of each at the beginning.
    bytes_before: Vec<u64>,
    counted: Vec<f64>,
}

impl Costs {
    /// Begins to observe.
    pub(super) async fn begin(cluster: &Cluster, edge: &Process) -> anyhow::Result<Self> {
        let meters = [
            ("nats-server", cluster.meter()?),
            ("edge", Meter::begin(vec![edge.pid()])?),
            ("the clients", Meter::own()?),
        ];
        let bytes_before = meters.iter().map(|(_, meter)| meter.peak_bytes());
        let bytes_before = bytes_before.collect::<anyhow::Result<_>>()?;
        Ok(Self { meters, bytes_before, counted: counted(edge).await })
    }

    /// Says what there was since the beginning, with the edge's totals since it was started.
    pub(super) async fn print(&self, edge: &Process) -> anyhow::Result<()> {
        for ((name, meter), before) in self.meters.iter().zip(&self.bytes_before) {
            let [before, peak] = [*before, meter.peak_bytes()?].map(megabytes);
            let cpu = meter.cpu_seconds()?;
            output::line(format!(
                "{name}: {cpu:.2} s of processor time, {before} MB before, {peak} MB at most"
            ));
        }
        let now = counted(edge).await;
        for (((_, words), before), now) in COUNTED.iter().zip(&self.counted).zip(now) {
            output::line(format!("{words}: {} (before, while it started: {before})", now - before));
        }
        Ok(())
    }
}

async fn counted(edge: &Process) -> Vec<f64> {
    let mut values = Vec::with_capacity(COUNTED.len());
    for (line, _) in COUNTED {
        values.push(edge.metric(line).await);
    }
    values
}

fn megabytes(bytes: u64) -> u64 {
    bytes / 1_000_000
}
