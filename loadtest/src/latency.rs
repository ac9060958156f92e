//! Times of many receipts, and what is said of them.

use std::{fmt, time::Duration};

/// Times in the order in which they were taken.
#[derive(Debug, Default)]
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn take(&mut self, latency: Duration) {
        self.0.push(latency);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn append(&mut self, mut others: Self) {
        self.0.append(&mut others.0);
    }

    /// The time that this share of all, in percent, does not exceed.
    pub(crate) fn percentile(&mut self, percent: usize) -> Duration {
        self.0.sort_unstable();
        let last = self.0.len().saturating_sub(1);
        self.0.get(last * percent / 100).copied().unwrap_or_default()
    }

    /// The median and the 99th percentile, as columns.
    pub(crate) fn columns(mut self) -> impl fmt::Display {
        milliseconds([50, 99].map(|percent| self.percentile(percent)))
    }
}

/// A median and a 99th percentile in milliseconds, as columns.
pub(crate) fn milliseconds(times: [Duration; 2]) -> String {
    let [p50, p99] = times.map(|time| time.as_secs_f64() * 1e3);
    format!("{p50:>9.2} {p99:>9.2}")
}

/// The one in the middle; of none, NaN.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
