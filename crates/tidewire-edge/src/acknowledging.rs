//! Acknowledgements: a client says, to whichever edge, that its probe has come.
//!
//! The edge that holds the connection waits for it. Any other knows from the connection's name which
//! edge that is, and passes the name on; see `docs/decisions/0015-acknowledged-at-any-edge.md`.

use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use tidewire_core::{EdgeNumber, Relay};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::{connection_name::ConnectionName, metrics};

/// Acknowledgements that an edge passes on in a second: anybody can make it do that, with names of
/// connections that never were.
const PASSED_ON_PER_SECOND_MAX: u32 = 1_000;
/// The wait before the other edges are listened to again, where that has ended.
const LISTEN_AGAIN_DELAY: Duration = Duration::from_secs(1);

/// What came of an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledged {
    /// Its connection is held here, and goes on.
    Noted,
    /// Another edge would hold its connection, and has been told.
    PassedOn,
    /// No connection of this name waits for one.
    Unknown,
    /// Another edge would hold its connection, and cannot be told now.
    NotPassedOn,
}

impl Acknowledged {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Noted => "noted",
            Self::PassedOn => "passed_on",
            Self::Unknown => "unknown",
            Self::NotPassedOn => "not_passed_on",
        }
    }
}

/// The connections of an edge that wait for an acknowledgement, and the way to the other edges.
pub(crate) struct Acknowledgements {
    edge: EdgeNumber,
    /// Whether each has come.
    waiting: Mutex<HashMap<ConnectionName, Arc<AtomicBool>>>,
    relay: OnceLock<Arc<dyn Relay>>,
    passed_on: Mutex<PassedOn>,
}

/// How many were passed on in the second that began then.
struct PassedOn {
    second: Instant,
    count: u32,
}

impl Acknowledgements {
    pub(crate) fn new() -> Self {
        Self {
            edge: EdgeNumber(rand::random()),
            waiting: Mutex::default(),
            relay: OnceLock::new(),
            passed_on: Mutex::new(PassedOn { second: Instant::now(), count: 0 }),
        }
    }

    /// A name for one more connection of this edge.
    pub(crate) fn name(&self) -> ConnectionName {
        ConnectionName::draw(self.edge)
    }

    /// Waits for a connection's acknowledgement from now on.
    pub(crate) fn expect(self: &Arc<Self>, name: ConnectionName, within: Duration) -> Owed {
        let has_come = Arc::<AtomicBool>::default();
        self.waiting.lock().insert(name, Arc::clone(&has_come));
        let due = Instant::now() + within;
        Owed { acknowledgements: Arc::clone(self), name, due, has_come }
    }

    /// Takes the acknowledgement of the connection that goes by this name, if it is one.
    pub(crate) async fn take(&self, name: &str) -> Acknowledged {
        let outcome = match name.parse() {
            Ok(name) if self.note(name) => Acknowledged::Noted,
            Ok(name) if name.edge != self.edge => self.pass_on(name).await,
            _ => Acknowledged::Unknown,
        };
        metrics::count_acknowledgement(outcome.as_str());
        outcome
    }

    fn note(&self, name: ConnectionName) -> bool {
        let waiting = self.waiting.lock();
        waiting.get(&name).map(|has_come| has_come.store(true, Relaxed)).is_some()
    }

    async fn pass_on(&self, name: ConnectionName) -> Acknowledged {
        // Alone on its log, an edge holds all connections that there are.
        let Some(relay) = self.relay.get() else { return Acknowledged::Unknown };
        if !self.passed_on.lock().may_be_one_more() {
            return Acknowledged::NotPassedOn;
        }
        match relay.say(name.edge, Bytes::from(name.to_string())).await {
            Ok(()) => Acknowledged::PassedOn,
            Err(error) => {
                debug!(%error, "an acknowledgement could not be passed on");
                Acknowledged::NotPassedOn
            }
        }
    }

    /// Passes on to other edges from now on, and hears them until `ending` is cancelled.
    pub(crate) async fn join(&self, relay: Arc<dyn Relay>, ending: CancellationToken) {
        let relay = self.relay.get_or_init(|| relay);
        let listening = async {
            loop {
                match relay.listen(self.edge).await {
                    Ok(mut words) => {
                        while let Some(word) = words.next().await {
                            self.hear(&word);
                        }
                    }
                    Err(error) => debug!(%error, "acknowledgements at other edges are not heard"),
                }
                sleep(LISTEN_AGAIN_DELAY).await;
            }
        };
        ending.run_until_cancelled(listening).await;
    }

    fn hear(&self, word: &[u8]) {
        let name = std::str::from_utf8(word).ok().and_then(|word| word.parse().ok());
        let is_noted = name.is_some_and(|name| self.note(name));
        metrics::count_acknowledgement(if is_noted { "heard" } else { "unknown" });
    }
}

impl PassedOn {
    fn may_be_one_more(&mut self) -> bool {
        if self.second.elapsed() >= Duration::from_secs(1) {
            *self = Self { second: Instant::now(), count: 0 };
        }
        self.count += 1;
        self.count <= PASSED_ON_PER_SECOND_MAX
    }
}

/// The acknowledgement that a client owes. Dropping it waits no longer.
pub(crate) struct Owed {
    acknowledgements: Arc<Acknowledgements>,
    name: ConnectionName,
    due: Instant,
    has_come: Arc<AtomicBool>,
}

impl Owed {
    /// When it is due, or this moment where that is earlier, or it has come.
    pub(crate) fn due_or(&self, moment: Instant) -> Instant {
        if self.has_come.load(Relaxed) { moment } else { moment.min(self.due) }
    }

    pub(crate) fn is_overdue(&self) -> bool {
        Instant::now() >= self.due && !self.has_come.load(Relaxed)
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        self.acknowledgements.waiting.lock().remove(&self.name);
    }
}
