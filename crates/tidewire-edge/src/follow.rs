//! The edge's one tail: every event of the log, in order, handed to the fan-out.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use parking_lot::Mutex;
use tidewire_core::{Backbone, Bounds, Cursor, Event, ReadError, Sequence};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{fanout::Fanout, metrics, traces::Traces};

/// Events that are dispatched together where they wait together.
const DISPATCHED_TOGETHER_MAX: usize = 256;
/// The wait before following again after the first failure; it doubles.
const RETRY_DELAY_MIN: Duration = Duration::from_millis(100);
/// The longest wait before following again.
const RETRY_DELAY_MAX: Duration = Duration::from_secs(2);
/// How long the tail may be interrupted before the edge calls itself not ready.
const INTERRUPTION_TOLERATED: Duration = Duration::from_secs(10);

/// How the tail is doing.
#[derive(Debug)]
pub(crate) struct TailHealth(Mutex<State>);

#[derive(Debug, Clone, Copy)]
enum State {
    /// Everything that the log held when the tail was last opened has been dispatched.
    Following,
    /// Not yet, or not again.
    Behind {
        /// Where the log's head was when the tail was opened; `None` without a tail.
        until: Option<Cursor>,
        /// When the tail was interrupted; `None` at the start.
        since: Option<Instant>,
    },
}

impl TailHealth {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State::Behind { until: None, since: None }))
    }

    /// Why the edge should get no new subscribers, if it should not.
    pub(crate) fn trouble(&self) -> Option<&'static str> {
        match *self.0.lock() {
            State::Behind { since: None, .. } => Some("the edge's window is not filled yet"),
            State::Behind { since: Some(since), .. } => (since.elapsed() > INTERRUPTION_TOLERATED)
                .then_some("the edge is cut off from the backbone"),
            State::Following => None,
        }
    }

    /// Whether the window has been filled once, so that what comes is not of the past.
    fn has_been_following(&self) -> bool {
        !matches!(*self.0.lock(), State::Behind { since: None, .. })
    }

    /// Whether what is dispatched is what the log holds, but for a moment's delay.
    pub(crate) fn is_following(&self) -> bool {
        matches!(*self.0.lock(), State::Following)
    }

    fn opened(&self, after: Cursor, head: Cursor) {
        let mut state = self.0.lock();
        *state = match *state {
            State::Behind { since, .. } if after < head => {
                State::Behind { until: Some(head), since }
            }
            _ => State::Following,
        };
    }

    fn dispatched(&self, head: Cursor) {
        let mut state = self.0.lock();
        if matches!(*state, State::Behind { until: Some(until), .. } if head >= until) {
            *state = State::Following;
        }
    }

    fn interrupted(&self) {
        let mut state = self.0.lock();
        let since = match *state {
            State::Following => Some(Instant::now()),
            State::Behind { since, .. } => since,
        };
        *state = State::Behind { until: None, since };
    }
}

/// Follows the log until `ending` is cancelled.
pub(crate) async fn follow(
    backbone: Arc<dyn Backbone>,
    fanout: Arc<Fanout>,
    health: Arc<TailHealth>,
    traces: Traces,
    window_events_max: usize,
    ending: CancellationToken,
) {
    let tail = Tail { backbone, fanout, health, traces, window_events_max };
    let mut delay = RETRY_DELAY_MIN;
    let mut told = String::new();
    while let Some((error, progressed)) = ending.run_until_cancelled(tail.follow_once()).await {
        tail.health.interrupted();
        metrics::count_tail_interruption();
        if progressed {
            (delay, told) = (RETRY_DELAY_MIN, String::new());
        }
        // What stays as it is, such as while the backbone is away, is said once.
        let error = error.to_string();
        if error != told {
            warn!(error, "the log cannot be followed just now");
            told = error;
        }
        ending.run_until_cancelled(tokio::time::sleep(delay)).await;
        delay = (delay * 2).min(RETRY_DELAY_MAX);
    }
}

struct Tail {
    backbone: Arc<dyn Backbone>,
    fanout: Arc<Fanout>,
    health: Arc<TailHealth>,
    traces: Traces,
    window_events_max: usize,
}

impl Tail {
    /// Follows until something fails; says what, and whether anything was dispatched before.
    async fn follow_once(&self) -> (ReadError, bool) {
        let mut progressed = false;
        let error = self.follow_until_failure(&mut progressed).await;
        (error, progressed)
    }

    async fn follow_until_failure(&self, progressed: &mut bool) -> ReadError {
        let (after, head) = match self.backbone.bounds().await {
            Ok(bounds) => (self.resume(&bounds), bounds.head()),
            Err(error) => return error,
        };
        let tail = match self.backbone.tail(after).await {
            Ok(tail) => tail,
            Err(error) => return error,
        };
        info!(%after, %head, "the edge follows the log");
        self.health.opened(after, head);
        let mut chunks = tail.ready_chunks(DISPATCHED_TOGETHER_MAX);
        while let Some(chunk) = chunks.next().await {
            if let Err(error) = self.dispatch(chunk, progressed) {
                return error;
            }
        }
        ReadError::Unavailable("the tail ended".into())
    }

    /// Where to go on: after the last event dispatched, or, where that place is no more, at a new
    /// one that leaves a window's length to fill.
    fn resume(&self, bounds: &Bounds) -> Cursor {
        if let Some(head) = self.fanout.head() {
            match bounds.check(head) {
                Ok(()) => return head,
                Err(error) => warn!(%error, %head, "the tail's place is gone: it begins anew"),
            }
        }
        let reach = u64::try_from(self.window_events_max).unwrap_or(u64::MAX);
        let sequence = bounds.head.0.saturating_sub(reach).max(bounds.oldest.previous().0);
        let at = Cursor::new(bounds.epoch, Sequence(sequence));
        self.fanout.place(at);
        at
    }

    fn dispatch(
        &self,
        chunk: Vec<Result<Event, ReadError>>,
        progressed: &mut bool,
    ) -> Result<(), ReadError> {
        let mut events = Vec::with_capacity(chunk.len());
        let mut outcome = Ok(());
        for item in chunk {
            match item {
                Ok(event) => events.push(event),
                Err(error) => outcome = Err(error),
            }
        }
        if let Some(last) = events.last().map(|event| event.cursor) {
            *progressed = true;
            // What fills the window at the start has been traced in its time.
            let is_news = self.health.has_been_following();
            self.fanout.dispatch(events, if is_news { &self.traces } else { &Traces::OFF });
            self.health.dispatched(last);
        }
        outcome
    }
}
