//! A NATS server, or a cluster of them, of a test's own.

use std::{fs, path::Path, process::ExitStatus, time::Duration};

use futures_util::future::{join_all, try_join_all};
use parking_lot::Mutex;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::{binary, config, node::Node, options::NatsOptions, ports, usage};

/// How long anything may take, on a busy machine: an election takes up to 9 s.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// Another process may take a port between its choice and its use, but not often.
const START_TRIES_MAX: usize = 5;

/// `nats-server` processes with JetStream on ports of 127.0.0.1 and directories of their own: one
/// alone, or a cluster. Nodes are counted from 0. Dropping it ends them and removes their files; in
/// a test that fails, it prints the ends of their logs.
///
/// # Panics
///
/// Where a node does not do what it is asked for within a minute, or `i` is not a node, every
/// method panics and says so.
pub struct NatsCluster {
    nodes: Vec<Node>,
    /// Below everything, so that the processes have ended when it is removed.
    _dir: TempDir,
}

impl NatsCluster {
    /// Starts that many nodes, as they come. Returns when JetStream can be used.
    pub async fn start(nodes: usize) -> Self {
        Self::start_with(nodes, NatsOptions::default()).await
    }

    /// Starts that many nodes. Returns when JetStream can be used: every node is well, and a
    /// cluster has a leader that all follow.
    pub async fn start_with(nodes: usize, options: NatsOptions) -> Self {
        assert!(nodes > 0, "a cluster has nodes");
        let program = binary::find(options.version.as_deref()).await;
        for _ in 0..START_TRIES_MAX {
            let cluster = Self::spawn(nodes, &options, &program);
            match cluster.come_up().await {
                Ok(()) => return cluster,
                Err(Failed { port_taken: true, .. }) => {}
                Err(Failed { why, .. }) => panic!("{why}"),
            }
        }
        panic!("the ports chosen were taken by others, {START_TRIES_MAX} times");
    }

    fn spawn(nodes: usize, options: &NatsOptions, program: &Path) -> Self {
        let dir = TempDir::with_prefix("tidewire-nats-").expect("a directory for the servers");
        let ports = ports::choose(nodes);
        let nodes: Vec<_> = ports
            .iter()
            .enumerate()
            .map(|(i, own)| {
                let name = format!("n{i}");
                let home = dir.path().join(&name);
                fs::create_dir(&home).expect("a directory for a server");
                let store =
                    options.store_dirs.get(&i).cloned().unwrap_or_else(|| home.join("store"));
                let config = config::text(&name, *own, &ports, &store, options);
                Node::new(name, *own, program.to_path_buf(), home, &config)
            })
            .collect();
        nodes.iter().for_each(Node::start);
        Self { nodes, _dir: dir }
    }

    /// Where clients connect: `nats://127.0.0.1:port` for each node, also of those that are down.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| format!("nats://127.0.0.1:{}", node.ports.client)).collect()
    }

    /// How many nodes it has, running or not.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The name of a node, as the server itself has it.
    #[must_use]
    pub fn name(&self, i: usize) -> &str {
        &self.nodes[i].name
    }

    /// The process of a node.
    #[must_use]
    pub fn pid(&self, i: usize) -> u32 {
        self.nodes[i].pid()
    }

    /// Whether a node has ended, whoever ended it.
    #[must_use]
    pub fn is_down(&self, i: usize) -> bool {
        self.nodes[i].is_down()
    }

    /// SIGKILL to a node: it has no time to finish anything. Nothing happens to one that is down.
    pub fn kill(&self, i: usize) {
        self.nodes[i].kill();
    }

    /// SIGTERM to a node, and waits for its end: it hands on what it leads and closes its files.
    /// One that is stopped must go on before.
    pub async fn terminate(&self, i: usize) -> ExitStatus {
        let node = &self.nodes[i];
        node.terminate();
        let ended = until(|| async { node.ended() });
        ended.await.unwrap_or_else(|| panic!("{} does not end. {}", node.name, node.log_tail()))
    }

    /// SIGSTOP to a node: it holds its ports and connections, and does nothing.
    pub fn stop(&self, i: usize) {
        self.nodes[i].freeze(true);
    }

    /// SIGCONT to a node that was stopped.
    pub fn cont(&self, i: usize) {
        self.nodes[i].freeze(false);
    }

    /// Starts a node that is down, on the same ports and the same store, and does not wait for it.
    pub fn start_node(&self, i: usize) {
        self.nodes[i].start();
    }

    /// Terminates a node where it runs, starts it on the same ports and the same store, and waits
    /// until it is well. Needs a majority of the others: where all are down, begin with
    /// [`start_node`](Self::start_node) and end with [`ready`](Self::ready).
    pub async fn restart(&self, i: usize) {
        if self.nodes[i].is_running() {
            self.terminate(i).await;
        }
        self.start_node(i);
        self.wait_healthy(i).await;
    }

    /// Waits until JetStream can be used: every node that runs is well, and follows one leader.
    pub async fn ready(&self) {
        if let Err(Failed { why, .. }) = self.come_up().await {
            panic!("{why}");
        }
    }

    /// Waits until a node says that it is well: it knows what the others know, and has caught up
    /// with every stream.
    pub async fn wait_healthy(&self, i: usize) {
        assert!(self.nodes[i].is_running(), "{} does not run", self.name(i));
        if let Err(Failed { why, .. }) = healthy(&self.nodes[i]).await {
            panic!("{why}");
        }
    }

    /// The node that leads a stream, as the nodes that run see it; none where there is no such
    /// stream, or its leader is down and no other is elected yet.
    pub async fn stream_leader(&self, stream: &str) -> Option<usize> {
        let told = join_all(self.running().map(|node| node.monitor("/jsz?streams=true"))).await;
        let mut votes = vec![0; self.nodes.len()];
        for jsz in told.into_iter().flatten() {
            let leader = leader_in(&jsz, stream);
            if let Some(i) = self.nodes.iter().position(|node| Some(node.name.as_str()) == leader) {
                votes[i] += 1;
            }
        }
        // One that was frozen may think for a moment that it still leads.
        let most = (0..votes.len()).max_by_key(|i| votes[*i])?;
        (votes[most] > 0 && self.nodes[most].is_running()).then_some(most)
    }

    /// What a node's monitoring answers, such as to `/varz` or `/jsz?streams=true&consumers=true`.
    pub async fn monitor(&self, i: usize, path: &str) -> Value {
        let answer = self.nodes[i].monitor(path).await;
        answer.unwrap_or_else(|error| panic!("{} to GET {path}: {error}", self.name(i)))
    }

    /// The bytes of memory that a node has resident.
    #[must_use]
    pub fn resident_bytes(&self, i: usize) -> u64 {
        usage::resident_bytes(self.pid(i))
    }

    /// The seconds of processor time that a node has used since it was started last.
    #[must_use]
    pub fn cpu_seconds(&self, i: usize) -> f64 {
        usage::cpu_seconds(self.pid(i))
    }

    /// What a node has logged, since it was first started.
    #[must_use]
    pub fn log(&self, i: usize) -> String {
        self.nodes[i].log()
    }

    fn running(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.is_running())
    }

    async fn come_up(&self) -> Result<(), Failed> {
        // At once: one that has ended keeps others from being well.
        try_join_all(self.running().map(healthy)).await?;
        let led = until(|| async { self.is_led().await.then_some(()) });
        led.await.ok_or_else(|| Failed {
            why: "the nodes are well, but follow no leader".to_owned(),
            port_taken: false,
        })
    }

    /// Whether all that run follow one of them: only then can a stream be made on all.
    async fn is_led(&self) -> bool {
        if self.nodes.len() == 1 {
            return true;
        }
        let told = join_all(self.running().map(|node| node.monitor("/jsz"))).await;
        told.into_iter().flatten().any(|jsz| {
            let leader = &jsz["meta_cluster"];
            // Only the leader lists the others.
            leader["replicas"].as_array().is_some_and(|others| {
                self.running().all(|node| {
                    let follows = |other: &Value| {
                        other["name"] == node.name
                            && other["current"] == true
                            && other["offline"] != true
                    };
                    leader["leader"] == node.name || others.iter().any(follows)
                })
            })
        })
    }
}

impl Drop for NatsCluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in &self.nodes {
                eprintln!("{}", node.log_tail());
            }
        }
    }
}

/// Why a node, or all, cannot be used.
struct Failed {
    why: String,
    port_taken: bool,
}

async fn healthy(node: &Node) -> Result<(), Failed> {
    let last = Mutex::new(String::new());
    let settled = until(|| async {
        if let Some(status) = node.ended() {
            return Some(Err(status));
        }
        let told = node.health().await;
        told.map_err(|why| *last.lock() = why).ok().map(Ok)
    });
    let why = match settled.await {
        Some(Ok(())) => return Ok(()),
        Some(Err(status)) => format!("{} ended: {status}. {}", node.name, node.log_tail()),
        None => format!("{} is not well: {}. {}", node.name, last.lock(), node.log_tail()),
    };
    Err(Failed { port_taken: why.contains("address already in use"), why })
}

/// What `look` finds, as soon as it finds something; none when patience ends.
async fn until<T, L: Future<Output = Option<T>>>(look: impl Fn() -> L) -> Option<T> {
    timeout(PATIENCE, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            sleep(LOOK_INTERVAL).await;
        }
    })
    .await
    .ok()
}

/// The name of the node that leads a stream, in what one node knows.
fn leader_in<'a>(jsz: &'a Value, stream: &str) -> Option<&'a str> {
    let accounts = jsz["account_details"].as_array()?;
    let mut streams =
        accounts.iter().filter_map(|account| account["stream_detail"].as_array()).flatten();
    streams.find(|detail| detail["name"] == stream)?["cluster"]["leader"].as_str()
}
