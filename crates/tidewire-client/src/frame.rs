//! What a frame means: the hub's own by name, everything else an event.

use std::{fmt, time::Duration};

use serde::Deserialize;
use tidewire_core::{Cursor, Invalid, ResumePoint};

use crate::parser::RawFrame;

/// A frame with its meaning.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// The first frame of a connection.
    Hello(Hello),
    /// The log has moved on without an event for this subscriber.
    Cursor(Cursor),
    /// Events are missing here.
    Gap(Gap),
    /// The connection ends now, on purpose; the subscriber should come back.
    Retry {
        /// Why.
        reason: String,
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
    /// A frame of the hub's own that this version does not know.
    Other {
        /// Its name, with `tidewire.`.
        event_type: String,
        /// Where it stands, if anywhere.
        cursor: Option<Cursor>,
    },
}

/// How a connection begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Hello {
    /// The position from which the stream goes on.
    pub cursor: Cursor,
    /// The hub's name for this connection.
    pub connection: String,
    /// The edge's name.
    pub edge: String,
    /// How the stream goes on.
    pub resume: Resume,
    /// A silent stream has at least a heartbeat this often.
    pub heartbeat: Option<Duration>,
}

/// How a stream goes on from its subscriber's position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resume {
    /// From where the subscriber asked to start: it had no cursor.
    Live,
    /// From exactly where the cursor stands.
    Resumed,
    /// From elsewhere: the gap that says so has come before.
    Gap,
}

/// What lies between two cursors cannot be had; the stream goes on after the second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Why.
    pub reason: GapReason,
    /// The cursor that was asked for, as it was spelled.
    pub requested: String,
    /// Where the stream goes on.
    pub resumed_from: Cursor,
}

/// Why a cursor could not be resumed exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GapReason {
    /// What follows it has left retention.
    Expired,
    /// It is of another life of the log.
    Epoch,
    /// It lies beyond the log's newest event.
    Ahead,
    /// It is no cursor.
    Malformed,
    /// A reason that this version does not know.
    Other(String),
}

impl fmt::Display for GapReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "expired",
            Self::Epoch => "epoch",
            Self::Ahead => "ahead",
            Self::Malformed => "malformed",
            Self::Other(reason) => reason,
        })
    }
}

impl From<String> for GapReason {
    fn from(text: String) -> Self {
        match text.as_str() {
            "expired" => Self::Expired,
            "epoch" => Self::Epoch,
            "ahead" => Self::Ahead,
            "malformed" => Self::Malformed,
            _ => Self::Other(text),
        }
    }
}

/// A frame that Tidewire would not write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a `{event_type}` frame {reason}")]
pub struct NotAFrame {
    event_type: String,
    reason: String,
}

impl Frame {
    /// Reads a frame's meaning.
    ///
    /// # Errors
    /// [`NotAFrame`] where a cursor is missing or is none, or a frame of the hub's own does not
    /// hold what its name promises.
    pub fn read(raw: RawFrame) -> Result<Self, NotAFrame> {
        match raw.event_type.as_str() {
            "tidewire.hello" => read_hello(&raw).map(Self::Hello),
            "tidewire.cursor" => cursor_of(&raw).map(Self::Cursor),
            "tidewire.gap" => read_gap(&raw).map(Self::Gap),
            "tidewire.retry" => Ok(Self::Retry { reason: reason_of(&raw) }),
            name if name.starts_with("tidewire.") => {
                let cursor = cursor(&raw.last_event_id).ok();
                Ok(Self::Other { event_type: raw.event_type, cursor })
            }
            _ => {
                let cursor = cursor_of(&raw)?;
                Ok(Self::Event { cursor, event_type: raw.event_type, data: raw.data })
            }
        }
    }
}

#[derive(Deserialize)]
struct HelloData {
    #[serde(default)]
    connection: String,
    #[serde(default)]
    edge: String,
    resume: Resume,
    heartbeat_seconds: Option<f64>,
}

#[derive(Deserialize)]
struct GapData {
    reason: String,
    #[serde(default)]
    requested: String,
}

#[derive(Deserialize)]
struct RetryData {
    reason: String,
}

fn read_hello(raw: &RawFrame) -> Result<Hello, NotAFrame> {
    let HelloData { connection, edge, resume, heartbeat_seconds } = data_of(raw)?;
    let heartbeat = heartbeat_seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    Ok(Hello { cursor: cursor_of(raw)?, connection, edge, resume, heartbeat })
}

fn read_gap(raw: &RawFrame) -> Result<Gap, NotAFrame> {
    let GapData { reason, requested } = data_of(raw)?;
    Ok(Gap { reason: reason.into(), requested, resumed_from: cursor_of(raw)? })
}

fn reason_of(raw: &RawFrame) -> String {
    data_of(raw).map_or_else(|_| raw.data.clone(), |RetryData { reason }| reason)
}

fn data_of<'de, T: Deserialize<'de>>(raw: &'de RawFrame) -> Result<T, NotAFrame> {
    serde_json::from_str(&raw.data).map_err(|error| not_a_frame(raw, error.to_string()))
}

fn cursor_of(raw: &RawFrame) -> Result<Cursor, NotAFrame> {
    cursor(&raw.last_event_id).map_err(|_| not_a_frame(raw, "has no cursor for an id".into()))
}

/// The cursor of an id, which within a snapshot is more than that.
fn cursor(id: &str) -> Result<Cursor, Invalid> {
    id.parse().map(|ResumePoint { after, .. }| after)
}

fn not_a_frame(raw: &RawFrame, reason: String) -> NotAFrame {
    NotAFrame { event_type: raw.event_type.clone(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(event_type: &str, id: &str, data: &str) -> Result<Frame, NotAFrame> {
        Frame::read(RawFrame {
            event_type: event_type.into(),
            data: data.into(),
            last_event_id: id.into(),
        })
    }

    fn at(text: &str) -> Cursor {
        text.parse().unwrap()
    }

    #[test]
    fn reads_the_frames_of_the_protocol() {
        let hello = r#"{"connection":"k7","edge":"edge-1","resume":"live","heartbeat_seconds":15,"max_age_seconds":1630}"#;
        assert_eq!(
            read("tidewire.hello", "5f3a91c2-10480", hello),
            Ok(Frame::Hello(Hello {
                cursor: at("5f3a91c2-10480"),
                connection: "k7".into(),
                edge: "edge-1".into(),
                resume: Resume::Live,
                heartbeat: Some(Duration::from_secs(15)),
            }))
        );
        let gap =
            r#"{"reason":"expired","requested":"5f3a91c2-12","resumed_from":"5f3a91c2-7700"}"#;
        assert_eq!(
            read("tidewire.gap", "5f3a91c2-7700", gap),
            Ok(Frame::Gap(Gap {
                reason: GapReason::Expired,
                requested: "5f3a91c2-12".into(),
                resumed_from: at("5f3a91c2-7700"),
            }))
        );
        assert_eq!(
            read("price", "5f3a91c2-2", "{}"),
            Ok(Frame::Event {
                cursor: at("5f3a91c2-2"),
                event_type: "price".into(),
                data: "{}".into(),
            })
        );
        assert_eq!(
            read("message", "5f3a91c2-2~", "{}"),
            Ok(Frame::Event {
                cursor: at("5f3a91c2-2"),
                event_type: "message".into(),
                data: "{}".into(),
            }),
            "within a snapshot"
        );
        assert_eq!(
            read("tidewire.cursor", "5f3a91c2-2", "{}"),
            Ok(Frame::Cursor(at("5f3a91c2-2")))
        );
        assert_eq!(
            read("tidewire.retry", "", r#"{"reason":"draining"}"#),
            Ok(Frame::Retry { reason: "draining".into() })
        );
    }

    #[test]
    fn what_it_does_not_know_moves_the_cursor_all_the_same() {
        let other = |cursor| Frame::Other { event_type: "tidewire.new".into(), cursor };
        assert_eq!(read("tidewire.new", "5f3a91c2-2", "x"), Ok(other(Some(at("5f3a91c2-2")))));
        assert_eq!(read("tidewire.new", "", "x"), Ok(other(None)));
    }

    #[test]
    fn refuses_what_tidewire_would_not_write() {
        for (event_type, id, data) in [
            ("message", "", "x"),
            ("message", "7", "x"),
            ("tidewire.cursor", "", "{}"),
            ("tidewire.hello", "5f3a91c2-2", "{}"),
            ("tidewire.hello", "5f3a91c2-2", "hello"),
            ("tidewire.hello", "", r#"{"resume":"live"}"#),
            ("tidewire.gap", "5f3a91c2-2", "{}"),
            ("tidewire.gap", "", r#"{"reason":"expired"}"#),
        ] {
            let refusal = read(event_type, id, data).unwrap_err();
            assert!(refusal.to_string().contains(event_type), "{refusal}");
        }
    }
}
