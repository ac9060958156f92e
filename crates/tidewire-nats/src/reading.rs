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
    told::Told,
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
            let (sequence, stored) = match self.pull_next(events_max).await {
                Ok(Pulled::Event(stored)) => (stored.sequence, Some(stored)),
                // It says that there is more, and nothing comes.
                Ok(Pulled::Heartbeat) => {
                    self.pull.pending = 0;
                    continue;
                }
                Ok(Pulled::Ended) => continue,
                Err(gone) => match self.instead_of(gone, shared).await? {
                    Some(told) => (told.sequence(), told.stored()),
                    None => break,
                },
            };
            if sequence > self.end {
                break;
            }
            if sequence > self.read_to {
                self.read_to = sequence;
                if let Some(event) = shared.event(stored, self.epoch) {
                    return Ok(Next::Event(Box::new(event)));
                }
            }
        }
        self.read_to = self.end;
        Ok(Next::Finished)
    }

    async fn pull_next(&mut self, events_max: usize) -> Result<Pulled, Gone> {
        if self.pull.requested == 0 {
            self.pull.request(events_max, REQUEST_BYTES).await?;
        }
        self.pull.next().await
    }

    /// The place is gone, perhaps because of what comes next, which is no event and which no place
    /// hands out: so that is asked for by itself, and another place opened behind it.
    async fn instead_of(&mut self, gone: Gone, shared: &Shared) -> Result<Option<Told>, ReadError> {
        // The last message of each topic cannot be asked for one after the other.
        let Begin::At(_) = self.begin else { return Err(unavailable(gone.to_string())) };
        let told = self.next_told(shared).await?;
        if let Some(told) = &told {
            self.replace(Begin::At(told.sequence().next()), shared).await?;
        }
        Ok(told)
    }

    /// Whether the stream's leader has more, up to the end.
    async fn is_more(&self, shared: &Shared) -> Result<bool, ReadError> {
        let next = self.next_told(shared).await?;
        Ok(next.is_some_and(|next| next.sequence() <= self.end))
    }

    async fn next_told(&self, shared: &Shared) -> Result<Option<Told>, ReadError> {
        shared.api.next(self.read_to.next(), &self.subjects).await.map_err(failed)
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
        self.replace(begin, shared).await
    }

    async fn replace(&mut self, begin: Begin, shared: &Shared) -> Result<(), ReadError> {
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
