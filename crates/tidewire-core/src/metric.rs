//! A metric, declared once: what it is called, what it means, and every series that it can have.
//!
//! What is told to a recorder, what begins at zero and what the documents say all come from the
//! declaration. So does how it is counted: there is no other way to a handle.

use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};

pub use metrics::Unit;

/// Upper bounds of what is measured in seconds: from a fast sync to a long wait.
pub const SECONDS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// What a metric does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Is what it is now.
    Gauge,
    /// Counts observations by size: each into the first bucket whose upper bound is not below it.
    Histogram(&'static [f64]),
}

/// A label, and every value that it can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// Its values. Nothing that somebody sends is among them.
    pub values: &'static [&'static str],
}

/// The declaration of a metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name, with the unit in it, as Prometheus has it.
    pub name: &'static str,
    /// What it does.
    pub kind: Kind,
    /// What its values are counted in.
    pub unit: Unit,
    /// What it means: a sentence, or the beginning of one.
    pub help: &'static str,
    /// By what its series differ: there is one for each combination of their values.
    pub labels: &'static [Label],
    /// Whether all its series are there from the start. The others come when there is something to
    /// tell, and the help says when that is.
    pub begins_at_zero: bool,
}

impl Metric {
    /// Declares what only grows.
    pub const fn counter(name: &'static str, unit: Unit, help: &'static str) -> Self {
        Self::of(Kind::Counter, name, unit, help)
    }

    /// Declares what is what it is now.
    pub const fn gauge(name: &'static str, unit: Unit, help: &'static str) -> Self {
        Self::of(Kind::Gauge, name, unit, help)
    }

    /// Declares what counts observations by size.
    pub const fn histogram(
        name: &'static str,
        unit: Unit,
        bounds: &'static [f64],
        help: &'static str,
    ) -> Self {
        Self::of(Kind::Histogram(bounds), name, unit, help)
    }

    const fn of(kind: Kind, name: &'static str, unit: Unit, help: &'static str) -> Self {
        Self { name, kind, unit, help, labels: &[], begins_at_zero: true }
    }

    /// The same with labels.
    #[must_use]
    pub const fn by(self, labels: &'static [Label]) -> Self {
        Self { labels, ..self }
    }

    /// The same, whose series come when there is something to tell.
    #[must_use]
    pub const fn when_known(self) -> Self {
        Self { begins_at_zero: false, ..self }
    }

    /// The counter of the series with these values of its labels, in their order.
    pub fn counter_of(&self, values: &[&'static str]) -> Counter {
        debug_assert!(matches!(self.kind, Kind::Counter), "{} is no counter", self.name);
        counter!(self.name, self.labelled(values))
    }

    /// The counters of all series of a metric with one label: to be looked up once, where one after the
    /// other is counted again and again.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let values = self.labels.iter().flat_map(|label| label.values);
        Counters(values.map(|value| (*value, self.counter_of(&[value]))).collect())
    }

    /// Counts one more of something.
    pub fn count(&self, values: &[&'static str]) {
        self.counter_of(values).increment(1);
    }

    /// The gauge of the series with these values of its labels, in their order.
    pub fn gauge_of(&self, values: &[&'static str]) -> Gauge {
        debug_assert!(matches!(self.kind, Kind::Gauge), "{} is no gauge", self.name);
        gauge!(self.name, self.labelled(values))
    }

    /// Sets the gauge that has no labels.
    pub fn set(&self, value: f64) {
        self.gauge_of(&[]).set(value);
    }

    /// The histogram of the series with these values of its labels, in their order.
    pub fn histogram_of(&self, values: &[&'static str]) -> Histogram {
        debug_assert!(matches!(self.kind, Kind::Histogram(_)), "{} is no histogram", self.name);
        histogram!(self.name, self.labelled(values))
    }

    /// Every combination of its labels' values.
    #[must_use]
    pub fn series(&self) -> Vec<Vec<&'static str>> {
        self.labels.iter().fold(vec![Vec::new()], |series, label| {
            let with = |values: &Vec<&'static str>| {
                let values = values.clone();
                label.values.iter().map(move |value| [&*values, &[*value]].concat())
            };
            series.iter().flat_map(with).collect()
        })
    }

    fn labelled(&self, values: &[&'static str]) -> Vec<metrics::Label> {
        debug_assert_eq!(self.labels.len(), values.len(), "labels of {}", self.name);
        let labelled = self.labels.iter().zip(values).map(|(label, value)| {
            debug_assert!(label.values.contains(value), "{} has no {value:?}", self.name);
            metrics::Label::from_static_parts(label.name, value)
        });
        labelled.collect()
    }

    fn describe(&self) {
        match self.kind {
            Kind::Counter => describe_counter!(self.name, self.unit, self.help),
            Kind::Gauge => describe_gauge!(self.name, self.unit, self.help),
            Kind::Histogram(_) => describe_histogram!(self.name, self.unit, self.help),
        }
    }

    /// Shows every series: one that is absent until it first happens hides that first time from a
    /// rate.
    fn begin(&self) {
        for values in self.series() {
            match self.kind {
                Kind::Counter => self.counter_of(&values).increment(0),
                Kind::Gauge => self.gauge_of(&values).set(0.0),
                // It is there once it is asked for.
                Kind::Histogram(_) => drop(self.histogram_of(&values)),
            }
        }
    }
}

/// Tells the recorder what metrics mean, and shows those that begin at zero. Once, after the recorder
/// is installed.
pub fn describe(metrics: &[Metric]) {
    for metric in metrics {
        metric.describe();
        if metric.begins_at_zero {
            metric.begin();
        }
    }
}

/// Declares metrics: a constant for each, and `METRICS`, which is all of them.
#[macro_export]
macro_rules! metrics {
    ($($constant:ident = $metric:expr;)*) => {
        $(pub(crate) const $constant: $crate::Metric = $metric;)*

        /// Everything that is counted here.
        pub const METRICS: &[$crate::Metric] = &[$($constant),*];
    };
}

/// Counters by their label's value.
#[derive(Debug)]
pub struct Counters(Vec<(&'static str, Counter)>);

impl Counters {
    /// Counts one more of something.
    pub fn count(&self, value: &'static str) {
        let found = self.0.iter().find(|(of, _)| *of == value);
        debug_assert!(found.is_some(), "there is no {value:?} among {:?}", self.0);
        if let Some((_, counter)) = found {
            counter.increment(1);
        }
    }
}

/// Raises a gauge by one for as long as it lives.
#[derive(Debug)]
pub struct Raised(Gauge);

impl Raised {
    /// Raises it.
    #[must_use]
    pub fn new(gauge: Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Metric = Metric::gauge("plain", Unit::Count, "");
    const LABELLED: Metric = Metric::counter("labelled", Unit::Count, "").by(&[
        Label { name: "way", values: &["in", "out"] },
        Label { name: "end", values: &["good", "bad", "none"] },
    ]);

    #[test]
    fn there_is_a_series_for_each_combination_of_values() {
        assert_eq!(PLAIN.series(), [Vec::<&str>::new()]);
        let series = LABELLED.series();
        assert_eq!(series.len(), 6);
        assert_eq!(series[1], ["in", "bad"]);
        assert_eq!(series[5], ["out", "none"]);
    }

    #[test]
    #[should_panic(expected = "labelled has no \"sideways\"")]
    fn a_value_that_is_not_declared_is_a_mistake() {
        let _counter = LABELLED.counter_of(&["sideways", "good"]);
    }
}
