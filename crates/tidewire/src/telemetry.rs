//! Logs and metrics: the one place that installs them for the process.

use std::{io::IsTerminal, sync::Arc};

use anyhow::Context;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tidewire_core::metric::Kind;
use tracing_subscriber::{Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{
    log_filter::LogFilter,
    reference,
    settings::{LogFormat, TelemetryArgs},
};

pub(crate) mod process_metrics;
mod recorder;
mod tallies;

use process_metrics::Looked;
use recorder::Telling;
use tallies::Tallies;

/// Sends logs to standard error: in colour where somebody looks, as JSON where a program reads them.
/// What is returned changes which.
pub(crate) fn log(args: &TelemetryArgs) -> anyhow::Result<LogFilter> {
    let is_terminal = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match args.log_format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Auto if !is_terminal => lines.json().flatten_event(true).boxed(),
        LogFormat::Auto | LogFormat::Text => lines.with_ansi(is_terminal).boxed(),
    };
    let (layer, filter) = LogFilter::new(&args.log_filter)
        .map_err(|error| anyhow::anyhow!("the log filter: {error}"))?;
    tracing_subscriber::registry()
        .with(layer)
        .with(lines)
        .try_init()
        .map_err(|error| anyhow::anyhow!("logging: {error}"))?;
    Ok(filter)
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
