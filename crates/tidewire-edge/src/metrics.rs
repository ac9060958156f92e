//! What an edge counts: one function for each observation. No topic, client or cursor is ever a label.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};
use tidewire_core::metric::{self, Counters, Raised};

use crate::{From, drain::DrainProgress, gap::GapReason, stamps::Stamps};

mod declared;

pub use declared::METRICS;
use declared::*;

/// Names and explains every metric of this crate, and shows those that begin at zero; call it once,
/// after the recorder is installed.
pub fn describe() {
    metric::describe(METRICS);
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

/// What every stream moves when it begins and ends: looked up once for each edge.
pub(crate) struct Streamed {
    now: Gauge,
    opened: Counters,
    starts: Counters,
    connect: Histogram,
    closed: Counters,
    duration: Histogram,
}

impl Streamed {
    pub(crate) fn new() -> Self {
        Self {
            now: CONNECTIONS.gauge_of(&[]),
            opened: CONNECTIONS_OPENED.counters(),
            starts: STARTS.counters(),
            connect: CONNECT.histogram_of(&[]),
            closed: CONNECTIONS_CLOSED.counters(),
            duration: CONNECTION_DURATION.histogram_of(&[]),
        }
    }

    pub(crate) fn count_opened(&self, resume: &'static str) {
        self.opened.count(resume);
        self.now.increment(1.0);
    }

    pub(crate) fn count_start(&self, from: From) {
        self.starts.count(match from {
            From::Now => "now",
            From::Earliest => "earliest",
            From::Latest => "latest",
            From::Last(_) => "last",
            From::Since(_) => "since",
        });
    }

    /// Its first bytes were handed over so long after it was asked for.
    pub(crate) fn observe_connect(&self, after: Duration) {
        self.connect.record(after);
    }

    pub(crate) fn count_closed(&self, reason: ClosedBecause, after: Duration) {
        self.closed.count(reason.as_str());
        self.now.decrement(1.0);
        self.duration.record(after);
    }
}

/// What every delivery moves: looked up once for each edge, not once for each delivery.
pub(crate) struct Sent {
    events: Counter,
    bytes: Counter,
    latency: Histogram,
}

impl Sent {
    pub(crate) fn new() -> Self {
        Self {
            events: EVENTS_SENT.counter_of(&[]),
            bytes: BYTES_SENT.counter_of(&[]),
            latency: DELIVERY_LATENCY.histogram_of(&[]),
        }
    }

    pub(crate) fn count_events(&self, events: usize) {
        self.events.increment(events as u64);
    }

    pub(crate) fn count_bytes(&self, bytes: usize) {
        self.bytes.increment(bytes as u64);
    }

    /// Events of these moments have been handed over by now.
    pub(crate) fn observe_latency(&self, stamps: &Stamps) {
        for (latency, deliveries) in stamps.latencies() {
            self.latency.record_many(latency, deliveries);
        }
    }
}

/// What each dispatch moves.
#[derive(Debug)]
pub(crate) struct Dispatched {
    seconds: Histogram,
    recipients: Histogram,
    window_events: Gauge,
    window_bytes: Gauge,
}

impl Dispatched {
    pub(crate) fn new() -> Self {
        Self {
            seconds: FANOUT.histogram_of(&[]),
            recipients: FANOUT_RECIPIENTS.histogram_of(&[]),
            window_events: WINDOW_EVENTS.gauge_of(&[]),
            window_bytes: WINDOW_BYTES.gauge_of(&[]),
        }
    }

    pub(crate) fn observe_seconds(&self, took: Duration) {
        self.seconds.record(took);
    }

    pub(crate) fn observe_recipients(&self, recipients: usize) {
        self.recipients.record(recipients as f64);
    }

    pub(crate) fn set_window(&self, events: usize, bytes: usize) {
        self.window_events.set(events as f64);
        self.window_bytes.set(bytes as f64);
    }
}

/// How many streams' sockets take nothing.
pub(crate) fn slow_readers() -> Gauge {
    SLOW_READERS.gauge_of(&[])
}

/// A stream's socket takes nothing for as long as this lives.
pub(crate) fn slow_reader() -> Raised {
    Raised::new(slow_readers())
}

pub(crate) fn count_heartbeat() {
    HEARTBEATS.count(&[]);
}

/// Counts what was compressed, and what it became.
pub(crate) fn count_gzip(plain_bytes: usize, gzip_bytes: usize) {
    GZIP_BYTES.counter_of(&["plain"]).increment(plain_bytes as u64);
    GZIP_BYTES.counter_of(&["gzip"]).increment(gzip_bytes as u64);
}

pub(crate) fn count_probe() {
    PROBES.count(&[]);
}

pub(crate) fn count_acknowledgement(outcome: &'static str) {
    ACKNOWLEDGEMENTS.count(&[outcome]);
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
    _open: Raised,
}

impl PollUnderWay {
    pub(crate) fn begin() -> Self {
        Self { ended: PollEnded::Left, _open: Raised::new(POLLS.gauge_of(&[])) }
    }
}

impl Drop for PollUnderWay {
    fn drop(&mut self) {
        POLLS_ANSWERED.count(&[self.ended.as_str()]);
    }
}

pub(crate) fn count_poll_cut_short() {
    POLLS_CUT_SHORT.count(&[]);
}

pub(crate) fn count_polled(events: usize, bytes: usize) {
    POLL_EVENTS.counter_of(&[]).increment(events as u64);
    POLL_BYTES.counter_of(&[]).increment(bytes as u64);
}

pub(crate) fn count_last_search_ended_early() {
    LAST_SEARCHES_ENDED_EARLY.count(&[]);
}

pub(crate) fn count_replay(because: ReplayBecause) {
    REPLAYS_BEGUN.count(&[because.as_str()]);
}

pub(crate) fn count_conflation() {
    CONFLATIONS.count(&[]);
}

pub(crate) fn count_page_read() {
    PAGES_READ.count(&[]);
}

pub(crate) fn count_page_shared() {
    PAGES_SHARED.count(&[]);
}

pub(crate) fn count_gap(reason: GapReason) {
    GAPS.count(&[reason.as_str()]);
}

pub(crate) fn count_tail_interruption() {
    TAIL_INTERRUPTIONS.count(&[]);
}

pub(crate) fn count_refused(reason: &'static str) {
    CONNECTIONS_REFUSED.count(&[reason]);
}

pub(crate) fn count_accept_delayed() {
    ACCEPTS_DELAYED.count(&[]);
}

pub(crate) fn count_broken(by_timeout: bool) {
    let reason = if by_timeout { "write_timeout" } else { "cut" };
    CONNECTIONS_BROKEN.count(&[reason]);
}

pub(crate) fn count_certificate_reload(outcome: &'static str) {
    TLS_RELOADS.count(&[outcome]);
}

/// Shows when the certificate ends, where that can be read.
pub(crate) fn set_certificate_expiry(unix_seconds: Option<i64>) {
    if let Some(seconds) = unix_seconds {
        TLS_CERTIFICATE_EXPIRY.set(seconds as f64);
    }
}

pub(crate) fn set_feeds(feeds: usize) {
    FEEDS.set(feeds as f64);
}

pub(crate) fn set_connections_max(connections: usize) {
    CONNECTIONS_MAX.set(connections as f64);
}

pub(crate) fn set_window_reach(reach: Duration) {
    WINDOW_SECONDS.set(reach.as_secs_f64());
}

pub(crate) fn set_tail_lag(events: u64, lag: Duration) {
    TAIL_LAG_EVENTS.set(events as f64);
    TAIL_LAG_SECONDS.set(lag.as_secs_f64());
}

pub(crate) fn set_drain(progress: DrainProgress) {
    DRAINING.set(f64::from(u8::from(progress.is_draining)));
    DRAIN_REMAINING.set(progress.remaining as f64);
    DRAIN_DEADLINE.set(progress.deadline.as_secs_f64());
}

/// A page waits for its turn for as long as this lives.
pub(crate) fn replay_queued() -> Raised {
    Raised::new(REPLAYS_QUEUED.gauge_of(&[]))
}

/// A page is being read for as long as this lives.
pub(crate) fn replay_in_flight() -> Raised {
    Raised::new(REPLAYS_IN_FLIGHT.gauge_of(&[]))
}

pub(crate) fn count_replayed(events: usize) {
    REPLAY_EVENTS.counter_of(&[]).increment(events as u64);
}

/// A subscription is live again so long after it went over to reading the log.
pub(crate) fn observe_replay(took: Duration) {
    REPLAY_SECONDS.histogram_of(&[]).record(took);
}
