//! Why an event has no receipt, whichever door it came through.

use std::{borrow::Cow, time::Duration};

use tidewire_core::{Invalid, PublishError};
use tracing::trace;

/// How long a caller who may try again should wait first. Both reasons to wait pass within seconds
/// or not at all, and a publisher backs off by itself.
pub(crate) const RETRY_DELAY: Duration = Duration::from_secs(1);

/// One variant for each reaction of the caller.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// Mend it. Nothing was stored.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// Make it smaller. Nothing was stored.
    #[error("{0}")]
    TooLarge(Invalid),
    /// Send it again later. Nothing was stored.
    #[error("too many bytes are in flight: send the event again later")]
    Exhausted,
    /// Send it again later, under the same id: it may have been stored.
    #[error("{0}: the event may have been stored; send it again under the same id")]
    Unavailable(Cow<'static, str>),
}

impl Refusal {
    /// No receipt came in time.
    pub(crate) fn late(publish_timeout: Duration) -> Self {
        Self::Unavailable(format!("no receipt came within {publish_timeout:?}").into())
    }

    /// Its class, in a word: as in the metrics.
    pub(crate) fn class(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "invalid",
            Self::TooLarge(_) => "too_large",
            Self::Exhausted => "exhausted",
            Self::Unavailable(_) => "unavailable",
        }
    }

    /// The request as a whole is longer than is read.
    pub(crate) fn request_too_large(bytes_max: usize) -> Self {
        Self::TooLarge(Invalid::new("request", format!("has more than {bytes_max} bytes")))
    }
}

impl From<PublishError> for Refusal {
    fn from(error: PublishError) -> Self {
        // What lies beneath is the operator's to know: addresses and paths stay out of the answer.
        trace!(%error, "publish failed");
        match error {
            PublishError::TooLarge { bytes_max } => {
                let reason = format!("is too large for the backbone: at most {bytes_max} bytes");
                Self::TooLarge(Invalid::new("data", reason))
            }
            PublishError::Unavailable(_) => {
                Self::Unavailable("the backbone does not answer".into())
            }
        }
    }
}
