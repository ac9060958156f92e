//! One subscription request and its stream of frames: no reconnecting, no memory.

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Uri, header, uri::Scheme};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tidewire_core::Invalid;
use tokio::{
    net::TcpStream,
    time::{Instant, Sleep, sleep, timeout},
};

use crate::parser::{FRAME_BYTES_MAX_DEFAULT, ParseError, Parser, RawFrame, Reading};

/// How long a hub may take until its answer begins.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(15);
/// Bytes of a refusal's body that are read.
const PROBLEM_BYTES_MAX: usize = 64 * 1024;
/// How long a refusal's body may take; its status says enough.
const PROBLEM_WAIT_MAX: Duration = Duration::from_secs(2);
/// Heartbeats that stay away in a row before a connection is taken for dead.
pub(crate) const HEARTBEATS_MISSED_MAX: u32 = 3;
/// Three of the 15 s between a hub's heartbeats, where it has not said otherwise.
const SILENCE_MAX_DEFAULT: Duration = Duration::from_secs(45);

/// What to ask for, and how to read the answer.
#[derive(Debug, Clone)]
pub struct ConnectionOptions {
    /// The `Last-Event-ID` header; none where it is `None`.
    pub last_event_id: Option<String>,
    /// How much to forgive.
    pub reading: Reading,
    /// Bytes of one frame; a larger one is an error.
    pub frame_bytes_max: usize,
    /// A connection without a byte for so long is [`ConnectionError::Silent`].
    pub silence_max: Duration,
}

impl Default for ConnectionOptions {
    /// No `Last-Event-ID`, a lenient reading, 2 MiB, 45 s.
    fn default() -> Self {
        Self {
            last_event_id: None,
            reading: Reading::Lenient,
            frame_bytes_max: FRAME_BYTES_MAX_DEFAULT,
            silence_max: SILENCE_MAX_DEFAULT,
        }
    }
}

/// Why there is no stream, or no more of it.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The address is not one of plain HTTP.
    #[error(transparent)]
    Address(#[from] Invalid),
    /// Nobody answers at the address.
    #[error("nobody answers: {0}")]
    Unreachable(#[source] io::Error),
    /// The answer is not 200.
    #[error("{0}")]
    Status(Refusal),
    /// The answer is 200, but no event stream.
    #[error("the answer is `{content_type}` and no event stream")]
    NotAStream {
        /// What it is.
        content_type: String,
    },
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Cut(#[source] hyper::Error),
    /// Nothing came for longer than a heartbeat can take.
    #[error("nothing came for {} s", after.as_secs_f32())]
    Silent {
        /// So long.
        after: Duration,
    },
    /// The stream cannot be read.
    #[error(transparent)]
    Unreadable(#[from] ParseError),
}

/// An answer that is not 200.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("status {status}: {title}{}{detail}", if detail.is_empty() { "" } else { ": " })]
pub struct Refusal {
    /// The HTTP status.
    pub status: StatusCode,
    /// What it means: the problem's `title`, or the status's own words.
    pub title: String,
    /// What exactly was wrong: the problem's `detail`, or nothing.
    pub detail: String,
    /// `Retry-After`, where it is a number of seconds.
    pub retry_after: Option<Duration>,
}

/// One answered request: an event stream.
#[derive(Debug)]
pub struct Connection {
    headers: HeaderMap,
    wire: Wire,
    body: Incoming,
    parser: Parser,
    silence_max: Duration,
    last_byte: Instant,
    /// Rings at `silence_max` after what was the last byte when it was set.
    alarm: Pin<Box<Sleep>>,
}

impl Connection {
    /// Asks for a stream at an `http://` address, such as
    /// `http://127.0.0.1:8080/v1/events?topic=orders.%3E`, and waits until the answer begins.
    ///
    /// # Errors
    /// [`ConnectionError::Status`] for every answer but 200, and what else may come before a
    /// first frame.
    pub async fn open(url: &str, options: ConnectionOptions) -> Result<Self, ConnectionError> {
        let target = Target::parse(url)?;
        let asked = timeout(ANSWER_WAIT_MAX, ask(&target, options.last_event_id.as_deref()));
        let (mut wire, answer) = asked.await.map_err(|_| {
            ConnectionError::Unreachable(io::Error::new(
                io::ErrorKind::TimedOut,
                "no answer in time",
            ))
        })??;
        if answer.status() != StatusCode::OK {
            return Err(ConnectionError::Status(read_refusal(&mut wire, answer).await));
        }
        let (head, body) = answer.into_parts();
        check_content_type(&head.headers)?;
        Ok(Self {
            headers: head.headers,
            wire,
            body,
            parser: Parser::new(options.reading, options.frame_bytes_max),
            silence_max: options.silence_max,
            last_byte: Instant::now(),
            alarm: Box::pin(sleep(options.silence_max)),
        })
    }

    /// The answer's headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The next frame; `None` once the hub has ended the stream in good order. Whatever is waiting
    /// when this future is dropped is not lost.
    ///
    /// # Errors
    /// [`ConnectionError::Cut`], [`ConnectionError::Silent`] or [`ConnectionError::Unreadable`]:
    /// the connection is over.
    pub async fn next_frame(&mut self) -> Result<Option<RawFrame>, ConnectionError> {
        loop {
            if let Some(frame) = self.parser.next_frame()? {
                return Ok(Some(frame));
            }
            match self.next_bytes().await? {
                Some(bytes) => self.parser.push(&bytes),
                None => return Ok(None),
            }
        }
    }

    /// The last `id:` of the frames that have come; empty before the first. What an `EventSource`
    /// would send as its next `Last-Event-ID`.
    pub fn last_event_id(&self) -> &str {
        self.parser.last_event_id()
    }

    /// The last `retry:` that has come.
    pub fn retry(&self) -> Option<Duration> {
        self.parser.retry()
    }

    /// From now on, so long without a byte is the connection's end.
    pub fn set_silence_max(&mut self, silence_max: Duration) {
        self.silence_max = silence_max;
        self.alarm.as_mut().reset(self.last_byte + silence_max);
    }

    async fn next_bytes(&mut self) -> Result<Option<Bytes>, ConnectionError> {
        loop {
            tokio::select! {
                biased;
                piece = self.wire.drive(self.body.frame()) => {
                    self.last_byte = Instant::now();
                    match piece {
                        None => return Ok(None),
                        Some(Err(error)) => return Err(ConnectionError::Cut(error)),
                        // What is not data is trailers, which say nothing here.
                        Some(Ok(piece)) => if let Ok(bytes) = piece.into_data() {
                            return Ok(Some(bytes));
                        },
                    }
                }
                () = &mut self.alarm => {
                    let silent_until = self.last_byte + self.silence_max;
                    if Instant::now() >= silent_until {
                        return Err(ConnectionError::Silent { after: self.silence_max });
                    }
                    self.alarm.as_mut().reset(silent_until);
                }
            }
        }
    }
}

/// Where a request goes.
struct Target {
    /// Host and port, to connect to.
    address: String,
    /// The `Host` header.
    host: String,
    /// Path and query.
    path: Uri,
}

impl Target {
    fn parse(url: &str) -> Result<Self, Invalid> {
        let invalid = |reason| Invalid::new("url", reason);
        let uri: Uri = url.parse().map_err(|_| invalid("is no URL"))?;
        if uri.scheme() != Some(&Scheme::HTTP) {
            return Err(invalid("does not begin http://"));
        }
        let authority = uri.authority().ok_or_else(|| invalid("has no host"))?;
        let path = uri.path_and_query().cloned().ok_or_else(|| invalid("has no path"))?;
        Ok(Self {
            address: format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80)),
            host: authority.as_str().rsplit('@').next().unwrap_or_default().to_owned(),
            path: path.into(),
        })
    }
}

/// Checks that an address is one that [`Connection::open`] takes.
pub(crate) fn check_url(url: &str) -> Result<(), Invalid> {
    Target::parse(url).map(drop)
}

async fn ask(
    target: &Target,
    last_event_id: Option<&str>,
) -> Result<(Wire, Response<Incoming>), ConnectionError> {
    let socket = TcpStream::connect(&target.address).await.map_err(ConnectionError::Unreachable)?;
    socket.set_nodelay(true).map_err(ConnectionError::Unreachable)?;
    let handshake = http1::handshake(TokioIo::new(socket)).await;
    let (mut sender, connection) = handshake.map_err(ConnectionError::Cut)?;
    let mut request = Request::get(target.path.clone())
        .header(header::HOST, &target.host)
        .header(header::ACCEPT, "text/event-stream")
        .header(header::CACHE_CONTROL, "no-store");
    if let Some(id) = last_event_id {
        request = request.header("last-event-id", id);
    }
    let request = request
        .body(Empty::new())
        .map_err(|_| Invalid::new("last_event_id", "holds a character that no header may hold"))?;
    let mut wire = Wire(Some(connection));
    let answer = wire.drive(sender.send_request(request)).await.map_err(ConnectionError::Cut)?;
    Ok((wire, answer))
}

fn check_content_type(headers: &HeaderMap) -> Result<(), ConnectionError> {
    let content_type = headers.get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
    if essence.trim_ascii().eq_ignore_ascii_case(b"text/event-stream") {
        return Ok(());
    }
    let content_type = String::from_utf8_lossy(content_type).into_owned();
    Err(ConnectionError::NotAStream { content_type })
}

/// The parts of `application/problem+json` (RFC 9457) that people read.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    title: String,
    detail: String,
}

async fn read_refusal(wire: &mut Wire, answer: Response<Incoming>) -> Refusal {
    let (head, body) = answer.into_parts();
    let whole = Limited::new(body, PROBLEM_BYTES_MAX).collect();
    let problem = match timeout(PROBLEM_WAIT_MAX, wire.drive(whole)).await {
        Ok(Ok(body)) => serde_json::from_slice(&body.to_bytes()).unwrap_or_default(),
        // The status stands, whatever became of its explanation.
        _ => Problem::default(),
    };
    let title = if problem.title.is_empty() {
        head.status.canonical_reason().unwrap_or("unknown").to_owned()
    } else {
        problem.title
    };
    let retry_after = head.headers.get(header::RETRY_AFTER);
    let seconds = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Refusal {
        status: head.status,
        title,
        detail: problem.detail,
        retry_after: seconds.map(Duration::from_secs),
    }
}

/// The connection's other half, which moves the bytes: nobody else polls it, so that a subscriber
/// is one task, without another to wake for every read.
#[derive(Debug)]
struct Wire(Option<http1::Connection<TokioIo<TcpStream>, Empty<Bytes>>>);

impl Wire {
    /// Waits for something that needs the bytes to move.
    async fn drive<F: Future>(&mut self, wanted: F) -> F::Output {
        let mut wanted = pin!(wanted);
        poll_fn(|context| {
            if let Poll::Ready(output) = wanted.as_mut().poll(context) {
                return Poll::Ready(output);
            }
            if let Some(connection) = &mut self.0
                && Pin::new(connection).poll(context).is_ready()
            {
                // Its error, if any, comes out of what is wanted.
                self.0 = None;
            }
            wanted.as_mut().poll(context)
        })
        .await
    }
}
