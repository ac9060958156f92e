//! The page, the report as JSON, and reports as they come: on the operations port only.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
    routing::get,
};
use futures_util::{Stream, stream};
use rand::RngExt as _;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;

use super::{Status, VIEWERS_MAX};

const PAGE: &str = include_str!("page.html");
/// Where the page names what its style and script are known by.
const NONCE: &str = "{nonce}";
const NOT_KEPT: (HeaderName, HeaderValue) =
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
const AS_IT_IS: (HeaderName, HeaderValue) =
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));

/// The routes. Streams end when `stop` is cancelled: the port could not end before.
pub(crate) fn router(status: Status, stop: CancellationToken) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/status", get(now).with_state(status.clone()))
        .route("/status/stream", get(view).with_state((status, stop)))
}

/// Nothing on it may come from elsewhere, and of what is on it only its own style and script count.
async fn page() -> Response {
    let nonce = format!("{:032x}", rand::rng().random::<u128>());
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src \
         'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, &policy),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, [NOT_KEPT, AS_IT_IS], PAGE.replace(NONCE, &nonce)).into_response()
}

async fn now(State(status): State<Status>) -> impl IntoResponse {
    let json = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    ([json, NOT_KEPT, AS_IT_IS], status.now().await)
}

async fn view(State((status, stop)): State<(Status, CancellationToken)>) -> Response {
    let Ok(place) = Arc::clone(&status.0.viewers).try_acquire_owned() else {
        let reason =
            format!("{VIEWERS_MAX} already view this page: close one, or try again later\n");
        return (StatusCode::SERVICE_UNAVAILABLE, [NOT_KEPT], reason).into_response();
    };
    let mut reports = status.0.reports.subscribe();
    // What is there may be of the last viewer, long ago.
    reports.mark_unchanged();
    let first = status.now().await;
    Sse::new(events(first, reports, place, stop)).keep_alive(KeepAlive::default()).into_response()
}

/// The report of now, and then each that is made for all viewers.
fn events(
    first: String,
    reports: watch::Receiver<Arc<str>>,
    place: OwnedSemaphorePermit,
    stop: CancellationToken,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let held = (Some(first), reports, place, stop);
    stream::unfold(held, async |(first, mut reports, place, stop)| {
        if let Some(first) = first {
            return Some((event(&first), (None, reports, place, stop)));
        }
        stop.run_until_cancelled(reports.changed()).await?.ok()?;
        let next = event(&reports.borrow_and_update());
        Some((next, (None, reports, place, stop)))
    })
}

fn event(json: &str) -> Result<Event, Infallible> {
    Ok(Event::default().event("status").data(json))
}
