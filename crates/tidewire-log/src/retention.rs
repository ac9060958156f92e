//! What is kept, and when the next segment begins.

use std::time::Duration;

use tidewire_core::UnixMillis;

use crate::{config::Config, segment::Extent};

/// A segment holds at most this share of what is kept, by age and by bytes: what leaves at once.
const SHARES: u32 = 8;
/// Segments of a full log, at most: each is an open file.
const SEGMENTS_MAX: u64 = 512;
/// How often a quiet log is looked after, at least: an event leaves at most so much too late.
const TICK_MAX: Duration = Duration::from_secs(10);
/// And at most, however short the retention.
const TICK_MIN: Duration = Duration::from_millis(1);

/// The rules.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retention {
    age: Duration,
    bytes: u64,
    segment_bytes: u64,
}

impl Retention {
    pub(crate) fn new(config: &Config) -> Self {
        let bytes = config.retention_bytes;
        let segment_bytes =
            config.segment_bytes.max(bytes / SEGMENTS_MAX).min(bytes / u64::from(SHARES));
        Self { age: config.retention_age, bytes, segment_bytes }
    }

    /// Whether the next event belongs in another segment.
    pub(crate) fn is_full(&self, active: &Extent, now: UnixMillis) -> bool {
        active.times.is_some_and(|(first, _)| {
            active.end >= self.segment_bytes || first <= now.before(self.age / SHARES)
        })
    }

    /// Whether a finished segment leaves a log that has so many bytes in all.
    pub(crate) fn is_over(&self, finished: &Extent, log_bytes: u64, now: UnixMillis) -> bool {
        log_bytes > self.bytes
            || finished.times.is_none_or(|(_, last)| last <= now.before(self.age))
    }

    /// How long the writer of a quiet log waits before it looks again.
    pub(crate) fn tick(&self) -> Duration {
        (self.age / (SHARES * 4)).clamp(TICK_MIN, TICK_MAX)
    }
}

#[cfg(test)]
mod tests {
    use tidewire_core::Sequence;

    use super::*;

    fn retention() -> Retention {
        Retention::new(&Config {
            retention_age: Duration::from_millis(800),
            retention_bytes: 8_000,
            segment_bytes: 500,
            ..Config::new("unused")
        })
    }

    fn extent(bytes: u64, first: u64, last: u64) -> Extent {
        let mut extent = Extent::default();
        extent.push(Sequence(1), UnixMillis(first), bytes / 2);
        extent.push(Sequence(2), UnixMillis(last), bytes / 2);
        extent
    }

    #[test]
    fn a_segment_is_full_by_bytes_or_by_an_eighth_of_the_age() {
        let at = |extent: &Extent, now| retention().is_full(extent, UnixMillis(now));
        assert!(!at(&extent(400, 10_000, 10_000), 10_099));
        assert!(at(&extent(400, 10_000, 10_000), 10_100));
        assert!(at(&extent(500, 10_000, 10_000), 10_000));
        assert!(!at(&Extent::default(), u64::MAX), "an empty segment is never full");
    }

    #[test]
    fn a_segment_leaves_when_its_last_event_is_too_old_or_the_log_too_large() {
        let over =
            |bytes, now| retention().is_over(&extent(400, 10_000, 10_200), bytes, UnixMillis(now));
        assert!(!over(8_000, 10_999));
        assert!(over(8_000, 11_000));
        assert!(over(8_001, 10_200));
    }

    #[test]
    fn a_segment_is_at_most_an_eighth_and_at_least_a_512th_of_the_log() {
        let size = |segment_bytes| {
            let config = Config { retention_bytes: 512_000, ..Config::new("unused") };
            Retention::new(&Config { segment_bytes, ..config }).segment_bytes
        };
        assert_eq!([size(1), size(5_000), size(u64::MAX)], [1_000, 5_000, 64_000]);
    }
}
