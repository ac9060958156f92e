//! What a subscriber reads: Server-Sent Events, encoded.
//!
//! Only LF ends a line; no CR, NUL or byte order mark is written; every frame has data. Data is cut
//! at each CR, LF or CRLF into a `data:` line of its own, so that no byte of a publisher can begin
//! a field. The grammar is the WHATWG HTML standard's, section 9.2.6.

use std::{
    fmt::{Arguments, Write as _},
    io::Write as _,
};

use bytes::{BufMut, Bytes, BytesMut};
use memchr::memchr2;
use serde::Serialize;
use tidewire_core::{Cursor, Event, ResumePoint};

use crate::{Envelope, Gap};

/// What keeps a silent connection open: a comment without a blank line after it, since several
/// clients take one for the end of an event.
pub(crate) const HEARTBEAT: Bytes = Bytes::from_static(b":\n");

/// Bytes of the hub's own frames, nearly always.
const HUB_FRAME_BYTES: usize = 256;

/// The type of the hello.
pub(crate) const HELLO: &str = "tidewire.hello";
/// The type of a gap.
pub(crate) const GAP: &str = "tidewire.gap";
/// The type of what says that only topics' newest events come.
pub(crate) const CONFLATED: &str = "tidewire.conflated";
/// The type of a cursor.
pub(crate) const CURSOR: &str = "tidewire.cursor";

/// The first frame of a connection, before any replay.
#[derive(Debug, Serialize)]
pub(crate) struct Hello<'a> {
    pub(crate) connection: &'a str,
    pub(crate) edge: &'a str,
    pub(crate) resume: &'static str,
    pub(crate) heartbeat_seconds: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_age_seconds: Option<u64>,
}

/// Encodes an event in an envelope.
pub(crate) fn event(event: &Event, envelope: Envelope) -> Bytes {
    event_at(event.cursor.into(), event, envelope)
}

/// Encodes an event as what brings a client to this point.
pub(crate) fn event_at(point: ResumePoint, event: &Event, envelope: Envelope) -> Bytes {
    let event_type = event.event.event_type.as_ref().map(|name| name.as_str());
    match envelope {
        Envelope::None => frame(point, event_type, event.event.data.as_bytes()),
        Envelope::CloudEvents => frame(point, event_type, &crate::envelope::cloud_event(event)),
    }
}

/// Encodes the hello: `point` is where the stream goes on from.
pub(crate) fn hello(point: ResumePoint, retry_milliseconds: u64, hello: &Hello<'_>) -> Bytes {
    let head = format_args!("event: {HELLO}\nid: {point}\nretry: {retry_milliseconds}\n");
    with_json(head, hello)
}

/// Encodes a gap: what lies between two cursors cannot be had.
pub(crate) fn gap(gap: &Gap) -> Bytes {
    let resumed_from = gap.resumed_from;
    let data = serde_json::json!({
        "reason": gap.reason(),
        "requested": gap.requested,
        "resumed_from": resumed_from.to_string(),
    });
    with_json(format_args!("event: {GAP}\nid: {resumed_from}\n"), &data)
}

/// Encodes that after `from`, and up to `to` at least, only each topic's newest event comes.
pub(crate) fn conflated(from: ResumePoint, to: Cursor) -> Bytes {
    let data = serde_json::json!({ "from": from.after.to_string(), "to": to.to_string() });
    with_json(format_args!("event: {CONFLATED}\nid: {from}\n"), &data)
}

/// Encodes where the log has got to, for a client whose topics are quiet.
pub(crate) fn cursor(cursor: Cursor) -> Bytes {
    format!("event: {CURSOR}\nid: {cursor}\ndata: {{}}\n\n").into()
}

/// Encodes what shows whether something holds the stream back: `point` is where the client has got to.
pub(crate) fn probe(point: ResumePoint, connection: &str) -> Bytes {
    let head = format_args!("event: tidewire.probe\nid: {point}\n");
    with_json(head, &serde_json::json!({ "connection": connection }))
}

/// Encodes why the stream ends now, and when to come back; in a stream that has had no frame, to which
/// point, since some libraries forget theirs where a stream has none.
pub(crate) fn retry(reason: &str, retry_milliseconds: u64, point: Option<ResumePoint>) -> Bytes {
    farewell("tidewire.retry", reason, retry_milliseconds, point)
}

/// Encodes that the stream ends now since its client has not acknowledged its probe.
pub(crate) fn buffered(retry_milliseconds: u64) -> Bytes {
    farewell("tidewire.buffered", "unacknowledged", retry_milliseconds, None)
}

fn farewell(
    event_type: &str,
    reason: &str,
    retry_milliseconds: u64,
    point: Option<ResumePoint>,
) -> Bytes {
    let id = point.map_or_else(String::new, |point| format!("id: {point}\n"));
    let head = format_args!("event: {event_type}\nretry: {retry_milliseconds}\n{id}");
    with_json(head, &serde_json::json!({ "reason": reason }))
}

/// A frame of this edge's own, read again: what a poll makes its answer from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Written<'f> {
    /// Empty where it is an event without one.
    pub(crate) event_type: &'f str,
    pub(crate) id: &'f str,
    /// Its lines, joined by LF.
    pub(crate) data: Bytes,
}

/// Reads whole frames that were written here. Heartbeats are no frames.
pub(crate) fn written(frames: &Bytes) -> impl Iterator<Item = Written<'_>> {
    // Data is UTF-8, and so is the rest.
    let text = std::str::from_utf8(frames).unwrap_or_default();
    text.split_terminator("\n\n").filter(|frame| !frame.starts_with(':')).map(|frame| {
        let field = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name));
        let data: Vec<_> = frame.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        Written {
            event_type: field("event: ").unwrap_or_default(),
            id: field("id: ").unwrap_or_default(),
            data: data.join("\n").into(),
        }
    })
}

fn with_json(head: Arguments<'_>, data: &impl Serialize) -> Bytes {
    let mut frame = Vec::with_capacity(HUB_FRAME_BYTES);
    // Writing to memory does not fail, a struct of strings and numbers always serialises, and JSON has
    // no raw line breaks.
    let _written = write!(frame, "{head}data: ");
    let _serialised = serde_json::to_writer(&mut frame, data);
    frame.extend_from_slice(b"\n\n");
    frame.into()
}

fn frame(point: ResumePoint, event_type: Option<&str>, data: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(data.len() + 64);
    // Writing to memory does not fail.
    let _written = write!(&mut frame, "id: {point}");
    if let Some(event_type) = event_type {
        frame.put_slice(b"\nevent: ");
        frame.put_slice(event_type.as_bytes());
    }
    for line in lines(data) {
        frame.put_slice(b"\ndata: ");
        frame.put_slice(line);
    }
    frame.put_slice(b"\n\n");
    frame.freeze()
}

/// The lines of a text, broken at CR, LF and CRLF; a break at the end begins one more.
fn lines(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(data);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = memchr2(b'\r', b'\n', text) else {
            rest = None;
            return Some(text);
        };
        let break_len = if text[end..].starts_with(b"\r\n") { 2 } else { 1 };
        rest = Some(&text[end + break_len..]);
        Some(&text[..end])
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidewire_core::{
        Epoch, EventData, EventType, NewEvent, Sequence, Topic, UnixMillis, limits::EVENT_BYTES_MAX,
    };

    use super::*;

    fn stored(data: impl Into<Bytes>, event_type: &str) -> Event {
        let topic = Topic::parse("a.b").unwrap();
        let data = EventData::parse(data, EVENT_BYTES_MAX).unwrap();
        let event_type = EventType::parse(event_type).unwrap();
        NewEvent { event_type, ..NewEvent::new(topic, data) }
            .stored(Cursor::new(Epoch(0x5f3a_91c2), Sequence(7)), UnixMillis(0))
    }

    /// A strict reader: one frame of the fields id, event and data, in that order, LF only.
    fn read_strictly(frame: &[u8]) -> (String, Option<String>, String) {
        let text = std::str::from_utf8(frame).unwrap();
        assert!(!text.contains(['\r', '\0']) && !text.starts_with('\u{feff}'));
        let body = text.strip_suffix("\n\n").expect("a frame ends with a blank line");
        let mut lines = body.split('\n');
        let id = lines.next().unwrap().strip_prefix("id: ").unwrap().to_owned();
        let mut event_type = None;
        let mut data = Vec::new();
        for line in lines {
            if let Some(line) = line.strip_prefix("data: ") {
                data.push(line);
            } else {
                assert!(data.is_empty() && event_type.is_none(), "one event, before data: {line}");
                event_type = Some(line.strip_prefix("event: ").unwrap().to_owned());
            }
        }
        assert!(!data.is_empty());
        (id, event_type, data.join("\n"))
    }

    /// What a client sees of data: its line breaks become LF, everything else stays.
    fn as_seen(data: &str) -> String {
        data.replace("\r\n", "\n").replace('\r', "\n")
    }

    #[test]
    fn writes_the_frames_of_the_protocol() {
        assert_eq!(event(&stored("{}", ""), Envelope::None), "id: 5f3a91c2-7\ndata: {}\n\n");
        let point = ResumePoint { after: stored("{}", "").cursor, in_snapshot: true };
        assert_eq!(
            event_at(point, &stored("{}", ""), Envelope::None),
            "id: 5f3a91c2-7~\ndata: {}\n\n",
        );
        assert_eq!(
            event(&stored("a\r\n\r\rb\n", "price"), Envelope::None),
            "id: 5f3a91c2-7\nevent: price\ndata: a\ndata: \ndata: \ndata: b\ndata: \n\n",
        );
        let at = Cursor::new(Epoch(1), Sequence(2));
        assert_eq!(cursor(at), "event: tidewire.cursor\nid: 00000001-2\ndata: {}\n\n");
        let from = ResumePoint { after: at, in_snapshot: true };
        assert_eq!(
            conflated(from, Cursor::new(Epoch(1), Sequence(9))),
            "event: tidewire.conflated\nid: 00000001-2~\n\
             data: {\"from\":\"00000001-2\",\"to\":\"00000001-9\"}\n\n",
        );
        assert_eq!(
            probe(at.into(), "07c1"),
            "event: tidewire.probe\nid: 00000001-2\ndata: {\"connection\":\"07c1\"}\n\n",
        );
        assert_eq!(
            retry("draining", 1_500, None),
            "event: tidewire.retry\nretry: 1500\ndata: {\"reason\":\"draining\"}\n\n",
        );
        assert_eq!(
            retry("full", 7, Some(at.into())),
            "event: tidewire.retry\nretry: 7\nid: 00000001-2\ndata: {\"reason\":\"full\"}\n\n",
        );
        assert_eq!(
            buffered(1_500),
            "event: tidewire.buffered\nretry: 1500\ndata: {\"reason\":\"unacknowledged\"}\n\n",
        );
    }

    #[test]
    fn every_character_of_one_byte_reads_back() {
        for byte in 1..=127_u8 {
            let text = format!("{0}x{0}{0}data: y{0}", char::from(byte));
            let (_, _, data) = read_strictly(&event(&stored(text.clone(), "t"), Envelope::None));
            assert_eq!(data, as_seen(&text), "byte {byte}");
        }
    }

    #[test]
    fn what_was_written_is_read_again() {
        let point = ResumePoint { after: Cursor::new(Epoch(1), Sequence(2)), in_snapshot: true };
        let frames = [
            cursor(point.after),
            HEARTBEAT,
            event(&stored("a\n\nevent: b", "price"), Envelope::None),
            event_at(point, &stored("{}", ""), Envelope::None),
        ];
        // A heartbeat is handed out alone: it has no blank line to end it.
        let read: Vec<_> = frames.iter().flat_map(written).collect();
        let frame =
            |event_type, id, data: &'static str| Written { event_type, id, data: data.into() };
        assert_eq!(
            read,
            [
                frame(CURSOR, "00000001-2", "{}"),
                frame("price", "5f3a91c2-7", "a\n\nevent: b"),
                frame("", "00000001-2~", "{}"),
            ]
        );
        let together = Bytes::from([frames[0].clone(), frames[2].clone()].concat());
        assert_eq!(written(&together).count(), 2);
    }

    proptest! {
        #[test]
        fn any_data_reads_back(
            data in proptest::collection::vec(
                prop_oneof![
                    Just("\r".to_owned()), Just("\n".into()), Just("\r\n".into()), Just(":".into()),
                    Just("id: 9".into()), Just("event: x".into()), Just("data:".into()),
                    Just("\u{feff}".into()), Just("\u{2028}".into()), "[^\0]{1,6}",
                ],
                1..12,
            )
        ) {
            let data = data.concat();
            let (id, event_type, seen) =
                read_strictly(&event(&stored(data.clone(), "x"), Envelope::None));
            prop_assert_eq!(id, "5f3a91c2-7");
            prop_assert_eq!(event_type.as_deref(), Some("x"));
            prop_assert_eq!(seen, as_seen(&data));

            let (_, _, cloud_event) =
                read_strictly(&event(&stored(data.clone(), ""), Envelope::CloudEvents));
            let cloud_event: serde_json::Value = serde_json::from_str(&cloud_event).unwrap();
            let expected = serde_json::from_str(&data).unwrap_or(serde_json::Value::String(data));
            prop_assert_eq!(&cloud_event["data"], &expected);
        }
    }
}
