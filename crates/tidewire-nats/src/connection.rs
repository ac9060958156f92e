//! One connection to NATS, which comes back by itself, and what is known of its state.

use std::{
    fs, io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_nats::{Client, ConnectOptions, Event};
use parking_lot::Mutex;
use rand::RngExt as _;
use tokio::{sync::watch, time::timeout};
use tracing::{info, warn};

use crate::{
    config::{Access, Config, Login},
    metrics,
};

/// How often a silent server is asked whether it is there; after two unanswered ones it is not.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// How long one attempt to connect may take: a frozen server's kernel still accepts.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest wait between attempts; each draws its own between nothing and the doubled last.
const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(2);
/// How long a connection may take to send what it holds, at the end.
const FLUSH_MAX: Duration = Duration::from_secs(1);
/// Commands that wait for the connection to take them.
const COMMANDS_MAX: usize = 8_192;
/// What is received and not yet looked at, for each subscription. More would be dropped, so
/// nothing ever asks for more at once.
pub(crate) const RECEIVED_MAX: usize = 65_536;
/// Under which subjects answers come to us, so that a permission can name them.
const INBOX_PREFIX: &str = "_INBOX.tidewire";

/// What a connection is for: each has its own, so that none waits behind another's traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Questions about the stream, and pages.
    Read,
    /// Events on their way into the log.
    Publish,
    /// The log followed.
    Tail,
}

impl Purpose {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Publish => "publish",
            Self::Tail => "tail",
        }
    }
}

/// A connection. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    pub(crate) client: Client,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    /// How often a connection has been made; odd while there is one.
    turns: watch::Sender<u64>,
    last_error: Mutex<Option<String>>,
    /// Why the last attempt to connect failed, in more detail.
    cause: Mutex<Option<String>>,
    /// Whether it is we who end it.
    is_ending: AtomicBool,
}

/// What was named for access cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {}", path.display())]
pub(crate) struct AccessError {
    path: PathBuf,
    source: io::Error,
}

impl Connection {
    /// Begins to connect; that goes on until it succeeds.
    pub(crate) async fn begin(config: &Config, purpose: Purpose) -> Result<Self, AccessError> {
        metrics::not_connected_yet(purpose);
        let state = Arc::new(State {
            turns: watch::Sender::new(0),
            last_error: Mutex::new(None),
            cause: Mutex::new(None),
            is_ending: AtomicBool::new(false),
        });
        let options = ConnectOptions::new()
            .name(format!("{} {}", config.connection_name, purpose.as_str()))
            .retry_on_initial_connect()
            .ping_interval(PING_INTERVAL)
            .connection_timeout(CONNECT_TIMEOUT)
            .client_capacity(COMMANDS_MAX)
            .subscription_capacity(RECEIVED_MAX)
            .custom_inbox_prefix(INBOX_PREFIX)
            .reconnect_delay_callback(delay)
            .reconnect_to_server_callback({
                let state = Arc::clone(&state);
                move |servers, _| {
                    state.tried(&servers);
                    // It may choose by itself.
                    std::future::ready(None)
                }
            })
            .event_callback({
                let state = Arc::clone(&state);
                move |event| {
                    state.happened(purpose, &event);
                    std::future::ready(())
                }
            });
        let servers: Vec<_> = config.servers.iter().map(|url| url.address().clone()).collect();
        let options = let_in(options, &config.access)?;
        // With the option above this fails only where nothing is left to try: no server at all.
        let client = options.connect(servers).await.map_err(|error| AccessError {
            path: PathBuf::from("the servers' addresses"),
            source: io::Error::other(error),
        })?;
        Ok(Self { client, state })
    }

    pub(crate) fn is_connected(&self) -> bool {
        *self.state.turns.borrow() % 2 == 1
    }

    /// Wakes whoever waits each time the connection is made or lost.
    pub(crate) fn turns(&self) -> watch::Receiver<u64> {
        self.state.turns.subscribe()
    }

    /// Sends what is held, as far as it is taken in time. What happens to the connection from now
    /// on is no news.
    pub(crate) async fn end(&self) {
        self.state.is_ending.store(true, Ordering::Relaxed);
        if self.is_connected() {
            // What is not sent by then was of no use to anybody.
            let _sent = timeout(FLUSH_MAX, self.client.flush()).await;
        }
    }

    /// What the server or the network said last, where it was an error.
    pub(crate) fn last_error(&self) -> Option<String> {
        let error = self.state.last_error.lock().clone()?;
        let cause = self.state.cause.lock().clone().filter(|cause| !error.contains(cause.as_str()));
        Some(cause.map_or_else(|| error.clone(), |cause| format!("{error}: {cause}")))
    }
}

impl State {
    fn happened(&self, purpose: Purpose, event: &Event) {
        match event {
            Event::Connected => self.turn(purpose, true),
            Event::Disconnected | Event::Closed => self.turn(purpose, false),
            Event::ServerError(error) => self.failed(purpose, error.to_string()),
            Event::ClientError(error) => self.failed(purpose, error.to_string()),
            Event::SlowConsumer(_) => metrics::count_overflow(),
            Event::LameDuckMode | Event::Draining => {}
        }
    }

    fn turn(&self, purpose: Purpose, is_connected: bool) {
        let turned = self.turns.send_if_modified(|turns| {
            let turned = (*turns % 2 == 1) != is_connected;
            *turns += u64::from(turned);
            turned
        });
        if !turned {
            return;
        }
        metrics::set_connected(purpose, is_connected);
        if self.is_ending.load(Ordering::Relaxed) {
            return;
        }
        if is_connected {
            *self.last_error.lock() = None;
            *self.cause.lock() = None;
            info!(purpose = purpose.as_str(), "connected to NATS");
        } else {
            warn!(purpose = purpose.as_str(), "the connection to NATS is lost");
        }
    }

    /// Learns why a server was not to be had. The event says less: "IO error".
    fn tried(&self, servers: &[async_nats::Server]) {
        if let Some(error) = servers.iter().rev().find_map(|server| server.last_error.clone()) {
            *self.cause.lock() = Some(error);
        }
    }

    /// The same error again and again, such as while a server is away, is told once.
    fn failed(&self, purpose: Purpose, error: String) {
        let mut last = self.last_error.lock();
        if last.as_deref() != Some(&error) {
            warn!(purpose = purpose.as_str(), error, "NATS");
            *last = Some(error);
        }
    }
}

fn let_in(options: ConnectOptions, access: &Access) -> Result<ConnectOptions, AccessError> {
    let mut options = match &access.login {
        None => options,
        Some(Login::UserPassword { user, password }) => {
            options.user_and_password(user.clone(), password.clone())
        }
        Some(Login::Token(token)) => options.token(token.clone()),
        Some(Login::Nkey(path)) => {
            let seed = read(path)?.trim().to_owned();
            nkeys::KeyPair::from_seed(&seed).map_err(|error| AccessError {
                path: path.clone(),
                source: io::Error::other(error),
            })?;
            options.nkey(seed)
        }
        Some(Login::Credentials(path)) => options
            .credentials(&read(path)?)
            .map_err(|source| AccessError { path: path.clone(), source })?,
    };
    if let Some(path) = &access.tls.ca_file {
        read(path)?;
        options = options.add_root_certificates(path.clone());
    }
    if let Some((certificate, key)) = &access.tls.certificate_and_key {
        read(certificate)?;
        read(key)?;
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    Ok(options.require_tls(access.tls.is_required))
}

fn read(path: &PathBuf) -> Result<String, AccessError> {
    fs::read_to_string(path).map_err(|source| AccessError { path: path.clone(), source })
}

/// Full jitter, so that a cluster's clients do not come back all at once.
fn delay(attempts: usize) -> Duration {
    let doublings = u32::try_from(attempts.min(10)).unwrap_or(10);
    let longest = Duration::from_millis(10 * (1 << doublings)).min(RECONNECT_DELAY_MAX);
    rand::rng().random_range(Duration::ZERO..=longest)
}
