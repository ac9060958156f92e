//! The last minute of what only grows, so that rates and quantiles can be told.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::{quantiles::Observed, totals::Totals};

/// Of how long quantiles speak.
const QUANTILES_OVER: Duration = Duration::from_secs(60);
/// Of how long rates speak at least: a shorter time would show the work's own rhythm.
const RATES_OVER_MIN: Duration = Duration::from_millis(900);

/// Looks at the totals, oldest first; about a minute of them.
#[derive(Debug, Default)]
pub(crate) struct Past(VecDeque<(Instant, Totals)>);

/// What happened until now, as rates and quantiles need it.
#[derive(Debug, Default)]
pub(crate) struct Course {
    then: Totals,
    now: Totals,
    /// Between those two.
    seconds: f64,
    /// The latencies of the last minute …
    pub(crate) latency: Observed,
    /// … or of so many seconds, where there have not been that many.
    pub(crate) latency_seconds: f64,
}

impl Past {
    /// Takes a look, and lets those go that are older than a minute, but for the first of them.
    pub(crate) fn note(&mut self, now: Instant, totals: Totals) {
        self.0.push_back((now, totals));
        while self.0.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= QUANTILES_OVER) {
            self.0.pop_front();
        }
    }

    /// What happened up to this look, which is not kept.
    pub(crate) fn until(&self, now: Instant, totals: &Totals) -> Course {
        let age = |at: &Instant| now.duration_since(*at);
        let newest = self.0.iter().rev().find(|(at, _)| age(at) >= RATES_OVER_MIN);
        let (Some((then_at, then)), Some((first_at, first))) = (newest, self.0.front()) else {
            return Course::default();
        };
        Course {
            then: then.clone(),
            now: totals.clone(),
            seconds: age(then_at).as_secs_f64(),
            latency: Observed::between(&first.latency, &totals.latency),
            latency_seconds: age(first_at).as_secs_f64(),
        }
    }
}

impl Course {
    /// How much a total grew in a second; `None` where it is not there, or has not been looked at
    /// before.
    pub(crate) fn rate(&self, total: impl Fn(&Totals) -> Option<f64>) -> Option<f64> {
        let (then, now) = (total(&self.then)?, total(&self.now)?);
        Some(((now - then) / self.seconds).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(opened: f64) -> Totals {
        let latency = vec![(1.0, opened), (f64::INFINITY, opened)];
        Totals { opened: Some(opened), latency, ..Totals::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn rates_are_of_the_last_second_and_quantiles_of_the_last_minute() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut past = Past::default();
        assert_eq!(past.until(start, &totals(1.0)).rate(|of| of.opened), None);
        for second in 0..100_u32 {
            past.note(at(second.into()), totals(f64::from(second * 3)));
        }
        assert_eq!(past.0.len(), 61, "no more than a minute is kept");
        let course = past.until(at(100), &totals(307.0));
        assert_eq!(course.rate(|of| of.opened), Some(10.0));
        assert_eq!(course.rate(|of| of.closed), None);
        assert_eq!(course.latency_seconds, 61.0);
        assert_eq!(course.latency.count(), 307.0 - 39.0 * 3.0);
    }

    #[tokio::test(start_paused = true)]
    async fn looks_that_come_seldom_make_slower_rates_not_wrong_ones() {
        let start = Instant::now();
        let mut past = Past::default();
        past.note(start, totals(0.0));
        past.note(start + Duration::from_secs(5), totals(50.0));
        let now = start + Duration::from_millis(5_300);
        let course = past.until(now, &totals(53.0));
        assert_eq!(course.rate(|of| of.opened), Some(10.0));
    }
}
