//! How these clients connect, ask and read: TLS by rustls, HTTP/2 by h2, HTTP/1.1 by hand.

use std::{
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::future::join_all;
use h2::client::SendRequest;
use http::{Request, header};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::{TcpSocket, TcpStream},
    sync::OwnedSemaphorePermit,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        client::Resumption,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

use super::Stream;
use crate::{
    fleet::message::Opening,
    server::transport::Transport,
    thin::{Fault, body::Body},
};

/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;
/// Bytes that the hub may send before these clients have read some: more than it ever has to wait for.
const WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// Makes connections of one kind.
pub(super) struct Connector {
    opening: Arc<Opening>,
    transport: Transport,
    /// Where they are encrypted.
    tls: Option<TlsConnector>,
}

impl Connector {
    pub(super) fn new(opening: Arc<Opening>) -> anyhow::Result<Self> {
        let transport = opening.transport.context("a transport")?;
        let Some(certificate) = &opening.certificate else {
            return Ok(Self { opening, transport, tls: None });
        };
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(certificate)?)?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let protocol: &[u8] = if transport.http2_streams.is_some() { b"h2" } else { b"http/1.1" };
        config.alpn_protocols = vec![protocol.to_vec()];
        // Thousands of clients have no ticket of each other's.
        config.resumption = Resumption::disabled();
        Ok(Self { opening, transport, tls: Some(Arc::new(config).into()) })
    }

    /// Streams of one connection.
    pub(super) fn streams(&self) -> usize {
        self.transport.http2_streams.map_or(1, |streams| usize::try_from(streams).unwrap_or(1))
    }

    /// Connects, and reads all streams of the connection to their ends. It is on its way until their
    /// answers have begun.
    pub(super) async fn connect(&self, streams: Vec<Stream>, place: OwnedSemaphorePermit) {
        let Some(received) = streams.first().map(|stream| &stream.clients.received_bytes) else {
            return;
        };
        let Ok(socket) = self.socket(Arc::clone(received)).await else {
            return streams.iter().for_each(|stream| stream.ends(Fault::Refused));
        };
        match &self.tls {
            None => self.ask(socket, streams, place).await,
            Some(tls) => {
                let name = ServerName::from(IpAddr::from(*self.opening.to.ip()));
                match tls.connect(name, socket).await {
                    Ok(socket) => self.ask(socket, streams, place).await,
                    Err(_) => streams.iter().for_each(|stream| stream.ends(Fault::Refused)),
                }
            }
        }
    }

    async fn socket(&self, received: Arc<AtomicU64>) -> io::Result<Counted> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(self.opening.from.into(), 0))?;
        let socket = socket.connect(self.opening.to.into()).await?;
        socket.set_nodelay(true)?;
        Ok(Counted { socket, received })
    }

    async fn ask<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        socket: S,
        mut streams: Vec<Stream>,
        place: OwnedSemaphorePermit,
    ) {
        if self.transport.http2_streams.is_none() {
            if let Some(mut stream) = streams.pop() {
                let Err(fault) = self.read_http1(socket, &mut stream, place).await;
                stream.ends(fault);
            }
            return;
        }
        let handshake = h2::client::Builder::new()
            .initial_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .handshake::<_, Bytes>(socket);
        let Ok((requests, connection)) = handshake.await else {
            return streams.iter().for_each(|stream| stream.ends(Fault::Refused));
        };
        // Until all streams have ended: how the connection ends says nothing more.
        let driving = tokio::spawn(async move { connection.await.is_ok() });
        let asked = streams.iter().map(|stream| self.ask_http2(requests.clone(), &stream.filter));
        let answers = join_all(asked).await;
        drop(place);
        let reading = streams.into_iter().zip(answers).map(async |(mut stream, answer)| {
            let fault = match answer {
                Ok(answer) => {
                    let Err(fault) = read_http2(answer, &mut stream).await;
                    fault
                }
                Err(fault) => fault,
            };
            stream.ends(fault);
        });
        join_all(reading).await;
        drop(driving);
    }

    fn path(&self, filter: &str) -> String {
        let [before, behind] = &self.opening.path;
        format!("{before}{filter}{behind}")
    }

    async fn read_http1<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut socket: S,
        stream: &mut Stream,
        place: OwnedSemaphorePermit,
    ) -> Result<std::convert::Infallible, Fault> {
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nAccept: text/event-stream\r\n\r\n",
            self.path(&stream.filter),
            self.opening.to
        );
        socket.write_all(request.as_bytes()).await.map_err(|_| Fault::Refused)?;
        let (mut body, mut place, mut buffer) =
            (Body::new(false), Some(place), vec![0; READ_BYTES]);
        loop {
            let length = socket.read(&mut buffer).await.unwrap_or(0);
            let mut bytes = &buffer[..length];
            if bytes.is_empty() {
                return Err(Fault::Ended);
            }
            while !bytes.is_empty() {
                stream.take(body.next(&mut bytes)?)?;
            }
            match body {
                Body::Head(_) => {}
                Body::Ended => return Err(Fault::Ended),
                Body::Plain | Body::Chunks(_) => {
                    if place.take().is_some() {
                        stream.begins();
                    }
                }
            }
        }
    }

    async fn ask_http2(
        &self,
        requests: SendRequest<Bytes>,
        filter: &str,
    ) -> Result<h2::RecvStream, Fault> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let request = Request::get(format!("{scheme}://{}{}", self.opening.to, self.path(filter)))
            .header(header::ACCEPT, "text/event-stream")
            .body(())
            .map_err(|_| Fault::Refused)?;
        let mut requests = requests.ready().await.map_err(|_| Fault::Refused)?;
        let (answer, _) = requests.send_request(request, true).map_err(|_| Fault::Refused)?;
        let answer = answer.await.map_err(|_| Fault::Refused)?;
        let kind = answer.headers().get(header::CONTENT_TYPE);
        let is_stream = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        if answer.status() != http::StatusCode::OK || !is_stream {
            return Err(Fault::Refused);
        }
        Ok(answer.into_body())
    }
}

async fn read_http2(
    mut answer: h2::RecvStream,
    stream: &mut Stream,
) -> Result<std::convert::Infallible, Fault> {
    stream.begins();
    loop {
        let bytes = poll_fn(|context| answer.poll_data(context)).await;
        let Some(Ok(bytes)) = bytes else { return Err(Fault::Ended) };
        answer.flow_control().release_capacity(bytes.len()).map_err(|_| Fault::Ended)?;
        stream.take(&bytes)?;
    }
}

/// A socket whose bytes are counted as they come.
struct Counted {
    socket: TcpStream,
    received: Arc<AtomicU64>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(context, buffer))?;
        self.received.fetch_add((buffer.filled().len() - before) as u64, Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
