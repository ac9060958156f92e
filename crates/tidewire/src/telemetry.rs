//! Logs and metrics: the one place that installs them for the process.

use std::{io::IsTerminal, sync::Arc, time::Duration};

use anyhow::Context;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{
    log_filter::LogFilter,
    settings::{LogFormat, TelemetryArgs},
};

/// How often what histograms have gathered is put in order; between two scrapes they only grow.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Buckets of histograms, which all measure seconds: from a fast sync to a long wait.
const SECONDS_BUCKETS: [f64; 16] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

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
    process: Arc<Collector>,
}

impl Metrics {
    /// Installs the recorder that every service counts with.
    ///
    /// # Errors
    /// Where there is one already.
    pub(crate) fn install() -> anyhow::Result<Self> {
        let exporter = PrometheusBuilder::new()
            .set_buckets(&SECONDS_BUCKETS)
            .and_then(PrometheusBuilder::install_recorder)
            .context("metrics")?;
        let process = Collector::default();
        process.describe();
        metrics::describe_gauge!("tidewire_build_info", "1, with the version as its label");
        metrics::gauge!("tidewire_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1);
        Ok(Self { exporter, process: Arc::new(process) })
    }

    /// Everything counted up to now, in Prometheus' text format.
    pub(crate) fn render(&self) -> String {
        self.process.collect();
        self.exporter.render()
    }

    /// Puts in order what histograms gather, until it is told to stop.
    pub(crate) async fn keep_up(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut ticks = interval(UPKEEP_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.exporter.run_upkeep();
        }
        Ok(())
    }
}
