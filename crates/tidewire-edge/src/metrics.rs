//! What an edge counts. No topic, client or cursor is ever a label.

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

use crate::gap::GapReason;

/// Names and explains every metric of this crate; call it once, after the recorder is installed.
pub fn describe() {
    let gauges = [
        ("tidewire_edge_connections", "Subscriptions open now"),
        ("tidewire_edge_feeds", "Distinct interests subscribed to now"),
        ("tidewire_edge_window_events", "Events in the window in memory"),
    ];
    for (name, help) in gauges {
        describe_gauge!(name, Unit::Count, help);
    }
    describe_gauge!("tidewire_edge_window_bytes", Unit::Bytes, "Bytes counted for the window");
    let counters = [
        ("tidewire_edge_connections_opened_total", "Subscriptions begun, by how they began"),
        ("tidewire_edge_connections_closed_total", "Subscriptions ended, by reason"),
        ("tidewire_edge_events_sent_total", "Events handed to connections"),
        ("tidewire_edge_heartbeats_total", "Heartbeats and cursors sent into silence"),
        (
            "tidewire_edge_replays_total",
            "Subscriptions that left the live events or began before them",
        ),
        ("tidewire_edge_pages_read_total", "Pages read from the log for replays"),
        ("tidewire_edge_gaps_total", "Gaps announced, by reason"),
        ("tidewire_edge_tail_interruptions_total", "Times the tail was interrupted"),
        ("tidewire_edge_accept_errors_total", "Connections that could not be accepted"),
    ];
    for (name, help) in counters {
        describe_counter!(name, Unit::Count, help);
    }
    describe_counter!("tidewire_edge_bytes_sent_total", Unit::Bytes, "Bytes handed to connections");
}

/// Why a subscription ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClosedBecause {
    /// The client left, or its connection broke.
    Client,
    /// The edge is stopping.
    Stopping,
}

pub(crate) fn count_opened(resume: &'static str) {
    counter!("tidewire_edge_connections_opened_total", "resume" => resume).increment(1);
    gauge!("tidewire_edge_connections").increment(1.0);
}

pub(crate) fn count_closed(reason: ClosedBecause) {
    let reason = match reason {
        ClosedBecause::Client => "client",
        ClosedBecause::Stopping => "stopping",
    };
    counter!("tidewire_edge_connections_closed_total", "reason" => reason).increment(1);
    gauge!("tidewire_edge_connections").decrement(1.0);
}

pub(crate) fn count_events_sent(events: usize) {
    counter!("tidewire_edge_events_sent_total").increment(events as u64);
}

pub(crate) fn count_bytes_sent(bytes: usize) {
    counter!("tidewire_edge_bytes_sent_total").increment(bytes as u64);
}

pub(crate) fn count_heartbeat() {
    counter!("tidewire_edge_heartbeats_total").increment(1);
}

pub(crate) fn count_replay(because: &'static str) {
    counter!("tidewire_edge_replays_total", "because" => because).increment(1);
}

pub(crate) fn count_page_read() {
    counter!("tidewire_edge_pages_read_total").increment(1);
}

pub(crate) fn count_gap(reason: GapReason) {
    counter!("tidewire_edge_gaps_total", "reason" => reason.as_str()).increment(1);
}

pub(crate) fn count_tail_interruption() {
    counter!("tidewire_edge_tail_interruptions_total").increment(1);
}

pub(crate) fn count_accept_error() {
    counter!("tidewire_edge_accept_errors_total").increment(1);
}

pub(crate) fn set_feeds(feeds: usize) {
    gauge!("tidewire_edge_feeds").set(feeds as f64);
}

pub(crate) fn set_window(events: usize, bytes: usize) {
    gauge!("tidewire_edge_window_events").set(events as f64);
    gauge!("tidewire_edge_window_bytes").set(bytes as f64);
}
