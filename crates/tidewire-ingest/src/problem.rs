//! Refusals over HTTP: `application/problem+json` (RFC 9457).

use std::borrow::Cow;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{
    HeaderValue, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use serde::Serialize;
use tidewire_core::Invalid;

use crate::refusal::{RETRY_DELAY, Refusal};

/// A refusal as a client reads it. The type is always `about:blank`: the status says what to do,
/// `field` and `reason` what was wrong.
#[derive(Debug, Serialize)]
pub(crate) struct Problem {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<Cow<'static, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Cow<'static, str>>,
    #[serde(skip)]
    code: StatusCode,
}

impl Problem {
    pub(crate) fn new(code: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            r#type: "about:blank",
            title: code.canonical_reason().unwrap_or_default(),
            status: code.as_u16(),
            detail: detail.into(),
            field: None,
            reason: None,
            code,
        }
    }

    /// What it is answered with.
    pub(crate) fn status(&self) -> StatusCode {
        self.code
    }

    fn of_field(code: StatusCode, invalid: Invalid) -> Self {
        let detail = invalid.to_string();
        Self { field: Some(invalid.field), reason: Some(invalid.reason), ..Self::new(code, detail) }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            Refusal::Invalid(invalid) => Self::of_field(StatusCode::BAD_REQUEST, invalid),
            Refusal::TooLarge(invalid) => Self::of_field(StatusCode::PAYLOAD_TOO_LARGE, invalid),
            Refusal::Exhausted => Self::new(StatusCode::TOO_MANY_REQUESTS, detail),
            Refusal::Unavailable(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, detail),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let code = self.code;
        let mut response = (code, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if matches!(code, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            headers.insert(RETRY_AFTER, RETRY_DELAY.as_secs().into());
        }
        response
    }
}
