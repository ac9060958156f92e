//! The HTTP door: events as JSON, or a body as an event's data.

use std::time::Duration;

use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, StatusCode,
    header::{CONTENT_TYPE, HOST, ORIGIN},
};
use serde::Serialize;
use tidewire_core::{Invalid, Receipt, TraceParent};
use tokio::time::timeout;

use crate::{
    border::Handed,
    ingest::Ingest,
    json::{Document, read_document, read_event},
    metrics::Transport::Http,
    problem::Problem,
    refusal::Refusal,
    traces::{Call, Method},
};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// How long a client may take to send its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);

impl Ingest {
    /// The routes that publish over HTTP.
    ///
    /// `POST /v1/events` takes `application/json`: an event `{"topic", "data", "type"?, "id"?,
    /// "attributes"?, "ttl"?}` (`data` a string, or any other JSON value, which is stored as its
    /// compact text; `ttl` whole seconds), or an array of up to 1,000. `POST /v1/topics/{topic}`
    /// takes the body as the data, with `?type=` and `?id=`.
    ///
    /// An event is answered with 200 and `{"cursor": "…", "duplicate": false}`. An array that can
    /// be read is answered with 200 and an array as long, in its order, in which an event without
    /// a receipt has `{"error": {…}}`: the problem that it would have been answered with alone.
    ///
    /// A browser's page of another origin is refused with 403.
    ///
    /// Problems are `application/problem+json`: 400 with `field` and `reason`, 408 for a body that
    /// does not come, 413 too large, 415 not JSON, and with `Retry-After` 429 too many bytes in
    /// flight and 503 no receipt (the event may have been stored: send it again under its id).
    pub fn http_router(&self) -> Router {
        Router::new()
            .route("/v1/events", self.counted_http(post(publish_events)))
            .route(
                "/v1/topics/{topic}",
                self.counted_http(post(publish_to_topic)).fallback(method_not_allowed),
            )
            .with_state(self.clone())
    }
}

async fn method_not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path has no such method")
}

async fn publish_events(
    State(ingest): State<Ingest>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    check_origin(&headers)?;
    check_content_type(&headers)?;
    let body = read_body(&ingest, body).await?;
    let mut call = ingest.traces().call(Method::PostEvents, trace_of(&headers));
    let border = ingest.border(call.trace());
    let checked = |json| border.check(read_event(json)?);
    match read_document(&body) {
        Ok(Document::One(json)) => {
            let outcome = ingest.publish(checked(json), Http).await;
            Ok(Json(written(call, outcome)?).into_response())
        }
        Ok(Document::Many(events)) => {
            let events = events.into_iter().map(checked).collect();
            let outcomes = ingest.publish_all(events, Http).await;
            call.sent_all(&outcomes);
            call.answered_http(StatusCode::OK);
            let answers: Vec<_> = outcomes.into_iter().map(Answer::from).collect();
            Ok(Json(answers).into_response())
        }
        Err(invalid) => {
            let problem = Problem::from(ingest.refused(Http, invalid.into()));
            call.answered_http(problem.status());
            Err(problem)
        }
    }
}

async fn publish_to_topic(
    State(ingest): State<Ingest>,
    topic: Result<Path<String>, PathRejection>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Written>, Problem> {
    check_origin(&headers)?;
    let data = read_body(&ingest, body).await?;
    let call = ingest.traces().call(Method::PostTopic, trace_of(&headers));
    let border = ingest.border(call.trace());
    let event = read_address(topic, query).map(|address| Handed { data, ..address });
    let event = event.map_err(Refusal::from).and_then(|event| border.check(event));
    let outcome = ingest.publish(event, Http).await;
    written(call, outcome).map(Json)
}

/// Reads what the URL says of an event.
fn read_address(
    topic: Result<Path<String>, PathRejection>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<Handed, Invalid> {
    let Path(topic) = topic.map_err(|_| Invalid::new("topic", "is not UTF-8"))?;
    let Query(query) = query.map_err(|_| Invalid::new("query", "is not UTF-8"))?;
    let mut event = Handed { topic, ..Handed::default() };
    for (name, value) in query {
        match &*name {
            "type" => event.event_type = value,
            "id" => event.id = value,
            _ => return Err(Invalid::new("query", "may hold `type` and `id` only")),
        }
    }
    Ok(event)
}

fn trace_of(headers: &HeaderMap) -> Option<TraceParent> {
    headers.get(TraceParent::NAME)?.to_str().ok().and_then(TraceParent::parse)
}

/// Ends a call of one event with its answer.
fn written(mut call: Call, outcome: Result<Receipt, Refusal>) -> Result<Written, Problem> {
    call.sent(&outcome);
    let answer = outcome.map(Written::from).map_err(Problem::from);
    call.answered_http(answer.as_ref().map_or_else(Problem::status, |_| StatusCode::OK));
    answer
}

/// Refuses pages of other origins. A browser lets any page post text to any address, this machine's
/// own included, and only keeps the answer from it.
fn check_origin(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let is_own = match (text(SEC_FETCH_SITE), text(ORIGIN)) {
        (Some(site), _) => matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => origin.split_once("://").map(|(_, host)| host) == text(HOST),
        (None, None) => true,
    };
    let refusal =
        || Problem::new(StatusCode::FORBIDDEN, "a page of another origin may not publish");
    is_own.then_some(()).ok_or_else(refusal)
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let detail = match &*essence {
        "application/json" => return Ok(()),
        "application/cloudevents+json" | "application/cloudevents-batch+json" => {
            "CloudEvents are not taken yet: send events as application/json"
        }
        _ => "events are taken as application/json",
    };
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail))
}

async fn read_body(ingest: &Ingest, body: Body) -> Result<Bytes, Problem> {
    let bytes_max = ingest.config().message_bytes_max;
    match timeout(BODY_TIMEOUT, to_bytes(body, bytes_max)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        // The other cause is a client that has gone, who does not read this.
        Ok(Err(_)) => Err(ingest.refused(Http, Refusal::request_too_large(bytes_max)).into()),
        Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")),
    }
}

/// A receipt.
#[derive(Serialize)]
struct Written {
    cursor: String,
    duplicate: bool,
}

impl From<Receipt> for Written {
    fn from(receipt: Receipt) -> Self {
        Self { cursor: receipt.cursor.to_string(), duplicate: receipt.duplicate }
    }
}

/// What became of one event among others.
#[derive(Serialize)]
#[serde(untagged)]
enum Answer {
    Receipt(Written),
    Refused { error: Problem },
}

impl From<Result<Receipt, Refusal>> for Answer {
    fn from(outcome: Result<Receipt, Refusal>) -> Self {
        match outcome {
            Ok(receipt) => Self::Receipt(receipt.into()),
            Err(refusal) => Self::Refused { error: refusal.into() },
        }
    }
}
