//! Why an event has no receipt, by what its publisher can do about it.

use std::time::Duration;

use tidewire_core::Invalid;
use tidewire_proto::v1;
use tonic::{Code, Status};
use tonic_types::{BadRequest, RetryInfo, RpcStatusExt as _, StatusExt as _};

/// Why an event has no receipt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Something handed in is not what the protocol allows. Mend it.
    #[error("{field}: {reason}")]
    Invalid {
        /// What is wrong: `topic`, `data`, `url` …
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The event is larger than the hub takes. Make it smaller.
    #[error("too large: {reason}")]
    TooLarge {
        /// How much would be allowed, in the hub's words.
        reason: String,
    },
    /// The hub does not know who publishes, or does not allow it. Ask its operator.
    #[error("denied: {reason}")]
    Denied {
        /// Why, in the hub's words.
        reason: String,
    },
    /// The hub cannot store it now, cannot be reached, or has not answered: the event may have been
    /// stored. Send it again, under the same id.
    #[error("unavailable: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
        /// How long the hub asks to wait.
        retry_after: Option<Duration>,
    },
    /// The hub answers something else, which sending again would not change: what is there is
    /// perhaps no Tidewire.
    #[error("refused: {reason}")]
    Refused {
        /// What it answers.
        reason: String,
    },
    /// The stream was over before the event was answered: it gave up, or its runtime ended. The
    /// event may have been stored; send it again on a new stream, under the same id.
    #[error("the stream is over")]
    StreamOver,
}

impl PublishError {
    /// Whether sending the same event again may help.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::StreamOver)
    }

    pub(crate) fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable { reason: reason.into(), retry_after: None }
    }

    pub(crate) fn refused(reason: impl Into<String>) -> Self {
        Self::Refused { reason: reason.into() }
    }

    /// Sorts a gRPC status by what can be done about it.
    fn sort(
        code: Code,
        message: String,
        bad_request: Option<BadRequest>,
        retry: Option<RetryInfo>,
    ) -> Self {
        let reason = if message.is_empty() { code.description().to_owned() } else { message };
        match code {
            Code::InvalidArgument => {
                let violation = bad_request
                    .and_then(|details| details.field_violations.into_iter().next())
                    .map(|violation| (violation.field, violation.description));
                let (field, reason) = violation.unwrap_or_else(|| ("event".to_owned(), reason));
                Self::Invalid { field, reason }
            }
            Code::Unauthenticated | Code::PermissionDenied => Self::Denied { reason },
            // Where waiting helps, the hub says for how long.
            Code::ResourceExhausted if retry.is_none() => Self::TooLarge { reason },
            // The library's own answer to a message over its limit.
            Code::OutOfRange => Self::TooLarge { reason },
            Code::Ok
            | Code::NotFound
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::Unimplemented
            | Code::DataLoss => Self::Refused { reason: format!("{code:?}: {reason}") },
            Code::ResourceExhausted
            | Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::Cancelled
            | Code::Internal
            | Code::Unknown => {
                Self::Unavailable { reason, retry_after: retry.and_then(|info| info.retry_delay) }
            }
        }
    }
}

impl From<Status> for PublishError {
    fn from(status: Status) -> Self {
        Self::sort(
            status.code(),
            status.message().to_owned(),
            status.get_details_bad_request(),
            status.get_details_retry_info(),
        )
    }
}

impl From<v1::Status> for PublishError {
    fn from(status: v1::Status) -> Self {
        let v1::Status { code, message, details } = status;
        let status = tonic_types::Status { code, message, details };
        let (bad_request, retry) =
            (status.get_details_bad_request(), status.get_details_retry_info());
        Self::sort(Code::from_i32(code), status.message, bad_request, retry)
    }
}

impl From<Invalid> for PublishError {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid { field: invalid.field.into_owned(), reason: invalid.reason.into_owned() }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn sorts_a_status_by_what_can_be_done_about_it() {
        let wait = Some(Duration::from_millis(250));
        let bare = ErrorDetails::new;
        let unavailable =
            |retry_after| PublishError::Unavailable { reason: "x".into(), retry_after };
        let mut invalid = bare();
        invalid.add_bad_request_violation("topic", "is empty");
        for (code, details, expected) in [
            (
                Code::InvalidArgument,
                invalid,
                PublishError::Invalid { field: "topic".into(), reason: "is empty".into() },
            ),
            (
                Code::InvalidArgument,
                bare(),
                PublishError::Invalid { field: "event".into(), reason: "x".into() },
            ),
            (Code::ResourceExhausted, bare(), PublishError::TooLarge { reason: "x".into() }),
            (Code::ResourceExhausted, ErrorDetails::with_retry_info(wait), unavailable(wait)),
            (Code::Unavailable, ErrorDetails::with_retry_info(wait), unavailable(wait)),
            (Code::Unavailable, bare(), unavailable(None)),
            (Code::DeadlineExceeded, bare(), unavailable(None)),
            (Code::PermissionDenied, bare(), PublishError::Denied { reason: "x".into() }),
            (Code::Unauthenticated, bare(), PublishError::Denied { reason: "x".into() }),
            (
                Code::Unimplemented,
                bare(),
                PublishError::Refused { reason: "Unimplemented: x".into() },
            ),
        ] {
            let status = Status::with_error_details(code, "x", details);
            let on_a_stream = v1::Status {
                code: code.into(),
                message: "x".into(),
                details: tonic_details(&status),
            };
            assert_eq!(PublishError::from(status), expected);
            assert_eq!(PublishError::from(on_a_stream), expected, "within a stream");
        }
    }

    fn tonic_details(status: &Status) -> Vec<prost_types::Any> {
        tonic_types::Status::decode(status.details()).unwrap().details
    }
}
