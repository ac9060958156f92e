//! Refusals as gRPC statuses, with details; and tonic's own statuses in the protocol's words.

use std::borrow::Cow;

use prost::Message as _;
use tidewire_core::Invalid;
use tidewire_proto::v1;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::refusal::{RETRY_DELAY, Refusal};

/// The status of a call, or the end of a stream.
pub(crate) fn of_refusal(refusal: &Refusal) -> Status {
    let message = refusal.to_string();
    match refusal {
        Refusal::Invalid(invalid) => {
            Status::with_error_details(Code::InvalidArgument, message, violation(invalid))
        }
        Refusal::TooLarge(invalid) => {
            Status::with_error_details(Code::ResourceExhausted, message, violation(invalid))
        }
        Refusal::Exhausted => {
            Status::with_error_details(Code::ResourceExhausted, message, retry_later())
        }
        Refusal::Unavailable(_) => {
            Status::with_error_details(Code::Unavailable, message, retry_later())
        }
    }
}

/// The status of one event among others.
pub(crate) fn of_event(refusal: &Refusal) -> v1::Status {
    let status = of_refusal(refusal);
    // The details are an encoded `google.rpc.Status`, whose fields ours are.
    v1::Status::decode(status.details()).unwrap_or_else(|_| v1::Status {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: Vec::new(),
    })
}

/// The end of a stream in a process that stops.
pub(crate) fn stopping() -> Status {
    Status::with_error_details(Code::Unavailable, "the process is stopping", retry_later())
}

/// What tonic says of a request that it cannot read, as a refusal; `None` for anything else.
///
/// tonic answers `OUT_OF_RANGE` for a message over its limit, and `INTERNAL` for bytes that are no
/// message; we never answer either.
pub(crate) fn unreadable(status: &Status, message_bytes_max: usize) -> Option<Refusal> {
    match status.code() {
        Code::OutOfRange => Some(Refusal::request_too_large(message_bytes_max)),
        Code::Internal => {
            let reason: Cow<'static, str> = format!("is malformed: {}", status.message()).into();
            Some(Invalid::new("request", reason).into())
        }
        _ => None,
    }
}

/// A code's name, as the specification of gRPC spells it.
pub(crate) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

fn violation(invalid: &Invalid) -> ErrorDetails {
    ErrorDetails::with_bad_request_violation(&*invalid.field, &*invalid.reason)
}

fn retry_later() -> ErrorDetails {
    ErrorDetails::with_retry_info(Some(RETRY_DELAY))
}
