//! An event in the CloudEvents envelope: the one form that says what it is about.

use anyhow::Context;
use serde::Deserialize;
use serde_json::value::RawValue;

/// What the command line shows of an event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) topic: String,
    pub(crate) event_type: String,
    pub(crate) time: String,
    /// As it was published, byte for byte.
    pub(crate) data: String,
}

#[derive(Deserialize)]
struct CloudEvent<'a> {
    subject: String,
    #[serde(rename = "type")]
    event_type: String,
    time: String,
    datacontenttype: String,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// Reads an envelope.
pub(crate) fn read(envelope: &str) -> anyhow::Result<Shown> {
    let event: CloudEvent<'_> = serde_json::from_str(envelope).context("not a CloudEvent")?;
    let raw = event.data.get();
    // Text stands as a JSON string; data that is JSON itself stands as it was published.
    let is_text = raw.starts_with('"') && !event.datacontenttype.ends_with("json");
    let data = if is_text { serde_json::from_str(raw).context("data")? } else { raw.to_owned() };
    Ok(Shown { topic: event.subject, event_type: event.event_type, time: event.time, data })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_shown_as_it_was_published() {
        for (content_type, data, shown) in [
            ("application/json", r#"{"b":1.50, "a":2}"#, r#"{"b":1.50, "a":2}"#),
            ("application/json", r#""quoted""#, r#""quoted""#),
            ("text/plain", r#""a\nb""#, "a\nb"),
            ("text/html", r#""<p>""#, "<p>"),
        ] {
            let envelope = format!(
                r#"{{"specversion":"1.0","id":"1","source":"s","type":"t","subject":"a.b",
                "time":"2026-01-01T00:00:00Z","datacontenttype":"{content_type}","data":{data}}}"#
            );
            let event = read(&envelope).unwrap();
            assert_eq!((&*event.topic, &*event.event_type, &*event.data), ("a.b", "t", shown));
        }
        assert!(read("{}").is_err());
    }
}
