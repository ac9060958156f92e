//! An edge on a port of 127.0.0.1, and clients that keep what they saw.

use std::{sync::Arc, time::Duration};

use axum::Router;
use bytes::Bytes;
use h2::{RecvStream, client::SendRequest};
use http::Request;
use tidewire_edge::{Config, Edge};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::quiet_log::QuietLog;

/// Longer than anything here takes, unless it takes for ever.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How often a client asks while it waits to be refused.
const ASK_INTERVAL: Duration = Duration::from_millis(20);

pub(crate) struct Port {
    pub(crate) address: std::net::SocketAddr,
    pub(crate) log: QuietLog,
    pub(crate) edge: Arc<Edge>,
    pub(crate) ending: CancellationToken,
    served: JoinHandle<()>,
}

impl Port {
    /// Serves an edge; with routes beside its own where a test needs them.
    pub(crate) async fn serve_with(config: Config, more: Router) -> Self {
        let log = QuietLog::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let ending = CancellationToken::new();
        let edge = Arc::new(Edge::start(config, Arc::new(log.clone()), ending.clone()));
        while edge.trouble().is_some() {
            tokio::task::yield_now().await;
        }
        let served = tokio::spawn({
            let edge = Arc::clone(&edge);
            async move {
                edge.serve(listener, more).await.unwrap();
                edge.stopped().await;
            }
        });
        Self { address, log, edge, ending, served }
    }

    pub(crate) async fn serve(config: Config) -> Self {
        Self::serve_with(config, Router::new()).await
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Waits until the edge, and every connection and stream of it, has ended.
    pub(crate) async fn end(self) {
        self.ending.cancel();
        timeout(PATIENCE, self.served).await.expect("the port ends").unwrap();
    }

    /// A subscriber over plain HTTP/1.1, which has read its hello.
    pub(crate) async fn subscriber(&self) -> Plain<TcpStream> {
        Plain::subscribe(self.connect().await).await
    }
}

/// A subscriber over HTTP/1.1.
pub(crate) struct Plain<S> {
    socket: S,
    seen: String,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Plain<S> {
    pub(crate) async fn subscribe(mut socket: S) -> Self {
        socket.write_all(b"GET /v1/events?topic=t HTTP/1.1\r\nhost: hub\r\n\r\n").await.unwrap();
        let mut subscriber = Self { socket, seen: String::new() };
        subscriber.sees("tidewire.hello").await;
        subscriber
    }

    /// Reads until a text has come.
    pub(crate) async fn sees(&mut self, wanted: &str) {
        while !self.seen.contains(wanted) {
            let mut bytes = [0; 4096];
            let read = timeout(PATIENCE, self.socket.read(&mut bytes)).await.expect(wanted);
            let read = read.unwrap();
            assert_ne!(read, 0, "the stream ended before {wanted:?}: {}", self.seen);
            self.seen.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
        }
    }
}

/// A client's side of an HTTP/2 connection.
pub(crate) struct Http2 {
    requests: SendRequest<Bytes>,
    driven: JoinHandle<Result<(), h2::Error>>,
}

impl Http2 {
    pub(crate) async fn connect(
        socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Self {
        // As wide as a browser's: a client with less takes many small frames for an attack.
        let mut builder = h2::client::Builder::new();
        let handshake = builder.initial_connection_window_size(1 << 20).handshake(socket);
        let (requests, connection) = handshake.await.unwrap();
        Self { requests, driven: tokio::spawn(connection) }
    }

    pub(crate) async fn send(&mut self, request: Request<()>, body: &'static str) -> Answer {
        self.requests = self.requests.clone().ready().await.unwrap();
        let (answer, mut sent) = self.requests.send_request(request, body.is_empty()).unwrap();
        if !body.is_empty() {
            sent.send_data(Bytes::from_static(body.as_bytes()), true).unwrap();
        }
        let answer = timeout(PATIENCE, answer).await.expect("an answer").unwrap();
        assert_eq!(answer.status(), 200);
        Answer { body: answer.into_body(), seen: String::new() }
    }

    pub(crate) async fn subscribe(&mut self) -> Answer {
        let request = Request::get("http://hub/v1/events?topic=t").body(()).unwrap();
        let mut answer = self.send(request, "").await;
        answer.sees("tidewire.hello").await;
        answer
    }

    /// Waits until the hub takes no more requests on the connection.
    pub(crate) async fn takes_no_more(&mut self) {
        let refused = async {
            while self.ask().await.is_ok() {
                sleep(ASK_INTERVAL).await;
            }
        };
        timeout(PATIENCE, refused).await.expect("the hub says so");
    }

    async fn ask(&mut self) -> Result<(), h2::Error> {
        self.requests = self.requests.clone().ready().await?;
        let request = Request::get("http://hub/v1/events?topic=none").body(()).unwrap();
        let (answer, _) = self.requests.send_request(request, true)?;
        answer.await.map(drop)
    }

    /// Waits until the hub has closed the connection in good order.
    pub(crate) async fn closed(self) {
        drop(self.requests);
        timeout(PATIENCE, self.driven).await.expect("the connection ends").unwrap().unwrap();
    }
}

pub(crate) struct Answer {
    pub(crate) body: RecvStream,
    pub(crate) seen: String,
}

impl Answer {
    /// Reads until a text has come.
    pub(crate) async fn sees(&mut self, wanted: &str) {
        while !self.seen.contains(wanted) {
            let more = self.more().await.unwrap();
            assert!(more.is_some(), "the stream ended before {wanted:?}: {}", self.seen);
        }
    }

    /// Reads some more; `None` at the end.
    pub(crate) async fn more(&mut self) -> Result<Option<()>, h2::Error> {
        let Some(bytes) = timeout(PATIENCE, self.body.data()).await.expect("some more") else {
            return Ok(None);
        };
        let bytes = bytes?;
        self.body.flow_control().release_capacity(bytes.len())?;
        self.seen.push_str(std::str::from_utf8(&bytes).unwrap());
        Ok(Some(()))
    }
}
