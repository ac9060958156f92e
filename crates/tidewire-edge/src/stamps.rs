//! When events were stored that are delivered, kept until somebody looks at the clock: once for many.

use std::time::Duration;

use tidewire_core::UnixMillis;

/// So many deliveries of events of which moment, in runs: those of equal moments that come together
/// take no more room than one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Stamps {
    /// The runs before the last. Mostly there are none: the events of one write are of one moment.
    before: Vec<(UnixMillis, usize)>,
    last: (UnixMillis, usize),
}

impl Stamps {
    /// Adds deliveries of events of one moment.
    pub(crate) fn add(&mut self, stamp: UnixMillis, deliveries: usize) {
        let (last, count) = &mut self.last;
        if *last == stamp {
            *count += deliveries;
            return;
        }
        if *count > 0 {
            self.before.push(self.last);
        }
        self.last = (stamp, deliveries);
    }

    /// Adds those of all events that others hold, each so often.
    pub(crate) fn add_all(&mut self, others: &Self, times: usize) {
        for (stamp, deliveries) in others.runs() {
            self.add(stamp, deliveries * times);
        }
    }

    /// Those of events that are no older than `age` now. What is older than a stream waited for its
    /// client, and not for the hub.
    pub(crate) fn no_older_than(&self, age: Duration) -> Self {
        // A stamp is cut to milliseconds.
        let since = UnixMillis::now().before(age.saturating_add(Duration::from_millis(1)));
        let mut young = Self::default();
        for (stamp, deliveries) in self.runs().filter(|(stamp, _)| *stamp >= since) {
            young.add(stamp, deliveries);
        }
        young
    }

    /// How long ago the earliest moment was, of events in log order.
    pub(crate) fn age(&self) -> Duration {
        let earliest = self.before.first().unwrap_or(&self.last).0;
        Duration::from_millis(UnixMillis::now().0.saturating_sub(earliest.0))
    }

    /// How long ago all of them were, and how many deliveries each stands for. A moment that is still
    /// to come, by a clock that is ahead of this one, was just now.
    pub(crate) fn latencies(&self) -> impl Iterator<Item = (Duration, usize)> {
        let now = UnixMillis::now();
        let latency = move |(stamp, deliveries): (UnixMillis, usize)| {
            (Duration::from_millis(now.0.saturating_sub(stamp.0)), deliveries)
        };
        self.runs().map(latency)
    }

    pub(crate) fn clear(&mut self) {
        self.before.clear();
        self.last = Default::default();
    }

    fn runs(&self) -> impl Iterator<Item = (UnixMillis, usize)> {
        self.before.iter().copied().chain(Some(self.last)).filter(|(_, deliveries)| *deliveries > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamps(runs: &[(u64, usize)]) -> Stamps {
        let mut stamps = Stamps::default();
        runs.iter().for_each(|(stamp, deliveries)| stamps.add(UnixMillis(*stamp), *deliveries));
        stamps
    }

    #[test]
    fn deliveries_of_one_moment_are_one_run() {
        let mut swept = Stamps::default();
        let batch = stamps(&[(7, 1), (7, 1), (8, 1)]);
        swept.add_all(&batch, 3);
        swept.add_all(&stamps(&[(8, 2)]), 10);
        let runs: Vec<_> = swept.runs().collect();
        assert_eq!(runs, [(UnixMillis(7), 6), (UnixMillis(8), 23)]);
        swept.clear();
        assert_eq!(swept.runs().count(), 0);
        assert_eq!(Stamps::default().latencies().count(), 0);
    }

    #[test]
    fn a_clock_that_is_ahead_makes_no_negative_latency() {
        let ahead = UnixMillis(UnixMillis::now().0 + 60_000);
        let mut stamps = Stamps::default();
        stamps.add(ahead, 2);
        assert_eq!(stamps.latencies().collect::<Vec<_>>(), [(Duration::ZERO, 2)]);
    }

    #[test]
    fn what_is_older_than_the_stream_is_left_out() {
        let now = UnixMillis::now().0;
        let all = stamps(&[(now - 3_600_000, 5), (now - 100, 2), (now, 1)]);
        let young = all.no_older_than(Duration::from_secs(60));
        assert_eq!(young, stamps(&[(now - 100, 2), (now, 1)]));
        assert_eq!(all.no_older_than(Duration::MAX), all);
    }
}
