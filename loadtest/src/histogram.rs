//! How long many deliveries took: counts over buckets that grow with the time, as HdrHistogram does.

use serde::{Deserialize, Serialize};

/// Buckets for each doubling, as a power of two: a time is known to 1.6 %.
const STEPS_LOG2: u32 = 6;
const STEPS: u64 = 1 << STEPS_LOG2;

/// Counted times, in microseconds. Counting allocates only where a time is longer than any before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    count: u64,
    max: u64,
}

impl Histogram {
    pub(crate) fn count_one(&mut self, microseconds: u64) {
        self.add(bucket_of(microseconds), 1);
        self.max = self.max.max(microseconds);
    }

    pub(crate) fn append(&mut self, others: &Self) {
        for (bucket, count) in others.counts.iter().enumerate() {
            if *count > 0 {
                self.add(bucket, *count);
            }
        }
        self.max = self.max.max(others.max);
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The longest, in milliseconds.
    #[expect(clippy::cast_precision_loss, reason = "a time is far below 2^52 microseconds")]
    pub(crate) fn max_ms(&self) -> f64 {
        self.max as f64 / 1e3
    }

    /// The time that this share of all does not exceed, in milliseconds; of none, 0.
    #[expect(clippy::cast_precision_loss, reason = "a time is far below 2^52 microseconds")]
    pub(crate) fn percentile_ms(&self, percent: u64) -> f64 {
        let wanted = (self.count * percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return last_of(bucket).min(self.max) as f64 / 1e3;
            }
        }
        0.0
    }

    /// Empties it, and hands over what there was.
    pub(crate) fn take(&mut self) -> Told {
        let filled = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        let told =
            Told { max: self.max, buckets: filled.map(|(at, count)| (at, *count)).collect() };
        self.counts.fill(0);
        (self.count, self.max) = (0, 0);
        told
    }

    /// Counts what another process has told.
    pub(crate) fn append_told(&mut self, told: &Told) {
        for (bucket, count) in &told.buckets {
            self.add(*bucket, *count);
        }
        self.max = self.max.max(told.max);
    }

    fn add(&mut self, bucket: usize, count: u64) {
        if bucket >= self.counts.len() {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += count;
        self.count += count;
    }
}

/// A histogram on its way between processes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Told {
    max: u64,
    buckets: Vec<(usize, u64)>,
}

#[expect(clippy::cast_possible_truncation, reason = "fewer than 64 × 64 buckets")]
fn bucket_of(microseconds: u64) -> usize {
    let doublings = microseconds.max(1).ilog2().saturating_sub(STEPS_LOG2);
    (u64::from(doublings) * STEPS + (microseconds >> doublings)) as usize
}

/// The longest time of a bucket.
fn last_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let doublings = (bucket / STEPS).saturating_sub(1);
    ((bucket - doublings * STEPS + 1) << doublings) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_at_most_a_sixtieth_of_its_time_wide() {
        let mut before = 0;
        for microseconds in (0..20_000).chain([1 << 20, (1 << 33) + 12_345, u64::MAX >> 20]) {
            let bucket = bucket_of(microseconds);
            let last = last_of(bucket);
            assert!(bucket >= before, "{microseconds}");
            assert!(last >= microseconds && last - microseconds <= microseconds / 60, "{last}");
            assert_eq!(bucket_of(last), bucket, "{microseconds}");
            before = bucket;
        }
    }

    #[test]
    fn percentiles_survive_the_way_between_processes() {
        let (mut one, mut all) = (Histogram::default(), Histogram::default());
        for number in 1..=1_000 {
            one.count_one(number * 10);
            if number == 500 {
                all.append_told(&one.take());
            }
        }
        all.append_told(&one.take());
        assert_eq!((all.count(), one.count()), (1_000, 0));
        assert!((all.percentile_ms(50) - 5.0).abs() < 0.1, "{}", all.percentile_ms(50));
        assert!((all.percentile_ms(99) - 9.9).abs() < 0.2);
        assert!((all.max_ms() - 10.0).abs() < f64::EPSILON);
        assert!(Histogram::default().percentile_ms(99).abs() < f64::EPSILON);
    }
}
