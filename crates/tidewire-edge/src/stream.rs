//! HTTP/2 streams: each is a task, which ends where its client takes nothing for the write timeout.
//!
//! The kernel sees a connection that is not read. It does not see a stream whose window the client
//! keeps shut while it reads others, and hyper waits for such a window for ever. So a stream's body
//! notes when bytes were handed out and no more were asked for, and the stream's task looks at that.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use hyper::{
    body::{Body as HttpBody, Frame, SizeHint},
    rt::Executor,
};
use parking_lot::Mutex;
use tokio::{
    task_local,
    time::{Instant, sleep_until},
};
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::metrics;

/// Bytes that a stream is handed at once. Whoever takes fewer within the write timeout is let go.
const PIECE_BYTES_MAX: usize = 4 * 1024;

task_local! {
    /// Of the HTTP/2 stream whose task this is.
    static PROGRESS: Arc<Progress>;
}

/// Runs the streams of all connections.
#[derive(Clone)]
pub(crate) struct Streams {
    tasks: TaskTracker,
    write_timeout: Duration,
}

impl Streams {
    pub(crate) fn new(write_timeout: Duration) -> Self {
        Self { tasks: TaskTracker::new(), write_timeout }
    }

    /// Waits until the last stream has ended, once no connection can begin another.
    pub(crate) async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let progress = Arc::new(Progress::default());
        let stalled = Arc::clone(&progress).stalled(self.write_timeout);
        // Apart, as the futures around it would each have room for it.
        let stream = Box::pin(stream);
        let watched = async {
            tokio::select! {
                biased;
                () = stream => {}
                // What is dropped here is reset, and forgets what it had still to send.
                () = stalled => {
                    metrics::count_broken(true);
                    debug!("a stream's client took nothing for the write timeout");
                }
            }
        };
        self.tasks.spawn(PROGRESS.scope(progress, watched));
    }
}

/// Has an answer's body note its progress, where it is sent on an HTTP/2 stream.
pub(crate) fn watched(answer: Response) -> Response {
    match PROGRESS.try_with(Arc::clone) {
        Ok(progress) => {
            answer.map(|body| Body::new(Watched { body, rest: Bytes::new(), progress }))
        }
        Err(_) => answer,
    }
}

/// How far a stream's client has come.
#[derive(Default)]
struct Progress {
    /// Since when bytes wait for the client's window.
    waiting_since: Mutex<Option<Instant>>,
}

impl Progress {
    /// Completes when bytes have waited for so long.
    async fn stalled(self: Arc<Self>, write_timeout: Duration) {
        loop {
            let waiting_since = *self.waiting_since.lock();
            if waiting_since.is_some_and(|since| since.elapsed() >= write_timeout) {
                return;
            }
            sleep_until(waiting_since.unwrap_or_else(Instant::now) + write_timeout).await;
        }
    }
}

/// A body in pieces. The next one is asked for when the client has room for it, and not before.
struct Watched {
    body: Body,
    /// What is left of what the body gave last.
    rest: Bytes,
    progress: Arc<Progress>,
}

impl Watched {
    fn hand_out(&mut self) -> Frame<Bytes> {
        *self.progress.waiting_since.lock() = Some(Instant::now());
        Frame::data(self.rest.split_to(self.rest.len().min(PIECE_BYTES_MAX)))
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        *self.progress.waiting_since.lock() = None;
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)).transpose()? {
                None => return Poll::Ready(None),
                Some(frame) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
            }
        }
        Poll::Ready(Some(Ok(self.hand_out())))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    /// Asked for with the head, before anything is handed out.
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
