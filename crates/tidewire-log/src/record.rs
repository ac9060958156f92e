//! One event in a segment file: a length, a checksum and a body.
//!
//! All numbers are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | length of the body, from the sequence to the end of the data |
//! | 4 | CRC-32 (IEEE) over the length and the body, begun with the log's epoch |
//! | 8 | sequence |
//! | 8 | time, in milliseconds since 1970 |
//! | 4 | ttl, in seconds; 0 is none |
//! | 1 | flags: 1 is "first record of a commit"; all others are 0 |
//! | 1 | length of the topic |
//! | 1 | length of the type; 0 is none |
//! | 1 | length of the id; 0 is none |
//! | 2 | length of the attributes |
//! | … | topic, type, id |
//! | … | attributes, each: length of its name (1), length of its value (2), name, value |
//! | … | data, to the end of the body |
//!
//! Every record has a zero byte in its length, since no body reaches 16 MiB, and no text of an
//! event may hold one: no publisher can hide a record inside an event.

use bytes::Bytes;
use crc32fast::Hasher;
use tidewire_core::{
    Attributes, Cursor, Epoch, Event, EventData, EventId, EventType, Invalid, NewEvent, Sequence,
    Topic, Ttl, UnixMillis,
    limits::{
        ATTRIBUTES_BYTES_MAX, ATTRIBUTES_MAX, EVENT_BYTES_MAX, ID_BYTES_MAX, TOPIC_BYTES_MAX,
        TYPE_BYTES_MAX,
    },
};

/// Bytes of length and checksum.
pub(crate) const PREFIX_BYTES: usize = 8;
/// Bytes of a body's numbers.
const FIXED_BYTES: usize = 26;
/// Bytes of an attribute's two lengths.
const ATTRIBUTE_FIXED_BYTES: usize = 3;
/// Bytes of the largest body that the protocol's limits allow.
const BODY_BYTES_MAX: usize = FIXED_BYTES
    + TOPIC_BYTES_MAX
    + TYPE_BYTES_MAX
    + ID_BYTES_MAX
    + ATTRIBUTES_BYTES_MAX
    + ATTRIBUTES_MAX * ATTRIBUTE_FIXED_BYTES
    + EVENT_BYTES_MAX;
/// Bytes of the largest record.
pub(crate) const RECORD_BYTES_MAX: usize = PREFIX_BYTES + BODY_BYTES_MAX;

const _: () = assert!(BODY_BYTES_MAX < 1 << 24, "a record's length must hold a zero byte");

const FIRST_OF_COMMIT: u8 = 1;

/// What the log adds to an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) sequence: Sequence,
    pub(crate) time: UnixMillis,
    /// Whether a commit begins with this record: everything before it had been synced when it was
    /// written.
    pub(crate) first_of_commit: bool,
}

/// A record whose checksum is right, still in its bytes.
#[derive(Debug)]
pub(crate) struct Record<'b> {
    pub(crate) stamp: Stamp,
    ttl_seconds: u32,
    pub(crate) topic: &'b str,
    event_type: &'b str,
    pub(crate) id: &'b str,
    attributes: &'b [u8],
    pub(crate) data: &'b [u8],
    /// Bytes of the whole record.
    pub(crate) bytes: usize,
}

/// Why bytes are no record.
pub(crate) type Damage = &'static str;

/// An event that no record can hold.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

/// Bytes of the record of an event.
pub(crate) fn bytes_of(event: &NewEvent) -> usize {
    let event_type = event.event_type.as_ref().map_or(0, |event_type| event_type.as_str().len());
    let id = event.id.as_ref().map_or(0, |id| id.as_str().len());
    let texts = event.topic.as_str().len() + event_type + id + event.data.as_bytes().len();
    PREFIX_BYTES + FIXED_BYTES + texts + attributes_bytes_of(event)
}

fn attributes_bytes_of(event: &NewEvent) -> usize {
    let bytes_of = |(name, value): (&str, &str)| ATTRIBUTE_FIXED_BYTES + name.len() + value.len();
    event.attributes.iter().map(bytes_of).sum()
}

/// Writes a record behind what is in the buffer already.
pub(crate) fn append(
    buffer: &mut Vec<u8>,
    epoch: Epoch,
    stamp: Stamp,
    event: &NewEvent,
) -> Result<(), TooLarge> {
    let topic = event.topic.as_str();
    let event_type = event.event_type.as_ref().map_or("", EventType::as_str);
    let id = event.id.as_ref().map_or("", EventId::as_str);
    let data = event.data.as_bytes();
    let body = bytes_of(event) - PREFIX_BYTES;
    if data.len() > EVENT_BYTES_MAX || body > BODY_BYTES_MAX {
        return Err(TooLarge);
    }
    let length = fit::<u32>(body)?.to_le_bytes();
    let lengths = [fit::<u8>(topic.len())?, fit(event_type.len())?, fit(id.len())?];
    let attributes = fit::<u16>(attributes_bytes_of(event))?.to_le_bytes();
    let ttl = fit::<u32>(event.ttl.map_or(0, Ttl::seconds))?.to_le_bytes();

    let start = buffer.len();
    buffer.reserve(PREFIX_BYTES + body);
    buffer.extend_from_slice(&length);
    buffer.extend_from_slice(&[0; 4]);
    buffer.extend_from_slice(&stamp.sequence.0.to_le_bytes());
    buffer.extend_from_slice(&stamp.time.0.to_le_bytes());
    buffer.extend_from_slice(&ttl);
    buffer.push(if stamp.first_of_commit { FIRST_OF_COMMIT } else { 0 });
    buffer.extend_from_slice(&lengths);
    buffer.extend_from_slice(&attributes);
    for text in [topic, event_type, id] {
        buffer.extend_from_slice(text.as_bytes());
    }
    append_attributes(buffer, &event.attributes)?;
    buffer.extend_from_slice(data);
    let checksum = checksum(epoch, length, &buffer[start + PREFIX_BYTES..]);
    buffer[start + 4..start + PREFIX_BYTES].copy_from_slice(&checksum.to_le_bytes());
    Ok(())
}

fn append_attributes(buffer: &mut Vec<u8>, attributes: &Attributes) -> Result<(), TooLarge> {
    for (name, value) in attributes.iter() {
        buffer.push(fit(name.len())?);
        buffer.extend_from_slice(&fit::<u16>(value.len())?.to_le_bytes());
        buffer.extend_from_slice(name.as_bytes());
        buffer.extend_from_slice(value.as_bytes());
    }
    Ok(())
}

fn fit<N>(number: impl TryInto<N>) -> Result<N, TooLarge> {
    number.try_into().map_err(|_| TooLarge)
}

fn checksum(epoch: Epoch, length: [u8; 4], body: &[u8]) -> u32 {
    let mut hasher = Hasher::new_with_initial(epoch.0);
    hasher.update(&length);
    hasher.update(body);
    hasher.finalize()
}

/// Bytes of the whole record that begins with this prefix.
pub(crate) fn length(prefix: &[u8]) -> Result<usize, Damage> {
    let body = prefix.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
    match body.and_then(|body| usize::try_from(body).ok()) {
        Some(body @ FIXED_BYTES..=BODY_BYTES_MAX) => Ok(PREFIX_BYTES + body),
        _ => Err("a record has an impossible length"),
    }
}

/// Reads the record that these bytes are, no less and no more.
pub(crate) fn parse(bytes: &[u8], epoch: Epoch) -> Result<Record<'_>, Damage> {
    if length(bytes)? != bytes.len() {
        return Err("a record ends too early");
    }
    let mut body = bytes;
    let (length, expected) =
        split(&mut body).zip(split(&mut body)).ok_or("a record is too short")?;
    if checksum(epoch, length, body) != u32::from_le_bytes(expected) {
        return Err("a record does not match its checksum");
    }
    fields(body).ok_or("a record's parts do not fit its length")
}

/// Whether a record of a later commit than `sequence` begins here. Costs a checksum only where the
/// rest looks like one.
pub(crate) fn begins_later_commit(bytes: &[u8], epoch: Epoch, sequence: Sequence) -> bool {
    let Ok(Some(bytes)) = length(bytes).map(|length| bytes.get(..length)) else { return false };
    let looks_right = fields(&bytes[PREFIX_BYTES..])
        .is_some_and(|record| record.stamp.first_of_commit && record.stamp.sequence > sequence);
    looks_right && parse(bytes, epoch).is_ok()
}

fn fields(mut body: &[u8]) -> Option<Record<'_>> {
    let bytes = PREFIX_BYTES + body.len();
    let body = &mut body;
    let sequence = Sequence(u64::from_le_bytes(split(body)?));
    let time = UnixMillis(u64::from_le_bytes(split(body)?));
    let ttl_seconds = u32::from_le_bytes(split(body)?);
    let [flags, topic, event_type, id] = split(body)?;
    let attributes = u16::from_le_bytes(split(body)?);
    Some(Record {
        stamp: Stamp { sequence, time, first_of_commit: flags & FIRST_OF_COMMIT != 0 },
        ttl_seconds,
        topic: text(body, topic.into())?,
        event_type: text(body, event_type.into())?,
        id: text(body, id.into())?,
        attributes: body.split_off(..usize::from(attributes))?,
        data: body,
        bytes,
    })
}

fn split<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

fn text<'b>(bytes: &mut &'b [u8], length: usize) -> Option<&'b str> {
    str::from_utf8(bytes.split_off(..length)?).ok()
}

impl Record<'_> {
    /// When the event's ttl has passed; where it has none, never.
    pub(crate) fn expires(&self) -> UnixMillis {
        if self.ttl_seconds == 0 {
            return UnixMillis::NEVER;
        }
        let ttl = Ttl::from_seconds(self.ttl_seconds.into());
        ttl.map_or(UnixMillis::NEVER, |ttl| ttl.passes(self.stamp.time))
    }

    /// The event, with bytes of its own. `topic` is this record's, parsed already.
    ///
    /// # Errors
    /// [`Invalid`] where a part is not what this version of the protocol allows.
    pub(crate) fn to_event(&self, epoch: Epoch, topic: Topic) -> Result<Event, Invalid> {
        let attributes = attributes(self.attributes)
            .ok_or_else(|| Invalid::new("attributes", "do not fit their length"))?;
        let event = NewEvent {
            topic,
            event_type: EventType::parse(self.event_type)?,
            id: EventId::parse(self.id)?,
            // The checksum vouches for what was checked before it was stored. A copy, so that one
            // event that is kept for long does not keep a whole read buffer.
            data: EventData::trusted(Bytes::copy_from_slice(self.data)),
            attributes: Attributes::parse(attributes)?,
            ttl: match self.ttl_seconds {
                0 => None,
                seconds => Some(Ttl::from_seconds(seconds.into())?),
            },
        };
        Ok(event.stored(Cursor::new(epoch, self.stamp.sequence), self.stamp.time))
    }
}

fn attributes(mut bytes: &[u8]) -> Option<Vec<(&str, &str)>> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let [name] = split(&mut bytes)?;
        let value = u16::from_le_bytes(split(&mut bytes)?);
        entries.push((text(&mut bytes, name.into())?, text(&mut bytes, value.into())?));
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EPOCH: Epoch = Epoch(0x5f3a_91c2);

    fn events() -> impl Strategy<Value = NewEvent> {
        let attributes = proptest::collection::btree_map("[a-z0-9]{5,64}", "\\PC{0,60}", 0..=16);
        (
            "[^\\pC\\s.*>]{1,20}(\\.[^\\pC\\s.*>]{1,5}){0,3}",
            "[A-Za-z0-9_~:/-]{0,64}",
            "[a-zé]{0,60}",
            "[^\0]{1,300}",
            attributes,
            proptest::option::of(1_u64..=31_536_000),
        )
            .prop_filter_map(
                "within the limits",
                |(topic, event_type, id, data, map, ttl)| {
                    Some(NewEvent {
                        topic: Topic::parse(&topic).ok()?,
                        event_type: EventType::parse(&event_type).ok()?,
                        id: EventId::parse(&id).ok()?,
                        data: EventData::parse(data, EVENT_BYTES_MAX).ok()?,
                        attributes: Attributes::parse(map).ok()?,
                        ttl: ttl.map(|seconds| Ttl::from_seconds(seconds).unwrap()),
                    })
                },
            )
    }

    fn encoded(stamp: Stamp, event: &NewEvent) -> Vec<u8> {
        let mut buffer = Vec::new();
        append(&mut buffer, EPOCH, stamp, event).unwrap();
        buffer
    }

    fn stamp(sequence: u64) -> Stamp {
        let time = UnixMillis(1_700_000_000_000);
        Stamp { sequence: Sequence(sequence), time, first_of_commit: true }
    }

    fn full_event() -> NewEvent {
        NewEvent {
            topic: Topic::parse("orders.eu.42").unwrap(),
            event_type: EventType::parse("created").unwrap(),
            id: EventId::parse("key-1").unwrap(),
            data: EventData::parse("{\"n\":1}", 100).unwrap(),
            attributes: Attributes::parse([("source", "/x"), ("traceparent", "00-1-2-01")])
                .unwrap(),
            ttl: Some(Ttl::from_seconds(60).unwrap()),
        }
    }

    proptest! {
        #[test]
        fn reads_back_what_it_writes(
            event in events(), sequence: u64, time: u64, first_of_commit: bool,
        ) {
            let stamp =
                Stamp { sequence: Sequence(sequence), time: UnixMillis(time), first_of_commit };
            let bytes = encoded(stamp, &event);
            prop_assert_eq!(length(&bytes), Ok(bytes.len()));
            let record = parse(&bytes, EPOCH).unwrap();
            prop_assert_eq!(record.stamp, stamp);
            let topic = Topic::parse(record.topic).unwrap();
            let expected = event.stored(Cursor::new(EPOCH, Sequence(sequence)), UnixMillis(time));
            prop_assert_eq!(record.to_event(EPOCH, topic).unwrap(), expected);
        }

        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(parse(&bytes, EPOCH).is_err());
            prop_assert!(!begins_later_commit(&bytes, EPOCH, Sequence::ZERO));
            let _ = fields(&bytes);
            let _ = attributes(&bytes);
        }
    }

    #[test]
    fn every_change_of_a_byte_is_seen() {
        let mut bytes = encoded(stamp(7), &full_event());
        for at in 0..bytes.len() {
            for flip in 1..=u8::MAX {
                bytes[at] ^= flip;
                assert!(parse(&bytes, EPOCH).is_err(), "byte {at} changed by {flip:#04x}");
                bytes[at] ^= flip;
            }
        }
        assert!(parse(&bytes, EPOCH).is_ok());
    }

    #[test]
    fn every_truncation_and_every_byte_too_many_is_seen() {
        let mut bytes = encoded(stamp(7), &full_event());
        for end in 0..bytes.len() {
            assert!(parse(&bytes[..end], EPOCH).is_err(), "{end} bytes");
        }
        bytes.push(0);
        assert!(parse(&bytes, EPOCH).is_err());
    }

    #[test]
    fn a_record_of_another_epoch_is_no_record() {
        let bytes = encoded(stamp(7), &full_event());
        assert!(parse(&bytes, Epoch(EPOCH.0 ^ 1)).is_err());
    }

    #[test]
    fn the_largest_event_fits_and_a_larger_one_is_refused() {
        let largest = NewEvent {
            topic: Topic::parse(&"t".repeat(TOPIC_BYTES_MAX)).unwrap(),
            event_type: EventType::parse(&"y".repeat(TYPE_BYTES_MAX)).unwrap(),
            id: EventId::parse(&"i".repeat(ID_BYTES_MAX)).unwrap(),
            data: EventData::trusted(vec![b'x'; EVENT_BYTES_MAX].into()),
            attributes: Attributes::parse((0..ATTRIBUTES_MAX).map(|n| {
                (format!("n{n:02}"), "v".repeat(ATTRIBUTES_BYTES_MAX / ATTRIBUTES_MAX - 3))
            }))
            .unwrap(),
            ttl: None,
        };
        let bytes = encoded(stamp(1), &largest);
        assert_eq!(bytes.len(), RECORD_BYTES_MAX);
        assert!(parse(&bytes, EPOCH).is_ok());

        let data = EventData::trusted(vec![b'x'; EVENT_BYTES_MAX + 1].into());
        let larger = NewEvent { data, ..full_event() };
        let mut buffer = vec![1];
        assert_eq!(append(&mut buffer, EPOCH, stamp(1), &larger), Err(TooLarge));
        assert_eq!(buffer, [1], "a refused event leaves nothing behind");
    }

    #[test]
    fn a_later_commit_is_known_by_its_first_record_only() {
        let first = encoded(stamp(7), &full_event());
        assert!(begins_later_commit(&first, EPOCH, Sequence(6)));
        assert!(!begins_later_commit(&first, EPOCH, Sequence(7)));
        let second = encoded(Stamp { first_of_commit: false, ..stamp(8) }, &full_event());
        assert!(!begins_later_commit(&second, EPOCH, Sequence(6)));
        assert!(!begins_later_commit(&first[..first.len() - 1], EPOCH, Sequence(6)));
    }
}
