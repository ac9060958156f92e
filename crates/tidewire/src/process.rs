//! The life of a process that serves, whichever role it has.

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, anyhow};
use sysinfo::System;
use tokio::{
    net::TcpListener,
    time::{interval, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    backbone::OpenBackbone,
    leaving::Leaving,
    listeners::{Addresses, Listeners, Urls},
    log_filter::LogFilter,
    open_files, operations, output,
    readiness::Readiness,
    ready_file::ReadyFile,
    running::{Given, Running},
    services::Services,
    settings::ProcessArgs,
    shutdown::Shutdown,
    signals::Signals,
    status::Status,
    telemetry::Metrics,
    traces::Traces,
    waiting::Waiting,
};

/// How long the operations port may take to end, after everything else.
pub(crate) const OPERATIONS_END_MAX: Duration = Duration::from_secs(1);
/// How often a starting process looks whether it is ready.
const READY_LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// What a process does: where it listens, on which log it stands, what it serves, what it says.
pub(crate) trait Role {
    /// What it is called, for people.
    fn name(&self) -> &'static str;

    /// The settings that belong to the process.
    fn process(&self) -> &ProcessArgs;

    /// The ports, which are bound before anything else is done.
    fn addresses(&self) -> Addresses;

    /// How long a publish may wait for its receipt; nothing where nothing is published.
    fn publish_timeout(&self) -> Duration;

    /// Names and explains the metrics of what it is made of.
    fn describe_metrics(&self);

    /// Opens the backbone, which is closed after everything that is served has ended.
    async fn open(&self) -> anyhow::Result<OpenBackbone>;

    /// Begins to serve, at once: what is not ready yet says so.
    ///
    /// # Errors
    /// Where what a setting names cannot be used.
    fn serve(&self, given: Given) -> anyhow::Result<Running>;

    /// What to look at where the backbone cannot be used yet.
    fn where_to_look(&self) -> String;

    /// What people are told once it is ready.
    fn start_message(&self, program: &str, urls: &Urls) -> String;
}

/// What tells this process apart from others of its kind, for people: its host and its id.
pub(crate) fn instance() -> String {
    let host = System::host_name().unwrap_or_else(|_| "unknown".into());
    format!("{host}-{}", std::process::id())
}

/// Plays a role until a signal ends it.
pub(crate) async fn run(role: impl Role, log_filter: LogFilter) -> anyhow::Result<ExitCode> {
    let signals = Signals::catch().context("signals")?;
    let shutdown = Shutdown::new();
    let lived = live(&role, shutdown.clone(), log_filter);
    match shutdown.while_living(signals, Box::pin(lived)).await {
        Ok(ended) => ended.map(|()| ExitCode::SUCCESS),
        Err(code) => Ok(code),
    }
}

/// The whole life of the process. The operations port is there first and goes last.
async fn live(role: &impl Role, shutdown: Shutdown, log_filter: LogFilter) -> anyhow::Result<()> {
    info!(role = role.name(), version = env!("CARGO_PKG_VERSION"), "starting");
    let listeners = Listeners::bind(role.addresses()).await?;
    let urls = listeners.urls()?;
    let Listeners { http, grpc, operations, .. } = listeners;
    if let Some(path) = &role.process().ready_file {
        ReadyFile::remove_stale(path)?;
    }
    let open_files_max = open_files::raise_limit();
    let metrics = Metrics::install(role.process().metrics)?;
    role.describe_metrics();
    let traces = Traces::begin(&role.process().traces, role.name())?;

    let readiness = Arc::new(Readiness::new(shutdown.asked().clone()));
    let status = Status::new(role.name(), Arc::clone(&readiness), metrics.clone());
    let last = CancellationToken::new();
    let mut around = Services::default();
    around.start("the status page", status.clone().keep_up(last.clone()));
    around.start("the operations port", {
        let (readiness, status, last) = (Arc::clone(&readiness), status.clone(), last.clone());
        operations::serve(operations, readiness, metrics, status, log_filter, last)
    });
    let life = Life { role, urls, open_files_max, readiness, status, shutdown, traces: &traces };
    let outcome = life.on_a_backbone(http, grpc).await;
    traces.flush().await;
    info!("stopped");
    last.cancel();
    outcome.and(around.all_ended(sleep(OPERATIONS_END_MAX)).await)
}

struct Life<'a, R> {
    role: &'a R,
    urls: Urls,
    open_files_max: u64,
    readiness: Arc<Readiness>,
    status: Status,
    shutdown: Shutdown,
    traces: &'a Traces,
}

impl<R: Role> Life<'_, R> {
    /// Opens the backbone, serves on it until shutdown or a failure, and closes it.
    async fn on_a_backbone(
        self,
        http: TcpListener,
        grpc: Option<TcpListener>,
    ) -> anyhow::Result<()> {
        let open = self.role.open().await?;
        let outcome = self.serve_on(&open, http, grpc).await;
        let closed = open.close().await;
        outcome.and(closed)
    }

    async fn serve_on(
        &self,
        open: &OpenBackbone,
        http: TcpListener,
        grpc: Option<TcpListener>,
    ) -> anyhow::Result<()> {
        let (publishing_ends, all_ends) = (CancellationToken::new(), CancellationToken::new());
        let Running { mut services, mut checks, edge } = self.role.serve(Given {
            http,
            grpc,
            backbone: open.backbone(),
            relay: open.relay(),
            publishing_ends: publishing_ends.clone(),
            all_ends: all_ends.clone(),
            open_files_max: self.open_files_max,
            traces: self.traces.are_on(),
        })?;
        if let Some(edge) = &edge {
            self.status.ask(edge);
        }
        let backbone = open.clone();
        checks.insert(0, Box::new(move || backbone.trouble()));
        self.readiness.started(checks);
        let outcome = tokio::select! {
            biased;
            outcome = self.be_ready(open) => outcome,
            ended = services.one_ended() => {
                Err(ended.map_or_else(|failed| failed, |name| anyhow!("{name} ended by itself")))
            }
            failure = open.failed() => Err(failure),
        };
        if outcome.is_err() {
            self.shutdown.hurry();
        }
        let leaving = Leaving {
            delay: self.role.process().drain_delay,
            publish_timeout: self.role.publish_timeout(),
            flush_max: self.traces.flush_max(),
            edge: edge.as_deref(),
            shutdown: &self.shutdown,
            publishing_ends,
            all_ends,
        };
        outcome.and(leaving.run(open, services).await)
    }

    /// Waits until everything is ready, says so, and goes on being ready until it is asked to
    /// leave. Where it never was, nobody has work for it, and there is nothing to wait for.
    async fn be_ready(&self, open: &OpenBackbone) -> anyhow::Result<()> {
        let mut looks = interval(READY_LOOK_INTERVAL);
        let mut waiting = Waiting::begin();
        while self.shutdown.asked().run_until_cancelled(looks.tick()).await.is_some() {
            let missing = self.readiness.missing();
            if missing.is_empty() {
                let _ready_file = self.announce()?;
                self.shutdown.asked().cancelled().await;
                return Ok(());
            }
            if waiting.is_worth_a_word(&missing) {
                let missing = missing.join("; ");
                match open.trouble() {
                    Some(_) => warn!(missing, "not ready yet: {}", self.role.where_to_look()),
                    None => info!(missing, "not ready yet"),
                }
            }
        }
        self.shutdown.hurry();
        Ok(())
    }

    /// Tells programs, then people: who reads the message finds the file.
    fn announce(&self) -> anyhow::Result<Option<ReadyFile>> {
        let path = self.role.process().ready_file.clone();
        let ready_file = path.map(|path| ReadyFile::write(path, &self.urls)).transpose()?;
        let program = std::env::args().next().unwrap_or_else(|| "tidewire".into());
        // Whoever closed standard output does not want to know.
        let _unread = output::line(self.role.start_message(&program, &self.urls));
        info!(http = self.urls.http, grpc = self.urls.grpc, "ready");
        Ok(ready_file)
    }
}
