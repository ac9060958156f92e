//! One connection: HTTP/1.1 or HTTP/2, whichever its client speaks, within bounds.

use std::{
    convert::Infallible,
    error::Error,
    future::{pending, ready},
    io,
    net::{IpAddr, TcpStream},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{Router, body::Body, response::Response};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, header::HOST};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::{Service, service_fn},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tracing::{debug, info};

use crate::{
    Config, Tls,
    body::{Flushes, Told},
    client_address::{ClientAddress, Peer},
    drain::{Drain, age},
    event_stream::Carrier,
    http::Route,
    metrics,
    notes::Notes,
    plain::{self, Arrival, Held, Opening, Sweepers, open},
    stream,
    stream::Streams,
};

/// Bytes of a request's head, and of what hyper holds for an HTTP/1.1 connection in each direction.
pub(crate) const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Header lines of an HTTP/1.1 request; of an HTTP/2 request the bytes bound them, at 32 and more
/// for each line (RFC 9113, section 6.5.2).
pub(crate) const HEADERS_MAX: usize = 64;
/// Bytes that an HTTP/2 stream holds beyond what its client has room for, before its body is asked
/// for more: what a stalled stream costs, with what its subscription holds.
const STREAM_SEND_BYTES_MAX: usize = 16 * 1024;
/// Bytes of one request's body that an HTTP/2 client may send before they are read …
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// … and of all requests' bodies of its connection.
const CONNECTION_WINDOW_BYTES: u32 = 256 * 1024;
/// Requests that an HTTP/2 client may take back before they are looked at, in a row: more is an
/// attack ("rapid reset", CVE-2023-44487), and ends the connection.
const RESETS_PENDING_MAX: usize = 20;
/// Streams that an HTTP/2 client may make the hub reset by breaking the protocol ("made you reset",
/// CVE-2025-8671).
const RESETS_PROVOKED_MAX: usize = 100;
/// How long a connection may take to end, once it shall: a request half sent is not waited for.
const END_MAX: Duration = Duration::from_secs(5);

/// A connection as it was accepted: from where, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Came {
    pub(crate) peer: Peer,
    pub(crate) at: Instant,
}

impl Came {
    /// Accepted now.
    pub(crate) fn from(peer: IpAddr) -> Self {
        Self { peer: Peer(peer), at: Instant::now() }
    }
}

/// Since when a client waits for the answer to its request: since its connection was accepted, or, where
/// that has had an answer before, since the request was read. The routes find it among the request's
/// extensions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked(pub(crate) Instant);

/// How streams over plain HTTP/1.1 are served; hyper writes them too where nobody else does.
pub(crate) struct Lean {
    /// Where they rest.
    pub(crate) sweepers: Sweepers,
    /// What answers a request for one.
    pub(crate) route: Route,
}

/// How connections are served.
pub(crate) struct Connections {
    http1: http1::Builder,
    http2: http2::Builder<Streams>,
    router: Router,
    tls: Option<Tls>,
    handshake_timeout: Duration,
    header_timeout: Duration,
    age_max: Duration,
    draining: CancellationToken,
    ending: CancellationToken,
    lean: Option<Lean>,
    notes: Arc<Notes>,
}

impl Connections {
    pub(crate) fn new(
        router: Router,
        config: &Config,
        streams: Streams,
        drain: &Drain,
        lean: Option<Lean>,
    ) -> Self {
        Self {
            http1: http1(config),
            http2: http2(config, streams),
            router,
            tls: config.tls.clone(),
            handshake_timeout: config.handshake_timeout,
            header_timeout: config.header_timeout,
            age_max: config.connection_age_max,
            draining: drain.begun().clone(),
            ending: drain.ending().clone(),
            lean,
            notes: Arc::default(),
        }
    }

    /// The same, with refusals noted where they are looked for.
    pub(crate) fn noting(self, notes: Arc<Notes>) -> Self {
        Self { notes, ..self }
    }

    /// Serves a connection by whoever does, until it ends.
    pub(crate) fn welcome(self: &Arc<Self>, socket: TcpStream, came: Came, held: Held) {
        match &self.lean {
            Some(Lean { sweepers, .. }) => {
                sweepers.welcome(Arrival::new(socket, came, held, Arc::clone(self)));
            }
            None => drop(tokio::spawn(self.serve(socket, came, Some(held)))),
        }
    }

    /// Serves a connection until it ends, encrypted where the edge has a certificate. Each way is
    /// boxed by itself, so that a connection in the clear does not hold room for a handshake.
    pub(crate) fn serve(
        self: &Arc<Self>,
        socket: TcpStream,
        came: Came,
        held: Option<Held>,
    ) -> BoxFuture<'static, ()> {
        let socket = match tokio::net::TcpStream::from_std(socket) {
            Ok(socket) => socket,
            Err(error) => {
                count_broken(&error);
                return Box::pin(ready(()));
            }
        };
        let connections = Arc::clone(self);
        match self.tls.clone() {
            Some(tls) => Box::pin(connections.serve_tls(tls, socket, came, held)),
            None => Box::pin(connections.serve_plain(socket, came, held)),
        }
    }

    /// Serves a connection after its TLS handshake, in the version that was agreed on (RFC 7301).
    async fn serve_tls(
        self: Arc<Self>,
        tls: Tls,
        socket: tokio::net::TcpStream,
        came: Came,
        _held: Option<Held>,
    ) {
        // The room that a handshake takes is free again behind it, and what TLS holds for the connection
        // lies apart: a future has room for each place where it has held it.
        let handshake = Box::pin(timeout(self.handshake_timeout, tls.accept(socket)));
        let encrypted = match self.ending.run_until_cancelled(handshake).await {
            Some(Ok(Ok(encrypted))) => Box::new(encrypted),
            Some(Ok(Err(error))) => return self.not_encrypted(came.peer, &error.to_string()),
            Some(Err(_)) => return self.not_encrypted(came.peer, "not in time"),
            None => return,
        };
        let version = match encrypted.get_ref().1.alpn_protocol() {
            Some(b"h2") => Version::Http2,
            _ => Version::Http1,
        };
        let first_request_by = self.first_request_by(Instant::now());
        self.answer(Bytes::new(), encrypted, version, came, first_request_by).await;
    }

    /// Serves a connection in the clear, in the version in which its client begins.
    async fn serve_plain(
        self: Arc<Self>,
        socket: tokio::net::TcpStream,
        came: Came,
        held: Option<Held>,
    ) {
        let first_request_by = self.first_request_by(came.at);
        let opening = timeout_at(first_request_by, open(&socket, self.lean.is_some()));
        match self.ending.run_until_cancelled(opening).await {
            Some(Ok(Ok(opening))) => {
                self.serve_opened(opening, socket, came, held).await;
            }
            Some(Ok(Err(error))) => count_broken(&error),
            Some(Err(_)) => self.nothing_came(came.peer),
            None => {}
        }
    }

    /// Serves a connection in the clear that begins like this.
    pub(crate) async fn serve_opened(
        &self,
        opening: Opening,
        socket: tokio::net::TcpStream,
        came: Came,
        held: Option<Held>,
    ) {
        let first_request_by = self.first_request_by(came.at);
        match opening {
            Opening::Stream(request) => {
                // It is not looked for where nobody serves it.
                let Some(lean) = &self.lean else { return };
                let answer = lean.ask(request, came, held);
                plain::serve(socket, answer, lean.sweepers.clone(), self.ending.clone()).await;
            }
            Opening::Http1(said) => {
                self.answer(said, socket, Version::Http1, came, first_request_by).await;
            }
            Opening::Http2(said) => {
                self.answer(said, socket, Version::Http2, came, first_request_by).await;
            }
            Opening::TooLarge => {
                self.notes.note("head_too_large", Some(ClientAddress::of(came.peer.0)));
                plain::refuse(socket).await;
            }
        }
    }

    /// How streams are served that a sweeper begins.
    pub(crate) fn lean(&self) -> Option<&Lean> {
        self.lean.as_ref()
    }

    /// Until when a client that came at a moment may take to ask for something.
    pub(crate) fn first_request_by(&self, came: Instant) -> Instant {
        came + self.header_timeout
    }

    /// Answers what a client asks for, of which the beginning has been read, until it leaves or the edge
    /// ends and its answers have.
    ///
    /// What each version needs lies apart, so that a connection does not hold room for both.
    async fn answer(
        &self,
        said: Bytes,
        socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        version: Version,
        came: Came,
        first_request_by: Instant,
    ) {
        let asked = AtomicBool::new(false);
        match version {
            Version::Http1 => {
                let flushes = Flushes::default();
                let socket = TokioIo::new(Told::new(said, socket, flushes.clone()));
                let service = self.service(came, Some(Carrier::Hyper(flushes)), &asked);
                let mut connection = Box::pin(self.http1.serve_connection(socket, service));
                let end = http1::Connection::graceful_shutdown;
                let leave = self.ending.cancelled();
                self.drive(connection.as_mut(), end, leave, &asked, first_request_by, came.peer)
                    .await;
            }
            Version::Http2 => {
                let service = self.service(came, None, &asked);
                let socket = TokioIo::new(Told::new(said, socket, Flushes::default()));
                let mut connection = Box::pin(self.http2.serve_connection(socket, service));
                let end = http2::Connection::graceful_shutdown;
                let leave = self.takes_no_more();
                self.drive(connection.as_mut(), end, leave, &asked, first_request_by, came.peer)
                    .await;
            }
        }
    }

    fn service(
        &self,
        came: Came,
        carrier: Option<Carrier>,
        asked: &AtomicBool,
    ) -> impl Service<
        Request<Incoming>,
        Response = Response,
        Error = Infallible,
        Future = impl Future<Output = Result<Response, Infallible>> + Send + use<>,
    > {
        service_fn(move |request| {
            let is_first = !asked.swap(true, Relaxed);
            let since = if is_first { came.at } else { Instant::now() };
            let routes = self.router.clone();
            let mut request = as_routed(request, came.peer);
            request.extensions_mut().insert(Asked(since));
            if let Some(carrier) = &carrier {
                request.extensions_mut().insert(carrier.clone());
            }
            async move { routes.oneshot(request).await.map(stream::watched) }
        })
    }

    /// Completes when an HTTP/2 connection shall take no more requests, and end with its last stream:
    /// at its age, or when a drain begins. A browser would ask on it again and again, and never come
    /// to another edge; one of HTTP/1.1 ends with its stream anyway.
    async fn takes_no_more(&self) {
        match age(self.age_max) {
            Some(age) => drop(timeout(age, self.draining.cancelled()).await),
            None => self.draining.cancelled().await,
        }
    }

    /// Waits until a connection has ended. From `leave` on it shall end, in good order.
    async fn drive<C>(
        &self,
        mut connection: Pin<&mut C>,
        end: impl FnOnce(Pin<&mut C>),
        leave: impl Future<Output = ()>,
        asked: &AtomicBool,
        first_request_by: Instant,
        peer: Peer,
    ) where
        C: Future<Output = hyper::Result<()>>,
    {
        let outcome = tokio::select! {
            outcome = connection.as_mut() => outcome,
            () = nothing_asked(asked, first_request_by) => return self.nothing_came(peer),
            () = leave => {
                end(connection.as_mut());
                tokio::select! {
                    outcome = connection => outcome,
                    () = end_is_over(&self.ending) => {
                        return debug!("a connection did not end in time, and was cut off");
                    }
                }
            }
        };
        // An error of the user, which is us, is a stream that broke off as it should.
        if let Err(error) = outcome
            && !error.is_user()
        {
            count_broken(&error);
        }
    }
}

impl Lean {
    /// Asks for a stream.
    pub(crate) fn ask(
        &self,
        mut request: Box<Request<Body>>,
        came: Came,
        held: Option<Held>,
    ) -> impl Future<Output = plain::Answer> + Send + use<> {
        request.extensions_mut().insert(came.peer);
        request.extensions_mut().insert(Asked(came.at));
        plain::answer(request, self.route.clone(), held)
    }
}

/// What is refused before it is a request.
impl Connections {
    pub(crate) fn nothing_came(&self, peer: Peer) {
        if let Some(count) = self.refused("no_request", peer) {
            info!(count, "connections are closed: their clients asked for nothing in time");
        }
    }

    fn not_encrypted(&self, peer: Peer, reason: &str) {
        if let Some(count) = self.refused("handshake", peer) {
            info!(count, last = reason, "TLS handshakes fail");
        }
    }

    fn refused(&self, reason: &'static str, Peer(address): Peer) -> Option<u64> {
        self.notes.refused(reason, Some(ClientAddress::of(address)))
    }
}

/// Completes when a connection that shall end has had its time for that.
pub(crate) async fn end_is_over(ending: &CancellationToken) {
    ending.cancelled().await;
    sleep(END_MAX).await;
}

/// Which HTTP a connection speaks.
#[derive(Debug, Clone, Copy)]
enum Version {
    Http1,
    Http2,
}

/// Completes when the time for the first request has passed without one. hyper bounds the head of
/// HTTP/1.1, and waits for ever where HTTP/2 has been agreed on for nothing.
async fn nothing_asked(asked: &AtomicBool, first_request_by: Instant) {
    sleep_until(first_request_by).await;
    if asked.load(Relaxed) {
        pending().await
    }
}

fn http1(config: &Config) -> http1::Builder {
    let mut http1 = http1::Builder::new();
    http1
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    http1
}

fn http2(config: &Config, streams: Streams) -> http2::Builder<Streams> {
    let mut http2 = http2::Builder::new(streams);
    http2
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.http2_streams_max)
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .max_send_buf_size(STREAM_SEND_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_pending_accept_reset_streams(RESETS_PENDING_MAX)
        .max_local_error_reset_streams(RESETS_PROVOKED_MAX)
        .keep_alive_interval(config.http2_ping_interval)
        .keep_alive_timeout(config.http2_ping_timeout);
    http2
}

/// A request as the routes expect it: with its peer, and with the host where HTTP/1.1 has it, since
/// HTTP/2 has it in the URI (RFC 9113, section 8.3.1).
fn as_routed(request: Request<Incoming>, peer: Peer) -> Request<Body> {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(peer);
    let host = request.uri().authority().map(|host| HeaderValue::from_str(host.as_str()));
    if let Some(Ok(host)) = host {
        request.headers_mut().entry(HOST).or_insert(host);
    }
    request
}

pub(crate) fn count_broken(error: &(dyn Error + 'static)) {
    metrics::count_broken(is_timeout(error));
    debug!(error, "a connection ended with an error");
}

/// Whether the kernel gave the connection up because nothing was taken for the write timeout.
fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    let mut error = Some(error);
    while let Some(cause) = error {
        if let Some(cause) = cause.downcast_ref::<io::Error>() {
            return cause.kind() == io::ErrorKind::TimedOut;
        }
        error = cause.source();
    }
    false
}
