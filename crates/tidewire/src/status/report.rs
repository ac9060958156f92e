//! How the process is at one moment: what `/status` answers and the page shows.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;
use tidewire_core::UnixMillis;
use tidewire_edge::{EdgeStatus, RecentGap, RecentRefusal, SlowStream};

use super::{past::Course, samples::Samples};

/// The steps of an end, by the metric that counts them.
const STEPS: [(f64, &str); 4] =
    [(0.0, "serving"), (1.0, "leaving"), (2.0, "draining"), (3.0, "ending")];

/// What is not there, since this process does not do it, is null.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// In milliseconds since 1970, as all moments here.
    at: u64,
    role: &'static str,
    version: &'static str,
    /// Whether anything is; if not, what is counted elsewhere is null or empty here.
    is_counted: bool,
    /// What keeps it from being ready; empty when it is.
    missing: Vec<String>,
    connections: Connections,
    traffic: Traffic,
    latency: Option<Latency>,
    window: Window,
    tail: Tail,
    /// Which is known from the metrics alone.
    backbone: Option<Backbone>,
    replays: Replays,
    gaps: BTreeMap<String, f64>,
    refused: BTreeMap<String, f64>,
    drain: Drain,
    process: Process,
    slowest: Vec<SlowStream>,
    refusals: Vec<RecentRefusal>,
    recent_gaps: Vec<RecentGap>,
}

#[derive(Debug, Serialize)]
struct Connections {
    now: Option<f64>,
    max: Option<f64>,
    opened_per_second: Option<f64>,
    closed_per_second: Option<f64>,
    refused_per_second: Option<f64>,
    slow: Option<f64>,
    polls: Option<f64>,
    feeds: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Traffic {
    events_in_per_second: Option<f64>,
    deliveries_per_second: Option<f64>,
    bytes_out_per_second: Option<f64>,
    published_per_second: Option<f64>,
    published_bytes_per_second: Option<f64>,
    in_flight_bytes: Option<f64>,
    in_flight_bytes_max: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Latency {
    p50: f64,
    p95: f64,
    p99: f64,
    deliveries: f64,
    over_seconds: f64,
}

#[derive(Debug, Serialize)]
struct Window {
    events: Option<f64>,
    bytes: Option<f64>,
    seconds: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Tail {
    lag_events: Option<f64>,
    lag_seconds: Option<f64>,
    interruptions: Option<f64>,
}

/// Its own log, or NATS by the purposes of the connections to it.
#[derive(Debug, Serialize)]
struct Backbone {
    kind: &'static str,
    connected: bool,
    connections: BTreeMap<String, BackboneConnection>,
}

#[derive(Debug, Serialize)]
struct BackboneConnection {
    connected: bool,
    round_trip_seconds: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Replays {
    in_flight: Option<f64>,
    queued: Option<f64>,
    begun: Option<f64>,
    events: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Drain {
    state: &'static str,
    remaining: Option<f64>,
    /// When the process will have ended; `None` until it is asked to leave.
    deadline: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Process {
    uptime_seconds: u64,
    memory_bytes: Option<f64>,
    open_files: Option<f64>,
    open_files_max: Option<f64>,
    /// Cores in use.
    cpu: Option<f64>,
    threads: Option<f64>,
}

impl Report {
    pub(crate) fn new(
        role: &'static str,
        uptime: Duration,
        missing: Vec<String>,
        samples: &Samples,
        course: &Course,
        edge: EdgeStatus,
    ) -> Self {
        let value = |name| samples.value(name);
        let by = |name, label| samples.by_label(name, label).into_iter().collect();
        Self {
            at: UnixMillis::now().0,
            role,
            version: env!("CARGO_PKG_VERSION"),
            is_counted: !samples.is_empty(),
            missing,
            connections: Connections {
                now: value("tidewire_edge_connections"),
                max: value("tidewire_edge_connections_max"),
                opened_per_second: course.rate(|of| of.opened),
                closed_per_second: course.rate(|of| of.closed),
                refused_per_second: course.rate(|of| of.refused),
                slow: value("tidewire_edge_slow_readers"),
                polls: value("tidewire_edge_polls"),
                feeds: value("tidewire_edge_feeds"),
            },
            traffic: Traffic {
                events_in_per_second: course.rate(|of| of.events_in),
                deliveries_per_second: course.rate(|of| of.deliveries),
                bytes_out_per_second: course.rate(|of| of.bytes_out),
                published_per_second: course.rate(|of| of.published),
                published_bytes_per_second: course.rate(|of| of.published_bytes),
                in_flight_bytes: value("tidewire_ingest_in_flight_bytes"),
                in_flight_bytes_max: value("tidewire_ingest_in_flight_bytes_max"),
            },
            latency: Latency::of(course),
            window: Window {
                events: value("tidewire_edge_window_events"),
                bytes: value("tidewire_edge_window_bytes"),
                seconds: value("tidewire_edge_window_seconds"),
            },
            tail: Tail {
                lag_events: value("tidewire_edge_tail_lag_events"),
                lag_seconds: value("tidewire_edge_tail_lag_seconds"),
                interruptions: value("tidewire_edge_tail_interruptions_total"),
            },
            backbone: (!samples.is_empty()).then(|| Backbone::of(samples)),
            replays: Replays {
                in_flight: value("tidewire_edge_replays_in_flight"),
                queued: value("tidewire_edge_replays_queued"),
                begun: samples.sum("tidewire_edge_replays_total"),
                events: value("tidewire_edge_replay_events_total"),
            },
            gaps: by("tidewire_edge_gaps_total", "reason"),
            refused: by("tidewire_edge_connections_refused_total", "reason"),
            drain: Drain::of(samples),
            process: Process {
                uptime_seconds: uptime.as_secs(),
                memory_bytes: value("process_resident_memory_bytes"),
                open_files: value("process_open_fds"),
                open_files_max: value("process_max_fds"),
                cpu: course.rate(|of| of.cpu_seconds),
                threads: value("process_threads"),
            },
            slowest: edge.slowest,
            refusals: edge.refusals,
            recent_gaps: edge.gaps,
        }
    }

    pub(crate) fn to_json(&self) -> String {
        // Strings and numbers always serialise; what is no number becomes null.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Latency {
    fn of(course: &Course) -> Option<Self> {
        let quantile = |share| course.latency.quantile(share);
        Some(Self {
            p50: quantile(0.5)?,
            p95: quantile(0.95)?,
            p99: quantile(0.99)?,
            deliveries: course.latency.count(),
            over_seconds: course.latency_seconds,
        })
    }
}

impl Backbone {
    fn of(samples: &Samples) -> Self {
        let round_trips: BTreeMap<_, _> =
            samples.by_label("tidewire_nats_round_trip_seconds", "purpose").into_iter().collect();
        let connected = samples.by_label("tidewire_nats_connected", "purpose");
        let connections: BTreeMap<_, _> = connected
            .into_iter()
            .map(|(purpose, connected)| {
                let round_trip_seconds = round_trips.get(&purpose).copied();
                (purpose, BackboneConnection { connected: connected > 0.0, round_trip_seconds })
            })
            .collect();
        let is_embedded = samples.value("tidewire_log_head_sequence").is_some();
        let has_failed = samples.value("tidewire_log_failed").is_some_and(|failed| failed > 0.0);
        let all_connected = connections.values().all(|connection| connection.connected);
        Self {
            kind: if is_embedded { "embedded log" } else { "NATS" },
            connected: if is_embedded {
                !has_failed
            } else {
                !connections.is_empty() && all_connected
            },
            connections,
        }
    }
}

impl Drain {
    fn of(samples: &Samples) -> Self {
        let step = samples.value("tidewire_drain_state").unwrap_or_default();
        let deadline = samples.value("tidewire_drain_deadline_timestamp_seconds");
        Self {
            state: STEPS.iter().rfind(|(at, _)| *at <= step).map_or("serving", |(_, name)| name),
            remaining: samples.value("tidewire_edge_drain_remaining"),
            deadline: deadline.filter(|deadline| *deadline > 0.0).map(|seconds| seconds * 1_000.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn report(scrape: &str) -> Value {
        let samples = Samples::parse(scrape);
        let course = Course::default();
        let uptime = Duration::from_secs(5);
        let report =
            Report::new("edge", uptime, Vec::new(), &samples, &course, EdgeStatus::default());
        serde_json::from_str(&report.to_json()).unwrap()
    }

    #[test]
    fn what_a_process_does_not_have_is_null() {
        let report = report("process_threads 4\n");
        assert_eq!(report["is_counted"], true);
        assert_eq!(report["connections"]["now"], Value::Null);
        assert_eq!(report["latency"], Value::Null);
        assert_eq!(report["drain"]["state"], "serving");
        assert_eq!(report["backbone"]["connected"], false);
        assert_eq!(report["process"]["uptime_seconds"], 5);
    }

    #[test]
    fn where_nothing_is_counted_the_report_says_so_and_knows_no_backbone() {
        let report = report("");
        assert_eq!(report["is_counted"], false);
        assert_eq!(report["backbone"], Value::Null);
        assert_eq!(report["process"]["uptime_seconds"], 5);
    }

    #[test]
    fn nats_is_connected_where_every_connection_is() {
        let text = "tidewire_nats_connected{purpose=\"read\"} 1\n\
                    tidewire_nats_connected{purpose=\"tail\"} 0\n\
                    tidewire_nats_round_trip_seconds{purpose=\"read\"} 0.002\n";
        let backbone = &report(text)["backbone"];
        assert_eq!((&backbone["kind"], &backbone["connected"]), (&"NATS".into(), &false.into()));
        assert_eq!(backbone["connections"]["read"]["round_trip_seconds"], 0.002);
        assert_eq!(report(&text.replace("} 0\n", "} 1\n"))["backbone"]["connected"], true);
    }

    #[test]
    fn a_log_that_has_failed_is_not_connected() {
        let text = "tidewire_log_head_sequence 7\ntidewire_log_failed 0\n";
        assert_eq!(report(text)["backbone"]["connected"], true);
        let failed = &report(&text.replace("failed 0", "failed 1"))["backbone"];
        assert_eq!(failed["connected"], false);
        assert_eq!(failed["kind"], "embedded log");
    }

    #[test]
    fn a_drain_is_told_in_words() {
        let text = "tidewire_drain_state 2\ntidewire_drain_deadline_timestamp_seconds 1.5e9\n";
        let drain = &report(text)["drain"];
        assert_eq!(drain["state"], "draining");
        assert_eq!(drain["deadline"], 1.5e12);
    }
}
