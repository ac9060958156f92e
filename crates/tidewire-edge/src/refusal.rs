//! What is refused for now: in the form that the client survives, and counted by reason.

use std::sync::Arc;

use axum::{
    Extension, Router,
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tidewire_core::ResumePoint;
use tracing::warn;

use crate::{
    SubscribeRequest,
    admission::Full,
    client_address::ClientAddress,
    event_stream::{CLOSE, Carrier, EventStream, Frames},
    form::{Form, Overload},
    frame,
    http::cors,
    problem::Problem,
    returns::{sometime, soon},
    subscription::Shared,
};

/// Why a client shall come back later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// As the protocol and the metrics spell it.
    reason: &'static str,
    status: StatusCode,
    detail: &'static str,
}

impl Refusal {
    pub(crate) const FULL: Self = Self {
        reason: "full",
        status: StatusCode::SERVICE_UNAVAILABLE,
        detail: "the hub holds as many connections as it may: try again later",
    };
    pub(crate) const ADDRESS_FULL: Self = Self {
        reason: "address_full",
        status: StatusCode::TOO_MANY_REQUESTS,
        detail: "your address holds as many connections as it may: try again later",
    };
    pub(crate) const UNAVAILABLE: Self = Self {
        reason: "unavailable",
        status: StatusCode::SERVICE_UNAVAILABLE,
        detail: "the event log does not answer: try again soon",
    };
    pub(crate) const DRAINING: Self = Self {
        reason: "draining",
        status: StatusCode::SERVICE_UNAVAILABLE,
        detail: "this process is ending: try again, and another will answer",
    };

    /// The refusal of one for whom there is no room.
    pub(crate) fn of(full: Full) -> Self {
        match full {
            Full::Edge => Self::FULL,
            Full::Address => Self::ADDRESS_FULL,
        }
    }

    /// Refuses one that came from this point, counts it, and notes who it was.
    pub(crate) fn answer(
        self,
        shared: &Shared,
        client: Option<ClientAddress>,
        form: Form,
        point: Option<ResumePoint>,
        carrier: Option<Carrier>,
    ) -> Response {
        if let Some(count) = shared.notes.refused(self.reason, client) {
            warn!(reason = self.reason, count, "clients are sent away: {}", self.detail);
        }
        self.answer_uncounted(shared, form, point, carrier)
    }

    /// As the protocol and the metrics spell it.
    pub(crate) fn reason(self) -> &'static str {
        self.reason
    }

    fn answer_uncounted(
        self,
        shared: &Shared,
        form: Form,
        point: Option<ResumePoint>,
        carrier: Option<Carrier>,
    ) -> Response {
        let config = &shared.config;
        let after = if self == Self::DRAINING { soon(config) } else { sometime(config) };
        let delay = shared.returns.appoint(after);
        match form.overload {
            Overload::Soft => {
                let frames = Frames::One(frame::retry(self.reason, delay, point));
                EventStream { frames, end: form.end }.into_response(carrier)
            }
            Overload::Status => {
                let seconds = HeaderValue::from(delay.div_ceil(1_000));
                let problem = Problem::for_now(self.status, self.detail);
                let headers = [(header::RETRY_AFTER, seconds), (header::CONNECTION, CLOSE)];
                (headers, problem).into_response()
            }
        }
    }
}

/// Answers whatever is asked with a refusal that has been counted already. Pages of other origins
/// may read it as they may read a stream: a browser gives up on what it may not read.
pub(crate) fn router(shared: Arc<Shared>, refusal: Refusal) -> Router {
    let cors = cors(&shared.config.cors_origins, [Method::GET, Method::POST]);
    let answer = async move |State(shared): State<Arc<Shared>>,
                             RawQuery(query): RawQuery,
                             carrier: Option<Extension<Carrier>>,
                             headers: HeaderMap| {
        let query = query.as_deref().unwrap_or_default();
        let form = Form::parse(query, &headers).unwrap_or_else(|_| Form::of(&headers));
        let point = SubscribeRequest::parse(query, &headers).ok().and_then(|asked| asked.point());
        let carrier = carrier.map(|Extension(carrier)| carrier);
        refusal.answer_uncounted(&shared, form, point, carrier)
    };
    Router::new().fallback(answer).with_state(shared).layer(cors)
}
