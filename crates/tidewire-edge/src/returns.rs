//! When clients that are sent away come back: at most so many a second, however many there are.
//!
//! An appointment is a moment, a little later than the one before. Were each delay drawn for itself,
//! some second would now and then have more of them than were sent away in any.

use std::time::Duration;

use parking_lot::Mutex;
use rand::RngExt as _;
use tokio::time::Instant;

use crate::{Config, drain::planned_rate};

/// How far beyond what was wished for a client is put off at most. Where this many seconds do not
/// hold all, the rest are spread over them, and may be refused again.
const PUT_OFF_MAX: Duration = Duration::from_secs(60);

/// The appointments that have been given.
#[derive(Debug)]
pub(crate) struct Returns {
    apart: Duration,
    next: Mutex<Instant>,
}

impl Returns {
    pub(crate) fn new(config: &Config) -> Self {
        let apart = Duration::from_secs(1).div_f64(planned_rate(config));
        Self { apart, next: Mutex::new(Instant::now()) }
    }

    /// The `retry`, in milliseconds, of one more client that is sent away: after this time where it
    /// is one of few, and else when it is its turn.
    pub(crate) fn appoint(&self, after: Duration) -> u64 {
        let now = Instant::now();
        let mut next = self.next.lock();
        let put_off = next.saturating_duration_since(now + after);
        if put_off > PUT_OFF_MAX {
            return milliseconds(after + rand::rng().random_range(Duration::ZERO..=PUT_OFF_MAX));
        }
        *next = now + after + put_off + self.apart;
        milliseconds(after + put_off)
    }
}

/// The shortest `retry` that is ever given: for clients that leave one by one.
pub(crate) fn soon(config: &Config) -> Duration {
    Duration::from_millis(*config.retry_milliseconds.start())
}

/// A `retry` of its own for each connection.
pub(crate) fn sometime(config: &Config) -> Duration {
    Duration::from_millis(rand::rng().random_range(config.retry_milliseconds.clone()))
}

/// As a stream spells a `retry`; never earlier than what it stands for.
pub(crate) fn milliseconds(retry: Duration) -> u64 {
    u64::try_from(retry.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_few_come_back_as_ever_and_a_crowd_at_a_bounded_rate() {
        let returns = Returns::new(&Config::default());
        assert_eq!(returns.appoint(SECOND), 1_000, "nobody else was sent away");
        let mut in_second = [0; 70];
        for _ in 0..50_000 {
            let milliseconds = returns.appoint(SECOND);
            in_second[usize::try_from(milliseconds / 1_000).unwrap()] += 1;
        }
        assert!(in_second.iter().all(|returns| *returns <= 1_000), "{in_second:?}");
        advance(30 * SECOND).await;
        let put_off = returns.appoint(SECOND) - 1_000;
        assert!((22_600..=22_660).contains(&put_off), "30 s of 52.6 have passed: {put_off}");
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_leave_at_the_full_rate_come_back_at_it_whatever_each_wishes_for() {
        let config = Config { drain_rate_max: 100, ..Config::default() };
        let returns = Returns::new(&config);
        let (began, mut moments) = (Instant::now(), Vec::new());
        for _ in 0..3_000 {
            let retry = Duration::from_millis(returns.appoint(sometime(&config)));
            moments.push((began.elapsed() + retry).as_millis());
            advance(Duration::from_millis(10)).await;
        }
        let most = moments.iter().map(|from| {
            moments.iter().filter(|moment| (*from..*from + 1_000).contains(moment)).count()
        });
        assert!(most.max() <= Some(100), "in any second");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_put_off_for_longer_than_a_minute() {
        let returns = Returns::new(&Config::default());
        let latest = (0..200_000).map(|_| returns.appoint(SECOND)).max().unwrap();
        assert!((60_000..=61_001).contains(&latest), "{latest}");
    }
}
