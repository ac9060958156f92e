//! A TCP load balancer, as it stands in front of edges.

use std::{io, sync::Arc, time::Duration};

use parking_lot::Mutex;
use rand::seq::SliceRandom;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Notify, Semaphore},
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};

/// Connections at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 8_192;
/// Connections that wait to be accepted. The usual 128 overflow when hundreds come at once, and the
/// kernel then has clients wait for a second or breaks them off.
const BACKLOG: u32 = 4_096;
/// How long a target may take to accept before another is tried.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);
/// What to wait when a connection cannot be accepted, for lack of file descriptors say.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Forwards every new connection to one of its targets, at random, or to another where that one
/// does not accept. Dropping it ends it and its connections.
pub struct Balancer {
    address: String,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    targets: Mutex<Vec<String>>,
    cut: Notify,
}

impl Balancer {
    /// Listens on a free port of 127.0.0.1 for targets, each `host:port`.
    pub async fn start(targets: Vec<String>) -> Self {
        let listener = listen().expect("a free port on 127.0.0.1");
        let address = listener.local_addr().expect("a listener has an address").to_string();
        let shared = Arc::new(Shared { targets: Mutex::new(targets), cut: Notify::new() });
        let accepting = tokio::spawn(accept(listener, shared.clone()));
        Self { address, shared, accepting }
    }

    /// Where it listens, `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Where it listens, `http://host:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// New connections go to these; those that are there stay.
    pub fn set_targets(&self, targets: Vec<String>) {
        *self.shared.targets.lock() = targets;
    }

    /// Ends every connection that is there, so that its client comes back, to any target.
    pub fn cut(&self) {
        self.shared.cut.notify_waiters();
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn listen() -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, 1], 0).into())?;
    socket.listen(BACKLOG)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Ends with this task, and every connection with it.
    let mut connections = JoinSet::new();
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let permit = permits.clone().acquire_owned().await.expect("nobody closes it");
        while connections.try_join_next().is_some() {}
        let Ok((client, _)) = listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let shared = shared.clone();
        connections.spawn(async move {
            tokio::select! {
                () = shared.cut.notified() => {}
                // Either side may break it off: the other learns it by its own socket's end.
                _ = forward(client, &shared.targets) => {}
            }
            drop(permit);
        });
    }
}

async fn forward(mut client: TcpStream, targets: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut targets = targets.lock().clone();
    targets.shuffle(&mut rand::rng());
    for target in &targets {
        if let Ok(Ok(mut server)) = timeout(CONNECT_PATIENCE, TcpStream::connect(target)).await {
            client.set_nodelay(true)?;
            server.set_nodelay(true)?;
            copy_bidirectional(&mut client, &mut server).await?;
            break;
        }
    }
    Ok(())
}
