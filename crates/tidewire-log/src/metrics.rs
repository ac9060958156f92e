//! What the log counts.

use std::time::Duration;

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use tidewire_core::Bounds;

const HEAD_SEQUENCE: &str = "tidewire_log_head_sequence";
const OLDEST_SEQUENCE: &str = "tidewire_log_oldest_sequence";
const BYTES: &str = "tidewire_log_bytes";
const SEGMENTS: &str = "tidewire_log_segments";
const COMMITS: &str = "tidewire_log_commits_total";
const COMMIT_SECONDS: &str = "tidewire_log_commit_seconds";
const COMMITS_FAILED: &str = "tidewire_log_commits_failed_total";
const EVENTS: &str = "tidewire_log_events_total";
const DUPLICATES: &str = "tidewire_log_duplicates_total";
const SEGMENTS_REMOVED: &str = "tidewire_log_segments_removed_total";
const FAILED: &str = "tidewire_log_failed";

/// Tells the recorder what the log's metrics mean. To be called once, after it is installed.
pub fn describe() {
    describe_gauge!(HEAD_SEQUENCE, "Sequence of the newest event of the log.");
    describe_gauge!(OLDEST_SEQUENCE, "Sequence of the oldest event that is retained.");
    describe_gauge!(BYTES, Unit::Bytes, "Size of all segments of the log.");
    describe_gauge!(SEGMENTS, "Segments of the log.");
    describe_counter!(COMMITS, "Commits synced to the disk; one holds many events.");
    describe_histogram!(COMMIT_SECONDS, Unit::Seconds, "Time to write and sync a commit.");
    describe_counter!(COMMITS_FAILED, "Commits that could not be written or synced.");
    describe_counter!(EVENTS, "Events stored.");
    describe_counter!(DUPLICATES, "Publishes whose id was stored already.");
    describe_counter!(SEGMENTS_REMOVED, "Segments that have left retention.");
    describe_gauge!(FAILED, "1 where the log has failed until it is opened again.");
}

pub(crate) fn set_extent(bounds: Bounds, bytes: u64, segments: usize) {
    gauge!(HEAD_SEQUENCE).set(bounds.head.0 as f64);
    gauge!(OLDEST_SEQUENCE).set(bounds.oldest.0 as f64);
    gauge!(BYTES).set(bytes as f64);
    gauge!(SEGMENTS).set(segments as f64);
}

pub(crate) fn count_commit(events: usize, took: Duration) {
    counter!(COMMITS).increment(1);
    counter!(EVENTS).increment(events as u64);
    histogram!(COMMIT_SECONDS).record(took.as_secs_f64());
}

pub(crate) fn count_commit_failed() {
    counter!(COMMITS_FAILED).increment(1);
}

pub(crate) fn count_duplicates(duplicates: usize) {
    counter!(DUPLICATES).increment(duplicates as u64);
}

pub(crate) fn count_segment_removed() {
    counter!(SEGMENTS_REMOVED).increment(1);
}

pub(crate) fn set_failed(failed: bool) {
    gauge!(FAILED).set(if failed { 1.0 } else { 0.0 });
}
