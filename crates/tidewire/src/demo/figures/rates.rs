//! Counters of the system, which only rise, as rates.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

/// The counters' last two readings.
pub(super) struct Rates {
    at: Instant,
    elapsed: Duration,
    before: BTreeMap<String, u64>,
    now: BTreeMap<String, u64>,
}

impl Rates {
    pub(super) fn new(at: Instant) -> Self {
        Self { at, elapsed: Duration::ZERO, before: BTreeMap::new(), now: BTreeMap::new() }
    }

    /// Begins the next reading; counters that the last one did not have are forgotten.
    pub(super) fn advance(&mut self, at: Instant) {
        self.elapsed = at.duration_since(self.at);
        self.at = at;
        self.before = std::mem::take(&mut self.now);
    }

    /// Reads a counter, and answers by how much it rose each second since the reading before: 0
    /// for one that is new, or that began anew.
    pub(super) fn per_second(&mut self, counter: String, total: u64) -> u64 {
        let before = self.before.get(&counter).copied().unwrap_or(total);
        self.now.insert(counter, total);
        let milliseconds = u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
        total.saturating_sub(before).saturating_mul(1_000) / milliseconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divides_by_the_time_between_two_readings() {
        let start = Instant::now();
        let mut rates = Rates::new(start);
        let mut reading = |milliseconds, total| {
            rates.advance(start + Duration::from_millis(milliseconds));
            rates.per_second("eth0".into(), total)
        };
        assert_eq!(reading(0, 5_000), 0, "there is nothing to compare the first with");
        assert_eq!(reading(2_000, 6_000), 500);
        assert_eq!(reading(2_500, 6_500), 1_000);
        assert_eq!(reading(3_500, 100), 0, "a counter that began anew says nothing");
        assert_eq!(reading(4_500, 350), 250);
    }

    #[test]
    fn forgets_what_went_away() {
        let start = Instant::now();
        let mut rates = Rates::new(start);
        rates.per_second("gone".into(), 10);
        rates.advance(start + Duration::from_secs(1));
        rates.advance(start + Duration::from_secs(2));
        assert_eq!(rates.per_second("gone".into(), 99), 0);
    }
}
