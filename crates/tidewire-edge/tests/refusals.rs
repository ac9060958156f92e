//! What clients are answered while the backbone is away or the edge drains: each in the form that it
//! survives.
#![expect(clippy::unwrap_used, reason = "a failed expectation is a result")]

use std::sync::Arc;

use async_trait::async_trait;
use axum::{
    Router,
    body::{Body, to_bytes},
};
use http::{Request, Response, StatusCode};
use tidewire_core::{
    Backbone, Bounds, Cursor, EventStream, Interest, NewEvent, Page, PageLimit, PublishError,
    ReadError, Receipt, UnixMillis,
};
use tidewire_edge::{Config, Edge};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// A backbone that answers nothing.
struct Away;

fn away<T>() -> Result<T, ReadError> {
    Err(ReadError::Unavailable("away".into()))
}

#[async_trait]
impl Backbone for Away {
    async fn publish(&self, _: NewEvent) -> Result<Receipt, PublishError> {
        Err(PublishError::Unavailable("away".into()))
    }
    async fn read(&self, _: &Interest, _: Cursor, _: PageLimit) -> Result<Page, ReadError> {
        away()
    }
    async fn latest(&self, _: &Interest, _: Cursor, _: PageLimit) -> Result<Page, ReadError> {
        away()
    }
    async fn tail(&self, _: Cursor) -> Result<EventStream, ReadError> {
        away()
    }
    async fn bounds(&self) -> Result<Bounds, ReadError> {
        away()
    }
    async fn cursor_at(&self, _: UnixMillis) -> Result<Cursor, ReadError> {
        away()
    }
}

async fn ask(router: Router, path: &str, headers: &[(&str, &str)]) -> Response<Body> {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(to_bytes(response.into_body(), 10_000).await.unwrap().to_vec()).unwrap()
}

/// What a browser's own `EventSource` sends.
const NATIVE: [(&str, &str); 3] =
    [("sec-fetch-mode", "cors"), ("accept", "text/event-stream"), ("cache-control", "no-cache")];
/// What a library over `fetch` sends.
const LIBRARY: [(&str, &str); 2] = [("sec-fetch-mode", "cors"), ("accept", "text/event-stream")];

async fn is_refused_in_each_form(edge: &Edge, reason: &str, detail: &str) {
    for (path, headers, is_soft) in [
        ("/v1/events?topic=a", &NATIVE[..], true),
        ("/v1/events?topic=a", &LIBRARY, false),
        ("/v1/events?topic=a", &[], false),
        ("/v1/events?topic=a&overload=soft", &LIBRARY, true),
        ("/v1/events?topic=a&last_event_id=00000001-1", &NATIVE, true),
        ("/v1/events?topic=a&overload=status", &NATIVE, false),
        // A poll has no stream to be told in.
        ("/v1/poll?topic=a&cursor=00000001-1", &NATIVE, false),
        ("/v1/poll?topic=a&cursor=00000001-1", &[], false),
    ] {
        let answer = ask(edge.router(), path, headers).await;
        if is_soft {
            assert_eq!(answer.status(), StatusCode::OK);
            assert_eq!(answer.headers()["content-type"], "text/event-stream");
            let said = text(answer).await;
            let retry = said.strip_prefix("event: tidewire.retry\nretry: ").unwrap();
            let (retry, data) = retry.split_once('\n').unwrap();
            assert!((1_000..=5_010).contains(&retry.parse().unwrap()), "{said}");
            // Where it came from with a cursor, that is where it goes on from.
            let id = if path.contains("last_event_id") { "id: 00000001-1\n" } else { "" };
            assert_eq!(data, format!("{id}data: {{\"reason\":\"{reason}\"}}\n\n"));
        } else {
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(answer.headers()["content-type"], "application/problem+json");
            let seconds: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((1..=6).contains(&seconds), "{seconds}");
            let said = text(answer).await;
            let expected = format!(
                "{{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,\
                 \"detail\":\"{detail}\"}}"
            );
            assert_eq!(said, expected);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_comes_while_the_edge_drains_is_sent_elsewhere() {
    let ending = CancellationToken::new();
    let edge = Edge::start(Config::default(), Arc::new(Away), ending.clone());
    edge.drain();
    let detail = "this process is ending: try again, and another will answer";
    is_refused_in_each_form(&edge, "draining", detail).await;
    ending.cancel();
    edge.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_source_is_told_to_come_back_and_others_get_a_503() {
    let ending = CancellationToken::new();
    let edge = Edge::start(Config::default(), Arc::new(Away), ending.clone());
    assert!(edge.trouble().is_some(), "it should get no subscribers yet");

    is_refused_in_each_form(&edge, "unavailable", "the event log does not answer: try again soon")
        .await;
    ending.cancel();
    edge.stopped().await;
}
