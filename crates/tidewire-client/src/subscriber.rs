//! A subscription that heals itself: it comes back after every interruption, where it stopped.

use std::{fmt, future::Future, pin::Pin, time::Duration};

use http::StatusCode;
use tidewire_core::{Cursor, ResumePoint};
use tokio::time::{Instant, sleep_until};

use crate::{
    backoff,
    builder::SubscriberBuilder,
    connection::{Connection, ConnectionError, ConnectionOptions, HEARTBEATS_MISSED_MAX},
    frame::{Frame, Gap, Hello},
    item::{DisconnectReason, Item, SubscribeError},
    parser::RawFrame,
};

#[cfg(test)]
mod tests;

/// The longest that failures alone stretch the wait before the next attempt.
const RECONNECT_WAIT_MAX: Duration = Duration::from_secs(30);
/// The longest that a hub's own word (`retry:`, `Retry-After`) is obeyed.
const SERVER_WAIT_MAX: Duration = Duration::from_secs(600);
/// The shortest wait before another attempt, whatever the hub says.
const RECONNECT_WAIT_MIN: Duration = Duration::from_millis(10);

/// One subscription, across as many connections as it takes.
///
/// It resumes as a browser's `EventSource` does, by the cursor of the last whole frame, and is
/// harder to stop: what may pass is tried again, later and later, and a connection that has fallen
/// silent is given up.
pub struct Subscriber {
    url: String,
    options: ConnectionOptions,
    state: State,
    /// Where it has got to: what it gives back when it resumes.
    point: Option<ResumePoint>,
    /// How long to wait before coming back, by the hub's last word.
    retry: Duration,
    /// Attempts in a row that brought nothing.
    failures: u32,
    /// Why the hub said it would end the connection.
    farewell: Option<String>,
}

enum State {
    Waiting(Instant),
    Connecting(Attempt),
    // Boxed: a connection is large, and lives long.
    Open(Box<Connection>),
    Over,
}

type Attempt = Pin<Box<dyn Future<Output = Result<Connection, ConnectionError>> + Send>>;

impl Subscriber {
    /// Begins to describe a subscription at a hub, such as `http://127.0.0.1:8080`.
    pub fn builder(base_url: impl Into<String>) -> SubscriberBuilder {
        SubscriberBuilder::new(base_url.into())
    }

    /// A subscription to this address, query included.
    pub(crate) fn new(
        url: String,
        options: ConnectionOptions,
        cursor: Option<Cursor>,
        retry: Duration,
    ) -> Self {
        let state = State::Waiting(Instant::now());
        let point = cursor.map(ResumePoint::from);
        Self { url, options, state, point, retry, failures: 0, farewell: None }
    }

    /// Everything up to and including here has been delivered. `None` before the first connection
    /// has said where it stands. Within the snapshot of [`Start::Latest`](crate::Start::Latest) that
    /// is each topic's last event only; whoever begins another subscription here gets all behind it.
    pub fn cursor(&self) -> Option<Cursor> {
        self.point.map(|point| point.after)
    }

    /// Waits for the next thing to happen. Nothing is lost where this future is dropped: it may
    /// stand in a `select!`.
    ///
    /// # Errors
    /// [`SubscribeError`], which is final: from then on there is only [`Item::Ended`].
    pub async fn next(&mut self) -> Result<Item, SubscribeError> {
        loop {
            let item = match &mut self.state {
                State::Waiting(until) => {
                    sleep_until(*until).await;
                    self.state = State::Connecting(self.attempt());
                    None
                }
                State::Connecting(attempt) => match attempt.await {
                    Ok(connection) => {
                        self.state = State::Open(Box::new(connection));
                        None
                    }
                    Err(error) => Some(self.take_failure(error)?),
                },
                State::Open(connection) => match connection.next_frame().await {
                    Ok(Some(frame)) => self.take_frame(frame)?,
                    Ok(None) => Some(self.come_back(DisconnectReason::Ended, Duration::ZERO)),
                    Err(error) => Some(self.take_failure(error)?),
                },
                State::Over => Some(Item::Ended),
            };
            if let Some(item) = item {
                return Ok(item);
            }
        }
    }

    fn attempt(&self) -> Attempt {
        let url = self.url.clone();
        let mut options = self.options.clone();
        options.last_event_id = self.point.map(|point| point.to_string());
        Box::pin(async move { Connection::open(&url, options).await })
    }

    /// Takes a frame's meaning, and moves behind it.
    fn take_frame(&mut self, raw: RawFrame) -> Result<Option<Item>, SubscribeError> {
        let point = raw.last_event_id.parse().ok();
        let frame = Frame::read(raw).map_err(|error| self.give_up(error))?;
        self.point = point.or(self.point);
        if !matches!(frame, Frame::Retry { .. }) {
            self.failures = 0;
        }
        Ok(match frame {
            Frame::Hello(hello) => Some(self.take_hello(hello)),
            Frame::Event { cursor, event_type, data } => {
                Some(Item::Event { cursor, event_type, data })
            }
            Frame::Gap(Gap { reason, requested, resumed_from }) => {
                Some(Item::Gap { reason, requested, resumed_from })
            }
            Frame::Retry { reason } => {
                self.farewell = Some(reason);
                None
            }
            Frame::Cursor(_) | Frame::Other { .. } => None,
        })
    }

    fn take_hello(&mut self, hello: Hello) -> Item {
        let Hello { cursor, connection, resume, heartbeat, .. } = hello;
        if let (State::Open(open), Some(heartbeat)) = (&mut self.state, heartbeat) {
            open.set_silence_max(heartbeat.saturating_mul(HEARTBEATS_MISSED_MAX));
        }
        Item::Connected { cursor, resume, connection }
    }

    /// Sorts what ended a connection, or kept one from coming about: final, or not.
    fn take_failure(&mut self, error: ConnectionError) -> Result<Item, SubscribeError> {
        let mut wait_min = Duration::ZERO;
        let reason = match error {
            ConnectionError::Status(refusal) if refusal.status == StatusCode::NO_CONTENT => {
                self.state = State::Over;
                return Ok(Item::Ended);
            }
            ConnectionError::Status(refusal) if may_pass(refusal.status) => {
                wait_min = refusal.retry_after.unwrap_or_default();
                DisconnectReason::Refused(refusal)
            }
            ConnectionError::Status(refusal) => {
                self.state = State::Over;
                let status = refusal.status.as_u16();
                let (title, detail) = (refusal.title, refusal.detail);
                return Err(SubscribeError::Refused { status, title, detail });
            }
            ConnectionError::Address(_)
            | ConnectionError::NotAStream { .. }
            | ConnectionError::Unreadable(_) => return Err(self.give_up(error)),
            ConnectionError::Unreachable(_) => {
                DisconnectReason::Unreachable { reason: error.to_string() }
            }
            ConnectionError::Cut(_) => DisconnectReason::Cut { reason: error.to_string() },
            ConnectionError::Silent { after } => DisconnectReason::Silent { after },
        };
        Ok(self.come_back(reason, wait_min))
    }

    fn give_up(&mut self, error: impl fmt::Display) -> SubscribeError {
        self.state = State::Over;
        SubscribeError::NotTidewire { reason: error.to_string() }
    }

    /// Lets go of the connection, if there is one, and sets the time of the next attempt.
    fn come_back(&mut self, reason: DisconnectReason, wait_min: Duration) -> Item {
        if let State::Open(connection) = &self.state {
            self.retry = connection.retry().unwrap_or(self.retry);
        }
        let reason = match self.farewell.take() {
            Some(reason) => DisconnectReason::SentAway { reason },
            None => reason,
        };
        let said = self.retry.max(wait_min).clamp(RECONNECT_WAIT_MIN, SERVER_WAIT_MAX);
        let wait = backoff::delay(said, self.failures, RECONNECT_WAIT_MAX);
        self.failures = self.failures.saturating_add(1);
        self.state = State::Waiting(Instant::now() + wait);
        Item::Disconnected { reason }
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Waiting(_) => "waiting",
            State::Connecting(_) => "connecting",
            State::Open(_) => "open",
            State::Over => "over",
        };
        f.debug_struct("Subscriber")
            .field("url", &self.url)
            .field("state", &state)
            .field("point", &self.point)
            .finish_non_exhaustive()
    }
}

/// Whether a status speaks of now only.
fn may_pass(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()
}
