//! What only grows, of what is shown as a rate.

use super::{quantiles::Buckets, samples::Samples};

/// How long an event takes from the log to a client's socket.
const LATENCY: &str = "tidewire_edge_delivery_latency_seconds";

/// Counters at one moment. One that this process does not have is `None`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Totals {
    pub(crate) opened: Option<f64>,
    pub(crate) closed: Option<f64>,
    pub(crate) refused: Option<f64>,
    /// Events that came in: dispatched to subscribers, or else stored for publishers.
    pub(crate) events_in: Option<f64>,
    pub(crate) deliveries: Option<f64>,
    pub(crate) bytes_out: Option<f64>,
    pub(crate) published: Option<f64>,
    pub(crate) published_bytes: Option<f64>,
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) latency: Buckets,
}

impl Totals {
    pub(crate) fn of(samples: &Samples) -> Self {
        let stored = samples.sum_where("tidewire_ingest_events_total", "outcome", "stored");
        let dispatched = samples.value("tidewire_edge_fanout_recipients_count");
        Self {
            opened: samples.sum("tidewire_edge_connections_opened_total"),
            closed: samples.sum("tidewire_edge_connections_closed_total"),
            refused: samples.sum("tidewire_edge_connections_refused_total"),
            events_in: dispatched.or(stored),
            deliveries: samples.sum("tidewire_edge_events_sent_total"),
            bytes_out: samples.sum("tidewire_edge_bytes_sent_total"),
            published: stored,
            published_bytes: samples.sum("tidewire_ingest_bytes_total"),
            cpu_seconds: samples.value("process_cpu_seconds_total"),
            latency: samples.buckets(LATENCY),
        }
    }
}
