//! A hub of a story's own: real processes on free ports of 127.0.0.1. Dropping it ends it.
//!
//! `HUB_ON` says what keeps its events, so that the same stories are told on each: `embedded` (the
//! default: one process with its own log), `nats` (an ingest and an edge over one NATS server) or
//! `cluster` (the same over three, which hold three copies). The stories that are about the
//! embedded log itself say [`Hub::embedded`], and are told on it whatever `HUB_ON` says.

use std::{
    env::{self, VarError},
    iter,
    path::Path,
    process::Command,
};

use tidewire_client::{Publisher, Subscriber, SubscriberBuilder, TopicFilter};
use tidewire_testbed::{NatsCluster, Process};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tidewire");
/// The stream that an ingest keeps by default.
const STREAM: &str = "TIDEWIRE";
/// Clients come back quickly.
const RETRY: [&str; 4] = ["--retry-min", "20ms", "--retry-max", "200ms"];

pub(crate) struct Hub {
    /// What serves subscribers: all of the hub, where that is one process.
    pub(crate) edge: Process,
    over_nats: Option<OverNats>,
    /// Where it is subscribed to, the same after a restart; so are those below.
    pub(crate) http: String,
    /// Where it is published to over HTTP.
    pub(crate) publish_http: String,
    pub(crate) grpc: String,
}

/// What there is beside the edge. NATS goes last.
struct OverNats {
    ingest: Process,
    nats: NatsCluster,
    /// The server that was killed.
    down: Option<usize>,
}

/// Settings of a story, by what takes them.
#[derive(Default)]
pub(crate) struct Flags<'a> {
    pub(crate) ingest: &'a [&'a str],
    pub(crate) edge: &'a [&'a str],
}

impl Hub {
    /// Starts a hub on what `HUB_ON` names.
    pub(crate) async fn start() -> Self {
        Self::start_with(Flags::default()).await
    }

    pub(crate) async fn start_with(flags: Flags<'_>) -> Self {
        match env::var("HUB_ON").as_deref() {
            Err(VarError::NotPresent) | Ok("embedded") => Self::in_one_process(flags).await,
            Ok("nats") => Self::over_nats(1, flags).await,
            Ok("cluster") => Self::over_nats(3, flags).await,
            other => panic!("HUB_ON is {other:?}; it may be embedded, nats or cluster"),
        }
    }

    /// Starts a hub that keeps its own log.
    pub(crate) async fn embedded() -> Self {
        Self::in_one_process(Flags::default()).await
    }

    /// Starts an ingest and an edge over one NATS server.
    pub(crate) async fn over_one_nats_server() -> Self {
        Self::over_nats(1, Flags::default()).await
    }

    async fn in_one_process(flags: Flags<'_>) -> Self {
        let mut hub = launch("standalone", &[&RETRY, flags.ingest, flags.edge]);
        hub.ready().await;
        let (http, grpc) = (hub.http.clone(), hub.grpc.clone());
        Self { edge: hub, over_nats: None, publish_http: http.clone(), http, grpc }
    }

    async fn over_nats(nodes: usize, flags: Flags<'_>) -> Self {
        let nats = NatsCluster::start(nodes).await;
        let (urls, replicas) = (nats.urls().join(","), nodes.to_string());
        let at = ["--nats-url", &urls];
        let mut ingest = launch("ingest", &[&at, &["--nats-replicas", &replicas], flags.ingest]);
        let mut edge = launch("edge", &[&at, &RETRY, flags.edge]);
        ingest.ready().await;
        edge.ready().await;
        Self {
            http: edge.http.clone(),
            publish_http: ingest.http.clone(),
            grpc: ingest.grpc.clone(),
            edge,
            over_nats: Some(OverNats { ingest, nats, down: None }),
        }
    }

    /// Whether it is one process, which takes all flags.
    pub(crate) fn is_one_process() -> bool {
        !matches!(env::var("HUB_ON").as_deref(), Ok("nats" | "cluster"))
    }

    /// What takes events: all of the hub, where that is one process.
    pub(crate) fn ingest(&mut self) -> &mut Process {
        self.over_nats.as_mut().map_or(&mut self.edge, |over| &mut over.ingest)
    }

    /// Every process of it, without NATS.
    pub(crate) fn processes(&mut self) -> impl Iterator<Item = &mut Process> {
        let ingest = self.over_nats.as_mut().map(|over| &mut over.ingest);
        iter::once(&mut self.edge).chain(ingest)
    }

    /// How many NATS servers it stands on.
    pub(crate) fn nats_nodes(&self) -> usize {
        self.over_nats.as_ref().map_or(0, |over| over.nats.nodes())
    }

    /// SIGKILL for every process of it: nothing is finished.
    pub(crate) fn kill(&mut self) {
        self.processes().for_each(Process::kill);
    }

    /// SIGKILL for a NATS server too: of several the one that leads the stream.
    pub(crate) async fn kill_nats(&mut self) {
        let over = self.over_nats.as_mut().expect("a story for hubs over NATS");
        // One alone leads all, without a word.
        let leader = match over.nats.nodes() {
            1 => 0,
            _ => over.nats.stream_leader(STREAM).await.expect("somebody leads the stream"),
        };
        over.nats.kill(leader);
        over.down = Some(leader);
    }

    /// SIGTERM for every process of it: each ends in order.
    pub(crate) async fn terminate(&mut self) {
        self.processes().for_each(|process| process.signal("TERM"));
        for process in self.processes() {
            assert!(process.ended().await.success(), "{}", process.log());
        }
    }

    /// Starts all that has ended again, on the same ports and with what it has stored. It needs no
    /// order: a NATS server comes after those who need it.
    pub(crate) async fn start_again(&mut self) {
        self.processes().for_each(Process::launch_again);
        // One server is needed; of several the others do.
        if self.nats_nodes() == 1 {
            self.start_nats_again().await;
        }
        for process in self.processes() {
            process.ready().await;
        }
        self.start_nats_again().await;
    }

    async fn start_nats_again(&mut self) {
        let Some(OverNats { nats, down, .. }) = &mut self.over_nats else { return };
        if let Some(node) = down.take() {
            nats.start_node(node);
            nats.wait_healthy(node).await;
        }
    }

    pub(crate) fn publisher(&self) -> Publisher {
        Publisher::connect(&self.grpc).unwrap()
    }

    pub(crate) fn subscriber(&self, filter: &str) -> SubscriberBuilder {
        Subscriber::builder(&self.http)
            .filter(TopicFilter::parse(filter).unwrap())
            .reading(tidewire_client::Reading::Strict)
    }
}

fn launch(service: &str, flags: &[&[&str]]) -> Process {
    let flags: Vec<_> = flags.concat().into_iter().map(str::to_owned).collect();
    Process::launch(Path::new(PROGRAM), service, &flags)
}

/// The binary, without settings from this process's environment.
pub(crate) fn tidewire() -> Command {
    tidewire_testbed::command(Path::new(PROGRAM))
}
