//! The head of an answer, as HTTP/1.1 writes it.

use std::{io::Write as _, time::SystemTime};

use http::{HeaderMap, HeaderName, StatusCode, header};

use crate::event_stream::CLOSE;

/// How long a body is.
pub(crate) enum Length {
    Bytes(usize),
    /// Its chunks say.
    Chunked,
}

/// Writes a head. The answer is the last on its connection.
pub(crate) fn write(status: StatusCode, headers: &HeaderMap, length: &Length) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    let reason = status.canonical_reason().unwrap_or_default();
    // Writing to memory does not fail.
    let _written = write!(out, "HTTP/1.1 {} {reason}\r\n", status.as_str());
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
    line(&mut out, &header::DATE, httpdate::fmt_http_date(SystemTime::now()).as_bytes());
    out.extend_from_slice(b"\r\n");
    out
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
