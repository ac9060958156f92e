//! One connection: HTTP/1.1 or HTTP/2, whichever its client speaks, within bounds.

use std::{
    error::Error,
    future::pending,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{Router, body::Body};
use http::{HeaderValue, Request, header::HOST};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tracing::debug;

use crate::{
    Config, Tls, admission::Place, client_address::Peer, metrics, stream, stream::Streams,
};

/// Bytes of a request's head, and of what hyper holds for an HTTP/1.1 connection in each direction.
const HEAD_BYTES_MAX: u32 = 16 * 1024;
/// Header lines of an HTTP/1.1 request; of an HTTP/2 request the bytes bound them, at 32 and more
/// for each line (RFC 9113, section 6.5.2).
const HEADERS_MAX: usize = 64;
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

/// How connections are served.
pub(crate) struct Connections {
    http: auto::Builder<Streams>,
    router: Router,
    handshake_timeout: Duration,
    header_timeout: Duration,
    ending: CancellationToken,
}

impl Connections {
    pub(crate) fn new(
        router: Router,
        config: &Config,
        streams: Streams,
        ending: CancellationToken,
    ) -> Self {
        Self {
            http: http(config, streams),
            router,
            handshake_timeout: config.handshake_timeout,
            header_timeout: config.header_timeout,
            ending,
        }
    }

    /// Serves a connection after its TLS handshake.
    pub(crate) async fn serve_tls(
        self: Arc<Self>,
        tls: Tls,
        socket: TcpStream,
        peer: Peer,
        place: Place,
    ) {
        let handshake = timeout(self.handshake_timeout, tls.accept(socket));
        match self.ending.run_until_cancelled(handshake).await {
            Some(Ok(Ok(encrypted))) => self.serve(encrypted, peer, place).await,
            Some(failed) => {
                metrics::count_refused("handshake");
                let error = failed.map_or_else(
                    |_| "not in time".into(),
                    |failed| failed.err().map(|error| error.to_string()).unwrap_or_default(),
                );
                debug!(error, "a TLS handshake failed");
            }
            None => {}
        }
    }

    /// Serves what a client asks for, until it leaves or the edge ends and its answers have.
    pub(crate) async fn serve(
        self: Arc<Self>,
        socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: Peer,
        _place: Place,
    ) {
        let asked = AtomicBool::new(false);
        let service = service_fn(|request: Request<Incoming>| {
            asked.store(true, Relaxed);
            let routes = self.router.clone();
            async move { routes.oneshot(as_routed(request, peer)).await.map(stream::watched) }
        });
        let connection = self.http.serve_connection(TokioIo::new(socket), service);
        tokio::pin!(connection);
        let outcome = tokio::select! {
            outcome = connection.as_mut() => outcome,
            () = self.nothing_asked(&asked) => {
                metrics::count_refused("no_request");
                return debug!("a connection was closed: its client asked for nothing in time");
            }
            () = self.ending.cancelled() => {
                connection.as_mut().graceful_shutdown();
                match timeout(END_MAX, connection).await {
                    Ok(outcome) => outcome,
                    Err(_) => return debug!("a connection did not end in time, and was cut off"),
                }
            }
        };
        if let Err(error) = outcome {
            count_broken(&*error);
        }
    }

    /// Completes where the time for the first request has passed without one. Neither of the two
    /// versions has begun then, or HTTP/2 has been agreed on for nothing: hyper waits for ever.
    async fn nothing_asked(&self, asked: &AtomicBool) {
        sleep(self.header_timeout).await;
        if asked.load(Relaxed) {
            pending().await
        }
    }
}

/// What is spoken is bounded in both versions.
fn http(config: &Config, streams: Streams) -> auto::Builder<Streams> {
    let mut http = auto::Builder::new(streams);
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout)
        .max_buf_size(HEAD_BYTES_MAX as usize)
        .max_headers(HEADERS_MAX);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.http2_streams_max)
        .max_header_list_size(HEAD_BYTES_MAX)
        .max_send_buf_size(STREAM_SEND_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_pending_accept_reset_streams(RESETS_PENDING_MAX)
        .max_local_error_reset_streams(RESETS_PROVOKED_MAX)
        .keep_alive_interval(config.http2_ping_interval)
        .keep_alive_timeout(config.http2_ping_timeout);
    http
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

/// Counts a connection that ended with an error, unless it had not begun when the edge ended.
fn count_broken(error: &(dyn Error + 'static)) {
    let kind = io_error_kind(error);
    if kind != Some(io::ErrorKind::Interrupted) {
        metrics::count_broken(kind == Some(io::ErrorKind::TimedOut));
        debug!(error, "a connection ended with an error");
    }
}

/// What the kernel said: that it gave the connection up, where nothing was taken for the write
/// timeout.
fn io_error_kind(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    let mut error = Some(error);
    while let Some(cause) = error {
        if let Some(cause) = cause.downcast_ref::<io::Error>() {
            return Some(cause.kind());
        }
        error = cause.source();
    }
    None
}
