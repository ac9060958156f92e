//! A message as the stream's leader tells it when asked for that one: in JSON, whatever is in it.
//!
//! What others write to the stream may be such that no place hands it out: headers or a subject
//! over which the NATS library ends its connection, or more bytes than are ever asked for at once.
//! Told in JSON it harms nobody, and can be seen to be no event.

use async_nats::{HeaderMap, HeaderName, StatusCode};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;
use tidewire_core::{Sequence, UnixMillis};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::stored::Stored;

/// One message.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Told {
    seq: u64,
    subject: String,
    time: String,
    /// Base64, as the data.
    #[serde(default)]
    hdrs: String,
    #[serde(default)]
    data: String,
}

impl Told {
    pub(crate) fn sequence(&self) -> Sequence {
        Sequence(self.seq)
    }

    /// The message as a place hands it out; `None` where no place could.
    pub(crate) fn stored(self) -> Option<Stored> {
        let headers = match &*self.hdrs {
            "" => None,
            coded => Some(headers(&BASE64_STANDARD.decode(coded).ok()?)?),
        };
        let time = OffsetDateTime::parse(&self.time, &Rfc3339).ok()?.unix_timestamp_nanos();
        Some(Stored {
            sequence: Sequence(self.seq),
            time: UnixMillis(u64::try_from(time / 1_000_000).ok()?),
            headers,
            payload: BASE64_STANDARD.decode(&self.data).ok()?.into(),
            subject: self.subject.into(),
        })
    }
}

/// Reads a block of headers as strictly as the NATS library does.
fn headers(block: &[u8]) -> Option<HeaderMap> {
    let mut lines = std::str::from_utf8(block).ok()?.lines().peekable();
    let status = lines.next()?.strip_prefix("NATS/1.0")?.split_whitespace().next();
    if status.is_some_and(|status| status.parse::<StatusCode>().is_err()) {
        return None;
    }
    let mut headers = HeaderMap::new();
    while let Some(line) = lines.next() {
        if line.is_empty() {
            continue;
        }
        let (name, value) = line.split_once(':')?;
        let mut value = value.to_owned();
        while let Some(more) = lines.next_if(|line| line.starts_with(char::is_whitespace)) {
            value.push_str(more);
        }
        headers.append(name.parse::<HeaderName>().ok()?, value.trim());
    }
    Some(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_or_refused_as_the_library_does() {
        let read = headers(b"NATS/1.0\r\nA: b\r\nTidewire-Type:  x\r\n y \r\n\r\n").unwrap();
        assert_eq!(read.get("A").unwrap().as_str(), "b");
        assert_eq!(read.get("Tidewire-Type").unwrap().as_str(), "x y");
        assert!(headers(b"NATS/1.0 404 No Messages\r\n\r\n").unwrap().is_empty());
        for block in [
            &b"NATS/1.0\r\nno colon\r\n\r\n"[..],
            b"NATS/1.0\r\nA b: c\r\n\r\n",
            b"NATS/1.0\r\nA: \xff\r\n\r\n",
            b"NATS/1.0 abc\r\n\r\n",
            b"rubbish\r\n\r\n",
            b"",
        ] {
            assert!(headers(block).is_none(), "{:?}", String::from_utf8_lossy(block));
        }
    }

    #[test]
    fn what_is_told_is_what_a_place_hands_out() {
        let told = |json: &str| serde_json::from_str::<Told>(json).unwrap();
        let stored = told(
            r#"{"subject": "tw.S.t", "seq": 7, "time": "2023-11-14T22:13:20.123456789Z",
                "hdrs": "TkFUUy8xLjANCkE6IGINCg0K", "data": "aGVsbG8="}"#,
        )
        .stored()
        .unwrap();
        assert_eq!((&*stored.subject, stored.sequence), ("tw.S.t", Sequence(7)));
        assert_eq!(stored.time, UnixMillis(1_700_000_000_123));
        assert_eq!(stored.headers.unwrap().get("A").unwrap().as_str(), "b");
        assert_eq!(&*stored.payload, b"hello");
        let bare = r#"{"subject": "tw.S.t", "seq": 8, "time": "2023-11-14T22:13:20Z"}"#;
        let stored = told(bare).stored().unwrap();
        assert!(stored.headers.is_none() && stored.payload.is_empty());
    }
}
