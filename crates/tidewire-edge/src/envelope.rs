//! The form in which an event's data is handed to a subscriber.

use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::value::RawValue;
use tidewire_core::Event;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// What stands in `data:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Envelope {
    /// The data as published.
    #[default]
    None,
    /// A CloudEvents 1.0 JSON object with the topic as `subject`, so that a subscriber of several
    /// topics knows which one spoke.
    CloudEvents,
}

/// The `source` of events whose publisher named none.
const SOURCE: &str = "tidewire";

/// An event as CloudEvents 1.0 JSON. Data that is JSON stands as JSON, any other as a string;
/// `id` is the publisher's or else the cursor, and `tidewirecursor` the cursor always.
pub(crate) fn cloud_event(event: &Event) -> Vec<u8> {
    // Strings, maps and checked raw JSON always serialise.
    serde_json::to_vec(&CloudEvent(event)).unwrap_or_default()
}

struct CloudEvent<'a>(&'a Event);

impl Serialize for CloudEvent<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Event { cursor, time, event } = self.0;
        let cursor = cursor.to_string();
        let data = String::from_utf8_lossy(event.data.as_bytes());
        let json: Option<&RawValue> = serde_json::from_str(&data).ok();

        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("specversion", "1.0")?;
        map.serialize_entry("id", event.id.as_ref().map_or(cursor.as_str(), |id| id.as_str()))?;
        map.serialize_entry("type", event.event_type.as_ref().map_or("message", |t| t.as_str()))?;
        map.serialize_entry("subject", event.topic.as_str())?;
        map.serialize_entry("tidewirecursor", &cursor)?;
        for (name, value) in event.attributes.iter() {
            map.serialize_entry(name, value)?;
        }
        for (name, value) in [
            ("source", Some(SOURCE.to_owned())),
            ("time", rfc3339(time.0)),
            ("datacontenttype", Some(content_type(json.is_some()).to_owned())),
        ] {
            if let (None, Some(value)) = (event.attributes.get(name), value) {
                map.serialize_entry(name, &value)?;
            }
        }
        match json {
            Some(json) => map.serialize_entry("data", json)?,
            None => map.serialize_entry("data", &data)?,
        }
        map.end()
    }
}

fn content_type(is_json: bool) -> &'static str {
    if is_json { "application/json" } else { "text/plain" }
}

fn rfc3339(milliseconds: u64) -> Option<String> {
    let nanoseconds = i128::from(milliseconds) * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).ok()?.format(&Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tidewire_core::{
        Attributes, Cursor, Epoch, EventData, EventId, EventType, NewEvent, Sequence, Topic,
        UnixMillis,
    };

    use super::*;

    fn read(event: NewEvent) -> Value {
        let cursor = Cursor::new(Epoch(1), Sequence(2));
        let event = event.stored(cursor, UnixMillis(1_700_000_000_123));
        serde_json::from_slice(&cloud_event(&event)).unwrap()
    }

    fn new(data: &str) -> NewEvent {
        NewEvent::new(Topic::parse("a.b").unwrap(), EventData::parse(data.to_owned(), 99).unwrap())
    }

    #[test]
    fn wraps_json_as_json_and_text_as_text() {
        let expected = json!({
            "specversion": "1.0", "id": "00000001-2", "source": "tidewire", "type": "message",
            "subject": "a.b", "time": "2023-11-14T22:13:20.123Z", "tidewirecursor": "00000001-2",
            "datacontenttype": "application/json", "data": {"x": [1, "é"]},
        });
        assert_eq!(read(new(r#"{"x":[1,"é"]}"#)), expected);
        let text = read(new("{not json\n"));
        assert_eq!(text["data"], "{not json\n");
        assert_eq!(text["datacontenttype"], "text/plain");
    }

    #[test]
    fn keeps_what_the_publisher_said_of_it() {
        let event = read(NewEvent {
            id: EventId::parse("order 1").unwrap(),
            event_type: EventType::parse("created").unwrap(),
            attributes: Attributes::parse([("source", "/shop"), ("traceparent", "00-1-2-01")])
                .unwrap(),
            ..new("1")
        });
        assert_eq!(event["id"], "order 1");
        assert_eq!(event["type"], "created");
        assert_eq!(event["source"], "/shop");
        assert_eq!(event["traceparent"], "00-1-2-01");
    }
}
