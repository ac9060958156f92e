//! Where everything is counted that the services count: the exporter's counters and gauges, and the
//! process' own tallies.

use std::sync::Arc;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::PrometheusRecorder;

use super::tallies::Tallies;

/// Of a name that ends so, a gauge is a counter of fractions: the façade's counters are whole, and
/// seconds of a processor are not.
const COUNTER_SUFFIX: &str = "_total";

pub(crate) struct Telling {
    pub(crate) exporter: PrometheusRecorder,
    pub(crate) tallies: Arc<Tallies>,
}

impl Recorder for Telling {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, help: SharedString) {
        self.exporter.describe_counter(key, unit, help);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, help: SharedString) {
        if key.as_str().ends_with(COUNTER_SUFFIX) {
            self.tallies.describe(key.as_str(), &help);
        } else {
            self.exporter.describe_gauge(key, unit, help);
        }
    }

    fn describe_histogram(&self, key: KeyName, _: Option<Unit>, help: SharedString) {
        self.tallies.describe(key.as_str(), &help);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        self.exporter.register_counter(key, metadata)
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        if key.name().ends_with(COUNTER_SUFFIX) {
            Gauge::from_arc(self.tallies.fraction(key))
        } else {
            self.exporter.register_gauge(key, metadata)
        }
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.tallies.histogram(key))
    }
}
