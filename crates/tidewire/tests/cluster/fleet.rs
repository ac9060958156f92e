//! Three NATS servers, two ingests and three edges of a test's own, and what stands in front of
//! them. One fleet runs at a time: two would measure each other.

use std::{path::Path, sync::Arc};

use tidewire_testbed::{Balancer, NatsCluster, NatsOptions, Process};
use tokio::{
    sync::{Mutex, MutexGuard},
    time::{Duration, sleep, timeout},
};

use super::jetstream::JetStream;

pub(crate) const SERVERS: usize = 3;
pub(crate) const INGESTS: usize = 2;
pub(crate) const EDGES: usize = 3;
pub(crate) const STREAM: &str = "TIDEWIRE";
/// How long anything that heals itself may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// A place to follow the log from is taken by lot among the servers.
const TAIL_MOVES_MAX: usize = 100;

static TURN: Mutex<()> = Mutex::const_new(());

pub(crate) struct Fleet {
    pub(crate) edges: Vec<Process>,
    pub(crate) ingests: Vec<Process>,
    /// In front of the edges.
    pub(crate) door: Arc<Balancer>,
    /// In front of the ingests.
    pub(crate) intake: Balancer,
    /// Below its clients, so that they end first.
    pub(crate) nats: NatsCluster,
    _turn: MutexGuard<'static, ()>,
}

impl Fleet {
    pub(crate) async fn start() -> Self {
        Self::start_with(NatsOptions::default(), &[]).await
    }

    /// With servers of this kind, and ingests with these flags more.
    pub(crate) async fn start_with(options: NatsOptions, of_ingests: &[&str]) -> Self {
        Self::start_with_flags(options, of_ingests, &[]).await
    }

    /// With edges that have these flags more.
    pub(crate) async fn start_with_edges(of_edges: &[&str]) -> Self {
        Self::start_with_flags(NatsOptions::default(), &[], of_edges).await
    }

    async fn start_with_flags(
        options: NatsOptions,
        of_ingests: &[&str],
        of_edges: &[&str],
    ) -> Self {
        let turn = TURN.lock().await;
        let nats = NatsCluster::start_with(SERVERS, options).await;
        let mut ingest_flags = vec!["--nats-replicas", "3"];
        ingest_flags.extend(of_ingests);
        let mut ingests: Vec<_> =
            (0..INGESTS).map(|_| launch(&nats, "ingest", &ingest_flags)).collect();
        let mut edges: Vec<_> = (0..EDGES).map(|_| launch_edge(&nats, of_edges)).collect();
        for process in ingests.iter_mut().chain(&mut edges) {
            process.ready().await;
        }
        let intake = ingests.iter().map(|ingest| address(&ingest.grpc)).collect();
        let intake = Balancer::start(intake).await;
        let door = edges.iter().map(|edge| address(&edge.http)).collect();
        let door = Arc::new(Balancer::start(door).await);
        Self { edges, ingests, door, intake, nats, _turn: turn }
    }

    /// One more edge, that nobody is sent to.
    pub(crate) async fn another_edge(&self, flags: &[&str]) -> Process {
        let mut edge = launch_edge(&self.nats, flags);
        edge.ready().await;
        edge
    }

    pub(crate) async fn jetstream(&self) -> JetStream {
        JetStream::connect(&self.nats.urls()).await
    }

    /// The server that leads the log's stream, as soon as there is one.
    pub(crate) async fn leader(&self) -> usize {
        self.leader_of(STREAM).await
    }

    /// The server that leads a stream, as soon as there is one.
    pub(crate) async fn leader_of(&self, stream: &str) -> usize {
        let led = async {
            loop {
                if let Some(leader) = self.nats.stream_leader(stream).await {
                    return leader;
                }
                sleep(LOOK_INTERVAL).await;
            }
        };
        timeout(PATIENCE, led).await.expect("the stream has a leader")
    }

    /// How far a server has the log.
    pub(crate) async fn last_sequence_at(&self, server: usize) -> usize {
        let told = self.nats.monitor(server, "/jsz?streams=true").await;
        let streams = told["account_details"][0]["stream_detail"].as_array().unwrap();
        let stream = streams.iter().find(|stream| stream["name"] == STREAM).unwrap();
        usize::try_from(stream["state"]["last_seq"].as_u64().unwrap()).unwrap()
    }

    /// Hands the lead of the stream to this server, where another has it.
    pub(crate) async fn let_lead(&self, server: usize) {
        let mut jetstream = self.jetstream().await;
        let led = async {
            while self.leader().await != server {
                jetstream.hand_lead_to(STREAM, self.nats.name(server)).await;
                sleep(LOOK_INTERVAL).await;
            }
        };
        timeout(PATIENCE, led).await.expect("the stream's lead can be handed on");
    }

    /// Sees to it that at least one edge follows the log from this server.
    pub(crate) async fn let_a_tail_be_at(&self, server: usize) {
        let mut jetstream = self.jetstream().await;
        for _ in 0..TAIL_MOVES_MAX {
            let mut consumers = jetstream.consumers(STREAM).await;
            consumers.retain(|consumer| consumer.is_in_use);
            if consumers.iter().any(|consumer| consumer.server == self.nats.name(server)) {
                return;
            }
            if let Some(consumer) = consumers.first() {
                jetstream.delete_consumer(STREAM, &consumer.name).await;
            }
            sleep(LOOK_INTERVAL).await;
        }
        panic!("no tail comes to {}", self.nats.name(server));
    }
}

fn launch_edge(nats: &NatsCluster, flags: &[&str]) -> Process {
    // Clients come back quickly.
    let mut all = vec!["--retry-min", "20ms", "--retry-max", "200ms"];
    all.extend(flags);
    launch(nats, "edge", &all)
}

fn launch(nats: &NatsCluster, command: &str, flags: &[&str]) -> Process {
    let servers = nats.urls().join(",");
    let filter =
        "info,async_nats=warn,tidewire_nats=debug,tidewire_edge=debug,tidewire_edge::server=info";
    let mut all = vec!["--nats-url", &servers, "--log-filter", filter];
    all.extend(flags);
    let all: Vec<_> = all.into_iter().map(str::to_owned).collect();
    Process::launch(Path::new(env!("CARGO_BIN_EXE_tidewire")), command, &all)
}

fn address(url: &str) -> String {
    url.trim_start_matches("http://").to_owned()
}
