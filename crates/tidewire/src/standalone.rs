//! `tidewire standalone`: a log, an ingest and an edge in one process.

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context;
use tidewire_core::Backbone;
use tidewire_edge::Edge;
use tidewire_ingest::Ingest;
use tidewire_log::Log;
use tokio::{
    net::TcpListener,
    time::{interval, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{
    announcement::{ReadyFile, start_message},
    listeners::{Listeners, Urls},
    open_files, operations, output,
    readiness::Readiness,
    services::Services,
    settings::StandaloneArgs,
    signals::Signals,
    telemetry::Metrics,
};

// The end takes 10 s at most, which is the sum of these three, and well within the 30 s that
// Kubernetes waits between SIGTERM and SIGKILL.

/// How long streams and publishes may take to end, once asked to.
const SERVICES_END_MAX: Duration = Duration::from_secs(7);
/// How long the log may take to close after them.
const LOG_CLOSE_MAX: Duration = Duration::from_secs(2);
/// How long the operations port may take to end, after everything else.
const OPERATIONS_END_MAX: Duration = Duration::from_secs(1);
/// How often a starting hub looks whether it is ready.
const READY_LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Runs a hub until a signal ends it.
pub(crate) async fn run(args: StandaloneArgs) -> anyhow::Result<ExitCode> {
    let signals = Signals::catch().context("signals")?;
    let shutdown = CancellationToken::new();
    let served = serve(&args, shutdown.clone());
    match signals.while_doing(&shutdown, Box::pin(served)).await {
        Ok(ended) => ended.map(|()| ExitCode::SUCCESS),
        Err(code) => Ok(code),
    }
}

/// The whole life of the process. The operations port is there first and goes last.
async fn serve(args: &StandaloneArgs, shutdown: CancellationToken) -> anyhow::Result<()> {
    let Listeners { http, grpc, operations } = Listeners::bind(&args.listen).await?;
    let urls = Urls::of(&http, &grpc, &operations)?;
    if let Some(path) = &args.process.ready_file {
        ReadyFile::remove_stale(path)?;
    }
    let open_files_max = open_files::raise_limit();
    let metrics = Metrics::install()?;
    tidewire_log::metrics::describe();
    tidewire_ingest::describe();
    tidewire_edge::metrics::describe();

    let readiness = Arc::new(Readiness::new(shutdown.clone()));
    let last = CancellationToken::new();
    let mut around = Services::default();
    around.start("the metrics' upkeep", metrics.clone().keep_up(last.clone()));
    around.start("the operations port", {
        operations::serve(operations, Arc::clone(&readiness), metrics, last.clone())
    });
    let outcome = Hub { args, urls, open_files_max, readiness, shutdown }.live(http, grpc).await;
    last.cancel();
    outcome.and(around.all_ended(OPERATIONS_END_MAX).await)
}

struct Hub<'a> {
    args: &'a StandaloneArgs,
    urls: Urls,
    open_files_max: u64,
    readiness: Arc<Readiness>,
    shutdown: CancellationToken,
}

impl Hub<'_> {
    /// Opens the log, serves on it until shutdown or a failure, and closes it.
    async fn live(self, http: TcpListener, grpc: TcpListener) -> anyhow::Result<()> {
        let config = self.args.log.config();
        let opening = Log::open(config).await;
        let log = Arc::new(opening.with_context(|| {
            format!("cannot open the log in '{}' (--data-dir)", self.args.log.data_dir.display())
        })?);
        let outcome = self.serve_on(&log, http, grpc).await;
        let closed = timeout(LOG_CLOSE_MAX, log.close())
            .await
            .with_context(|| format!("the log did not close within {} s", LOG_CLOSE_MAX.as_secs()));
        info!("stopped");
        outcome.and(closed)
    }

    async fn serve_on(
        &self,
        log: &Arc<Log>,
        http: TcpListener,
        grpc: TcpListener,
    ) -> anyhow::Result<()> {
        let mut services = self.start(log, http, grpc);
        let outcome = tokio::select! {
            biased;
            outcome = self.be_ready() => outcome,
            ended = services.one_ended() => match ended {
                Ok(name) => Err(anyhow::anyhow!("{name} ended by itself")),
                Err(failed) => Err(failed),
            },
        };
        self.shutdown.cancel();
        info!("stopping: ending streams, finishing what was accepted");
        outcome.and(services.all_ended(SERVICES_END_MAX).await)
    }

    fn start(&self, log: &Arc<Log>, http: TcpListener, grpc: TcpListener) -> Services {
        let backbone: Arc<dyn Backbone> = Arc::clone(log) as _;
        let ingest =
            Ingest::new(self.args.ingest.config(), Arc::clone(&backbone), self.shutdown.clone());
        let mut edge = self.args.edge.config();
        edge.connections_max =
            open_files::connections_max(edge.connections_max, self.open_files_max);
        let edge = Arc::new(Edge::start(edge, backbone, self.shutdown.clone()));
        let public = edge.router().merge(ingest.http_router());

        let mut services = Services::default();
        services.start("the HTTP port", {
            let edge = Arc::clone(&edge);
            async move {
                let served = edge.serve(http, public).await;
                edge.stopped().await;
                served
            }
        });
        services.start("the gRPC port", async move { ingest.serve_grpc(grpc).await });

        let log = Arc::clone(log);
        self.readiness.started(vec![
            Box::new(move || log.failure().map(|reason| format!("log failed: {reason}"))),
            Box::new(move || edge.trouble().map(|reason| format!("edge: {reason}"))),
        ]);
        services
    }

    /// Waits until everything is ready, says so, and goes on being ready until shutdown.
    async fn be_ready(&self) -> anyhow::Result<()> {
        let mut looks = interval(READY_LOOK_INTERVAL);
        while !self.readiness.missing().is_empty() {
            if self.shutdown.run_until_cancelled(looks.tick()).await.is_none() {
                return Ok(());
            }
        }
        let _ready_file = self.announce()?;
        self.shutdown.cancelled().await;
        Ok(())
    }

    /// Tells programs, then people: who reads the message finds the file.
    fn announce(&self) -> anyhow::Result<Option<ReadyFile>> {
        let path = self.args.process.ready_file.clone();
        let ready_file = path.map(|path| ReadyFile::write(path, &self.urls)).transpose()?;
        let data_dir = self.args.log.data_dir.display().to_string();
        // Whoever closed standard output does not want to know.
        let program = std::env::args().next().unwrap_or_else(|| "tidewire".into());
        let message = start_message(&program, &self.urls, &data_dir, self.args.edge.page);
        let _unread = output::line(message);
        info!(http = self.urls.http, grpc = self.urls.grpc, "ready");
        Ok(ready_file)
    }
}
