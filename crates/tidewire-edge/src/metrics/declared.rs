//! Every metric of an edge: its name, what it means, and the series that it can have.

use tidewire_core::metric::{Label, Metric, SECONDS, Unit};

/// From when the log has taken an event, in whole milliseconds, to a subscriber who is far behind.
const LATENCY: &[f64] = &[
    0.001, 0.002, 0.003, 0.005, 0.007, 0.01, 0.015, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3,
    0.5, 0.7, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0,
];
/// From a client that left at once to one that stayed for a day.
const STAYS: &[f64] =
    &[1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 28_800.0, 86_400.0];
/// How many get one event.
const RECIPIENTS: &[f64] = &[0.0, 1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0];
/// Replays take as long as a page from a log at hand, or as going through all of one far away.
const REPLAYS: &[f64] = &[
    0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    300.0,
];

tidewire_core::metrics! {
    CONNECTIONS = Metric::gauge(
        "tidewire_edge_connections",
        Unit::Count,
        "Subscriptions open now",
    );
    CONNECTIONS_MAX = Metric::gauge(
        "tidewire_edge_connections_max",
        Unit::Count,
        "Subscriptions that may be open at once, and connections too: the setting, or what the limit \
         of open files leaves of it",
    );
    CONNECTIONS_OPENED = Metric::counter(
        "tidewire_edge_connections_opened_total",
        Unit::Count,
        "Subscriptions begun, by how they began",
    )
    .by(&[Label { name: "resume", values: &["live", "resumed", "gap"] }]);
    CONNECTIONS_CLOSED = Metric::counter(
        "tidewire_edge_connections_closed_total",
        Unit::Count,
        "Subscriptions ended, by reason",
    )
    .by(&[Label { name: "reason", values: &["client", "age", "draining", "buffered"] }]);
    CONNECTIONS_REFUSED = Metric::counter(
        "tidewire_edge_connections_refused_total",
        Unit::Count,
        "Connections or subscriptions that were not served, whether a status said so or a stream of \
         one frame: the hub is full, or full of one client address's; out of open files; draining; \
         its log does not answer; TLS was not agreed on, or nothing asked for, in time",
    )
    .by(&[Label {
        name: "reason",
        values: &[
            "full",
            "address_full",
            "not_accepted",
            "unavailable",
            "draining",
            "handshake",
            "no_request",
        ],
    }]);
    CONNECTIONS_BROKEN = Metric::counter(
        "tidewire_edge_connections_broken_total",
        Unit::Count,
        "Connections, or streams of HTTP/2, that ended with an error: cut, or nothing taken for the \
         write timeout",
    )
    .by(&[Label { name: "reason", values: &["write_timeout", "cut"] }]);
    CONNECTION_DURATION = Metric::histogram(
        "tidewire_edge_connection_duration_seconds",
        Unit::Seconds,
        STAYS,
        "How long subscriptions were open, once they have ended",
    );
    CONNECT = Metric::histogram(
        "tidewire_edge_connect_seconds",
        Unit::Seconds,
        SECONDS,
        "From accepting a stream's connection, or from its request where the connection has had one \
         before, to handing its first bytes over",
    );
    ACCEPTS_DELAYED = Metric::counter(
        "tidewire_edge_accepts_delayed_total",
        Unit::Count,
        "Times that connections were left to the kernel's queue: more came than are accepted in a \
         second",
    );
    STARTS = Metric::counter(
        "tidewire_edge_starts_total",
        Unit::Count,
        "Subscriptions begun without a cursor, by what they began with",
    )
    .by(&[Label { name: "from", values: &["now", "earliest", "latest", "last", "since"] }]);
    SLOW_READERS = Metric::gauge(
        "tidewire_edge_slow_readers",
        Unit::Count,
        "Streams whose socket takes nothing now: their clients, or the way to them, are slower than \
         the events. Of HTTP/2 a connection counts once",
    );
    DELIVERY_LATENCY = Metric::histogram(
        "tidewire_edge_delivery_latency_seconds",
        Unit::Seconds,
        LATENCY,
        "From the moment at which the log took an event to its being handed to a stream's socket: one \
         observation for each delivery of an event that is younger than the stream",
    );
    EVENTS_SENT = Metric::counter(
        "tidewire_edge_events_sent_total",
        Unit::Count,
        "Events handed to connections",
    );
    BYTES_SENT = Metric::counter(
        "tidewire_edge_bytes_sent_total",
        Unit::Bytes,
        "Bytes handed to connections",
    );
    GZIP_BYTES = Metric::counter(
        "tidewire_edge_gzip_bytes_total",
        Unit::Bytes,
        "Bytes that were compressed, each once for all who got them: as they were, and as they became",
    )
    .by(&[Label { name: "side", values: &["plain", "gzip"] }]);
    HEARTBEATS = Metric::counter(
        "tidewire_edge_heartbeats_total",
        Unit::Count,
        "Heartbeats and cursors sent into silence",
    );
    PROBES = Metric::counter(
        "tidewire_edge_probes_total",
        Unit::Count,
        "Probes sent, which show clients what holds streams back",
    );
    ACKNOWLEDGEMENTS = Metric::counter(
        "tidewire_edge_acknowledgements_total",
        Unit::Count,
        "Acknowledgements of probes, by what came of them here: noted, or passed on to another edge; \
         heard from another edge; of a connection that does not wait for one",
    )
    .by(&[Label {
        name: "outcome",
        values: &["noted", "passed_on", "heard", "unknown", "not_passed_on"],
    }]);
    POLLS = Metric::gauge(
        "tidewire_edge_polls",
        Unit::Count,
        "Polls that wait for their answer now",
    );
    POLLS_ANSWERED = Metric::counter(
        "tidewire_edge_polls_total",
        Unit::Count,
        "Polls, by how they ended",
    )
    .by(&[Label {
        name: "outcome",
        values: &["events", "empty", "gap", "unavailable", "stopping", "left"],
    }]);
    POLLS_CUT_SHORT = Metric::counter(
        "tidewire_edge_polls_cut_short_total",
        Unit::Count,
        "Answers to polls that hold less than they could: all of them together hold too much",
    );
    POLL_EVENTS = Metric::counter(
        "tidewire_edge_poll_events_total",
        Unit::Count,
        "Events handed out in answer to polls",
    );
    POLL_BYTES = Metric::counter(
        "tidewire_edge_poll_bytes_total",
        Unit::Bytes,
        "Bytes of events handed out in answer to polls",
    );
    FEEDS = Metric::gauge(
        "tidewire_edge_feeds",
        Unit::Count,
        "Distinct interests subscribed to now",
    );
    FANOUT = Metric::histogram(
        "tidewire_edge_fanout_seconds",
        Unit::Seconds,
        SECONDS,
        "Time to put the events that came together into the feeds that want them, and to tell those",
    );
    FANOUT_RECIPIENTS = Metric::histogram(
        "tidewire_edge_fanout_recipients",
        Unit::Count,
        RECIPIENTS,
        "Streams and polls that an event reaches as it comes: one observation for each event. Those \
         that are behind just then get it a little later",
    );
    WINDOW_EVENTS = Metric::gauge(
        "tidewire_edge_window_events",
        Unit::Count,
        "Events in the window in memory",
    );
    WINDOW_BYTES = Metric::gauge(
        "tidewire_edge_window_bytes",
        Unit::Bytes,
        "Bytes counted for the window",
    );
    WINDOW_SECONDS = Metric::gauge(
        "tidewire_edge_window_seconds",
        Unit::Seconds,
        "How old the oldest event in the window is: who was away for no longer comes back without a \
         replay",
    );
    REPLAYS_BEGUN = Metric::counter(
        "tidewire_edge_replays_total",
        Unit::Count,
        "Times a subscription went over to reading the log: it began before what is in memory, or \
         with a snapshot, or lagged behind",
    )
    .by(&[Label { name: "because", values: &["began", "snapshot", "lagged"] }]);
    REPLAY_SECONDS = Metric::histogram(
        "tidewire_edge_replay_seconds",
        Unit::Seconds,
        REPLAYS,
        "From going over to reading the log to being live again",
    );
    REPLAY_EVENTS = Metric::counter(
        "tidewire_edge_replay_events_total",
        Unit::Count,
        "Events handed out that were read from the log for replays",
    );
    REPLAYS_IN_FLIGHT = Metric::gauge(
        "tidewire_edge_replays_in_flight",
        Unit::Count,
        "Pages that are being read from the log now",
    );
    REPLAYS_QUEUED = Metric::gauge(
        "tidewire_edge_replays_queued",
        Unit::Count,
        "Pages that wait for others to be read first",
    );
    PAGES_READ = Metric::counter(
        "tidewire_edge_pages_read_total",
        Unit::Count,
        "Pages read from the log, for replays and searches",
    );
    PAGES_SHARED = Metric::counter(
        "tidewire_edge_pages_shared_total",
        Unit::Count,
        "Pages not read since another subscription's equal one was being read",
    );
    LAST_SEARCHES_ENDED_EARLY = Metric::counter(
        "tidewire_edge_last_searches_ended_early_total",
        Unit::Count,
        "Searches for the last events that gave up: the log holds more than they may go through",
    );
    CONFLATIONS = Metric::counter(
        "tidewire_edge_conflations_total",
        Unit::Count,
        "Times a subscription went over to the newest event of each topic, since it asked for that \
         where it is behind",
    );
    GAPS = Metric::counter("tidewire_edge_gaps_total", Unit::Count, "Gaps announced, by reason")
        .by(&[Label { name: "reason", values: &["expired", "epoch", "ahead", "malformed"] }]);
    TAIL_INTERRUPTIONS = Metric::counter(
        "tidewire_edge_tail_interruptions_total",
        Unit::Count,
        "Times the tail was interrupted",
    );
    TAIL_LAG_EVENTS = Metric::gauge(
        "tidewire_edge_tail_lag_events",
        Unit::Count,
        "By how much the window's newest event was behind the log's when that was last asked for",
    );
    TAIL_LAG_SECONDS = Metric::gauge(
        "tidewire_edge_tail_lag_seconds",
        Unit::Seconds,
        "For how long the window has not had an event that the log is known to hold",
    );
    DRAINING = Metric::gauge(
        "tidewire_edge_draining",
        Unit::Count,
        "1 from when the edge drains, else 0",
    );
    DRAIN_REMAINING = Metric::gauge(
        "tidewire_edge_drain_remaining",
        Unit::Count,
        "Streams that are left to end while the edge drains, else 0",
    );
    DRAIN_DEADLINE = Metric::gauge(
        "tidewire_edge_drain_deadline_timestamp_seconds",
        Unit::Seconds,
        "When the last stream's moment to end comes while the edge drains, as a Unix time, else 0",
    );
    TLS_CERTIFICATE_EXPIRY = Metric::gauge(
        "tidewire_edge_tls_certificate_expiry_seconds",
        Unit::Seconds,
        "Unix time at which the TLS certificate in use ends; there with TLS only",
    )
    .when_known();
    TLS_RELOADS = Metric::counter(
        "tidewire_edge_tls_reloads_total",
        Unit::Count,
        "Times that the files of the TLS certificate had changed, by whether they could be used",
    )
    .by(&[Label { name: "outcome", values: &["done", "failed"] }]);
}
