//! What the process counts by itself: histograms, of which only the buckets' counts are kept, and
//! counters of fractions. See decision 17.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use metrics::{GaugeFn, HistogramFn, Key};
use parking_lot::Mutex;
use tidewire_core::metric::SECONDS;

/// All of them, by name.
#[derive(Debug, Default)]
pub(crate) struct Tallies {
    families: Mutex<BTreeMap<String, Family>>,
}

/// The series of one name.
#[derive(Debug, Default)]
struct Family {
    help: String,
    /// Upper bounds of a histogram's buckets.
    bounds: Option<&'static [f64]>,
    /// By their labels, as they are written.
    histograms: BTreeMap<String, Arc<Buckets>>,
    fractions: BTreeMap<String, Arc<Fraction>>,
}

impl Tallies {
    /// Gives the histogram of a name its buckets, before it is asked for.
    pub(crate) fn bound(&self, name: &str, bounds: &'static [f64]) {
        self.families.lock().entry(name.to_owned()).or_default().bounds = Some(bounds);
    }

    pub(crate) fn describe(&self, name: &str, help: &str) {
        help.clone_into(&mut self.families.lock().entry(name.to_owned()).or_default().help);
    }

    pub(crate) fn histogram(&self, key: &Key) -> Arc<Buckets> {
        let mut families = self.families.lock();
        let Family { bounds, histograms, .. } = families.entry(key.name().to_owned()).or_default();
        let buckets = || Arc::new(Buckets::new(bounds.unwrap_or(SECONDS)));
        Arc::clone(histograms.entry(labels_of(key)).or_insert_with(buckets))
    }

    /// The counter of fractions, which is told as a gauge is.
    pub(crate) fn fraction(&self, key: &Key) -> Arc<Fraction> {
        let mut families = self.families.lock();
        let Family { fractions, .. } = families.entry(key.name().to_owned()).or_default();
        Arc::clone(fractions.entry(labels_of(key)).or_default())
    }

    /// Writes them in Prometheus' text format.
    pub(crate) fn render(&self, text: &mut String) {
        for (name, family) in &*self.families.lock() {
            // Writing to memory does not fail.
            let _written = family.render(name, text);
        }
    }
}

/// `a="1",b="2"`. No declared value needs to be escaped.
fn labels_of(key: &Key) -> String {
    let labels = key.labels().map(|label| format!("{}=\"{}\"", label.key(), label.value()));
    labels.collect::<Vec<_>>().join(",")
}

impl Family {
    fn render(&self, name: &str, text: &mut String) -> fmt::Result {
        let kind = if self.fractions.is_empty() { "histogram" } else { "counter" };
        if self.fractions.is_empty() && self.histograms.is_empty() {
            return Ok(());
        }
        writeln!(text, "# HELP {name} {}", self.help)?;
        writeln!(text, "# TYPE {name} {kind}")?;
        for (labels, fraction) in &self.fractions {
            writeln!(text, "{name}{} {}", braced(labels), fraction.value())?;
        }
        for (labels, buckets) in &self.histograms {
            buckets.render(name, labels, text)?;
        }
        text.write_char('\n')
    }
}

fn braced(labels: &str) -> String {
    if labels.is_empty() { String::new() } else { format!("{{{labels}}}") }
}

/// A histogram: how many observations fell into each bucket, and their sum.
#[derive(Debug)]
pub(crate) struct Buckets {
    bounds: &'static [f64],
    /// One for each bound, and one for what is beyond the last.
    counts: Box<[AtomicU64]>,
    sum: Fraction,
}

impl Buckets {
    fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: Fraction::default() }
    }

    fn render(&self, name: &str, labels: &str, text: &mut String) -> fmt::Result {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut total = 0;
        let bounds = self.bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        for (bound, count) in bounds.zip(&self.counts) {
            total += count.load(Relaxed);
            writeln!(text, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {total}")?;
        }
        let braced = braced(labels);
        writeln!(text, "{name}_sum{braced} {}", self.sum.value())?;
        // Not counted apart, so that it is never other than the last bucket's.
        writeln!(text, "{name}_count{braced} {total}")
    }
}

impl HistogramFn for Buckets {
    fn record(&self, value: f64) {
        self.record_many(value, 1);
    }

    fn record_many(&self, value: f64, count: usize) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(count as u64, Relaxed);
        self.sum.change(|sum| sum + value * count as f64);
    }
}

/// A number that several threads move.
#[derive(Debug, Default)]
pub(crate) struct Fraction {
    /// Of an `f64`.
    bits: AtomicU64,
}

impl Fraction {
    fn value(&self) -> f64 {
        f64::from_bits(self.bits.load(Relaxed))
    }

    fn change(&self, change: impl Fn(f64) -> f64) {
        let changed = |bits| Some(change(f64::from_bits(bits)).to_bits());
        // It goes on until nobody has come between.
        let _before = self.bits.fetch_update(Relaxed, Relaxed, changed);
    }
}

impl GaugeFn for Fraction {
    fn increment(&self, value: f64) {
        self.change(|held| held + value);
    }

    fn decrement(&self, value: f64) {
        self.change(|held| held - value);
    }

    fn set(&self, value: f64) {
        self.bits.store(value.to_bits(), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: &[f64] = &[0.0, 0.001, 0.5];

    fn rendered(tallies: &Tallies) -> String {
        let mut text = String::new();
        tallies.render(&mut text);
        text
    }

    #[test]
    fn an_observation_falls_into_the_first_bucket_whose_bound_is_not_below_it() {
        let tallies = Tallies::default();
        tallies.bound("a_seconds", BOUNDS);
        tallies.describe("a_seconds", "How long");
        let buckets = tallies.histogram(&Key::from_name("a_seconds"));
        buckets.record_many(0.0, 2);
        buckets.record(0.001);
        buckets.record(0.25);
        buckets.record_many(0.5, 3);
        buckets.record(0.75);
        assert_eq!(
            rendered(&tallies),
            "# HELP a_seconds How long\n\
             # TYPE a_seconds histogram\n\
             a_seconds_bucket{le=\"0\"} 2\n\
             a_seconds_bucket{le=\"0.001\"} 3\n\
             a_seconds_bucket{le=\"0.5\"} 7\n\
             a_seconds_bucket{le=\"+Inf\"} 8\n\
             a_seconds_sum 2.501\n\
             a_seconds_count 8\n\n"
        );
    }

    #[test]
    fn series_are_told_apart_by_their_labels_and_a_name_that_nobody_asked_for_is_not_shown() {
        let tallies = Tallies::default();
        tallies.describe("nobody_seconds", "Nothing");
        tallies.bound("b_seconds", &[1.0]);
        let key = |way| Key::from_parts("b_seconds", vec![metrics::Label::new("way", way)]);
        tallies.histogram(&key("in")).record(2.0);
        tallies.histogram(&key("out"));
        tallies.histogram(&key("in")).record(0.5);
        tallies.fraction(&Key::from_name("c_seconds_total")).set(1.5);
        assert_eq!(
            rendered(&tallies),
            "# HELP b_seconds \n\
             # TYPE b_seconds histogram\n\
             b_seconds_bucket{way=\"in\",le=\"1\"} 1\n\
             b_seconds_bucket{way=\"in\",le=\"+Inf\"} 2\n\
             b_seconds_sum{way=\"in\"} 2.5\n\
             b_seconds_count{way=\"in\"} 2\n\
             b_seconds_bucket{way=\"out\",le=\"1\"} 0\n\
             b_seconds_bucket{way=\"out\",le=\"+Inf\"} 0\n\
             b_seconds_sum{way=\"out\"} 0\n\
             b_seconds_count{way=\"out\"} 0\n\n\
             # HELP c_seconds_total \n\
             # TYPE c_seconds_total counter\n\
             c_seconds_total 1.5\n\n"
        );
    }
}
