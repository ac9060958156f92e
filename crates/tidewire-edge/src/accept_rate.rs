//! How fast connections are accepted: a storm waits in the kernel's queue, and is not refused.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::metrics;

/// So long the rate may have been unused before that is forgotten: what it makes of connections may
/// be accepted at once.
const BURST: Duration = Duration::from_secs(1);
/// Who waits lets so many pass at once behind that as come in this time: to be woken for each of them costs
/// as much as to accept it.
const PAUSE: Duration = Duration::from_millis(10);

/// Lets connections pass at a rate.
pub(crate) struct AcceptRate {
    interval: Duration,
    /// When the last connection would have been accepted, were they all an interval apart.
    even: Instant,
}

impl AcceptRate {
    pub(crate) fn new(per_second: u32) -> Self {
        Self { interval: Duration::from_secs(1) / per_second.max(1), even: Instant::now() }
    }

    /// Waits until one more connection may be accepted.
    pub(crate) async fn next(&mut self) {
        let now = Instant::now();
        self.even = self.even.max(now) + self.interval;
        if self.even > now + BURST {
            metrics::count_accept_delayed();
            sleep_until(self.even - BURST + PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_at_once_and_the_rest_at_the_rate() {
        let mut rate = AcceptRate::new(1_000);
        let begun = Instant::now();
        for n in 1..=3_000 {
            rate.next().await;
            let wanted = (n * rate.interval).saturating_sub(BURST);
            // Timers are rounded up to a millisecond.
            let late = begun.elapsed().checked_sub(wanted).expect("none too early");
            assert!(late < PAUSE + Duration::from_millis(2), "{n}: {late:?}");
        }
        tokio::time::sleep(10 * BURST).await;
        let rested = Instant::now();
        for _ in 0..1_000 {
            rate.next().await;
        }
        assert_eq!(rested.elapsed(), Duration::ZERO);
    }
}
