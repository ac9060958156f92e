//! Reading from one place in the stream as far as there is something, and being sure of it.
//!
//! A place lies on one replica, which may lag behind the leader. That it has nothing more proves
//! nothing; so, where a read ends without having seen its last event, the leader is asked whether
//! there is one.

use std::time::Duration;

use tidewire_core::{Cursor, Epoch, Event, ReadError, Sequence};
use tokio::time::Instant;

use crate::{
    api::ApiError,
    known::unavailable,
    pull::{Begin, Gone, Pull, Pulled},
    shared::Shared,
};

/// Bytes asked for at once: more than the largest event takes.
const REQUEST_BYTES: usize = 4 * 1024 * 1024;
/// How long a lagging replica is waited for.
const LAG_MAX: Duration = Duration::from_secs(2);
/// The wait before a lagging replica is looked at again.
const LAG_LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// An open place, and how far it has been read.
#[derive(Debug)]
pub(crate) struct Reading {
    pull: Pull,
    pub(crate) epoch: Epoch,
    subjects: Vec<String>,
    /// Everything that the subjects match up to here has been handed out.
    pub(crate) read_to: Sequence,
    /// How far to read: the head when the place was opened.
    pub(crate) end: Sequence,
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
        Ok(Self { pull, epoch: after.epoch, subjects, read_to: after.sequence, end })
    }

    /// The next event behind `read_to`. Of what the place hands out, `events_max` are asked for at
    /// once.
    pub(crate) async fn next(
        &mut self,
        shared: &Shared,
        events_max: usize,
    ) -> Result<Next, ReadError> {
        let lagging_until = Instant::now() + LAG_MAX;
        while self.read_to < self.end {
            if self.pull.pending == 0 && self.is_confirmed(shared, lagging_until).await? {
                break;
            }
            if self.pull.requested == 0 {
                self.pull.request(events_max, REQUEST_BYTES).await.map_err(gone)?;
            }
            if let Pulled::Event(stored) = self.pull.next().await.map_err(gone)? {
                if stored.sequence <= self.read_to {
                    continue;
                }
                if stored.sequence > self.end {
                    break;
                }
                self.read_to = stored.sequence;
                if let Some(event) = shared.event(stored, self.epoch) {
                    return Ok(Next::Event(Box::new(event)));
                }
            }
        }
        self.read_to = self.end;
        Ok(Next::Finished)
    }

    /// Whether the leader has nothing either, up to the end. Where it has, the replica lags, and
    /// what is missing will come.
    async fn is_confirmed(&self, shared: &Shared, until: Instant) -> Result<bool, ReadError> {
        let at = self.read_to.next();
        for subject in &self.subjects {
            let next = shared.api.next(at, subject).await.map_err(failed)?;
            if next.is_some_and(|next| next <= self.end) {
                if Instant::now() > until {
                    return Err(unavailable("a replica lags behind the stream's leader"));
                }
                tokio::time::sleep(LAG_LOOK_INTERVAL).await;
                return Ok(false);
            }
        }
        Ok(true)
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
