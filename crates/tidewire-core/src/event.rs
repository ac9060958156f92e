//! An event: as a publisher hands it in, and as the log keeps it.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;

use crate::{
    Cursor, Invalid, Topic,
    limits::{
        ATTRIBUTE_NAME_BYTES_MAX, ATTRIBUTES_BYTES_MAX, ATTRIBUTES_MAX, EVENT_BYTES_MAX,
        ID_BYTES_MAX, TTL_SECONDS_MAX, TYPE_BYTES_MAX,
    },
};

/// An event as handed in: every part parsed, nothing stored yet. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// What it is about.
    pub topic: Topic,
    /// Its SSE event name; `None` is `message`.
    pub event_type: Option<EventType>,
    /// The publisher's idempotency key.
    pub id: Option<EventId>,
    /// What it says.
    pub data: EventData,
    /// Facts beside the data, for CloudEvents and tracing.
    pub attributes: Attributes,
    /// How long it is worth reading.
    pub ttl: Option<Ttl>,
}

impl NewEvent {
    /// An event with a topic and data, and nothing else.
    pub fn new(topic: Topic, data: EventData) -> Self {
        Self {
            topic,
            event_type: None,
            id: None,
            data,
            attributes: Attributes::default(),
            ttl: None,
        }
    }

    /// From when on the event is left out of reads, if it was stored at `time`; never, where it has
    /// no ttl.
    pub fn expires(&self, time: UnixMillis) -> UnixMillis {
        self.ttl.map_or(UnixMillis::NEVER, |ttl| ttl.passes(time))
    }

    /// Places the event in a log.
    pub fn stored(self, cursor: Cursor, time: UnixMillis) -> Event {
        Event { cursor, time, event: self }
    }
}

/// An event as stored: what was handed in, where it stands, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its place in the log.
    pub cursor: Cursor,
    /// When the log took it; never earlier than the event before it.
    pub time: UnixMillis,
    /// What was handed in.
    pub event: NewEvent,
}

impl Event {
    /// From when on the event is left out of reads.
    pub fn expires(&self) -> UnixMillis {
        self.event.expires(self.time)
    }
}

/// A moment of wall-clock time in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// Later than every moment.
    pub const NEVER: Self = Self(u64::MAX);

    /// The present moment; 0 where the clock stands before 1970.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// The moment this long before, or 1970.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// What an event says: UTF-8 text, not empty, without NUL. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct EventData(Bytes);

impl EventData {
    /// Checks data against a size limit in bytes.
    ///
    /// # Errors
    /// [`Invalid`] where it is empty, not UTF-8, holds a NUL (an SSE client would lose the event)
    /// or is longer than `bytes_max`.
    pub fn parse(bytes: impl Into<Bytes>, bytes_max: usize) -> Result<Self, Invalid> {
        let bytes = bytes.into();
        let bytes_max = bytes_max.min(EVENT_BYTES_MAX);
        if bytes.is_empty() {
            return Err(Invalid::new("data", "is empty"));
        }
        if bytes.len() > bytes_max {
            let reason = format!("has {} bytes; at most {bytes_max} are allowed", bytes.len());
            return Err(Invalid::new("data", reason));
        }
        if bytes.contains(&0) {
            return Err(Invalid::new("data", "holds a NUL character"));
        }
        if let Err(error) = std::str::from_utf8(&bytes) {
            let reason = format!("is not UTF-8 (byte {})", error.valid_up_to());
            return Err(Invalid::new("data", reason));
        }
        Ok(Self(bytes))
    }

    /// Takes data that passed [`EventData::parse`] before it was stored.
    pub fn trusted(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The UTF-8 bytes.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }
}

impl fmt::Debug for EventData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventData({} bytes)", self.0.len())
    }
}

/// An event's SSE name: 1 to 64 bytes of `A-Z a-z 0-9 . _ ~ : / -`, not beginning `tidewire.`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EventType(Arc<str>);

impl EventType {
    /// Parses a type; the empty text means "none", which is `message` to a client.
    ///
    /// # Errors
    /// [`Invalid`] where it is too long, holds another character, or is the hub's own.
    pub fn parse(text: &str) -> Result<Option<Self>, Invalid> {
        if text.is_empty() {
            return Ok(None);
        }
        if text.len() > TYPE_BYTES_MAX {
            let reason = format!("has {} bytes; at most {TYPE_BYTES_MAX} are allowed", text.len());
            return Err(Invalid::new("type", reason));
        }
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._~:/-".contains(&b);
        if !text.bytes().all(allowed) {
            return Err(Invalid::new("type", "may hold A-Z a-z 0-9 . _ ~ : / - only"));
        }
        if text.starts_with("tidewire.") {
            return Err(Invalid::new("type", "begins `tidewire.`, which is the hub's own"));
        }
        Ok(Some(Self(text.into())))
    }

    /// The type's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A publisher's idempotency key: 1 to 128 bytes of UTF-8 without control characters, and without
/// white space at its ends. The same key again within the deduplication window stores nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EventId(Arc<str>);

impl EventId {
    /// Parses an id; the empty text means "none".
    ///
    /// # Errors
    /// [`Invalid`] where it is too long, holds a control character or has white space at an end.
    pub fn parse(text: &str) -> Result<Option<Self>, Invalid> {
        if text.is_empty() {
            return Ok(None);
        }
        if text.len() > ID_BYTES_MAX {
            let reason = format!("has {} bytes; at most {ID_BYTES_MAX} are allowed", text.len());
            return Err(Invalid::new("id", reason));
        }
        if text.chars().any(char::is_control) {
            return Err(Invalid::new("id", "holds a control character"));
        }
        if text.trim() != text {
            return Err(Invalid::new("id", "has white space at an end"));
        }
        Ok(Some(Self(text.into())))
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A small map beside the data, sorted by name: at most 16 entries and 4 KiB. Names are 1 to 64 of
/// `a-z 0-9` (a CloudEvents attribute name), and none that CloudEvents gives an event's own parts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attributes(Option<Arc<[Attribute]>>);

type Attribute = (Box<str>, Box<str>);

/// CloudEvents names of what an event already is.
const RESERVED: [&str; 6] = ["data", "id", "specversion", "subject", "tidewirecursor", "type"];

impl Attributes {
    /// Parses a map.
    ///
    /// # Errors
    /// [`Invalid`] for too many or too long entries, a name given twice, reserved or with another
    /// character, or a value with a control character.
    pub fn parse<N, V>(entries: impl IntoIterator<Item = (N, V)>) -> Result<Self, Invalid>
    where
        N: Into<Box<str>>,
        V: Into<Box<str>>,
    {
        let mut entries: Vec<Attribute> = entries
            .into_iter()
            .take(ATTRIBUTES_MAX + 1)
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        if entries.is_empty() {
            return Ok(Self(None));
        }
        if entries.len() > ATTRIBUTES_MAX {
            let reason = format!("has more than {ATTRIBUTES_MAX} entries");
            return Err(Invalid::new("attributes", reason));
        }
        let bytes: usize = entries.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > ATTRIBUTES_BYTES_MAX {
            let reason = format!("has {bytes} bytes; at most {ATTRIBUTES_BYTES_MAX} are allowed");
            return Err(Invalid::new("attributes", reason));
        }
        for (name, value) in &entries {
            check_attribute(name, value)?;
        }
        entries.sort_unstable();
        if entries.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(Invalid::new("attributes", "names an entry twice"));
        }
        Ok(Self(Some(entries.into())))
    }

    /// The entries, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.as_deref().unwrap_or_default().iter().map(|(name, value)| (&**name, &**value))
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(held, _)| *held == name).map(|(_, value)| value)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

fn check_attribute(name: &str, value: &str) -> Result<(), Invalid> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    if name.is_empty() || name.len() > ATTRIBUTE_NAME_BYTES_MAX || !name.bytes().all(plain) {
        let reason = format!("has a name that is not 1 to {ATTRIBUTE_NAME_BYTES_MAX} of a-z 0-9");
        return Err(Invalid::new("attributes", reason));
    }
    if RESERVED.contains(&name) {
        let reason = format!("names `{name}`, which is a part of the event itself");
        return Err(Invalid::new("attributes", reason));
    }
    if value.chars().any(char::is_control) {
        let reason = format!("has a control character in the value of `{name}`");
        return Err(Invalid::new("attributes", reason));
    }
    Ok(())
}

/// How long an event is worth reading: whole seconds, from 1 to one year. After it the event is
/// left out of every read; an event that has already been delivered stays delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ttl(u32);

impl Ttl {
    /// A ttl of so many seconds.
    ///
    /// # Errors
    /// [`Invalid`] for 0, or for more than a year.
    pub fn from_seconds(seconds: u64) -> Result<Self, Invalid> {
        match u32::try_from(seconds) {
            Ok(seconds @ 1..=TTL_SECONDS_MAX) => Ok(Self(seconds)),
            _ => {
                let reason =
                    format!("is not a whole number of seconds from 1 to {TTL_SECONDS_MAX}");
                Err(Invalid::new("ttl", reason))
            }
        }
    }

    /// When the ttl of an event that was stored at `time` has passed.
    pub fn passes(self, time: UnixMillis) -> UnixMillis {
        UnixMillis(time.0.saturating_add(self.seconds() * 1_000))
    }

    /// The seconds.
    pub fn seconds(self) -> u64 {
        self.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_text_that_a_client_can_take() {
        assert!(EventData::parse("{}", 2).is_ok());
        assert!(EventData::parse("a\r\nb\rc\nd", 100).is_ok());
        for (bytes, reason) in [
            (&b""[..], "is empty"),
            (b"abc", "has 3 bytes; at most 2"),
            (b"a\0", "NUL"),
            (b"a\xff", "not UTF-8 (byte 1)"),
        ] {
            let refusal = EventData::parse(bytes, 2).unwrap_err();
            assert_eq!(refusal.field, "data");
            assert!(refusal.reason.contains(reason), "{}", refusal.reason);
        }
    }

    #[test]
    fn types_are_of_the_allowed_characters_and_not_the_hubs_own() {
        assert_eq!(EventType::parse("").unwrap(), None);
        for text in ["price", "message", "a.B_c~d:e/f-9", "tidewire", &"x".repeat(64)] {
            assert_eq!(EventType::parse(text).unwrap().unwrap().as_str(), text);
        }
        for text in ["a b", "a\nb", "é", "tidewire.gap", &"x".repeat(65)] {
            assert_eq!(EventType::parse(text).unwrap_err().field, "type", "{text:?}");
        }
    }

    #[test]
    fn ids_fit_a_header() {
        assert_eq!(EventId::parse("").unwrap(), None);
        for text in ["1", "order 42/é", &"x".repeat(128)] {
            assert_eq!(EventId::parse(text).unwrap().unwrap().as_str(), text);
        }
        for text in ["a\r", "a\nb", " a", "a ", &"x".repeat(129)] {
            assert_eq!(EventId::parse(text).unwrap_err().field, "id", "{text:?}");
        }
    }

    #[test]
    fn attributes_are_few_small_and_named_as_cloudevents_names() {
        let some = Attributes::parse([("traceparent", "00-a-b-01"), ("source", "/x")]).unwrap();
        assert_eq!(some.get("source"), Some("/x"));
        assert_eq!(some.iter().next().map(|(name, _)| name), Some("source"), "sorted by name");
        for name in ["", "A", "a-b", "type", "id", &"x".repeat(65)] {
            assert!(Attributes::parse([(name, "v")]).is_err(), "{name:?}");
        }
        assert!(Attributes::parse([("a", "x\ny")]).is_err());
        assert!(Attributes::parse([("a", "1"), ("a", "2")]).is_err());
        assert!(Attributes::parse([("a", "x".repeat(4096))]).is_err());
        assert!(Attributes::parse((0..17).map(|n| (format!("n{n}"), "v"))).is_err());
    }

    #[test]
    fn a_ttl_is_from_a_second_to_a_year() {
        assert!(Ttl::from_seconds(0).is_err());
        assert!(Ttl::from_seconds(1).is_ok());
        assert!(Ttl::from_seconds(u64::from(TTL_SECONDS_MAX) + 1).is_err());
        let mut event =
            NewEvent::new(Topic::parse("t").unwrap(), EventData::parse("x", 1).unwrap());
        event.ttl = Some(Ttl::from_seconds(2).unwrap());
        let stored =
            event.stored(Cursor::new(crate::Epoch(1), crate::Sequence(1)), UnixMillis(10_000));
        assert_eq!(stored.expires(), UnixMillis(12_000));
    }
}
