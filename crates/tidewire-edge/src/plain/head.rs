//! The head of an answer, as HTTP/1.1 writes it.

use std::{
    cell::RefCell,
    time::{SystemTime, UNIX_EPOCH},
};

use http::{HeaderMap, HeaderName, StatusCode, header};

use crate::event_stream::CLOSE;

/// Bytes of most heads, with the hello behind them.
const ROOM_BYTES: usize = 1_024;

/// How long a body is.
pub(crate) enum Length {
    Bytes(usize),
    /// Its chunks say.
    Chunked,
}

/// Writes a head. The answer is the last on its connection.
pub(crate) fn write(status: StatusCode, headers: &HeaderMap, length: &Length) -> Vec<u8> {
    let mut out = Vec::with_capacity(ROOM_BYTES);
    let reason = status.canonical_reason().unwrap_or_default();
    for part in ["HTTP/1.1 ", status.as_str(), " ", reason, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    for (name, value) in headers.iter().filter(|(name, _)| !is_ours(name)) {
        line(&mut out, name, value.as_bytes());
    }
    line(&mut out, &header::CONNECTION, CLOSE.as_bytes());
    match length {
        Length::Bytes(bytes) => {
            line(&mut out, &header::CONTENT_LENGTH, bytes.to_string().as_bytes());
        }
        Length::Chunked => line(&mut out, &header::TRANSFER_ENCODING, b"chunked"),
    }
    DATE.with_borrow_mut(|date| line(&mut out, &header::DATE, date.now()));
    out.extend_from_slice(b"\r\n");
    out
}

thread_local! {
    static DATE: RefCell<Date> = RefCell::default();
}

/// The time as a head says it, which is the same for a second.
#[derive(Default)]
struct Date {
    seconds: u64,
    written: String,
}

impl Date {
    fn now(&mut self) -> &[u8] {
        let now = SystemTime::now();
        let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if self.written.is_empty() || seconds != self.seconds {
            *self = Self { seconds, written: httpdate::fmt_http_date(now) };
        }
        self.written.as_bytes()
    }
}

/// What is said by whoever writes the connection, and not by the routes.
fn is_ours(name: &HeaderName) -> bool {
    [header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::DATE]
        .contains(name)
}

fn line(out: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_head_has_the_routes_headers_and_those_of_the_connection_once() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        headers.insert(header::VARY, HeaderValue::from_static("origin"));
        let head = String::from_utf8(write(StatusCode::OK, &headers, &Length::Chunked)).unwrap();
        let (before, date) = head.split_once("date: ").unwrap();
        assert_eq!(
            before,
            "HTTP/1.1 200 OK\r\nvary: origin\r\nconnection: close\r\ntransfer-encoding: chunked\r\n"
        );
        assert!(date.ends_with(" GMT\r\n\r\n"), "{date}");
        let head = write(StatusCode::BAD_REQUEST, &headers, &Length::Bytes(7));
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
        assert!(head.contains("\r\ncontent-length: 7\r\n"), "{head}");
    }
}
