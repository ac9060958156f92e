//! Events as JSON: read strictly, so that a misspelt field is an answer and not a lost one.

use std::fmt;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use tidewire_core::{
    Invalid,
    limits::{ATTRIBUTES_MAX, BATCH_EVENTS_MAX},
};

use crate::border::{Handed, check_count};

/// The fields of an event.
const FIELDS: [&str; 6] = ["topic", "data", "type", "id", "attributes", "ttl"];
/// Entries of an object that are looked at: one more than the largest good one has.
const ENTRIES_MAX: usize = ATTRIBUTES_MAX + 1;
/// Characters of an unknown field's name that its refusal repeats.
const NAME_CHARS_MAX: usize = 64;

/// What a body holds: events that are known to be JSON, and nothing more.
pub(crate) enum Document<'a> {
    /// One event.
    One(&'a RawValue),
    /// An array of 1 to 1,000.
    Many(Vec<&'a RawValue>),
}

/// Reads a body as one event or an array of events.
pub(crate) fn read_document(body: &[u8]) -> Result<Document<'_>, Invalid> {
    let text = std::str::from_utf8(body).map_err(|error| {
        Invalid::new("body", format!("is not UTF-8 (byte {})", error.valid_up_to()))
    })?;
    let not_json = |error| Invalid::new("body", format!("is not JSON: {error}"));
    if text.trim_start().starts_with('[') {
        let elements: Elements<'_> = serde_json::from_str(text).map_err(not_json)?;
        check_count(elements.count)?;
        Ok(Document::Many(elements.first))
    } else {
        Ok(Document::One(serde_json::from_str(text).map_err(not_json)?))
    }
}

/// Reads one event.
pub(crate) fn read_event(json: &RawValue) -> Result<Handed, Invalid> {
    let event = Object::read(json).ok_or_else(|| Invalid::new("event", "is not a JSON object"))?;
    event.check_names()?;
    Ok(Handed {
        topic: read_text("topic", event.required("topic")?)?,
        event_type: event.optional("type", |json| read_text("type", json))?,
        id: event.optional("id", |json| read_text("id", json))?,
        data: read_data(event.required("data")?)?,
        attributes: event.optional("attributes", read_attributes)?,
        ttl_seconds: event.get("ttl").map(read_seconds),
    })
}

fn read_text(field: &'static str, json: &RawValue) -> Result<String, Invalid> {
    if !is_text(json) {
        return Err(Invalid::new(field, "is not a string"));
    }
    // A string that is JSON, and still no text, escapes half of a surrogate pair.
    serde_json::from_str(json.get()).map_err(|_| Invalid::new(field, "is not Unicode text"))
}

/// A string is the data itself; any other value is data as its compact text, in which numbers are
/// spelled and fields ordered as they came.
fn read_data(json: &RawValue) -> Result<Bytes, Invalid> {
    if is_text(json) { read_text("data", json).map(Bytes::from) } else { Ok(compact(json).into()) }
}

fn read_attributes(json: &RawValue) -> Result<Vec<(String, String)>, Invalid> {
    let refusal = || Invalid::new("attributes", "is not a JSON object of strings");
    let attributes = Object::read(json).ok_or_else(refusal)?;
    let entries = attributes.0.into_iter().map(|(name, value)| {
        read_text("attributes", value).map(|value| (name, value)).map_err(|_| refusal())
    });
    entries.collect()
}

/// Whole seconds; anything else is 0, which the border refuses for that reason.
fn read_seconds(json: &RawValue) -> u64 {
    json.get().parse().unwrap_or(0)
}

fn is_text(json: &RawValue) -> bool {
    json.get().starts_with('"')
}

/// The same JSON without the white space between its parts.
fn compact(json: &RawValue) -> String {
    let (mut quoted, mut escaped) = (false, false);
    let kept = json.get().chars().filter(|c| {
        match c {
            '"' if !escaped => quoted = !quoted,
            ' ' | '\t' | '\n' | '\r' if !quoted => return false,
            _ => {}
        }
        escaped = quoted && *c == '\\' && !escaped;
        true
    });
    kept.collect()
}

/// The first entries of an object, as they came: names may repeat.
struct Object<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Object<'a> {
    fn read(json: &'a RawValue) -> Option<Self> {
        serde_json::from_str(json.get()).ok()
    }

    fn check_names(&self) -> Result<(), Invalid> {
        for (at, (name, _)) in self.0.iter().enumerate() {
            if !FIELDS.contains(&&**name) {
                let name: String = name.chars().take(NAME_CHARS_MAX).collect();
                return Err(Invalid::new(name, "is not a field of an event"));
            }
            if self.0[..at].iter().any(|(earlier, _)| earlier == name) {
                return Err(Invalid::new(name.clone(), "is there twice"));
            }
        }
        Ok(())
    }

    fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(held, _)| held == name).map(|(_, value)| *value)
    }

    fn required(&self, name: &'static str) -> Result<&'a RawValue, Invalid> {
        self.get(name).ok_or_else(|| Invalid::new(name, "is missing"))
    }

    fn optional<T: Default>(
        &self,
        name: &str,
        read: impl FnOnce(&'a RawValue) -> Result<T, Invalid>,
    ) -> Result<T, Invalid> {
        self.get(name).map_or_else(|| Ok(T::default()), read)
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut first = Vec::new();
                while first.len() < ENTRIES_MAX
                    && let Some(entry) = map.next_entry()?
                {
                    first.push(entry);
                }
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Object(first))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

/// The first elements of an array, and how many there are.
struct Elements<'a> {
    first: Vec<&'a RawValue>,
    count: usize,
}

impl<'de> Deserialize<'de> for Elements<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Sequence;
        impl<'de> Visitor<'de> for Sequence {
            type Value = Elements<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Self::Value, S::Error> {
                let mut first = Vec::new();
                while first.len() < BATCH_EVENTS_MAX
                    && let Some(element) = seq.next_element()?
                {
                    first.push(element);
                }
                let mut count = first.len();
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Elements { first, count })
            }
        }
        deserializer.deserialize_seq(Sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_that_is_no_string_is_kept_as_its_compact_text() {
        for (json, data) in [
            (r#" { "b" : 1.50, "a" : [ 1 , "x y\" \\" ] } "#, r#"{"b":1.50,"a":[1,"x y\" \\"]}"#),
            ("[\n\t1,\r\n 2 ]", "[1,2]"),
            ("123456789012345678901234567890.0", "123456789012345678901234567890.0"),
            ("null", "null"),
            ("true", "true"),
            (r#""{ \"kept\" : 1 }\n""#, "{ \"kept\" : 1 }\n"),
        ] {
            let json: &RawValue = serde_json::from_str(json).unwrap();
            assert_eq!(read_data(json).unwrap(), data, "{json}");
        }
    }
}
