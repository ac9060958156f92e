//! What shows a client whether something holds its stream back: a small frame after a silence, and
//! nothing behind it that would push it on.
//!
//! A head, or a first frame, that comes in time proves nothing: what follows at once pushes it
//! through buffers in which a single event later stays.

use std::time::Duration;

/// The silence before a probe. Until it has been sent, a stream is never silent for longer.
const SILENCE_BEFORE: Duration = Duration::from_secs(1);
/// For so long no heartbeat follows a probe. An event is not held back: it ends the silence.
const SILENCE_BEHIND: Duration = Duration::from_secs(3);

/// How far a stream's probe has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probe {
    /// It is to be sent.
    Due,
    /// It is what is handed out now.
    Begun,
    /// It was sent, or is not wanted.
    Over,
}

impl Probe {
    pub(crate) fn wanted(is_wanted: bool) -> Self {
        if is_wanted { Self::Due } else { Self::Over }
    }

    /// Whether it is sent now.
    pub(crate) fn begin(&mut self) -> bool {
        let is_due = *self == Self::Due;
        if is_due {
            *self = Self::Begun;
        }
        is_due
    }

    /// How long a silence may be behind what is handed out now, of which `heartbeat` is the longest
    /// otherwise.
    pub(crate) fn silence(&mut self, heartbeat: Duration) -> Duration {
        match self {
            Self::Due => heartbeat.min(SILENCE_BEFORE),
            Self::Begun => {
                *self = Self::Over;
                heartbeat.max(SILENCE_BEHIND)
            }
            Self::Over => heartbeat,
        }
    }
}
