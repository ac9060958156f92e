//! The edge's public routes.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::Body,
    extract::{DefaultBodyLimit, Path, RawQuery, Request, State, rejection::PathRejection},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use tokio::time::Instant;
use tower::{Layer as _, service_fn, util::BoxCloneSyncService};
use tower_http::cors::{AllowOrigin, CorsLayer};
use tracing::debug;

use crate::{
    Acknowledged, Coding, Config, PollError, PollRequest, SubscribeRequest, Subscription,
    admission::Place,
    client_address::{ClientAddress, Peer},
    connection::Asked,
    event_stream::{Carrier, EventStream, Frames},
    form::Form,
    poll, posted,
    problem::Problem,
    refusal::Refusal,
    start::Start,
    subscription::{Audience, Shared},
    traces::ConnectSpan,
};

const RESUMED_FROM: HeaderName = HeaderName::from_static("tidewire-resumed-from");
/// Seconds after which an acknowledgement may be tried again.
const ACKNOWLEDGE_AGAIN: HeaderValue = HeaderValue::from_static("1");
/// How long a browser may remember what a preflight allowed.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(600);
/// How what cannot be read is noted; what was wrong with it is for its client.
const BAD_REQUEST: &str = "bad_request";
/// Bytes of an answer that are handed to the connection at once.
const PIECE_BYTES: usize = 16 * 1024;

/// A route by itself, for requests that are known to be for it.
pub(crate) type Route = BoxCloneSyncService<Request, Response, Infallible>;

/// The routes of an edge.
pub(crate) fn router(shared: &Arc<Shared>) -> Router {
    let got = Router::new().route("/v1/events", get(subscribe)).route("/v1/poll", get(answer_poll));
    let posted = Router::new()
        .route("/v1/events:subscribe", post(subscribe_posted))
        .route("/v1/ack/{connection}", post(acknowledge))
        .layer(DefaultBodyLimit::max(posted::BODY_BYTES_MAX));
    let page = if shared.config.page { crate::page::router() } else { Router::new() };
    Router::new()
        .merge(open(got, Method::GET, shared))
        .merge(open(posted, Method::POST, shared))
        .merge(page)
        .fallback(async || Problem::not_found())
}

/// The route of `GET /v1/events`, as the router has it, without the way there.
pub(crate) fn stream_route(shared: &Arc<Shared>) -> Route {
    let cors = cors(&shared.config.cors_origins, [Method::GET]);
    let shared = Arc::clone(shared);
    let subscribe = service_fn(move |request| {
        let subscribed = subscribe(State(Arc::clone(&shared)), request);
        async move { Ok(subscribed.await.into_response()) }
    });
    Route::new(cors.layer(subscribe))
}

/// Routes of one method that pages of the configured origins may read.
fn open(routes: Router<Arc<Shared>>, method: Method, shared: &Arc<Shared>) -> Router {
    routes
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .with_state(Arc::clone(shared))
        // Outermost, so that it answers preflights before the fallback refuses their method.
        .layer(cors(&shared.config.cors_origins, [method]))
}

async fn subscribe(
    State(shared): State<Arc<Shared>>,
    mut request: Request,
) -> Result<Response, Problem> {
    let asking = Asking::of(&mut request, &shared);
    let (headers, client) = (request.headers(), asking.client);
    let mut connect = shared.traces.connect("GET", "/v1/events", headers);
    let query = request.uri().query().unwrap_or_default();
    let answer = begin(&shared, query, headers, asking, &mut connect).await;
    concluded(&shared, client, connect, answer)
}

async fn subscribe_posted(
    State(shared): State<Arc<Shared>>,
    mut request: Request,
) -> Result<Response, Problem> {
    let asking = Asking::of(&mut request, &shared);
    let (headers, client) = (request.headers().clone(), asking.client);
    let mut connect = shared.traces.connect("POST", "/v1/events:subscribe", &headers);
    let begun = async {
        let query = posted::query(request, shared.config.header_timeout).await?;
        begin(&shared, &query, &headers, asking, &mut connect).await
    };
    let answer = begun.await;
    concluded(&shared, client, connect, answer)
}

/// What is known of a request for a stream beside what it says.
struct Asking {
    /// Whom it counts for.
    client: Option<ClientAddress>,
    /// Since when its client waits.
    since: Instant,
    carrier: Option<Carrier>,
}

impl Asking {
    /// Takes it from whoever carries the connection. Not by extractors, which copy all headers.
    fn of(request: &mut Request, shared: &Shared) -> Self {
        let extensions = request.extensions_mut();
        let peer = extensions.remove().map(|Peer(address)| address);
        let since = extensions.remove().map_or_else(Instant::now, |Asked(at)| at);
        let carrier = extensions.remove();
        Self { client: shared.admission.client(peer, request.headers()), since, carrier }
    }
}

/// Says what became of a request for a stream to those who are told.
fn concluded(
    shared: &Shared,
    client: Option<ClientAddress>,
    connect: ConnectSpan,
    answer: Result<Response, Problem>,
) -> Result<Response, Problem> {
    connect.answered(status_of(&answer));
    answer.inspect_err(|_| shared.notes.note(BAD_REQUEST, client))
}

fn status_of(answer: &Result<Response, Problem>) -> StatusCode {
    answer.as_ref().map_or_else(Problem::status, Response::status)
}

/// Begins the subscription that a query asks for, wherever that stood.
async fn begin(
    shared: &Arc<Shared>,
    query: &str,
    headers: &HeaderMap,
    Asking { client, since, carrier }: Asking,
    connect: &mut ConnectSpan,
) -> Result<Response, Problem> {
    let form = Form::parse(query, headers)?;
    let mut request = SubscribeRequest::parse(query, headers)?;
    if shared.config.compression == Coding::Identity {
        request.coding = Coding::Identity;
    }
    let (coding, point) = (request.coding, request.point());
    let place = match admit(shared, client) {
        Ok(place) => place,
        Err(refusal) => return Ok(refusal.answer(shared, client, form, point, carrier)),
    };
    match Subscription::begin(shared.clone(), request, Audience::Stream, since).await {
        Ok((mut subscription, start)) => {
            if let Start::Gap(gap) = &start {
                shared.notes.gap(gap.reason, client);
            }
            subscription.connected_by(connect.begun(start.as_str()));
            let frames = Frames::Of(Box::new(subscription), place);
            let stream = EventStream { frames, end: form.end };
            let mut response = begun(stream.into_response(carrier), &start);
            name_coding(response.headers_mut(), coding, &shared.config);
            Ok(response)
        }
        Err(error) => {
            debug!(%error, "a subscription could not begin");
            Ok(Refusal::UNAVAILABLE.answer(shared, client, form, point, carrier))
        }
    }
}

async fn answer_poll(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = query.as_deref().unwrap_or_default();
    let peer = peer.map(|Extension(Peer(address))| address);
    let client = shared.admission.client(peer, &headers);
    let request = PollRequest::parse(query, &headers)
        .inspect_err(|_| shared.notes.note(BAD_REQUEST, client))?;
    let refusal = match admit(&shared, client) {
        Ok(place) => match poll::poll(shared.clone(), request).await {
            Ok((answer, share)) => return Ok(poll_response(answer.to_json(), (share, place))),
            Err(PollError::Stopping) => Refusal::DRAINING,
            Err(PollError::Unavailable(error)) => {
                debug!(%error, "a poll could not be answered");
                Refusal::UNAVAILABLE
            }
        },
        Err(refusal) => refusal,
    };
    Ok(refusal.answer(&shared, client, Form::STATUS, None, None))
}

async fn acknowledge(
    State(shared): State<Arc<Shared>>,
    connection: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Response> {
    let connection = connection.map(|Path(connection)| connection).unwrap_or_default();
    match shared.acknowledgements.take(&connection).await {
        Acknowledged::Noted => Ok(StatusCode::NO_CONTENT),
        Acknowledged::PassedOn => Ok(StatusCode::ACCEPTED),
        Acknowledged::Unknown => {
            let detail = "no connection of this name waits for an acknowledgement".into();
            Err(Problem::new(StatusCode::NOT_FOUND, detail).into_response())
        }
        Acknowledged::NotPassedOn => {
            let detail = "the edge that holds this connection cannot be told now";
            let problem = Problem::for_now(StatusCode::SERVICE_UNAVAILABLE, detail);
            Err(([(header::RETRY_AFTER, ACKNOWLEDGE_AGAIN)], problem).into_response())
        }
    }
}

/// A place for one more subscription, or why there is none.
fn admit(shared: &Shared, client: Option<ClientAddress>) -> Result<Place, Refusal> {
    if shared.drain.has_begun() {
        return Err(Refusal::DRAINING);
    }
    shared.admission.subscription(client).map_err(Refusal::of)
}

/// Leaves in pieces, so that it is the client that takes them who gives its share and place back.
fn poll_response(json: Vec<u8>, share: (poll::Share, Place)) -> Response {
    let length = HeaderValue::from(json.len());
    let pieces = stream::unfold((Bytes::from(json), share), async |(mut left, share)| {
        let piece = left.split_to(left.len().min(PIECE_BYTES));
        (!piece.is_empty()).then_some((Ok::<_, Infallible>(piece), (left, share)))
    });
    let headers = [
        (header::CONTENT_LENGTH, length),
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (headers, Body::from_stream(pieces)).into_response()
}

/// Says in the head where a stream begins that does not where its client asked for.
fn begun(mut response: Response, start: &Start) -> Response {
    if let Start::Gap(gap) = start {
        // Digits and a hyphen are a header's value.
        if let Ok(value) = HeaderValue::from_str(&gap.resumed_from.to_string()) {
            response.headers_mut().insert(RESUMED_FROM, value);
        }
    }
    response
}

/// Says in which coding a stream is, and that it would be in another for another client.
fn name_coding(headers: &mut HeaderMap, coding: Coding, config: &Config) {
    if config.compression == Coding::Gzip {
        headers.append(header::VARY, HeaderValue::from_name(header::ACCEPT_ENCODING));
    }
    if coding == Coding::Gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
}

/// Lets pages of the configured origins read streams, and with them the headers that say where they
/// begin and when to come back.
pub(crate) fn cors<const N: usize>(origins: &[HeaderValue], methods: [Method; N]) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins.iter().cloned()))
        .allow_methods(methods)
        .allow_headers([
            HeaderName::from_static("last-event-id"),
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
        ])
        .expose_headers([RESUMED_FROM, header::RETRY_AFTER])
        .max_age(PREFLIGHT_MAX_AGE)
}
