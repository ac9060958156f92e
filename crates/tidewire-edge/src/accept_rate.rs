//! How fast connections are accepted: a storm waits in the kernel's queue, and is not refused.

use std::time::Duration;

use tokio::time::Instant;

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

    /// Counts one more connection. Until when it is to wait, if it may not be accepted now.
    pub(crate) fn next(&mut self) -> Option<Instant> {
        let now = Instant::now();
        self.even = self.even.max(now) + self.interval;
        (self.even > now + BURST).then(|| {
            metrics::count_accept_delayed();
            self.even - BURST + PAUSE
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep_until;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_at_once_and_the_rest_at_the_rate() {
        let mut rate = AcceptRate::new(1_000);
        let begun = Instant::now();
        for n in 1..=3_000 {
            if let Some(until) = rate.next() {
                sleep_until(until).await;
            }
            let wanted = (n * rate.interval).saturating_sub(BURST);
            // Timers are rounded up to a millisecond.
            let late = begun.elapsed().checked_sub(wanted).expect("none too early");
            assert!(late < PAUSE + Duration::from_millis(2), "{n}: {late:?}");
        }
        tokio::time::sleep(10 * BURST).await;
        for _ in 0..1_000 {
            assert_eq!(rate.next(), None);
        }
    }
}
