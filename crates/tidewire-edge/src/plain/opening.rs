//! What a client says first, and so who answers it.

use std::io;

use axum::body::Body;
use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use tokio::net::TcpStream;

use crate::connection::{HEAD_BYTES_MAX, HEADERS_MAX};

/// Bytes that are read at once: the heads of most requests.
pub(super) const READ_BYTES: usize = 1_024;
/// Reads after which the rest of a head is left to hyper: it comes in small pieces, and each would be
/// looked at from the beginning.
const READS_MAX: usize = 32;
/// The one path that is.
const PATH: &str = "/v1/events";
/// What a request may not have here: a body, or a wish for something else before the answer.
const NOT_HERE: [HeaderName; 4] =
    [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::EXPECT, header::UPGRADE];

/// How a connection begins.
pub(crate) enum Opening {
    /// With the request for a stream that the edge writes itself.
    Stream(Box<Request<Body>>),
    /// With this, which is HTTP/1.1 or nothing at all.
    Http1(Bytes),
    /// With this, which is HTTP/2 (RFC 9113, section 3.4).
    Http2(Bytes),
    /// With more than a request's head may have.
    TooLarge,
}

/// Reads until it shows what a connection begins with. Where `takes_streams` is not set, requests for
/// streams are left to hyper, too.
pub(crate) async fn open(socket: &TcpStream, takes_streams: bool) -> io::Result<Opening> {
    let (mut said, mut reads) = (BytesMut::new(), 0);
    loop {
        read(socket, &mut said).await?;
        reads += 1;
        if let Some(opening) = opening(&mut said, reads, takes_streams) {
            return Ok(opening);
        }
    }
}

/// What a connection begins with, if what has been said in so many reads shows it.
pub(super) fn opening(said: &mut BytesMut, reads: usize, takes_streams: bool) -> Option<Opening> {
    let is_patient = reads < READS_MAX;
    match &said[..said.len().min(2)] {
        b"PR" => return Some(Opening::Http2(said.split().freeze())),
        b"P" if is_patient => return None,
        _ => {}
    }
    let whole = said.split().freeze();
    match if takes_streams { look(&whole) } else { Look::Other } {
        Look::Stream(request) => Some(Opening::Stream(request)),
        Look::Unfinished if whole.len() >= HEAD_BYTES_MAX => Some(Opening::TooLarge),
        Look::Unfinished if is_patient => {
            // Nobody else holds it, so nothing is copied.
            *said = whole.into();
            None
        }
        Look::Unfinished | Look::Other => Some(Opening::Http1(whole)),
    }
}

/// Reads some more.
///
/// # Errors
/// [`io::ErrorKind::UnexpectedEof`] where nothing more comes.
async fn read(socket: &TcpStream, said: &mut BytesMut) -> io::Result<()> {
    loop {
        socket.readable().await?;
        said.reserve(READ_BYTES);
        let room = HEAD_BYTES_MAX - said.len();
        match socket.try_read_buf(&mut said.limit(room)) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

enum Look {
    Stream(Box<Request<Body>>),
    Other,
    Unfinished,
}

/// Looks at what has been said so far. What is not plainly a request for a stream is not judged here.
fn look(said: &Bytes) -> Look {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    let length = match parsed.parse(said) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Look::Unfinished,
        Err(_) => return Look::Other,
    };
    let (Some("GET"), Some(target), Some(1)) = (parsed.method, parsed.path, parsed.version) else {
        return Look::Other;
    };
    // What stands behind the head is another request.
    if target.split('?').next() != Some(PATH) || length != said.len() {
        return Look::Other;
    }
    request(said, target, parsed.headers)
        .map_or(Look::Other, |request| Look::Stream(request.into()))
}

fn request(said: &Bytes, target: &str, headers: &[httparse::Header<'_>]) -> Option<Request<Body>> {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = Uri::from_maybe_shared(said.slice_ref(target.as_bytes())).ok()?;
    request.headers_mut().reserve(headers.len());
    for header in headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        if NOT_HERE.contains(&name) {
            return None;
        }
        let value = HeaderValue::from_maybe_shared(said.slice_ref(header.value)).ok()?;
        request.headers_mut().append(name, value);
    }
    Some(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked_at(said: &str) -> Option<Request<Body>> {
        match look(&Bytes::copy_from_slice(said.as_bytes())) {
            Look::Stream(request) => Some(*request),
            Look::Other | Look::Unfinished => None,
        }
    }

    #[test]
    fn a_request_for_a_stream_is_taken_as_it_was_sent() {
        let said = "GET /v1/events?topic=a%20b HTTP/1.1\r\nHost: hub\r\nLast-Event-ID: 1\r\nx: 1\r\nX:  2 \r\n\r\n";
        let request = looked_at(said).unwrap();
        assert_eq!(request.uri(), "/v1/events?topic=a%20b");
        assert_eq!(request.headers()["last-event-id"], "1");
        let twice: Vec<_> = request.headers().get_all("x").iter().collect();
        assert_eq!(twice, ["1", "2"]);
    }

    #[test]
    fn whatever_else_comes_is_left_to_others() {
        for said in [
            "POST /v1/events HTTP/1.1\r\n\r\n",
            "HEAD /v1/events HTTP/1.1\r\n\r\n",
            "GET /v1/events HTTP/1.0\r\n\r\n",
            "GET /v1/events:subscribe HTTP/1.1\r\n\r\n",
            "GET /v1/poll HTTP/1.1\r\n\r\n",
            "GET http://hub/v1/events HTTP/1.1\r\n\r\n",
            "GET /v1/events?topic=> HTTP/1.1\r\nHost: h\r\ncontent-length: 0\r\n\r\n",
            "GET /v1/events HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET /v1/events HTTP/1.1\r\nupgrade: h2c\r\n\r\n",
            "GET /v1/events HTTP/1.1\r\nexpect: 100-continue\r\n\r\n",
            "GET /v1/events HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            "GET /v1/events HTTP/1.1\r\nnot a header\r\n\r\n",
            "\u{16}\u{3}\u{1}",
        ] {
            assert!(looked_at(said).is_none(), "{said}");
        }
        let unfinished = "GET /v1/events HTTP/1.1\r\nhost: hub\r\n\r";
        assert!(matches!(look(&unfinished.into()), Look::Unfinished));
    }
}
