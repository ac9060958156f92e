//! A commit: waiting publishes, deduplicated and encoded, and what each will be answered.

use tidewire_core::{
    Cursor, Epoch, NewEvent, PublishError, Receipt, Sequence, Topic, UnixMillis,
    limits::EVENT_BYTES_MAX,
};
use tokio::sync::oneshot;

use crate::{
    deduplication::{Deduplication, Known},
    record::{self, Stamp},
};

/// A publish that waits for its receipt.
pub(crate) struct Waiting {
    pub(crate) event: NewEvent,
    pub(crate) answer: Answer,
}

pub(crate) type Answer = oneshot::Sender<Result<Receipt, PublishError>>;

/// What is written with one call and synced with one. Nobody is answered before it is.
pub(crate) struct Commit {
    epoch: Epoch,
    time: UnixMillis,
    /// The sequence of the next record.
    next: Sequence,
    /// All records, one behind the other.
    pub(crate) bytes: Vec<u8>,
    pub(crate) records: Vec<Encoded>,
    answers: Vec<(Answer, Receipt)>,
}

/// What the log remembers of a record once it is stored.
pub(crate) struct Encoded {
    pub(crate) topic: Topic,
    pub(crate) sequence: Sequence,
    pub(crate) expires: UnixMillis,
    pub(crate) bytes: u64,
}

impl Commit {
    /// A commit without events, whose first will have the sequence `next`.
    pub(crate) fn new(epoch: Epoch, next: Sequence, time: UnixMillis) -> Self {
        Self { epoch, time, next, bytes: Vec::new(), records: Vec::new(), answers: Vec::new() }
    }

    /// Takes a publish in. An event that cannot be stored is answered at once.
    pub(crate) fn add(&mut self, waiting: Waiting, ids: &mut Deduplication) {
        match self.place(waiting.event, ids) {
            Ok(receipt) => self.answers.push((waiting.answer, receipt)),
            Err(error) => reply(waiting.answer, Err(error)),
        }
    }

    fn place(&mut self, event: NewEvent, ids: &mut Deduplication) -> Result<Receipt, PublishError> {
        let receipt =
            |sequence, duplicate| Receipt { cursor: Cursor::new(self.epoch, sequence), duplicate };
        match event.id.as_ref().map_or(Known::New, |id| ids.look_up(id)) {
            Known::Stored(sequence) => return Ok(receipt(sequence, true)),
            Known::Full => {
                return Err(unavailable(
                    "more ids were published within the deduplication window than can be remembered",
                ));
            }
            Known::New => {}
        }
        let (sequence, start) = (self.next, self.bytes.len());
        let first_of_commit = self.records.is_empty();
        let stamp = Stamp { sequence, time: self.time, first_of_commit };
        record::append(&mut self.bytes, self.epoch, stamp, &event)
            .map_err(|_| PublishError::TooLarge { bytes_max: EVENT_BYTES_MAX })?;
        if let Some(id) = &event.id {
            ids.remember(id.as_str(), sequence, self.time);
        }
        self.records.push(Encoded {
            expires: event.expires(self.time),
            topic: event.topic,
            sequence,
            bytes: (self.bytes.len() - start) as u64,
        });
        self.next = sequence.next();
        Ok(receipt(sequence, false))
    }

    /// How many publishes were of events stored already.
    pub(crate) fn duplicates(&self) -> usize {
        self.answers.len() - self.records.len()
    }

    /// The commit is synced: everybody gets the receipt.
    pub(crate) fn succeed(self) {
        for (answer, receipt) in self.answers {
            reply(answer, Ok(receipt));
        }
    }

    /// The commit is not stored, or perhaps not.
    pub(crate) fn fail(self, reason: &str) {
        for (answer, _) in self.answers {
            reply(answer, Err(unavailable(reason)));
        }
    }
}

impl Waiting {
    /// How many bytes it adds to a commit, if it is not a duplicate.
    pub(crate) fn bytes(&self) -> usize {
        record::bytes_of(&self.event)
    }

    /// Answers without storing.
    pub(crate) fn refuse(self, reason: &str) {
        reply(self.answer, Err(unavailable(reason)));
    }
}

fn reply(answer: Answer, result: Result<Receipt, PublishError>) {
    // Who no longer waits has taken it upon himself not to know.
    let _ = answer.send(result);
}

/// A publish that is not acknowledged.
pub(crate) fn unavailable(reason: &str) -> PublishError {
    PublishError::Unavailable(reason.into())
}
