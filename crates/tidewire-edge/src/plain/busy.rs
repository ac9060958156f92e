//! A connection that has something to do: its first answer, and a stream until it rests or ends.

use std::{io, net::Shutdown};

use axum::{body::Body, response::Response};
use http::{HeaderMap, Request, StatusCode};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tracing::{debug, warn};

use super::{
    Held, NOISE_BYTES_MAX, Resting, Stream, chunk,
    head::{self, Length},
    sweepers::Sweepers,
};
use crate::{
    carried::Entered,
    connection::{count_broken, end_is_over},
    event_stream::{Carrier, EventStream, Frames, Handover},
    form::End,
    http::Route,
    metrics,
    resting::Next,
};

/// Bytes of an answer that is no stream; the routes that are reached from here answer in a few lines.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What the routes say to a request for a stream.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are streams, and are taken apart at once"
)]
pub(crate) enum Answer {
    /// A stream, and what is to be sent of it at once.
    Stream(Stream, Vec<u8>),
    /// All of it, or nothing where it cannot be written.
    Whole(Vec<u8>),
}

/// Asks the route.
pub(crate) async fn answer(
    mut request: Box<Request<Body>>,
    route: Route,
    held: Option<Held>,
) -> Answer {
    let handover = Handover::default();
    request.extensions_mut().insert(Carrier::Handover(handover.clone()));
    let Ok(response) = route.oneshot(*request).await;
    match handover.take() {
        Some(EventStream { frames: Frames::Of(subscription, place), end }) => {
            let mut first = head::write(response.status(), response.headers(), &Length::Chunked);
            let mut stream = Stream { subscription: *subscription, end, place, _held: held };
            // It begins with a hello, so nothing is waited for.
            if let Next::Bytes(hello) = stream.subscription.advance(true).await {
                chunk::write(&mut first, &hello);
            }
            Answer::Stream(stream, first)
        }
        Some(EventStream { frames: Frames::One(frame), end }) => {
            let mut answer = head::write(response.status(), response.headers(), &Length::Chunked);
            chunk::write(&mut answer, &frame);
            if end == End::Eof {
                answer.extend_from_slice(chunk::LAST);
            }
            Answer::Whole(answer)
        }
        None => Answer::Whole(whole(response).await.unwrap_or_else(|error| {
            warn!(%error, "an answer could not be written");
            Vec::new()
        })),
    }
}

/// Gives an answer, and streams until there is nothing to do or to come.
pub(crate) async fn serve(
    socket: TcpStream,
    answer: impl Future<Output = Answer>,
    sweepers: Sweepers,
    ending: CancellationToken,
) {
    match answer.await {
        Answer::Stream(stream, first) => carry(socket, stream, first, sweepers, ending).await,
        Answer::Whole(answer) => finish(socket, &answer).await,
    }
}

/// Refuses a request whose head is too large.
pub(crate) async fn refuse(socket: TcpStream) {
    let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    finish(socket, &head::write(status, &HeaderMap::new(), &Length::Bytes(0))).await;
}

/// Carries a stream on from where `unsent` is the first to be sent, until it rests or is over.
pub(super) async fn carry(
    socket: TcpStream,
    mut stream: Stream,
    unsent: Vec<u8>,
    sweepers: Sweepers,
    ending: CancellationToken,
) {
    let outcome = tokio::select! {
        biased;
        outcome = deliver(&socket, &mut stream, unsent) => outcome,
        outcome = gone(&socket) => outcome.map(|()| Course::Gone),
        () = end_is_over(&ending) => {
            return debug!("a stream did not end in time, and was cut off");
        }
    };
    match outcome {
        Ok(Course::Rests) => match socket.into_std() {
            Ok(socket) => sweepers.take(Resting { socket, stream }),
            Err(error) => count_broken(&error),
        },
        Ok(Course::Over) => {
            // Its place is free, and its end counted, before its client can know of it.
            drop(stream);
            shut(&socket);
        }
        Ok(Course::Gone) => {}
        Err(error) => count_broken(&error),
    }
}

/// What became of a stream.
enum Course {
    Rests,
    Over,
    Gone,
}

/// Carries a stream on, and shows it to whoever asks which are slow, while it is: most are here for a moment.
async fn deliver(
    socket: &TcpStream,
    stream: &mut Stream,
    mut unsent: Vec<u8>,
) -> io::Result<Course> {
    let (mut entered, mut course) = (None, None);
    loop {
        let subscription = &stream.subscription;
        let enter = || Entered::new(subscription, stream.place.client());
        let written = write_now(socket, &unsent)?;
        if written < unsent.len() {
            let _slow = metrics::slow_reader();
            entered.get_or_insert_with(enter).handed(subscription);
            write_all(socket, &unsent[written..]).await?;
        }
        if subscription.is_replaying() {
            entered.get_or_insert_with(enter).sent(subscription);
        } else {
            entered = None;
        }
        if let Some(course) = course {
            return Ok(course);
        }
        // Who waits for a page holds nothing.
        unsent = Vec::new();
        match stream.subscription.advance(true).await {
            Next::Bytes(bytes) => chunk::write(&mut unsent, &bytes),
            Next::Rest => course = Some(Course::Rests),
            Next::End => {
                if stream.end == End::Eof || stream.subscription.is_held_back() {
                    unsent.extend_from_slice(chunk::LAST);
                }
                course = Some(Course::Over);
            }
        }
    }
}

/// Writes as much as the socket takes now.
fn write_now(socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match socket.try_write(&bytes[written..]) {
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

async fn write_all(socket: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    loop {
        bytes = &bytes[write_now(socket, bytes)?..];
        if bytes.is_empty() {
            return Ok(());
        }
        socket.writable().await?;
    }
}

/// Completes when the client has closed its side, or says more than it should.
async fn gone(socket: &TcpStream) -> io::Result<()> {
    let mut noise = 0;
    while noise < NOISE_BYTES_MAX {
        socket.readable().await?;
        match socket.try_read(&mut [0; 256]) {
            Ok(0) => return Ok(()),
            Ok(read) => noise += read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// An answer that is no stream, as it is sent.
async fn whole(response: Response) -> Result<Vec<u8>, axum::Error> {
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, ANSWER_BYTES_MAX).await?;
    let mut answer = head::write(parts.status, &parts.headers, &Length::Bytes(body.len()));
    answer.extend_from_slice(&body);
    Ok(answer)
}

async fn finish(socket: TcpStream, answer: &[u8]) {
    match write_all(&socket, answer).await {
        Ok(()) => shut(&socket),
        Err(error) => count_broken(&error),
    }
}

/// Says that nothing more comes; what has been written still leaves.
fn shut(socket: &TcpStream) {
    // An error is a connection that has ended already.
    let _ended = socket2::SockRef::from(socket).shutdown(Shutdown::Write);
}
