//! The servers that are measured side by side: each a process of its own, on the same core.

mod certificate;
mod peers;
pub(crate) mod publishing;
pub(crate) mod transport;

use std::{
    fs,
    net::{Ipv4Addr, SocketAddrV4},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tidewire_testbed::Process;
use tokio::{net::TcpStream, time::sleep};

use self::certificate::Certificate;
use crate::{
    network,
    processes::{self, Cluster},
};

const START_TRIES_MAX: u32 = 400;
const LOOK_INTERVAL: Duration = Duration::from_millis(25);

/// A kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Peer {
    /// `epoll`, and one `send` of prepared bytes for each connection: nothing can cost less.
    Floor,
    /// This hub, in one process.
    Tidewire,
    /// The same with `--compression gzip`, and clients that ask for it.
    TidewireGzip,
    /// The same with `--lean-streams false`: hyper writes all streams.
    TidewireHyper,
    /// The same over TLS, by HTTP/1.1.
    TidewireTls,
    /// The same over TLS, by HTTP/2: a connection for each stream.
    #[value(name = "tidewire-http2")]
    #[serde(rename = "tidewire-http2")]
    TidewireHttp2,
    /// The same with a connection for each hundred streams.
    #[value(name = "tidewire-http2-shared")]
    #[serde(rename = "tidewire-http2-shared")]
    TidewireHttp2Shared,
    /// HTTP/2 without TLS: a connection for each stream.
    #[value(name = "tidewire-h2c")]
    #[serde(rename = "tidewire-h2c")]
    TidewireH2c,
    /// The same with a connection for each hundred streams.
    #[value(name = "tidewire-h2c-shared")]
    #[serde(rename = "tidewire-h2c-shared")]
    TidewireH2cShared,
    /// The same with `--metrics false`: it counts nothing.
    TidewireUncounted,
    /// What one writes first: axum's `Sse` over a `broadcast` channel.
    Naive,
    /// nginx with the module nchan (target/peers, by scripts/setup-peers).
    Nchan,
    /// Centrifugo (target/peers, by scripts/setup-peers).
    Centrifugo,
}

/// One that runs. Dropping it ends it.
pub(crate) struct Server {
    pub(crate) peer: Peer,
    /// Where subscribers connect.
    pub(crate) http: SocketAddrV4,
    /// What stands before and behind a topic in a subscriber's request.
    pub(crate) path: [String; 2],
    /// Where a publisher connects.
    pub(crate) publish: String,
    running: Running,
}

enum Running {
    Hub { hub: Box<Process>, certificate: Option<Certificate> },
    Peer { child: Child, _home: TempDir },
}

impl Server {
    /// Starts one on the core that is kept for servers. Returns when it takes connections.
    pub(crate) async fn start(peer: Peer) -> anyhow::Result<Self> {
        if peer.is_hub() {
            return Self::hub_as(peer);
        }
        let home = TempDir::with_prefix("loadtest-peer-")?;
        let [http, publish, _] = tidewire_testbed::free_ports();
        let mut command = peer.command(http, publish, home.path())?;
        let log = fs::File::create(home.path().join("log"))?;
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        let mut child = network::on_server_core(move || command.spawn())?
            .with_context(|| format!("{peer} does not run"))?;
        for _ in 0..START_TRIES_MAX {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, http)).await.is_ok() {
                let publish = if peer.has_control() { publish } else { http };
                return Ok(Self {
                    peer,
                    http: SocketAddrV4::new(Ipv4Addr::LOCALHOST, http),
                    path: peer.path(),
                    publish: format!("127.0.0.1:{publish}"),
                    running: Running::Peer { child, _home: home },
                });
            }
            if child.try_wait()?.is_some() {
                break;
            }
            sleep(LOOK_INTERVAL).await;
        }
        let log = fs::read_to_string(home.path().join("log"))?;
        child.kill().ok();
        bail!("{peer} takes no connections. Its log:\n{log}")
    }

    fn hub_as(peer: Peer) -> anyhow::Result<Self> {
        let is_encrypted = peer.transport().is_some_and(|transport| transport.is_encrypted);
        let certificate = is_encrypted.then(Certificate::new).transpose()?;
        let mut flags: Vec<_> = peer.flags().iter().copied().map(str::to_owned).collect();
        flags.extend(certificate.iter().flat_map(Certificate::flags));
        let mut server = Self::hub(&flags)?;
        server.peer = peer;
        if let Running::Hub { certificate: held, .. } = &mut server.running {
            *held = certificate;
        }
        Ok(server)
    }

    /// What its clients trust, where it speaks TLS.
    pub(crate) fn certificate(&self) -> Option<PathBuf> {
        match &self.running {
            Running::Hub { certificate, .. } => Some(certificate.as_ref()?.path().to_path_buf()),
            Running::Peer { .. } => None,
        }
    }

    /// Starts a hub, with these flags beside the usual ones.
    pub(crate) fn hub(flags: &[String]) -> anyhow::Result<Self> {
        let flags = flags.to_vec();
        let hub = network::on_server_core(move || processes::standalone(&flags))??;
        let publish = hub.grpc.clone();
        Self::of(hub, publish)
    }

    /// Starts an edge; what is published comes by way of an ingest on the same NATS servers.
    pub(crate) fn edge(cluster: &Arc<Cluster>, ingest: &Process) -> anyhow::Result<Self> {
        let cluster = Arc::clone(cluster);
        let edge = network::on_server_core(move || cluster.edge(&[]))??;
        Self::of(edge, ingest.grpc.clone())
    }

    fn of(hub: Process, publish: String) -> anyhow::Result<Self> {
        Ok(Self {
            peer: Peer::Tidewire,
            http: hub.http.rsplit('/').next().unwrap_or_default().parse()?,
            path: Peer::Tidewire.path(),
            publish,
            running: Running::Hub { hub: Box::new(hub), certificate: None },
        })
    }

    /// What a hub tells at `/metrics`, where it counts.
    pub(crate) async fn metrics(&self) -> Option<String> {
        match &self.running {
            Running::Hub { hub, .. } if self.peer != Peer::TidewireUncounted => {
                Some(hub.metrics().await)
            }
            _ => None,
        }
    }

    /// Its process, and those that it has started.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let first = match &self.running {
            Running::Hub { hub, .. } => hub.pid(),
            Running::Peer { child, .. } => child.id(),
        };
        let mut pids = vec![first];
        let mut next = 0;
        while let Some(pid) = pids.get(next) {
            // Where the kernel does not tell them, there is none to be counted.
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
            let children = children.unwrap_or_default();
            pids.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
            next += 1;
        }
        pids
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Running::Peer { child, .. } = &mut self.running {
            // Gone already, or gone now.
            child.kill().ok();
            child.wait().ok();
        }
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.pad(match self {
            Self::Floor => "floor",
            Self::Naive => "naive axum",
            Self::Nchan => "nchan",
            Self::Centrifugo => "centrifugo",
            hub => hub.hub_name(),
        })
    }
}

impl Peer {
    pub(crate) fn is_hub(self) -> bool {
        !matches!(self, Self::Floor | Self::Naive | Self::Nchan | Self::Centrifugo)
    }

    /// Whether its clients ask for gzip, and must get it.
    pub(crate) fn is_gzip(self) -> bool {
        self == Self::TidewireGzip
    }

    /// Whether each id ends with a number that is greater than the one before, and every line in a
    /// line feed alone.
    pub(crate) fn is_strict(self) -> bool {
        self.is_hub() || self == Self::Floor
    }

    /// Whether nothing can be said without it.
    pub(crate) fn is_needed(self) -> bool {
        self.is_hub() || self == Self::Floor
    }

    fn has_control(self) -> bool {
        self == Self::Floor
    }

    /// Whether it is there to be run.
    pub(crate) fn is_available(self) -> bool {
        match self {
            Self::Nchan => peers::installed("nginx").is_some(),
            Self::Centrifugo => peers::installed("centrifugo").is_some(),
            _ => true,
        }
    }

    fn command(self, http: u16, control: u16, home: &std::path::Path) -> anyhow::Result<Command> {
        let program = |name: &str| -> anyhow::Result<PathBuf> {
            peers::installed(name).with_context(|| format!("{self}: run scripts/setup-peers"))
        };
        Ok(match self {
            Self::Floor => peers::floor(http, control)?,
            Self::Naive => peers::naive(http)?,
            Self::Nchan => peers::nchan(&program("nginx")?, http, home)?,
            Self::Centrifugo => peers::centrifugo(&program("centrifugo")?, http, home)?,
            _ => bail!("a hub is started as a hub"),
        })
    }

    fn path(self) -> [String; 2] {
        let (before, behind) = match self {
            Self::Floor => ("/", ""),
            Self::Naive => ("/events?topic=", ""),
            Self::Nchan => ("/sub/", ""),
            Self::Centrifugo => {
                ("/connection/uni_sse?cf_connect=%7B%22subs%22:%7B%22", "%22:%7B%7D%7D%7D")
            }
            _ => ("/v1/events?topic=", ""),
        };
        [before.to_owned(), behind.to_owned()]
    }

    /// A request that publishes.
    fn request(self, topic: &str, data: &str) -> String {
        let length = data.len();
        match self {
            Self::Nchan => format!(
                "POST /pub/{topic} HTTP/1.1\r\nHost: peer\r\nContent-Type: text/plain\r\n\
                 Content-Length: {length}\r\n\r\n{data}"
            ),
            Self::Centrifugo => {
                let body = format!(r#"{{"channel":"{topic}","data":"{data}"}}"#);
                format!(
                    "POST /api/publish HTTP/1.1\r\nHost: peer\r\nContent-Type: application/json\r\n\
                     Content-Length: {}\r\n\r\n{body}",
                    body.len()
                )
            }
            _ => format!(
                "POST /publish?topic={topic} HTTP/1.1\r\nHost: peer\r\n\
                 Content-Length: {length}\r\n\r\n{data}"
            ),
        }
    }
}
