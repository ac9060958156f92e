//! Where the log lives, and how much of it is kept.

use std::{path::PathBuf, time::Duration};

use tidewire_core::limits::DEDUPLICATION_SECONDS_DEFAULT;

/// A log's directory and limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The directory, made where there is none. One process at a time uses it.
    pub dir: PathBuf,
    /// Events older than this leave the log. A log is trimmed by whole segments, so an event may
    /// stay for up to an eighth longer.
    pub retention_age: Duration,
    /// The oldest events leave where the log is larger than this many bytes. A log is trimmed by
    /// whole segments, so a full log holds between seven eighths of it and the whole; while one
    /// commit is written, up to 5 MiB more.
    pub retention_bytes: u64,
    /// Size at which a segment file is followed by the next, in bytes. It is taken into the range
    /// from a 512th of `retention_bytes` (each segment costs an open file) to an eighth.
    pub segment_bytes: u64,
    /// How long a repeated id is recognised. After a restart it is, as long as the first event of
    /// that id is still retained.
    pub deduplication_window: Duration,
}

impl Config {
    /// A log in this directory that keeps a day and at most 1 GiB, in segments of 64 MiB, and
    /// recognises ids for two minutes.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            retention_age: Duration::from_secs(24 * 60 * 60),
            retention_bytes: 1024 * 1024 * 1024,
            segment_bytes: 64 * 1024 * 1024,
            deduplication_window: Duration::from_secs(DEDUPLICATION_SECONDS_DEFAULT),
        }
    }
}
