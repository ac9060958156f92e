//! What the log counts.

use std::time::Duration;

use tidewire_core::{
    Bounds,
    metric::{self, Metric, SECONDS, Unit},
};

tidewire_core::metrics! {
    HEAD_SEQUENCE = Metric::gauge(
        "tidewire_log_head_sequence",
        Unit::Count,
        "Sequence of the newest event of the log",
    );
    OLDEST_SEQUENCE = Metric::gauge(
        "tidewire_log_oldest_sequence",
        Unit::Count,
        "Sequence of the oldest event that is retained",
    );
    BYTES = Metric::gauge("tidewire_log_bytes", Unit::Bytes, "Size of all segments of the log");
    SEGMENTS = Metric::gauge("tidewire_log_segments", Unit::Count, "Segments of the log");
    COMMITS = Metric::counter(
        "tidewire_log_commits_total",
        Unit::Count,
        "Commits synced to the disk; one holds many events",
    );
    COMMIT_SECONDS = Metric::histogram(
        "tidewire_log_commit_seconds",
        Unit::Seconds,
        SECONDS,
        "Time to write and sync a commit",
    );
    COMMITS_FAILED = Metric::counter(
        "tidewire_log_commits_failed_total",
        Unit::Count,
        "Commits that could not be written or synced",
    );
    EVENTS = Metric::counter("tidewire_log_events_total", Unit::Count, "Events stored");
    DUPLICATES = Metric::counter(
        "tidewire_log_duplicates_total",
        Unit::Count,
        "Publishes whose id was stored already",
    );
    SEGMENTS_REMOVED = Metric::counter(
        "tidewire_log_segments_removed_total",
        Unit::Count,
        "Segments that have left retention",
    );
    FAILED = Metric::gauge(
        "tidewire_log_failed",
        Unit::Count,
        "1 where the log has failed until it is opened again, else 0",
    );
}

/// Tells the recorder what the log's metrics mean, and shows them. To be called once, after it is
/// installed.
pub fn describe() {
    metric::describe(METRICS);
}

pub(crate) fn set_extent(bounds: Bounds, bytes: u64, segments: usize) {
    HEAD_SEQUENCE.set(bounds.head.0 as f64);
    OLDEST_SEQUENCE.set(bounds.oldest.0 as f64);
    BYTES.set(bytes as f64);
    SEGMENTS.set(segments as f64);
}

pub(crate) fn count_commit(events: usize, took: Duration) {
    COMMITS.count(&[]);
    EVENTS.counter_of(&[]).increment(events as u64);
    COMMIT_SECONDS.histogram_of(&[]).record(took.as_secs_f64());
}

pub(crate) fn count_commit_failed() {
    COMMITS_FAILED.count(&[]);
}

pub(crate) fn count_duplicates(duplicates: usize) {
    DUPLICATES.counter_of(&[]).increment(duplicates as u64);
}

pub(crate) fn count_segment_removed() {
    SEGMENTS_REMOVED.count(&[]);
}

pub(crate) fn set_failed(failed: bool) {
    FAILED.set(if failed { 1.0 } else { 0.0 });
}
