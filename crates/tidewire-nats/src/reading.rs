//! Reading from one place in the stream as far as there is something, and being sure of it.
//!
//! A place lies on one replica, which may lag behind the leader. That it has nothing more proves
//! nothing; so, where a read ends without having seen its last event, the leader is asked whether
//! there is one.

use std::time::Duration;

use tidewire_core::{Cursor, Epoch, Event, ReadError, Sequence};
use tokio::time::{Instant, sleep};

use crate::{
    api::ApiError,
    known::unavailable,
    pull::{Begin, Gone, Pull, Pulled},
    shared::Shared,
};

/// Bytes asked for at once: more than the largest event takes.
const REQUEST_BYTES: usize = 4 * 1024 * 1024;
/// How long a place may have nothing while there is something.
const STALL_MAX: Duration = Duration::from_secs(2);
/// The first wait before another place is opened instead; it doubles.
const STALL_DELAY_MIN: Duration = Duration::from_millis(20);

/// An open place, and how far it has been read.
#[derive(Debug)]
pub(crate) struct Reading {
    pull: Pull,
    begin: Begin,
    pub(crate) epoch: Epoch,
    subjects: Vec<String>,
    /// Everything that the subjects match up to here has been handed out.
    pub(crate) read_to: Sequence,
    /// How far to read: the head when the place was opened.
    pub(crate) end: Sequence,
}

/// A place that has nothing while there is something.
struct Stalled {
    since: Instant,
    delay: Duration,
}

/// What a reading has next.
#[derive(Debug)]
pub(crate) enum Next {
    /// An event.
    Event(Box<Event>),
    /// Nothing up to its end.
    Finished,
}

impl Reading {
    /// Opens a place for what stands behind `after`, up to `end`.
    pub(crate) async fn open(
        shared: &Shared,
        begin: Begin,
        after: Cursor,
        end: Sequence,
        subjects: Vec<String>,
    ) -> Result<Self, ReadError> {
        let pull = Pull::open(&shared.api, shared.api.connection(), begin, &subjects).await;
        let pull = pull.map_err(failed)?;
        Ok(Self { pull, begin, epoch: after.epoch, subjects, read_to: after.sequence, end })
    }

    /// The next event behind `read_to`. Of what the place hands out, `events_max` are asked for at
    /// once.
    pub(crate) async fn next(
        &mut self,
        shared: &Shared,
        events_max: usize,
    ) -> Result<Next, ReadError> {
        let mut stalled = Stalled { since: Instant::now(), delay: STALL_DELAY_MIN };
        while self.read_to < self.end {
            if self.pull.pending == 0 {
                if !self.is_more(shared).await? {
                    break;
                }
                self.open_again(shared, &mut stalled).await?;
            }
            if self.pull.requested == 0 {
                self.pull.request(events_max, REQUEST_BYTES).await.map_err(gone)?;
            }
            match self.pull.next().await.map_err(gone)? {
                Pulled::Event(stored) if stored.sequence <= self.read_to => {}
                Pulled::Event(stored) if stored.sequence > self.end => break,
                Pulled::Event(stored) => {
                    self.read_to = stored.sequence;
                    if let Some(event) = shared.event(stored, self.epoch) {
                        return Ok(Next::Event(Box::new(event)));
                    }
                }
                // It says that there is more, and nothing comes.
                Pulled::Heartbeat => self.pull.pending = 0,
                Pulled::Ended => {}
            }
        }
        self.read_to = self.end;
        Ok(Next::Finished)
    }

    /// Whether the stream's leader has more, up to the end.
    async fn is_more(&self, shared: &Shared) -> Result<bool, ReadError> {
        let at = self.read_to.next();
        for subject in &self.subjects {
            let next = shared.api.next(at, subject).await.map_err(failed)?;
            if next.is_some_and(|next| next <= self.end) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Another place for what the leader has and this one has not: its replica lags, or its server
    /// has lost count (2.11 does, where a place has several subjects).
    async fn open_again(
        &mut self,
        shared: &Shared,
        stalled: &mut Stalled,
    ) -> Result<(), ReadError> {
        if stalled.since.elapsed() > STALL_MAX {
            return Err(unavailable("a replica has less than the stream's leader"));
        }
        sleep(stalled.delay).await;
        stalled.delay *= 2;
        let begin = match self.begin {
            Begin::At(_) => Begin::At(self.read_to.next()),
            other => other,
        };
        let connection = shared.api.connection();
        let pull = Pull::open(&shared.api, connection, begin, &self.subjects).await;
        let given_up = std::mem::replace(&mut self.pull, pull.map_err(failed)?);
        given_up.close().await;
        Ok(())
    }

    pub(crate) async fn close(self) {
        self.pull.close().await;
    }
}

fn failed(error: ApiError) -> ReadError {
    unavailable(error.to_string())
}

fn gone(gone: Gone) -> ReadError {
    unavailable(gone.to_string())
}
