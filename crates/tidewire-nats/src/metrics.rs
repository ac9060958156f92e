//! What the backbone counts. No topic, subject or cursor is ever a label.

use std::time::Duration;

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use crate::connection::Purpose;

/// Names and explains every metric of this crate; call it once, after the recorder is installed.
pub fn describe() {
    describe_gauge!(
        "tidewire_nats_connected",
        Unit::Count,
        "Whether the connection to NATS is there: 1, or 0. One for each purpose"
    );
    let counters = [
        ("tidewire_nats_connections_made_total", "Connections to NATS made, by purpose"),
        ("tidewire_nats_questions_total", "Questions to JetStream's API"),
        (
            "tidewire_nats_questions_unanswered_total",
            "Questions to JetStream's API without an answer",
        ),
        (
            "tidewire_nats_consumers_opened_total",
            "Ephemeral JetStream consumers made, for tails and for pages",
        ),
        (
            "tidewire_nats_reads_total",
            "Reads of JetStream for pages: shared stretches of the log, one interest's events, or \
             the last of each topic",
        ),
        (
            "tidewire_nats_tail_resets_total",
            "Times the tail's consumer was given up for another one",
        ),
        ("tidewire_nats_publishes_repeated_total", "Events sent again under the same id"),
        ("tidewire_nats_unreadable_total", "Messages in the stream that are no events, left out"),
        ("tidewire_nats_overflows_total", "Times that more came than a connection holds"),
    ];
    for (name, help) in counters {
        describe_counter!(name, Unit::Count, help);
    }
    describe_histogram!(
        "tidewire_nats_publish_seconds",
        Unit::Seconds,
        "From handing an event to the backbone to JetStream's acknowledgement"
    );
    for name in [
        "tidewire_nats_questions_total",
        "tidewire_nats_questions_unanswered_total",
        "tidewire_nats_consumers_opened_total",
        "tidewire_nats_tail_resets_total",
        "tidewire_nats_publishes_repeated_total",
        "tidewire_nats_unreadable_total",
        "tidewire_nats_overflows_total",
    ] {
        counter!(name).increment(0);
    }
    for kind in ["shared", "wanted", "latest"] {
        counter!("tidewire_nats_reads_total", "kind" => kind).increment(0);
    }
}

pub(crate) fn set_connected(purpose: Purpose, is_connected: bool) {
    let purpose = purpose.as_str();
    gauge!("tidewire_nats_connected", "purpose" => purpose).set(f64::from(u8::from(is_connected)));
    if is_connected {
        counter!("tidewire_nats_connections_made_total", "purpose" => purpose).increment(1);
    }
}

pub(crate) fn count_question() {
    counter!("tidewire_nats_questions_total").increment(1);
}

pub(crate) fn count_unanswered() {
    counter!("tidewire_nats_questions_unanswered_total").increment(1);
}

pub(crate) fn count_opened() {
    counter!("tidewire_nats_consumers_opened_total").increment(1);
}

pub(crate) fn count_read(kind: &'static str) {
    counter!("tidewire_nats_reads_total", "kind" => kind).increment(1);
}

pub(crate) fn count_tail_reset() {
    counter!("tidewire_nats_tail_resets_total").increment(1);
}

pub(crate) fn count_repeated(events: usize) {
    counter!("tidewire_nats_publishes_repeated_total").increment(events as u64);
}

pub(crate) fn count_published(took: Duration) {
    histogram!("tidewire_nats_publish_seconds").record(took.as_secs_f64());
}

pub(crate) fn count_unreadable() {
    counter!("tidewire_nats_unreadable_total").increment(1);
}

pub(crate) fn count_overflow() {
    counter!("tidewire_nats_overflows_total").increment(1);
}
