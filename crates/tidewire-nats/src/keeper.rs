//! Looks after the stream: makes it where it may, judges it, and knows whether it is there.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    api::{Api, ApiError, StreamInfo},
    config::{Config, StreamPolicy},
    known::Asker,
    nats::Failure,
    stream,
};

/// The oldest server that keeps the promises: per-event ttl and reading by several filters.
const SERVER_MIN: (u32, u32) = (2, 11);
/// How often the stream is looked at while it is there.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// How often, while it is not.
const LOOK_INTERVAL_ABSENT: Duration = Duration::from_millis(500);
/// How long the stream may be out of reach before that is trouble: a cluster that elects a new
/// leader takes up to nine seconds.
const ABSENCE_TOLERATED: Duration = Duration::from_secs(10);

/// How the stream is doing.
#[derive(Debug)]
pub(crate) struct Health {
    state: Mutex<State>,
    failure: watch::Sender<Option<Failure>>,
}

#[derive(Debug)]
enum State {
    There,
    Absent {
        reason: String,
        since: Instant,
        /// Whether it was there before.
        was_there: bool,
    },
}

impl Health {
    pub(crate) fn new() -> Self {
        let reason = "not connected yet".into();
        let state = State::Absent { reason, since: Instant::now(), was_there: false };
        Self { state: Mutex::new(state), failure: watch::Sender::new(None) }
    }

    /// What is missing, where it has been missing for long, or since the beginning.
    pub(crate) fn trouble(&self) -> Option<String> {
        match &*self.state.lock() {
            State::Absent { reason, was_there: false, .. } => Some(reason.clone()),
            state => state.missing_for(ABSENCE_TOLERATED),
        }
    }

    /// What is missing, where waiting for it is of no use to a publisher any more.
    pub(crate) fn hopeless(&self) -> Option<String> {
        self.state.lock().missing_for(ABSENCE_TOLERATED)
    }

    pub(crate) async fn failed(&self) -> Failure {
        let mut failure = self.failure.subscribe();
        let failed = failure.wait_for(Option::is_some).await;
        match failed.ok().and_then(|failure| failure.clone()) {
            Some(failure) => failure,
            None => std::future::pending().await,
        }
    }

    fn is_there(&self) -> bool {
        matches!(*self.state.lock(), State::There)
    }

    fn found(&self) -> bool {
        !matches!(std::mem::replace(&mut *self.state.lock(), State::There), State::There)
    }

    fn missed(&self, reason: String) {
        let mut state = self.state.lock();
        let (since, was_there) = match *state {
            State::There => (Instant::now(), true),
            State::Absent { since, was_there, .. } => (since, was_there),
        };
        *state = State::Absent { reason, since, was_there };
    }
}

impl State {
    fn missing_for(&self, span: Duration) -> Option<String> {
        match self {
            Self::Absent { reason, since, .. } if since.elapsed() > span => Some(reason.clone()),
            _ => None,
        }
    }
}

/// Looks at the stream until `ending` is cancelled, or until it cannot be used.
pub(crate) struct Keeper {
    pub(crate) config: Config,
    pub(crate) api: Api,
    pub(crate) known: Arc<Asker>,
    pub(crate) health: Arc<Health>,
    /// How the stream was last said to be otherwise than the settings say.
    pub(crate) told: String,
}

/// What one look found.
enum Found {
    Usable,
    Absent(String),
    Unusable(String),
}

impl Keeper {
    pub(crate) async fn keep(mut self, ending: CancellationToken) {
        let mut is_judged = false;
        while let Some(found) = ending.run_until_cancelled(self.look(is_judged)).await {
            match found {
                Found::Usable => {
                    is_judged = true;
                    if self.health.found() {
                        info!(stream = %self.config.stream, "the stream is there");
                    }
                }
                Found::Absent(reason) => {
                    is_judged = false;
                    self.health.missed(reason);
                }
                Found::Unusable(reason) => {
                    self.health.missed(reason.clone());
                    self.health.failure.send_replace(Some(Failure(reason)));
                    return;
                }
            }
            ending.run_until_cancelled(self.pause()).await;
        }
    }

    /// Waits for the next look: for a while, or until there is a reason.
    async fn pause(&self) {
        let mut turns = self.api.connection().turns();
        if !self.health.is_there() {
            return sleep(LOOK_INTERVAL_ABSENT).await;
        }
        tokio::select! {
            () = sleep(LOOK_INTERVAL) => {}
            _ = turns.changed() => {}
            () = self.known.missing() => {}
        }
    }

    /// Looks at the stream. One that has been judged is only asked whether it is there.
    async fn look(&mut self, is_judged: bool) -> Found {
        let connection = self.api.connection();
        if !connection.is_connected() {
            let servers: Vec<_> = self.config.servers.iter().map(ToString::to_string).collect();
            let why =
                connection.last_error().map_or_else(String::new, |error| format!(": {error}"));
            return Found::Absent(format!("not connected to {}{why}", servers.join(", ")));
        }
        if is_judged {
            return match self.known.fresh().await {
                Ok(_) => Found::Usable,
                Err(error) => Found::Absent(error.to_string()),
            };
        }
        if let Err(reason) = check_version(&connection.client.server_info().version) {
            return Found::Unusable(reason);
        }
        match self.api.stream_info().await {
            Ok(found) => self.judge(&found),
            Err(ApiError::NotFound(_)) => self.make().await,
            Err(error) => Found::Absent(format!("the stream {}: {error}", self.config.stream)),
        }
    }

    /// Makes a missing stream, where that is ours to do. Two that make it at once, alike, both
    /// succeed.
    async fn make(&mut self) -> Found {
        let stream = &self.config.stream;
        let settings = match &self.config.keep {
            Some(settings) if settings.policy != StreamPolicy::Require => settings,
            Some(_) => {
                return Found::Absent(format!(
                    "there is no stream {stream}, and the policy is to wait for it"
                ));
            }
            None => {
                return Found::Absent(format!(
                    "there is no stream {stream}: an ingest makes it when it starts"
                ));
            }
        };
        match self.api.create_stream(&stream::wanted(&self.config, settings)).await {
            Ok(made) => {
                info!(%stream, replicas = settings.replicas, "made the stream");
                self.judge(&made)
            }
            Err(error) => Found::Absent(format!("cannot make the stream {stream}: {error}")),
        }
    }

    fn judge(&mut self, found: &StreamInfo) -> Found {
        let stream = &self.config.stream;
        let unusable = stream::unusable(&self.config, found);
        if !unusable.is_empty() {
            return Found::Unusable(format!(
                "the stream {stream} cannot hold the log: {}; choose another name, or make it anew",
                unusable.join("; ")
            ));
        }
        let Some(settings) = &self.config.keep else { return Found::Usable };
        let otherwise = stream::otherwise(&self.config, settings, found).join("; ");
        if otherwise.is_empty() {
            return Found::Usable;
        }
        if settings.policy == StreamPolicy::Create {
            if self.told != otherwise {
                warn!(%stream, otherwise, "the stream is not as the settings say; going on with it");
                self.told = otherwise;
            }
            return Found::Usable;
        }
        Found::Unusable(format!(
            "the stream {stream} is not as the settings say: {otherwise}; change the settings, or \
             the stream with `nats stream edit {stream}`"
        ))
    }
}

fn check_version(version: &str) -> Result<(), String> {
    let mut numbers = version.split(['.', '-']).map(str::parse::<u32>);
    let (major, minor) = SERVER_MIN;
    match (numbers.next(), numbers.next()) {
        (Some(Ok(a)), Some(Ok(b))) if (a, b) >= SERVER_MIN => Ok(()),
        _ => Err(format!(
            "the NATS server is of version {version}; {major}.{minor} or newer is needed"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_are_too_old_are_refused() {
        for version in ["2.11.0", "2.15.1", "2.12.0-RC.1", "3.0.0"] {
            assert_eq!(check_version(version), Ok(()), "{version}");
        }
        for version in ["2.10.26", "1.99.0", "", "new"] {
            let refusal = check_version(version).unwrap_err();
            assert!(refusal.contains("2.11 or newer"), "{refusal}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_absence_is_no_trouble_and_a_long_one_is() {
        let health = Health::new();
        assert!(health.trouble().is_some(), "it has never been there");
        assert_eq!(health.hopeless(), None, "it may be there in a moment");
        assert!(health.found());
        health.missed("gone".into());
        assert_eq!(health.trouble(), None);
        sleep(ABSENCE_TOLERATED).await;
        health.missed("gone still".into());
        sleep(Duration::from_millis(1)).await;
        assert_eq!(health.trouble().as_deref(), Some("gone still"));
        health.found();
        assert_eq!(health.trouble(), None);
    }
}
