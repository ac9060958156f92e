//! What comes out of a subscription: events, and what happened to the way there.

use std::time::Duration;

use tidewire_core::Cursor;

use crate::{
    connection::Refusal,
    frame::{GapReason, Resume},
};

/// What a subscriber sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A connection stands. Comes with each one, unless control frames were switched off.
    Connected {
        /// The position from which the stream goes on.
        cursor: Cursor,
        /// How it goes on.
        resume: Resume,
        /// The hub's name for the connection.
        connection: String,
    },
    /// An event.
    Event {
        /// Its place in the log.
        cursor: Cursor,
        /// Its type; `message` where its publisher gave none.
        event_type: String,
        /// What it says, in the envelope that was asked for.
        data: String,
    },
    /// Events are missing here: whatever was built from earlier ones should be built anew.
    Gap {
        /// Why.
        reason: GapReason,
        /// The cursor that could not be resumed, as it was spelled.
        requested: String,
        /// Where the stream goes on.
        resumed_from: Cursor,
    },
    /// There is no connection, or the attempt at one failed. The next call of
    /// [`Subscriber::next`](crate::Subscriber::next) waits and tries again.
    Disconnected {
        /// Why.
        reason: DisconnectReason,
    },
    /// The hub has said not to come back (status 204): nothing else will come.
    Ended,
}

/// Why there is no connection for now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DisconnectReason {
    /// The hub ended the stream in good order.
    #[error("the hub ended the stream")]
    Ended,
    /// The hub ended the stream and said why: it drains, is full, or the connection was old.
    #[error("the hub ended the stream: {reason}")]
    SentAway {
        /// Why.
        reason: String,
    },
    /// The hub, or something before it, cannot serve for now: 429 or 5xx.
    #[error("the hub cannot serve now: {0}")]
    Refused(Refusal),
    /// Nobody answers.
    #[error("{reason}")]
    Unreachable {
        /// Why.
        reason: String,
    },
    /// The connection broke.
    #[error("{reason}")]
    Cut {
        /// Why.
        reason: String,
    },
    /// Nothing came, not even a heartbeat.
    #[error("nothing came for {} s", after.as_secs_f32())]
    Silent {
        /// So long.
        after: Duration,
    },
}

/// Why a subscription is over. Trying again with the same request would not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    /// The hub refuses: not authenticated, not allowed, a bad request, nothing there.
    #[error("the hub refuses: status {status}: {title}{}{detail}", if detail.is_empty() { "" } else { ": " })]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it means.
        title: String,
        /// What exactly was wrong.
        detail: String,
    },
    /// What answers does not speak the protocol.
    #[error("not a Tidewire stream: {reason}")]
    NotTidewire {
        /// What is wrong with it.
        reason: String,
    },
}
