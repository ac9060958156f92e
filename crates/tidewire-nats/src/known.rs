//! What is known of the stream, and how fresh that is. However many ask at once, JetStream is
//! asked seldom.

use std::{cmp::Ordering, time::Duration};

use parking_lot::Mutex;
use tidewire_core::{Bounds, Cursor, Epoch, ReadError};
use tokio::{
    sync::{Mutex as Turn, Notify},
    time::{Instant, sleep_until},
};
use tracing::warn;

use crate::{
    api::{Api, ApiError},
    stream,
};

/// The shortest time between two questions.
const ASK_INTERVAL: Duration = Duration::from_millis(10);
/// How long a head that lies before what has been seen is not believed: a leader that has just
/// been elected may not have caught up with what its predecessor had handed out.
const RETREAT_DOUBTED: Duration = Duration::from_secs(10);

/// The stream's state as it was at some moment after the question was asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    asked_at: Instant,
    pub(crate) bounds: Bounds,
    /// Whether the stream said that it ends before what has been seen, which is not believed yet.
    pub(crate) is_doubted: bool,
    /// Within which the stream knows a repeated id.
    pub(crate) deduplication_window: Duration,
}

/// Asks for the stream's state, for everybody.
#[derive(Debug)]
pub(crate) struct Asker {
    api: Api,
    /// Held by the one who asks; the others wait for the answer.
    turn: Turn<Option<Instant>>,
    last: Mutex<Option<Result<Known, String>>>,
    seen: Mutex<Option<Seen>>,
    missing: Notify,
}

/// The furthest place at which an event has been seen.
#[derive(Debug, Clone, Copy)]
struct Seen {
    cursor: Cursor,
    /// Since when the stream says that it ends before it.
    contradicted_since: Option<Instant>,
}

impl Asker {
    pub(crate) fn new(api: Api) -> Self {
        Self {
            api,
            turn: Turn::new(None),
            last: Mutex::new(None),
            seen: Mutex::new(None),
            missing: Notify::new(),
        }
    }

    /// An event stands here: somebody has got it, or a receipt for it.
    pub(crate) fn saw(&self, cursor: Cursor) {
        let mut seen = self.seen.lock();
        if seen.is_none_or(|seen| seen.cursor.epoch != cursor.epoch || seen.cursor < cursor) {
            *seen = Some(Seen { cursor, contradicted_since: None });
        }
    }

    /// The state at a moment after this was called: who finds somebody asking waits, and gets the
    /// answer to a question that was asked later.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`].
    pub(crate) async fn fresh(&self) -> Result<Known, ReadError> {
        let called = Instant::now();
        let mut asked_at = self.turn.lock().await;
        if asked_at.is_none_or(|asked_at| asked_at < called) {
            if let Some(before) = *asked_at {
                sleep_until(before + ASK_INTERVAL).await;
            }
            let asking_at = Instant::now();
            let answer = self.ask().await.map_err(|error| error.to_string());
            // Not before: who asks may be dropped meanwhile, and the next one asks again.
            *asked_at = Some(asking_at);
            *self.last.lock() = Some(answer);
        }
        let last = self.last.lock().clone();
        last.unwrap_or_else(|| Err("nobody has asked".into())).map_err(unavailable)
    }

    async fn ask(&self) -> Result<Known, ApiError> {
        let asked_at = Instant::now();
        let found = self.api.stream_info().await.inspect_err(|error| {
            if matches!(error, ApiError::NotFound(_)) {
                self.missing.notify_one();
            }
        })?;
        let said = stream::bounds(&found);
        let bounds = self.believable(said);
        Ok(Known {
            asked_at,
            bounds,
            is_doubted: bounds != said,
            deduplication_window: stream::deduplication_window(&found),
        })
    }

    /// The stream's epoch by the last answer, where it is another than this.
    pub(crate) fn other_epoch(&self, epoch: Epoch) -> Option<Epoch> {
        let last = self.last.lock();
        let known = last.as_ref()?.as_ref().ok()?;
        (known.bounds.epoch != epoch).then_some(known.bounds.epoch)
    }

    /// Waits until somebody has found that the stream is not there.
    pub(crate) async fn missing(&self) {
        self.missing.notified().await;
    }

    /// The bounds, with a head that is not before what has been seen; unless that is said for so
    /// long that the end of the log must have been lost.
    fn believable(&self, found: Bounds) -> Bounds {
        let mut held = self.seen.lock();
        let Some(seen) = held.as_mut() else { return found };
        // Of two epochs neither is before the other: the new one is believed.
        if found.head().partial_cmp(&seen.cursor) != Some(Ordering::Less) {
            seen.contradicted_since = None;
            return found;
        }
        let since = *seen.contradicted_since.get_or_insert_with(Instant::now);
        if since.elapsed() > RETREAT_DOUBTED {
            warn!(seen = %seen.cursor, head = %found.head(), "the log has lost its end");
            *held = None;
            return found;
        }
        Bounds { head: seen.cursor.sequence, ..found }
    }

    /// The last answer, if it is not older than this.
    pub(crate) fn recent(&self, age_max: Duration) -> Option<Known> {
        let last = self.last.lock().clone()?.ok()?;
        (last.asked_at.elapsed() <= age_max).then_some(last)
    }
}

/// A failure to read, for the reason given.
pub(crate) fn unavailable(reason: impl Into<String>) -> ReadError {
    ReadError::Unavailable(reason.into().into())
}
