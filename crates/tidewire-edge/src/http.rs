//! The edge's public routes.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::Body,
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};
use tracing::warn;

use crate::{
    Edge, PollError, PollRequest, SubscribeRequest, Subscription,
    admission::Place,
    client_address::Peer,
    frame, metrics, poll,
    problem::Problem,
    start::Start,
    subscription::{Audience, Shared, retry},
};

const RESUMED_FROM: HeaderName = HeaderName::from_static("tidewire-resumed-from");
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// How long a browser may remember what a preflight allowed.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(600);

/// The routes of an edge.
pub(crate) fn router(edge: &Edge) -> Router {
    let shared = edge.shared();
    let events = Router::new()
        .route("/v1/events", get(subscribe))
        .route("/v1/poll", get(answer_poll))
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .with_state(Arc::clone(shared))
        // Outermost, so that it answers preflights before the fallback refuses their method.
        .layer(cors(&shared.config.cors_origins));
    let page = if shared.config.page { crate::page::router() } else { Router::new() };
    events.merge(page).fallback(async || Problem::not_found())
}

async fn subscribe(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let request = SubscribeRequest::parse(query.as_deref().unwrap_or_default(), &headers)?;
    let peer = peer.map(|Extension(Peer(address))| address);
    let place = match shared.admission.subscription(peer, &headers) {
        Ok(place) => place,
        Err(full) => return Ok(come_back(&shared, &headers, full.as_str())),
    };
    match Subscription::begin(shared.clone(), request, Audience::Stream).await {
        Ok((subscription, start)) => Ok(stream_response(subscription, place, &start)),
        Err(error) => {
            warn!(%error, "a subscription could not begin");
            Ok(come_back(&shared, &headers, "unavailable"))
        }
    }
}

async fn answer_poll(
    State(shared): State<Arc<Shared>>,
    peer: Option<Extension<Peer>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let request = PollRequest::parse(query.as_deref().unwrap_or_default(), &headers)?;
    let peer = peer.map(|Extension(Peer(address))| address);
    let _place = match shared.admission.subscription(peer, &headers) {
        Ok(place) => place,
        Err(full) => {
            metrics::count_refused(full.as_str());
            return Ok(try_again(retry(&shared.config), why(full.as_str())));
        }
    };
    let detail = match poll::poll(shared.clone(), request).await {
        Ok(answer) => return Ok(poll_response(answer.to_json())),
        Err(PollError::Stopping) => "this edge is stopping: try again, and come to another",
        Err(PollError::Unavailable(error)) => {
            warn!(%error, "a poll could not be answered");
            why("unavailable")
        }
    };
    Ok(try_again(retry(&shared.config), detail))
}

fn poll_response(json: Vec<u8>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (headers, json).into_response()
}

fn stream_response(subscription: Subscription, place: Place, start: &Start) -> Response {
    let frames = stream::unfold((subscription, place), async |(mut subscription, place)| {
        let bytes = subscription.next().await?;
        Some((Ok::<_, Infallible>(bytes), (subscription, place)))
    });
    let mut response = event_stream(Body::from_stream(frames));
    if let Start::Gap(gap) = start {
        // Digits and a hyphen are a header's value.
        if let Ok(value) = HeaderValue::from_str(&gap.resumed_from.to_string()) {
            response.headers_mut().insert(RESUMED_FROM, value);
        }
    }
    response
}

/// There is no place, or the backbone is away. A native `EventSource` never comes back from an error status, so whoever
/// reads event streams gets a stream that ends, with the time to come back; the rest get a 503.
fn come_back(shared: &Shared, headers: &HeaderMap, reason: &'static str) -> Response {
    metrics::count_refused(reason);
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let delay = retry(&shared.config);
    if accept.is_some_and(|accept| accept.contains("text/event-stream")) {
        return event_stream(Body::from(frame::retry(reason, delay)));
    }
    try_again(delay, why(reason))
}

/// Why a request is refused, in words.
fn why(reason: &str) -> &'static str {
    match reason {
        "full" => "the hub has no room for more subscribers: try again soon",
        "address_full" => "your address has as many subscribers as it may have",
        _ => "the event log does not answer: try again soon",
    }
}

/// A 503 with the time to come back, which differs for each client.
fn try_again(delay_milliseconds: u64, detail: &str) -> Response {
    let seconds = HeaderValue::from(delay_milliseconds.div_ceil(1_000));
    ([(header::RETRY_AFTER, seconds)], Problem::unavailable(detail)).into_response()
}

fn event_stream(body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, no-transform")),
        (ACCEL_BUFFERING, HeaderValue::from_static("no")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (headers, body).into_response()
}

/// Lets pages of the configured origins read streams, and the cursor header with them.
fn cors(origins: &[HeaderValue]) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins.iter().cloned()))
        .allow_methods([Method::GET])
        .allow_headers([HeaderName::from_static("last-event-id"), header::AUTHORIZATION])
        .expose_headers([RESUMED_FROM])
        .max_age(PREFLIGHT_MAX_AGE)
}
