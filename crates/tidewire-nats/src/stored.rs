//! An event as JetStream holds it: the subject is the topic, the payload the data, and headers
//! hold the rest. Whoever writes to these subjects without us publishes too, if it is an event.

use async_nats::{HeaderMap, HeaderName, Subject};
use bytes::Bytes;
use tidewire_core::{
    Attributes, Cursor, Epoch, Event, EventData, EventId, EventType, NewEvent, Sequence, Ttl,
    UnixMillis, limits::EVENT_BYTES_MAX,
};

use crate::subject::Subjects;

/// By which JetStream knows a repetition. A publisher's own key stands behind `i:`; where it gave
/// none, a random one behind `r:` lets us repeat a publish whose acknowledgement was lost.
const ID: HeaderName = HeaderName::from_static("Nats-Msg-Id");
/// How long the server keeps the event, where not as long as the stream keeps others: `<n>s`.
const TTL: HeaderName = HeaderName::from_static("Nats-TTL");
/// The event's type.
const TYPE: HeaderName = HeaderName::from_static("Tidewire-Type");
/// The attributes, as a JSON object.
const ATTRIBUTES: HeaderName = HeaderName::from_static("Tidewire-Attributes");

/// An event on its way to JetStream.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) subject: String,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Bytes,
}

impl Outgoing {
    /// `random` stands for the id that a publisher did not give.
    pub(crate) fn new(event: &NewEvent, random: u128, subjects: &Subjects) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(
            ID,
            match &event.id {
                Some(id) => format!("i:{}", id.as_str()),
                None => format!("r:{random:032x}"),
            },
        );
        if let Some(event_type) = &event.event_type {
            headers.insert(TYPE, event_type.as_str());
        }
        if let Some(ttl) = event.ttl {
            headers.insert(TTL, format!("{}s", ttl.seconds()));
        }
        if !event.attributes.is_empty() {
            let object: serde_json::Map<_, _> = event
                .attributes
                .iter()
                .map(|(name, value)| (name.to_owned(), value.into()))
                .collect();
            headers.insert(ATTRIBUTES, serde_json::Value::Object(object).to_string());
        }
        Self {
            subject: subjects.of_topic(&event.topic),
            headers,
            payload: event.data.as_bytes().clone(),
        }
    }
}

/// What JetStream hands out, and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) subject: Subject,
    pub(crate) sequence: Sequence,
    pub(crate) time: UnixMillis,
    pub(crate) headers: Option<HeaderMap>,
    pub(crate) payload: Bytes,
}

impl Stored {
    /// The event; `None` where somebody wrote something else to our subjects.
    pub(crate) fn event(self, epoch: Epoch, subjects: &Subjects) -> Option<Event> {
        let event = NewEvent {
            topic: subjects.topic(&self.subject)?,
            event_type: EventType::parse(self.header(&TYPE)).ok()?,
            id: self.id()?,
            attributes: self.attributes()?,
            ttl: self.ttl()?,
            data: EventData::parse(self.payload, EVENT_BYTES_MAX).ok()?,
        };
        Some(event.stored(Cursor::new(epoch, self.sequence), self.time))
    }

    /// A header's text, empty where there is none.
    fn header(&self, name: &HeaderName) -> &str {
        let value = self.headers.as_ref().and_then(|headers| headers.get(name.clone()));
        value.map_or("", |value| value.as_str())
    }

    fn id(&self) -> Option<Option<EventId>> {
        let text = self.header(&ID);
        if text.starts_with("r:") {
            return Some(None);
        }
        EventId::parse(text.strip_prefix("i:").unwrap_or(text)).ok()
    }

    fn attributes(&self) -> Option<Attributes> {
        let text = self.header(&ATTRIBUTES);
        if text.is_empty() {
            return Some(Attributes::default());
        }
        let entries: std::collections::HashMap<String, String> = serde_json::from_str(text).ok()?;
        Attributes::parse(entries).ok()
    }

    /// A ttl that others wrote in another form is the server's matter alone.
    fn ttl(&self) -> Option<Option<Ttl>> {
        let seconds = self.header(&TTL).strip_suffix('s').and_then(|text| text.parse().ok());
        Some(seconds.and_then(|seconds| Ttl::from_seconds(seconds).ok()))
    }
}
