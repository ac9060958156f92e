//! A connection that has something to do: its first answer, and a stream until it rests or ends.

use std::{io, net::Shutdown};

use axum::{Router, body::Body, response::Response};
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
    connection::{count_broken, end_is_over},
    event_stream::{Carrier, EventStream, Frames, Handover},
    form::End,
    metrics,
    resting::Next,
};

/// Bytes of an answer that is no stream; the routes that are reached from here answer in a few lines.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Answers a request for a stream, and streams until there is nothing to do or to come.
pub(crate) async fn serve(
    socket: TcpStream,
    mut request: Box<Request<Body>>,
    routes: Router,
    held: Option<Held>,
    sweepers: Sweepers,
    ending: CancellationToken,
) {
    let handover = Handover::default();
    request.extensions_mut().insert(Carrier::Handover(handover.clone()));
    let Ok(response) = routes.oneshot(*request).await;
    match handover.take() {
        Some(EventStream { frames: Frames::Of(subscription, place), end }) => {
            let head = head::write(response.status(), response.headers(), &Length::Chunked);
            let stream = Stream { subscription: *subscription, end, _place: place, _held: held };
            carry(socket, stream, head, sweepers, ending).await;
        }
        Some(EventStream { frames: Frames::One(frame), end }) => {
            let mut answer = head::write(response.status(), response.headers(), &Length::Chunked);
            chunk::write(&mut answer, &frame);
            if end == End::Eof {
                answer.extend_from_slice(chunk::LAST);
            }
            finish(socket, &answer).await;
        }
        None => match whole(response).await {
            Ok(answer) => finish(socket, &answer).await,
            Err(error) => warn!(%error, "an answer could not be written"),
        },
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

async fn deliver(
    socket: &TcpStream,
    stream: &mut Stream,
    mut unsent: Vec<u8>,
) -> io::Result<Course> {
    loop {
        let course = match stream.subscription.advance(true).await {
            Next::Bytes(bytes) => {
                chunk::write(&mut unsent, &bytes);
                None
            }
            Next::Rest => Some(Course::Rests),
            Next::End => {
                if stream.end == End::Eof || stream.subscription.is_held_back() {
                    unsent.extend_from_slice(chunk::LAST);
                }
                Some(Course::Over)
            }
        };
        write_all(socket, &unsent).await?;
        // Who waits for a page holds nothing.
        unsent = Vec::new();
        if let Some(course) = course {
            return Ok(course);
        }
    }
}

async fn write_all(socket: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match socket.try_write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let _slow = metrics::slow_reader();
                socket.writable().await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
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
