//! The hub's processes and its NATS servers, of this run's own.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use tidewire_testbed::{NatsCluster, NatsOptions, Process};

use crate::usage::Meter;

/// The stream that ingests make where nothing else is said.
const STREAM: &str = "TIDEWIRE";
/// More than a run writes, so that no event leaves while it is measured.
const RETENTION_BYTES: &str = "16GiB";
/// What each server says that it can hold: that and more, whatever is free on its disk. JetStream
/// would refuse a stream that may grow beyond three quarters of it.
const STORE_BYTES_MAX: u64 = 32 * 1024 * 1024 * 1024;

/// Starts a hub of one process, with these flags beside the usual ones.
pub(crate) fn standalone(flags: &[String]) -> anyhow::Result<Process> {
    start("standalone", &[flags, &["--page=false".to_owned()]].concat())
}

/// A program that is built beside this one, by its path from there.
pub(crate) fn program(name: &str) -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?.with_file_name(name);
    let path = program.display();
    ensure!(program.exists(), "{path} is not built: `loadtest --help` says how");
    Ok(program)
}

fn start(command: &str, flags: &[String]) -> anyhow::Result<Process> {
    let quiet = ["--log-filter", "warn,async_nats=error"].map(str::to_owned);
    let flags: Vec<_> = flags.iter().chain(&quiet).cloned().collect();
    Ok(Process::start(&program("tidewire")?, command, &flags))
}

/// Which NATS servers to measure on.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct NatsArgs {
    /// NATS servers; each holds the stream.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=5))]
    pub(crate) replicas: u8,
    /// Whether the servers sync every event before they acknowledge it, not every two minutes.
    #[arg(long)]
    pub(crate) sync_always: bool,
}

/// NATS servers, and what starts processes of the hub on them.
pub(crate) struct Cluster {
    nats: NatsCluster,
    args: NatsArgs,
}

impl Cluster {
    /// Starts the servers.
    pub(crate) async fn start(args: &NatsArgs) -> Self {
        let store_bytes_max = Some(STORE_BYTES_MAX);
        let sync_always = args.sync_always;
        let options = NatsOptions { sync_always, store_bytes_max, ..NatsOptions::default() };
        let nats = NatsCluster::start_with(usize::from(args.replicas), options).await;
        Self { nats, args: args.clone() }
    }

    /// What it is, in words.
    pub(crate) async fn describe(&self) -> String {
        let varz = self.nats.monitor(0, "/varz").await;
        let version = varz["version"].as_str().unwrap_or("of unknown version");
        let sync = if self.args.sync_always { "always" } else { "every two minutes" };
        format!("nats-server {version}, {} replicas, synced {sync}", self.args.replicas)
    }

    /// Starts an ingest, which makes the stream.
    pub(crate) fn ingest(&self) -> anyhow::Result<Process> {
        let replicas = self.args.replicas.to_string();
        let settings = [("replicas", replicas.as_str())];
        let settings = settings.map(|(name, value)| format!("--nats-{name}={value}"));
        let retention = format!("--retention-bytes={RETENTION_BYTES}");
        start("ingest", &[&settings[..], &[self.url_flag(), retention]].concat())
    }

    /// Starts an edge, with these flags beside the usual ones.
    pub(crate) fn edge(&self, flags: &[String]) -> anyhow::Result<Process> {
        start("edge", &[flags, &[self.url_flag(), "--page=false".to_owned()]].concat())
    }

    /// The servers' addresses, separated by commas.
    pub(crate) fn urls(&self) -> String {
        self.nats.urls().join(",")
    }

    fn url_flag(&self) -> String {
        format!("--nats-url={}", self.urls())
    }

    /// The subject of a topic whose tokens need no escape.
    pub(crate) fn subject(topic: &str) -> String {
        format!("tw.{STREAM}.{topic}")
    }

    /// Begins to observe the servers.
    pub(crate) fn meter(&self) -> anyhow::Result<Meter> {
        Meter::begin((0..self.nats.nodes()).map(|node| self.nats.pid(node)).collect())
    }

    /// How many events the stream holds, by the server that leads it.
    pub(crate) async fn stored(&self) -> anyhow::Result<u64> {
        let leader = self.nats.stream_leader(STREAM).await.context("a leader of the stream")?;
        let jsz = self.nats.monitor(leader, "/jsz?streams=true").await;
        let streams = jsz["account_details"][0]["stream_detail"].as_array();
        let stream = streams.into_iter().flatten().find(|stream| stream["name"] == STREAM);
        stream.and_then(|stream| stream["state"]["messages"].as_u64()).context("the stream's state")
    }
}
