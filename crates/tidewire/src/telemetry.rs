//! Logs and metrics: the one place that installs them for the process.

use std::{io::IsTerminal, sync::Arc};

use anyhow::Context;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tidewire_core::metric::Kind;
use tracing_subscriber::EnvFilter;

use crate::{reference, settings::TelemetryArgs};

pub(crate) mod process_metrics;
mod recorder;
mod tallies;

use process_metrics::Looked;
use recorder::Telling;
use tallies::Tallies;

/// Sends logs to standard error, in colour where somebody looks.
pub(crate) fn log(args: &TelemetryArgs) -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::builder().parse(&args.log_filter).context("the log filter")?)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init()
        .map_err(|error| anyhow::anyhow!("logging: {error}"))
}

/// What has been counted, for whoever scrapes it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics {
    exporter: PrometheusHandle,
    tallies: Arc<Tallies>,
    looked: Arc<Looked>,
}

impl Metrics {
    /// Installs the recorder that every service counts with.
    ///
    /// # Errors
    /// Where there is one already.
    pub(crate) fn install() -> anyhow::Result<Self> {
        let tallies = Arc::new(Tallies::default());
        for metric in reference::metrics() {
            if let Kind::Histogram(bounds) = metric.kind {
                tallies.bound(metric.name, bounds);
            }
        }
        let exporter = PrometheusBuilder::new().build_recorder();
        let handle = exporter.handle();
        let telling = Telling { exporter, tallies: Arc::clone(&tallies) };
        metrics::set_global_recorder(telling).context("metrics")?;
        Ok(Self { exporter: handle, tallies, looked: Arc::new(Looked::begin()) })
    }

    /// Everything counted up to now, in Prometheus' text format.
    pub(crate) fn render(&self) -> String {
        self.looked.look();
        let mut text = self.exporter.render();
        self.tallies.render(&mut text);
        text
    }
}
