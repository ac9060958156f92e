//! The promise between ingest, edge and whatever keeps the events.

use std::{error::Error, pin::Pin};

use async_trait::async_trait;
use futures_util::Stream;

use crate::{Cursor, Epoch, Event, Interest, NewEvent, Sequence, UnixMillis};

/// A durable, ordered log of events. It knows nothing of subscribers, connections or tokens.
///
/// # Contract
///
/// - A receipt is given only when the event is stored so that it outlives the process and, as far
///   as the implementation's documents promise it, the machine.
/// - Sequences strictly rise in the order of the log. They need not be dense.
/// - The same id again, within the deduplication window, stores nothing and answers with the first
///   one's cursor.
/// - A publish takes its place in the order when its future is first polled, or later: of two
///   publishes of one caller, the one polled first stands first in the log, where both are stored
///   at their first attempt.
/// - A dropped or failed publish may have been stored.
/// - Whatever [`read`](Backbone::read) or [`tail`](Backbone::tail) has once handed out is as
///   durable as a receipt promises, and is handed out with the same cursor for ever.
/// - An event whose ttl has passed is left out of reads, as if nobody had wanted it.
#[async_trait]
pub trait Backbone: Send + Sync + 'static {
    /// Stores an event, and returns once it is durable.
    ///
    /// May be in flight thousands of times at once.
    ///
    /// # Errors
    /// [`PublishError::TooLarge`] is final. After [`PublishError::Unavailable`] the event may have
    /// been stored; publishing it again under the same id stores it once.
    async fn publish(&self, event: NewEvent) -> Result<Receipt, PublishError>;

    /// Reads wanted events after `after`, oldest first, at most `limit` of them; never waits for
    /// new ones. The work of one call is bounded: a page may be short, even empty, with `next`
    /// not yet at the head, and the caller goes on from `next`.
    ///
    /// # Errors
    /// [`ReadError::Expired`] where events after `after` have left retention,
    /// [`ReadError::ForeignEpoch`] where `after` is of another life of the log, and
    /// [`ReadError::Ahead`] where it lies beyond the head.
    async fn read(
        &self,
        interest: &Interest,
        after: Cursor,
        limit: PageLimit,
    ) -> Result<Page, ReadError>;

    /// Reads the last event of every wanted topic, of those that stand after `after`, in log
    /// order. A page cut short by `limit` ends at its last event and is continued from `next`;
    /// otherwise `next` is the head at the one moment of which the page speaks. Followed until
    /// `next` is the head, and from there by a tail, every topic's last event is seen.
    ///
    /// # Errors
    /// As for [`read`](Backbone::read), but `after` never expires.
    async fn latest(
        &self,
        interest: &Interest,
        after: Cursor,
        limit: PageLimit,
    ) -> Result<Page, ReadError>;

    /// Follows every event after `after`, in order and without a hole, for ever. An interruption
    /// of what lies beneath is healed inside, or ends the stream with an error; after an error
    /// the stream is over, and following again after the last event seen leaves nothing out.
    ///
    /// # Errors
    /// As for [`read`](Backbone::read), at once or as the stream's last item.
    async fn tail(&self, after: Cursor) -> Result<EventStream, ReadError>;

    /// What is retained now.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`].
    async fn bounds(&self) -> Result<Bounds, ReadError>;

    /// The cursor of a moment: after it stand the retained events of that time or later.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`].
    async fn cursor_at(&self, time: UnixMillis) -> Result<Cursor, ReadError>;
}

/// The log followed, in order and without a hole. An error is its last item.
pub type EventStream = Pin<Box<dyn Stream<Item = Result<Event, ReadError>> + Send>>;

/// What a publisher gets once its event is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Where the event stands.
    pub cursor: Cursor,
    /// Whether its id was stored already; the cursor is then the first one's.
    pub duplicate: bool,
}

/// Some wanted events, and how far was searched for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The events, oldest first.
    pub events: Vec<Event>,
    /// Everything wanted up to and including here is in this page or an earlier one. It moves
    /// even where nothing matched.
    pub next: Cursor,
}

/// How much one page may hold. At least one event is handed out, however large it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimit {
    /// At most so many events.
    pub events: usize,
    /// At most so many bytes of data.
    pub bytes: usize,
}

/// The ends of what is retained, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Which life of the log.
    pub epoch: Epoch,
    /// The oldest event retained; where there is none, the next one to come.
    pub oldest: Sequence,
    /// The newest event; before the first, 0.
    pub head: Sequence,
}

impl Bounds {
    /// The cursor after which everything retained stands.
    pub fn start(&self) -> Cursor {
        Cursor::new(self.epoch, self.oldest.previous())
    }

    /// The cursor of the newest event.
    pub fn head(&self) -> Cursor {
        Cursor::new(self.epoch, self.head)
    }

    /// Whether everything after `cursor` can still be read.
    ///
    /// # Errors
    /// [`ReadError::ForeignEpoch`], [`ReadError::Ahead`] or [`ReadError::Expired`].
    pub fn check(&self, cursor: Cursor) -> Result<(), ReadError> {
        if cursor.epoch != self.epoch {
            Err(ReadError::ForeignEpoch { epoch: self.epoch })
        } else if cursor.sequence > self.head {
            Err(ReadError::Ahead { head: self.head() })
        } else if cursor.sequence < self.oldest.previous() {
            Err(ReadError::Expired { oldest: self.start() })
        } else {
            Ok(())
        }
    }
}

/// Why an event was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// It is larger than the backbone takes. Sending it again will not help.
    #[error("the event is too large for the backbone: at most {bytes_max} bytes")]
    TooLarge {
        /// What the backbone takes.
        bytes_max: usize,
    },
    /// No acknowledgement came. It may have been stored: send it again under the same id.
    #[error("the backbone does not answer: {0}")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Events after the cursor have left retention.
    #[error("the cursor has expired: what is retained stands after {oldest}")]
    Expired {
        /// The cursor after which everything retained stands.
        oldest: Cursor,
    },
    /// The cursor is of another life of the log.
    #[error("the cursor is of another epoch than the log's {epoch}")]
    ForeignEpoch {
        /// The log's epoch now.
        epoch: Epoch,
    },
    /// The cursor lies beyond the newest event.
    #[error("the cursor lies ahead of the log's head {head}")]
    Ahead {
        /// The newest event.
        head: Cursor,
    },
    /// The backbone does not answer; the same again later may succeed.
    #[error("the backbone does not answer: {0}")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
}
