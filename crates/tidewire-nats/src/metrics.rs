//! What the backbone counts. No topic, subject or cursor is ever a label.

use std::time::Duration;

use tidewire_core::metric::{self, Label, Metric, SECONDS, Unit};

use crate::connection::Purpose;

const PURPOSES: &[Label] = &[Label { name: "purpose", values: &["read", "publish", "tail"] }];

tidewire_core::metrics! {
    CONNECTED = Metric::gauge(
        "tidewire_nats_connected",
        Unit::Count,
        "Whether the connection to NATS is there: 1, or 0. One for each purpose that the process has: an \
         ingest reads and publishes, an edge reads and follows the tail",
    )
    .by(PURPOSES)
    .when_known();
    CONNECTIONS_MADE = Metric::counter(
        "tidewire_nats_connections_made_total",
        Unit::Count,
        "Connections to NATS made: the first, and one for each that was lost",
    )
    .by(PURPOSES)
    .when_known();
    ROUND_TRIP = Metric::gauge(
        "tidewire_nats_round_trip_seconds",
        Unit::Seconds,
        "How long the stream's leader took to answer a small question over this connection, asked every \
         10 s; 0 before the first answer",
    )
    .by(PURPOSES)
    .when_known();
    QUESTIONS = Metric::counter(
        "tidewire_nats_questions_total",
        Unit::Count,
        "Questions to JetStream's API",
    );
    UNANSWERED = Metric::counter(
        "tidewire_nats_questions_unanswered_total",
        Unit::Count,
        "Questions to JetStream's API without an answer",
    );
    CONSUMERS_OPENED = Metric::counter(
        "tidewire_nats_consumers_opened_total",
        Unit::Count,
        "Ephemeral JetStream consumers made, for tails and for pages",
    );
    READS = Metric::counter(
        "tidewire_nats_reads_total",
        Unit::Count,
        "Reads of JetStream for pages: shared stretches of the log, one interest's events, or the last \
         of each topic",
    )
    .by(&[Label { name: "kind", values: &["shared", "wanted", "latest"] }]);
    TAIL_RESETS = Metric::counter(
        "tidewire_nats_tail_resets_total",
        Unit::Count,
        "Times the tail's consumer was given up for another one",
    );
    PUBLISH = Metric::histogram(
        "tidewire_nats_publish_seconds",
        Unit::Seconds,
        SECONDS,
        "From handing an event to the backbone to JetStream's acknowledgement",
    );
    REPEATED = Metric::counter(
        "tidewire_nats_publishes_repeated_total",
        Unit::Count,
        "Events sent again under the same id",
    );
    UNREADABLE = Metric::counter(
        "tidewire_nats_unreadable_total",
        Unit::Count,
        "Messages in the stream that are no events, left out",
    );
    OVERFLOWS = Metric::counter(
        "tidewire_nats_overflows_total",
        Unit::Count,
        "Times that more came than a connection holds",
    );
}

/// Names and explains every metric of this crate, and shows those that begin at zero; call it once,
/// after the recorder is installed.
pub fn describe() {
    metric::describe(METRICS);
}

/// Shows that there is no connection of this purpose yet. Each process has its own purposes: where one of
/// them stays 0, something is wrong.
pub(crate) fn not_connected_yet(purpose: Purpose) {
    CONNECTED.gauge_of(&[purpose.as_str()]).set(0.0);
    CONNECTIONS_MADE.counter_of(&[purpose.as_str()]).increment(0);
    ROUND_TRIP.gauge_of(&[purpose.as_str()]).set(0.0);
}

pub(crate) fn set_connected(purpose: Purpose, is_connected: bool) {
    CONNECTED.gauge_of(&[purpose.as_str()]).set(f64::from(u8::from(is_connected)));
    if is_connected {
        CONNECTIONS_MADE.count(&[purpose.as_str()]);
    }
}

pub(crate) fn set_round_trip(purpose: Purpose, took: Duration) {
    ROUND_TRIP.gauge_of(&[purpose.as_str()]).set(took.as_secs_f64());
}

pub(crate) fn count_question() {
    QUESTIONS.count(&[]);
}

pub(crate) fn count_unanswered() {
    UNANSWERED.count(&[]);
}

pub(crate) fn count_opened() {
    CONSUMERS_OPENED.count(&[]);
}

pub(crate) fn count_read(kind: &'static str) {
    READS.count(&[kind]);
}

pub(crate) fn count_tail_reset() {
    TAIL_RESETS.count(&[]);
}

pub(crate) fn count_repeated(events: usize) {
    REPEATED.counter_of(&[]).increment(events as u64);
}

pub(crate) fn count_published(took: Duration) {
    PUBLISH.histogram_of(&[]).record(took.as_secs_f64());
}

pub(crate) fn count_unreadable() {
    UNREADABLE.count(&[]);
}

pub(crate) fn count_overflow() {
    OVERFLOWS.count(&[]);
}
