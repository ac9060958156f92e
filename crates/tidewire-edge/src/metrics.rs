//! What an edge counts. No topic, client or cursor is ever a label.

use metrics::{Counter, Unit, counter, describe_counter, describe_gauge, gauge};

use crate::{From, gap::GapReason};

/// Names and explains every metric of this crate; call it once, after the recorder is installed.
pub fn describe() {
    let gauges = [
        ("tidewire_edge_connections", "Subscriptions open now"),
        ("tidewire_edge_polls", "Polls that wait for their answer now"),
        ("tidewire_edge_feeds", "Distinct interests subscribed to now"),
        ("tidewire_edge_window_events", "Events in the window in memory"),
    ];
    for (name, help) in gauges {
        describe_gauge!(name, Unit::Count, help);
    }
    describe_gauge!("tidewire_edge_window_bytes", Unit::Bytes, "Bytes counted for the window");
    describe_gauge!(
        "tidewire_edge_tls_certificate_expiry_seconds",
        Unit::Seconds,
        "Unix time at which the TLS certificate in use ends; there with TLS only"
    );
    let counters = [
        ("tidewire_edge_connections_opened_total", "Subscriptions begun, by how they began"),
        ("tidewire_edge_connections_closed_total", "Subscriptions ended, by reason"),
        ("tidewire_edge_events_sent_total", "Events handed to connections"),
        ("tidewire_edge_heartbeats_total", "Heartbeats and cursors sent into silence"),
        (
            "tidewire_edge_replays_total",
            "Times a subscription went over to reading the log: it began before what is in memory, \
             or with a snapshot, or lagged behind",
        ),
        (
            "tidewire_edge_starts_total",
            "Subscriptions begun without a cursor, by what they began with",
        ),
        (
            "tidewire_edge_conflations_total",
            "Times a subscription went over to the newest event of each topic, since it asked for that \
             where it is behind",
        ),
        ("tidewire_edge_probes_total", "Probes sent, which show clients what holds streams back"),
        (
            "tidewire_edge_acknowledgements_total",
            "Acknowledgements of probes, by what came of them here: noted, or passed on to another edge; \
             heard from another edge; of a connection that does not wait for one",
        ),
        ("tidewire_edge_polls_total", "Polls, by how they ended"),
        (
            "tidewire_edge_polls_cut_short_total",
            "Answers to polls that hold less than they could: all of them together hold too much",
        ),
        ("tidewire_edge_poll_events_total", "Events handed out in answer to polls"),
        (
            "tidewire_edge_last_searches_ended_early_total",
            "Searches for the last events that gave up: the log holds more than they may go through",
        ),
        ("tidewire_edge_pages_read_total", "Pages read from the log, for replays and searches"),
        ("tidewire_edge_gaps_total", "Gaps announced, by reason"),
        ("tidewire_edge_tail_interruptions_total", "Times the tail was interrupted"),
        (
            "tidewire_edge_connections_refused_total",
            "Connections or subscriptions that were not served, whether a status said so or a stream of \
             one frame: the hub is full, or full of one client address's; out of open files; draining; \
             its log does not answer; TLS was not agreed on, or nothing asked for, in time",
        ),
        (
            "tidewire_edge_connections_broken_total",
            "Connections, or streams of HTTP/2, that ended with an error: cut, or nothing taken for the \
             write timeout",
        ),
        (
            "tidewire_edge_accepts_delayed_total",
            "Times that connections were left to the kernel's queue: more came than are accepted in a \
             second",
        ),
        (
            "tidewire_edge_tls_reloads_total",
            "Times that the files of the TLS certificate had changed, by whether they could be used",
        ),
    ];
    for (name, help) in counters {
        describe_counter!(name, Unit::Count, help);
    }
    describe_counter!("tidewire_edge_bytes_sent_total", Unit::Bytes, "Bytes handed to connections");
    describe_counter!(
        "tidewire_edge_gzip_bytes_total",
        Unit::Bytes,
        "Bytes that were compressed, each once for all who got them: as they were, and as they became"
    );
    describe_counter!(
        "tidewire_edge_poll_bytes_total",
        Unit::Bytes,
        "Bytes of events handed out in answer to polls"
    );
    begin_at_zero();
}

/// Shows every series from the start: one that is absent until it first happens hides that first
/// time from a rate.
fn begin_at_zero() {
    let series: &[(&str, &str, &[&str])] = &[
        ("tidewire_edge_connections_opened_total", "resume", &["live", "resumed", "gap"]),
        (
            "tidewire_edge_connections_closed_total",
            "reason",
            &["client", "age", "draining", "buffered"],
        ),
        (
            "tidewire_edge_connections_refused_total",
            "reason",
            &[
                "full",
                "address_full",
                "not_accepted",
                "unavailable",
                "draining",
                "handshake",
                "no_request",
            ],
        ),
        ("tidewire_edge_connections_broken_total", "reason", &["write_timeout", "cut"]),
        (
            "tidewire_edge_polls_total",
            "outcome",
            &["events", "empty", "gap", "unavailable", "stopping", "left"],
        ),
        (
            "tidewire_edge_acknowledgements_total",
            "outcome",
            &["noted", "passed_on", "heard", "unknown", "not_passed_on"],
        ),
        ("tidewire_edge_replays_total", "because", &["began", "snapshot", "lagged"]),
        ("tidewire_edge_starts_total", "from", &["now", "earliest", "latest", "last", "since"]),
        ("tidewire_edge_tls_reloads_total", "outcome", &["done", "failed"]),
        ("tidewire_edge_gzip_bytes_total", "side", &["plain", "gzip"]),
        ("tidewire_edge_gaps_total", "reason", &["expired", "epoch", "ahead", "malformed"]),
    ];
    for (name, label, values) in series {
        for value in *values {
            counter!(*name, *label => *value).increment(0);
        }
    }
    for name in [
        "tidewire_edge_events_sent_total",
        "tidewire_edge_bytes_sent_total",
        "tidewire_edge_heartbeats_total",
        "tidewire_edge_conflations_total",
        "tidewire_edge_probes_total",
        "tidewire_edge_pages_read_total",
        "tidewire_edge_pages_shared_total",
        "tidewire_edge_tail_interruptions_total",
        "tidewire_edge_last_searches_ended_early_total",
        "tidewire_edge_accepts_delayed_total",
        "tidewire_edge_polls_cut_short_total",
        "tidewire_edge_poll_events_total",
        "tidewire_edge_poll_bytes_total",
    ] {
        counter!(name).increment(0);
    }
    gauge!("tidewire_edge_connections").set(0.0);
    gauge!("tidewire_edge_polls").set(0.0);
}

/// Why events are read from the log for a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReplayBecause {
    /// It began before what is in memory.
    Began,
    /// It asked for the last event of each topic.
    Snapshot,
    /// It was live, and fell behind what is in memory.
    Lagged,
}

impl ReplayBecause {
    fn as_str(self) -> &'static str {
        match self {
            Self::Began => "began",
            Self::Snapshot => "snapshot",
            Self::Lagged => "lagged",
        }
    }
}

/// Why a subscription ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClosedBecause {
    /// The client left, or its connection broke.
    Client,
    /// It had reached its age.
    Age,
    /// The edge drains, or ends.
    Draining,
    /// Its client has not acknowledged its probe: something seems to hold the stream back.
    Buffered,
}

impl ClosedBecause {
    /// As the protocol and the metrics spell it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Age => "age",
            Self::Draining => "draining",
            Self::Buffered => "buffered",
        }
    }
}

pub(crate) fn count_opened(resume: &'static str) {
    counter!("tidewire_edge_connections_opened_total", "resume" => resume).increment(1);
    gauge!("tidewire_edge_connections").increment(1.0);
}

pub(crate) fn count_closed(reason: ClosedBecause) {
    counter!("tidewire_edge_connections_closed_total", "reason" => reason.as_str()).increment(1);
    gauge!("tidewire_edge_connections").decrement(1.0);
}

/// The counters that every delivery moves: looked up once for each edge, not once for each delivery.
pub(crate) struct Sent {
    events: Counter,
    bytes: Counter,
}

impl Sent {
    pub(crate) fn new() -> Self {
        Self {
            events: counter!("tidewire_edge_events_sent_total"),
            bytes: counter!("tidewire_edge_bytes_sent_total"),
        }
    }

    pub(crate) fn count_events(&self, events: usize) {
        self.events.increment(events as u64);
    }

    pub(crate) fn count_bytes(&self, bytes: usize) {
        self.bytes.increment(bytes as u64);
    }
}

pub(crate) fn count_heartbeat() {
    counter!("tidewire_edge_heartbeats_total").increment(1);
}

/// Counts what was compressed, and what it became.
pub(crate) fn count_gzip(plain_bytes: usize, gzip_bytes: usize) {
    counter!("tidewire_edge_gzip_bytes_total", "side" => "plain").increment(plain_bytes as u64);
    counter!("tidewire_edge_gzip_bytes_total", "side" => "gzip").increment(gzip_bytes as u64);
}

pub(crate) fn count_probe() {
    counter!("tidewire_edge_probes_total").increment(1);
}

pub(crate) fn count_acknowledgement(outcome: &'static str) {
    counter!("tidewire_edge_acknowledgements_total", "outcome" => outcome).increment(1);
}

/// How a poll ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PollEnded {
    /// With events.
    Events,
    /// With nothing, at its timeout.
    Empty,
    /// With a gap.
    Gap,
    /// The log did not answer.
    Unavailable,
    /// The edge is stopping.
    Stopping,
    /// The client left before its answer.
    Left,
}

impl PollEnded {
    fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Empty => "empty",
            Self::Gap => "gap",
            Self::Unavailable => "unavailable",
            Self::Stopping => "stopping",
            Self::Left => "left",
        }
    }
}

/// A poll that is being answered. It is counted when it is dropped.
pub(crate) struct PollUnderWay {
    pub(crate) ended: PollEnded,
}

impl PollUnderWay {
    pub(crate) fn begin() -> Self {
        gauge!("tidewire_edge_polls").increment(1.0);
        Self { ended: PollEnded::Left }
    }
}

impl Drop for PollUnderWay {
    fn drop(&mut self) {
        gauge!("tidewire_edge_polls").decrement(1.0);
        counter!("tidewire_edge_polls_total", "outcome" => self.ended.as_str()).increment(1);
    }
}

pub(crate) fn count_poll_cut_short() {
    counter!("tidewire_edge_polls_cut_short_total").increment(1);
}

pub(crate) fn count_polled(events: usize, bytes: usize) {
    counter!("tidewire_edge_poll_events_total").increment(events as u64);
    counter!("tidewire_edge_poll_bytes_total").increment(bytes as u64);
}

pub(crate) fn count_start(from: From) {
    let from = match from {
        From::Now => "now",
        From::Earliest => "earliest",
        From::Latest => "latest",
        From::Last(_) => "last",
        From::Since(_) => "since",
    };
    counter!("tidewire_edge_starts_total", "from" => from).increment(1);
}

pub(crate) fn count_last_search_ended_early() {
    counter!("tidewire_edge_last_searches_ended_early_total").increment(1);
}

pub(crate) fn count_replay(because: ReplayBecause) {
    counter!("tidewire_edge_replays_total", "because" => because.as_str()).increment(1);
}

pub(crate) fn count_conflation() {
    counter!("tidewire_edge_conflations_total").increment(1);
}

pub(crate) fn count_page_read() {
    counter!("tidewire_edge_pages_read_total").increment(1);
}

pub(crate) fn count_page_shared() {
    counter!("tidewire_edge_pages_shared_total").increment(1);
}

pub(crate) fn count_gap(reason: GapReason) {
    counter!("tidewire_edge_gaps_total", "reason" => reason.as_str()).increment(1);
}

pub(crate) fn count_tail_interruption() {
    counter!("tidewire_edge_tail_interruptions_total").increment(1);
}

pub(crate) fn count_refused(reason: &'static str) {
    counter!("tidewire_edge_connections_refused_total", "reason" => reason).increment(1);
}

pub(crate) fn count_accept_delayed() {
    counter!("tidewire_edge_accepts_delayed_total").increment(1);
}

pub(crate) fn count_broken(by_timeout: bool) {
    let reason = if by_timeout { "write_timeout" } else { "cut" };
    counter!("tidewire_edge_connections_broken_total", "reason" => reason).increment(1);
}

pub(crate) fn count_certificate_reload(outcome: &'static str) {
    counter!("tidewire_edge_tls_reloads_total", "outcome" => outcome).increment(1);
}

/// Shows when the certificate ends, where that can be read.
pub(crate) fn set_certificate_expiry(unix_seconds: Option<i64>) {
    if let Some(seconds) = unix_seconds {
        gauge!("tidewire_edge_tls_certificate_expiry_seconds").set(seconds as f64);
    }
}

pub(crate) fn set_feeds(feeds: usize) {
    gauge!("tidewire_edge_feeds").set(feeds as f64);
}

pub(crate) fn set_window(events: usize, bytes: usize) {
    gauge!("tidewire_edge_window_events").set(events as f64);
    gauge!("tidewire_edge_window_bytes").set(bytes as f64);
}
