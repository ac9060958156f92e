//! Times of many receipts, and what is said of them.

use std::{fmt, time::Duration};

/// Times in the order in which they were taken.
#[derive(Debug, Default)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn take(&mut self, latency: Duration) {
        self.0.push(latency);
    }

    /// The time that this share of all, in percent, does not exceed.
    fn percentile(&mut self, percent: usize) -> Duration {
        self.0.sort_unstable();
        let last = self.0.len().saturating_sub(1);
        self.0.get(last * percent / 100).copied().unwrap_or_default()
    }

    /// The median and the 99th percentile, as columns.
    pub(crate) fn columns(mut self) -> impl fmt::Display {
        let [p50, p99] = [50, 99].map(|p| self.percentile(p).as_secs_f64() * 1e3);
        format!("{p50:>9.2} {p99:>9.2}")
    }
}
