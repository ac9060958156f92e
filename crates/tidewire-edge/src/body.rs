//! The body of an event stream, and its end: in good order, or without the last chunk.
//!
//! hyper drops a connection whose body fails, with whatever it still holds of it. So a body that
//! shall break off waits until hyper has handed everything to the socket, which it shows by
//! flushing the socket with nothing left to write.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{self, Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, future::ready, stream};
use tidewire_core::metric::Raised;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
};

use crate::{form::End, metrics};

/// A body of whole frames, behind the last of which `end` says how it ends. It breaks off only where
/// `flushes` tell when everything has left: else a last frame might be cut.
pub(crate) fn of_frames(
    frames: impl Stream<Item = Bytes> + Send + 'static,
    end: impl FnOnce() -> End + Send + 'static,
    flushes: Option<Flushes>,
) -> Body {
    let frames = frames.map(Ok::<_, io::Error>);
    let Some(flushes) = flushes else { return Body::from_stream(frames) };
    let last = stream::once(async move {
        match end() {
            End::Eof => None,
            End::Abort => {
                flushes.next().await;
                Some(Err(io::ErrorKind::ConnectionAborted.into()))
            }
        }
    });
    Body::from_stream(frames.chain(last.filter_map(ready)))
}

/// What the body of an answer knows of its connection's socket.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flushes(Arc<State>);

#[derive(Debug, Default)]
struct State {
    is_wanted: AtomicBool,
    flushed: Notify,
}

impl Flushes {
    /// Waits until all that the body has handed out before is with the socket.
    pub(crate) async fn next(&self) {
        self.0.is_wanted.store(true, Relaxed);
        self.0.flushed.notified().await;
    }
}

/// A socket that tells of flushes.
pub(crate) struct Told<S> {
    /// What has been read from it already.
    said: Bytes,
    socket: S,
    flushes: Flushes,
    /// There while it takes nothing.
    slow: Option<Raised>,
}

impl<S> Told<S> {
    pub(crate) fn new(said: Bytes, socket: S, flushes: Flushes) -> Self {
        Self { said, socket, flushes, slow: None }
    }

    /// Notes whether the socket has taken something, or will when its client has.
    fn noted<T>(&mut self, taken: Poll<T>) -> Poll<T> {
        match taken {
            Poll::Pending => {
                self.slow.get_or_insert_with(metrics::slow_reader);
            }
            Poll::Ready(_) => self.slow = None,
        }
        taken
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Told<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.said.is_empty() {
            return Pin::new(&mut self.socket).poll_read(cx, buffer);
        }
        let length = self.said.len().min(buffer.remaining());
        buffer.put_slice(&self.said.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Told<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let taken = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.noted(taken)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let taken = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.noted(taken)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(cx);
        let flushed = task::ready!(self.noted(flushed));
        if self.flushes.0.is_wanted.load(Relaxed) {
            self.flushes.0.flushed.notify_one();
        }
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::{Extension, Router, routing::get};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
        time::timeout,
    };
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{
        Config, client_address::Peer, connection::Connections, drain::Drain, event_stream::Carrier,
        stream::Streams,
    };

    /// More than hyper and two sockets hold.
    const FRAMES: usize = 4_000;
    const FRAME_BYTES: usize = 4_096;
    const PATIENCE: Duration = Duration::from_secs(30);

    /// All that a client reads that takes its time.
    async fn answered(end: End) -> Vec<u8> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let router = Router::new().route(
            "/",
            get(async move |Extension(carrier): Extension<Carrier>| {
                let Carrier::Hyper(flushes) = carrier else { unreachable!("hyper writes it") };
                let frame = Bytes::from(vec![b'x'; FRAME_BYTES]);
                of_frames(stream::iter(vec![frame; FRAMES]), move || end, Some(flushes))
            }),
        );
        let config = Config::default();
        let drain = Drain::new(&config, CancellationToken::new());
        let streams = Streams::new(config.write_timeout);
        let connections = Arc::new(Connections::new(router, &config, streams, &drain, None));
        let (socket, peer) = listener.accept().await.unwrap();
        tokio::spawn(connections.serve(socket, Peer(peer.ip()), None));
        let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        client.write_all(request).await.unwrap();
        let mut bytes = Vec::new();
        let reading = async {
            while client.read_buf(&mut bytes).await.unwrap() > 0 {
                bytes.reserve(1_000);
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, reading).await.unwrap();
        bytes
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_has_all_its_frames_and_no_last_chunk() {
        let whole = answered(End::Eof).await;
        assert!(whole.ends_with(b"x\r\n0\r\n\r\n"));
        let broken = answered(End::Abort).await;
        assert!(broken.ends_with(b"x\r\n"), "the last frame is whole");
        let count = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'x').count();
        assert_eq!(count(&broken), FRAMES * FRAME_BYTES);
        assert_eq!(count(&whole), count(&broken));
    }
}
