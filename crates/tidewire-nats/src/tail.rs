//! The log followed: one place in the stream after another, each where the last one ended.

use std::{cmp::Ordering, sync::Arc, time::Duration};

use futures_util::stream::unfold;
use rand::RngExt as _;
use tidewire_core::{Cursor, Event, EventStream, ReadError, Sequence};
use tokio::time::{Instant, sleep};
use tracing::{debug, info};

use crate::{
    connection::Connection,
    known::unavailable,
    metrics,
    pull::{Begin, Gone, Pull, Pulled},
    shared::Shared,
    stored::Stored,
};

/// Events asked for at once. Two requests stand at a time, so that the server never waits for the
/// next one to arrive; together far less than what a connection holds.
const REQUEST_EVENTS: usize = 2_048;
/// Bytes asked for at once.
const REQUEST_BYTES: usize = 16 * 1024 * 1024;
/// The first wait before another place is opened; it doubles, and half of it is drawn by lot.
const REOPEN_DELAY_MIN: Duration = Duration::from_millis(50);
/// The longest wait before another place is opened.
const REOPEN_DELAY_MAX: Duration = Duration::from_secs(1);
/// How long an interruption is healed in silence, before whoever follows is told.
const INTERRUPTION_MAX: Duration = Duration::from_secs(30);
/// How old what is known of the stream may be, where nothing comes.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// An interruption below this is not worth a line in the log.
const UNTOLD_BELOW: Duration = Duration::from_secs(1);

/// Follows the log over a connection of its own.
pub(crate) fn follow(shared: Arc<Shared>, connection: Connection, after: Cursor) -> EventStream {
    let tail = Tail {
        shared,
        connection,
        after,
        pull: None,
        interrupted: None,
        has_begun: false,
        is_stuck: false,
        behind_at: None,
        is_over: false,
    };
    Box::pin(unfold(tail, |mut tail| async { tail.next().await.map(|item| (item, tail)) }))
}

struct Tail {
    shared: Arc<Shared>,
    connection: Connection,
    /// The last event handed out, or where to begin.
    after: Cursor,
    pull: Option<Pull>,
    interrupted: Option<Interruption>,
    /// Whether something has come already.
    has_begun: bool,
    /// Whether the last place was gone before anything came from it.
    is_stuck: bool,
    /// Where it stood when the log was found to have gone on.
    behind_at: Option<Sequence>,
    is_over: bool,
}

struct Interruption {
    /// Where it was; `None` at the start, which is none.
    at: Option<Cursor>,
    since: Instant,
    delay: Duration,
}

impl Tail {
    async fn next(&mut self) -> Option<Result<Event, ReadError>> {
        while !self.is_over {
            if let Some(epoch) = self.shared.known.other_epoch(self.after.epoch) {
                self.is_over = true;
                return Some(Err(ReadError::ForeignEpoch { epoch }));
            }
            let outcome = match &mut self.pull {
                Some(pull) => pull_next(pull).await,
                None if self.is_stuck => match self.step().await {
                    Some(item) => return Some(item),
                    None => continue,
                },
                None => match self.open().await {
                    Ok(()) => continue,
                    Err(error) => {
                        self.is_over = true;
                        return Some(Err(error));
                    }
                },
            };
            match outcome {
                Ok(Pulled::Event(stored)) => {
                    self.recovered();
                    if let Some(item) = self.take(stored.sequence, Some(stored)).await {
                        return Some(item);
                    }
                }
                Ok(Pulled::Ended) => {}
                Ok(Pulled::Heartbeat) => {
                    self.recovered();
                    if self.is_left_behind().await {
                        info!(after = %self.after, "the tail's replica has stopped: taking another");
                        self.pull = None;
                        metrics::count_tail_reset();
                    }
                }
                Err(gone) => {
                    debug!(%gone, after = %self.after, "the tail's place is gone");
                    let place = self.pull.take();
                    self.is_stuck = place.is_some_and(|place| !place.has_delivered());
                    metrics::count_tail_reset();
                }
            }
        }
        None
    }

    /// Moves to what a place has handed out: an event to hand on, or something else to pass over.
    async fn take(
        &mut self,
        sequence: Sequence,
        stored: Option<Stored>,
    ) -> Option<Result<Event, ReadError>> {
        if sequence <= self.after.sequence {
            return None;
        }
        if sequence > self.after.sequence.next()
            && let Err(error) = self.nothing_left_the_log().await
        {
            return error.map(Err);
        }
        self.move_to(sequence, stored).map(Ok)
    }

    /// Asks for what stands next by itself, since a place was gone before anything came from it: it
    /// may be something that no place hands out, and where it is, more of its kind may follow.
    async fn step(&mut self) -> Option<Result<Event, ReadError>> {
        self.is_stuck = false;
        let subjects = [self.shared.subjects.all()];
        let next = self.shared.api.next(self.after.sequence.next(), &subjects).await;
        let told = next.ok().flatten()?;
        // It may be of a stream that was made anew meanwhile.
        if let Err(error) = self.nothing_left_the_log().await {
            return error.map(Err);
        }
        let event = self.move_to(told.sequence(), told.stored());
        self.is_stuck = event.is_none();
        event.map(Ok)
    }

    fn move_to(&mut self, sequence: Sequence, stored: Option<Stored>) -> Option<Event> {
        self.after.sequence = sequence;
        self.shared.known.saw(self.after);
        self.shared.event(stored, self.after.epoch)
    }

    /// Whether what stands between the last event and a later one was taken out of the log, and not
    /// out of its beginning: that would be a hole in what has been followed. The beginning only
    /// ever moves on, so a look that is later than the event decides. Where nobody can tell, the
    /// place is given up without an error.
    async fn nothing_left_the_log(&mut self) -> Result<(), Option<ReadError>> {
        let known = self.shared.known.fresh().await;
        match known.and_then(|known| known.bounds.check(self.after)) {
            Ok(()) => Ok(()),
            Err(ReadError::Unavailable(_)) => {
                self.pull = None;
                Err(None)
            }
            Err(error) => {
                self.is_over = true;
                Err(Some(error))
            }
        }
    }

    /// Opens a place behind the last event, however often that has to be tried.
    async fn open(&mut self) -> Result<(), ReadError> {
        let at = self.has_begun.then_some(self.after);
        let interruption = self.interrupted.get_or_insert_with(|| Interruption {
            at,
            since: Instant::now(),
            delay: Duration::ZERO,
        });
        let since = interruption.since;
        loop {
            sleep(self.delay()).await;
            let trouble = match self.try_open().await {
                Ok(pull) => {
                    self.pull = Some(pull);
                    return Ok(());
                }
                Err(ReadError::Unavailable(trouble)) => trouble,
                Err(decided) => return Err(decided),
            };
            if since.elapsed() > INTERRUPTION_MAX {
                return Err(ReadError::Unavailable(trouble));
            }
            debug!(%trouble, after = %self.after, "the tail cannot be opened yet");
        }
    }

    /// How long to wait before the next try: nothing before the first.
    fn delay(&mut self) -> Duration {
        let Some(interruption) = &mut self.interrupted else { return Duration::ZERO };
        let delay = interruption.delay;
        interruption.delay = (delay * 2).clamp(REOPEN_DELAY_MIN, REOPEN_DELAY_MAX);
        if delay.is_zero() { delay } else { rand::rng().random_range(delay / 2..=delay) }
    }

    async fn try_open(&self) -> Result<Pull, ReadError> {
        let known = self.shared.known.fresh().await?;
        if known.is_doubted {
            return Err(unavailable("the log seems to end before what was seen of it"));
        }
        known.bounds.check(self.after)?;
        let begin = Begin::At(self.after.sequence.next());
        let all = [self.shared.subjects.all()];
        let opened = Pull::open(&self.shared.api, &self.connection, begin, &all).await;
        let mut pull = opened.map_err(|error| unavailable(error.to_string()))?;
        pull.request(REQUEST_EVENTS, REQUEST_BYTES)
            .await
            .map_err(|gone| unavailable(gone.to_string()))?;
        Ok(pull)
    }

    /// Whether the log has gone on for a while, and nothing of it comes. A replica may stop, such
    /// as one that has reached its server's limit of storage, and go on sending heartbeats.
    async fn is_left_behind(&mut self) -> bool {
        let known = match self.shared.known.recent(LOOK_INTERVAL) {
            Some(known) => Ok(known),
            None => self.shared.known.fresh().await,
        };
        if known.is_ok_and(|known| {
            known.bounds.head().partial_cmp(&self.after) != Some(Ordering::Greater)
        }) {
            self.behind_at = None;
            return false;
        }
        // What stands between here and the head may have been taken out of the log.
        let all = [self.shared.subjects.all()];
        let next = self.shared.api.next(self.after.sequence.next(), &all).await;
        if !next.is_ok_and(|next| next.is_some()) {
            return false;
        }
        // What is on its way is here before the next heartbeat.
        self.behind_at.replace(self.after.sequence) == Some(self.after.sequence)
    }

    /// Something came: the interruption is over.
    fn recovered(&mut self) {
        self.has_begun = true;
        let Some(Interruption { at: Some(at), since, .. }) = self.interrupted.take() else {
            return;
        };
        let took = since.elapsed();
        if took > UNTOLD_BELOW {
            info!(milliseconds = took.as_millis(), %at, "the tail goes on after an interruption");
        }
    }
}

/// What comes next; and more is asked for in time.
async fn pull_next(pull: &mut Pull) -> Result<Pulled, Gone> {
    if pull.requested <= REQUEST_EVENTS {
        pull.request(REQUEST_EVENTS, REQUEST_BYTES).await?;
    }
    pull.next().await
}
