//! What clients are answered while the backbone is away: each in the form that it survives.
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

async fn ask(router: Router, accept: &str) -> Response<Body> {
    let request = Request::get("/v1/events?topic=a").header("accept", accept);
    router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(to_bytes(response.into_body(), 10_000).await.unwrap().to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_event_source_is_told_to_come_back_and_others_get_a_503() {
    let ending = CancellationToken::new();
    let edge = Edge::start(Config::default(), Arc::new(Away), ending.clone());
    assert!(edge.trouble().is_some(), "it should get no subscribers yet");

    let answer = ask(edge.router(), "text/event-stream").await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let said = text(answer).await;
    assert!(said.starts_with("event: tidewire.retry\nretry: "), "{said}");
    assert!(said.ends_with("data: {\"reason\":\"unavailable\"}\n\n"), "{said}");

    let answer = ask(edge.router(), "*/*").await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let seconds: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=5).contains(&seconds));

    // A poll has no stream to be told in.
    for accept in ["text/event-stream", "application/json"] {
        let request = Request::get("/v1/poll?topic=a&cursor=00000001-1").header("accept", accept);
        let request = request.body(Body::empty()).unwrap();
        let answer = edge.router().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        let seconds: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=5).contains(&seconds));
        assert!(text(answer).await.contains("the event log does not answer"));
    }

    ending.cancel();
    edge.stopped().await;
}
