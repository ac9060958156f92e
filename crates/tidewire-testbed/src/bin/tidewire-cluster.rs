//! A whole hub of many processes on this machine, to look at and to break: three NATS servers, two
//! ingests, three edges, a load balancer in front of each kind, and the demonstration. What dies is
//! started again after a while, as an orchestrator would.
#![expect(clippy::print_stdout, reason = "it says what is where")]

use std::{
    env,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};

use tidewire_testbed::{Balancer, NatsCluster, Process, command};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep},
};

const NATS_SERVERS: usize = 3;
const INGESTS: usize = 2;
const EDGES: usize = 3;
/// How often is looked whether something has died.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// How long it stays dead, so that there is something to see.
const DEAD_FOR: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() {
    let program = env::args().nth(1).map_or_else(beside_this, PathBuf::from);
    let mut asked_to_end = [SignalKind::interrupt(), SignalKind::terminate()]
        .map(|kind| signal(kind).unwrap_or_else(|error| panic!("no signals: {error}")));
    let [interrupt, terminate] = &mut asked_to_end;
    tokio::select! {
        () = run(&program) => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    println!("\nEnded, and everything it started with it.");
}

/// The `tidewire` that lies beside this program.
fn beside_this() -> PathBuf {
    env::current_exe().map(|path| path.with_file_name("tidewire")).unwrap_or_default()
}

async fn run(program: &Path) {
    println!("Starting {NATS_SERVERS} NATS servers ...");
    let nats = NatsCluster::start(NATS_SERVERS).await;
    let servers = nats.urls().join(",");
    println!("Starting {INGESTS} ingests and {EDGES} edges ...");
    let start = |command: &str, flags: &[&str]| {
        let flags = [flags, &["--nats-url", &servers]].concat();
        Process::launch(
            program,
            command,
            &flags.iter().map(ToString::to_string).collect::<Vec<_>>(),
        )
    };
    let replicas = NATS_SERVERS.to_string();
    let mut ingests: Vec<_> =
        (0..INGESTS).map(|_| start("ingest", &["--nats-replicas", &replicas])).collect();
    let mut edges: Vec<_> = (0..EDGES).map(|_| start("edge", &[])).collect();
    for process in ingests.iter_mut().chain(&mut edges) {
        process.ready().await;
    }
    let publish = Balancer::start(addresses(&ingests, |ingest| &ingest.grpc)).await;
    let subscribe = Balancer::start(addresses(&edges, |edge| &edge.http)).await;
    let _demo = Demo::start(program, &publish.url());

    tell(program, &nats, &ingests, &edges, &publish, &subscribe);
    let named = |kind: &'static str| (1..).map(move |n| format!("{kind} {n}"));
    let mut processes: Vec<_> = named("ingest")
        .zip(&mut ingests)
        .chain(named("edge").zip(&mut edges))
        .map(|(name, process)| Watched { name, process, dead_since: None })
        .collect();
    let mut dead_nodes = [None; NATS_SERVERS];
    loop {
        processes.iter_mut().for_each(Watched::look);
        for (n, dead_since) in dead_nodes.iter_mut().enumerate() {
            look_at_node(&nats, n, dead_since);
        }
        sleep(LOOK_INTERVAL).await;
    }
}

fn addresses(processes: &[Process], url: impl Fn(&Process) -> &String) -> Vec<String> {
    processes.iter().map(|process| url(process).trim_start_matches("http://").into()).collect()
}

/// What is where, what to open, and what to break.
fn tell(
    program: &Path,
    nats: &NatsCluster,
    ingests: &[Process],
    edges: &[Process],
    publish: &Balancer,
    subscribe: &Balancer,
) {
    println!("\nA hub of {} processes is ready.\n", NATS_SERVERS + INGESTS + EDGES);
    let row = |name: String, url: &str, what: String| println!("  {name:<9} {url:<24} {what}");
    row("publish".into(), &publish.url(), "any ingest, over gRPC".into());
    row("subscribe".into(), &subscribe.url(), "any edge, over HTTP".into());
    println!();
    for (n, url) in nats.urls().iter().enumerate() {
        row(format!("nats {}", n + 1), url, format!("process {}", nats.pid(n)));
    }
    for (n, ingest) in ingests.iter().enumerate() {
        let what = format!("process {}; operations {}", ingest.pid(), ingest.operations);
        row(format!("ingest {}", n + 1), &ingest.grpc, what);
    }
    for (n, edge) in edges.iter().enumerate() {
        let what = format!("process {}; operations {}", edge.pid(), edge.operations);
        row(format!("edge {}", n + 1), &edge.http, what);
    }
    let program = program.display();
    println!(
        "
Open {subscribe}/ in a browser: this machine's own figures, live.

In another terminal:
  {program} subscribe --topic '>' --url {subscribe}
  {program} publish --topic greetings --data hello --url {publish}

Then break something, and see in the page's log that nothing is missing:
  kill -9 {}    an edge: its subscribers go on at another
  kill -9 {}    an ingest: its publishers go on at the other
  kill -9 {}    a NATS server: where it led the stream, it takes some seconds
What dies is started again after {} s.

Ctrl-C ends all of it.
",
        edges[0].pid(),
        ingests[0].pid(),
        nats.pid(0),
        DEAD_FOR.as_secs(),
        subscribe = subscribe.url(),
        publish = publish.url(),
    );
}

/// A process that is started again when it has died.
struct Watched<'p> {
    name: String,
    process: &'p mut Process,
    dead_since: Option<Instant>,
}

impl Watched<'_> {
    fn look(&mut self) {
        if self.process.has_ended().is_none() {
            return;
        }
        if is_due(&self.name, &mut self.dead_since) {
            self.process.launch_again();
            println!("{} is started again: process {}", self.name, self.process.pid());
        }
    }
}

fn look_at_node(nats: &NatsCluster, n: usize, dead_since: &mut Option<Instant>) {
    let name = format!("nats {}", n + 1);
    if nats.is_down(n) && is_due(&name, dead_since) {
        nats.start_node(n);
        println!("{name} is started again: process {}", nats.pid(n));
    }
}

/// Whether something dead has been dead for long enough; says when it is found dead.
fn is_due(name: &str, dead_since: &mut Option<Instant>) -> bool {
    match dead_since {
        None => {
            println!("{name} is dead");
            *dead_since = Some(Instant::now());
            false
        }
        Some(since) if since.elapsed() < DEAD_FOR => false,
        Some(_) => {
            *dead_since = None;
            true
        }
    }
}

/// `tidewire demo`. It waits by itself where its ingest is away.
struct Demo(Option<Child>);

impl Demo {
    fn start(program: &Path, url: &str) -> Self {
        let mut command = command(program);
        command.args(["demo", "--url", url]).stdin(Stdio::null());
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok())
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if let Some(demo) = &mut self.0 {
            // Gone already, or gone now.
            demo.kill().ok();
            demo.wait().ok();
        }
    }
}
