//! When clients that are sent away come back: at most so many a second, however many there are.

use std::time::Duration;

use parking_lot::Mutex;
use rand::RngExt as _;
use tokio::time::Instant;

use crate::Config;

/// Clients a second that are asked to come back, of all that an edge refuses or ends in a drain: a
/// storm of a hundred thousand takes two minutes, and what TLS and tokens will cost for each stays
/// small.
const RETURNS_PER_SECOND_MAX: u32 = 1_000;
/// How far beyond its ordinary `retry` a client is put off at most. Where this many seconds do not
/// hold all, the rest are spread over them, and may be refused again.
const PUT_OFF_MAX: Duration = Duration::from_secs(60);

/// The appointments that have been given. One client that is sent away comes back after its
/// ordinary `retry`; of many, each a little later than the one before.
#[derive(Debug)]
pub(crate) struct Returns {
    next: Mutex<Instant>,
}

impl Returns {
    pub(crate) fn new() -> Self {
        Self { next: Mutex::new(Instant::now()) }
    }

    /// A `retry`, in milliseconds, for one more client that is sent away.
    pub(crate) fn appoint(&self, config: &Config) -> u64 {
        let put_off = self.put_off(Instant::now());
        retry(config).saturating_add(u64::try_from(put_off.as_millis()).unwrap_or(u64::MAX))
    }

    fn put_off(&self, now: Instant) -> Duration {
        let mut next = self.next.lock();
        let put_off = next.saturating_duration_since(now);
        if put_off > PUT_OFF_MAX {
            return rand::rng().random_range(Duration::ZERO..=PUT_OFF_MAX);
        }
        *next = now + put_off + Duration::from_secs(1) / RETURNS_PER_SECOND_MAX;
        put_off
    }
}

/// A `retry` of its own for each connection, in milliseconds.
pub(crate) fn retry(config: &Config) -> u64 {
    rand::rng().random_range(config.retry_milliseconds.clone())
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_few_come_back_as_ever_and_a_crowd_at_a_bounded_rate() {
        let config = Config { retry_milliseconds: 1_000..=1_000, ..Config::default() };
        let returns = Returns::new();
        assert_eq!(returns.appoint(&config), 1_000, "nobody else was sent away");
        let mut in_second = [0; 70];
        for _ in 0..50_000 {
            let milliseconds = returns.appoint(&config);
            in_second[usize::try_from(milliseconds / 1_000).unwrap()] += 1;
        }
        assert!(in_second.iter().all(|returns| *returns <= 1_000), "{in_second:?}");
        advance(Duration::from_secs(30)).await;
        let put_off = returns.appoint(&config) - 1_000;
        assert!((19_990..=20_010).contains(&put_off), "30 s of 50 have passed: {put_off}");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_put_off_for_longer_than_a_minute() {
        let config = Config::default();
        let returns = Returns::new();
        let latest = (0..200_000).map(|_| returns.appoint(&config)).max().unwrap();
        assert!((60_000..=65_001).contains(&latest), "{latest}");
    }
}
