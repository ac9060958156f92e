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

/// What has been counted, for whoever scrapes it; nothing where nothing is. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics(Option<Counted>);

#[derive(Clone)]
struct Counted {
    exporter: PrometheusHandle,
    tallies: Arc<Tallies>,
    looked: Arc<Looked>,
}

impl Metrics {
    /// Installs the recorder that every service counts with, where anything is to be counted. What
    /// counts without one does nothing.
    ///
    /// # Errors
    /// Where there is one already.
    pub(crate) fn install(is_wanted: bool) -> anyhow::Result<Self> {
        if !is_wanted {
            return Ok(Self(None));
        }
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
        let looked = Arc::new(Looked::begin());
        Ok(Self(Some(Counted { exporter: handle, tallies, looked })))
    }

    /// Everything counted up to now, in Prometheus' text format.
    pub(crate) fn render(&self) -> Option<String> {
        let Counted { exporter, tallies, looked } = self.0.as_ref()?;
        looked.look();
        let mut text = exporter.render();
        tallies.render(&mut text);
        Some(text)
    }
}
