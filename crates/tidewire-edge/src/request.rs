//! What a subscriber asks for, read from its request.

use std::{borrow::Cow, ops::RangeInclusive, time::Duration};

use http::{HeaderMap, HeaderName};
use memchr::memchr2;
use percent_encoding::percent_decode_str;
use tidewire_core::{Interest, Invalid, ResumePoint, TopicFilter, limits::FILTERS_MAX};

use crate::{Coding, Envelope, From};

/// Seconds of silence that a subscriber may ask for between heartbeats.
const HEARTBEAT_SECONDS: RangeInclusive<u64> = 2..=30;
/// Seconds within which a subscriber may promise to acknowledge its probe: less is too short for slow
/// networks, and more would leave its page dead for longer than a poll takes.
const ACK_SECONDS: RangeInclusive<u64> = 2..=30;
/// Bytes of a cursor's spelling that are kept to be repeated in a gap; longer ones are cut.
const REQUESTED_BYTES_MAX: usize = 64;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// A subscription as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscribeRequest {
    /// Which events.
    pub interest: Interest,
    /// After which cursor, as spelled; `None` to begin at `from`.
    pub last_event_id: Option<String>,
    /// Where to begin without a cursor.
    pub from: From,
    /// Where to go on after a gap.
    pub on_gap: OnGap,
    /// In which form.
    pub envelope: Envelope,
    /// In which coding.
    pub coding: Coding,
    /// Whether the hub's own frames are wanted; gaps come in any case.
    pub control: bool,
    /// The longest silence; `None` for the edge's own.
    pub heartbeat: Option<Duration>,
    /// Whether a probe is wanted, which shows what holds the stream back.
    pub probe: bool,
    /// Within how long the client will acknowledge the probe, which is sent then in any case; `None`
    /// where it does not.
    pub ack: Option<Duration>,
    /// What comes in place of everything where more than memory holds has been missed.
    pub conflate: Conflate,
}

/// Where a subscription goes on after a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnGap {
    /// With the oldest event retained.
    #[default]
    Earliest,
    /// With what comes.
    Now,
}

/// What a subscription gets that has fallen behind what memory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Conflate {
    /// Every event.
    #[default]
    None,
    /// The newest event of every topic, and word of it before.
    Topic,
}

impl SubscribeRequest {
    /// An interest, and everything else as it is by default.
    pub fn new(interest: Interest) -> Self {
        Self {
            interest,
            last_event_id: None,
            from: From::default(),
            on_gap: OnGap::default(),
            envelope: Envelope::default(),
            coding: Coding::default(),
            control: true,
            heartbeat: None,
            probe: false,
            ack: None,
            conflate: Conflate::default(),
        }
    }

    /// Reads a request's query and headers. A cursor in a header beats one in the query, since a
    /// browser repeats its URL; a parameter that is not known is left alone.
    ///
    /// # Errors
    /// [`Invalid`] names the parameter and the reason.
    pub fn parse(query: &str, headers: &HeaderMap) -> Result<Self, Invalid> {
        let mut filters = Vec::new();
        let mut request = Self::new(Interest::everything());
        request.coding = Coding::preferred(headers);
        for (name, value) in pairs(query) {
            if name == "topic" {
                filters.push(filter(&decode(value)?)?);
                if filters.len() > FILTERS_MAX {
                    let reason = format!("is given more than {FILTERS_MAX} times");
                    return Err(Invalid::new("topic", reason));
                }
            } else {
                request.set(&name, || decode(value))?;
            }
        }
        request.interest = Interest::new(filters)?;
        if let Some(cursor) = header_cursor(headers) {
            request.last_event_id = Some(cursor);
        }
        Ok(request)
    }

    /// The point that it goes on from, where it names one.
    pub(crate) fn point(&self) -> Option<ResumePoint> {
        self.last_event_id.as_deref()?.parse().ok()
    }

    /// Takes a parameter; of one that is not known not even the value is looked at.
    fn set<'v>(
        &mut self,
        name: &str,
        value: impl FnOnce() -> Result<Cow<'v, str>, Invalid>,
    ) -> Result<(), Invalid> {
        match name {
            "last_event_id" | "lastEventID" | "lastEventId" => {
                if let Some(cursor) = cursor(&value()?) {
                    self.last_event_id = Some(cursor);
                }
            }
            "from" => self.from = value()?.parse()?,
            "on_gap" => {
                let choices = [("earliest", OnGap::Earliest), ("now", OnGap::Now)];
                self.on_gap = choice("on_gap", &value()?, choices)?;
            }
            "envelope" => {
                let choices = [("none", Envelope::None), ("cloudevents", Envelope::CloudEvents)];
                self.envelope = choice("envelope", &value()?, choices)?;
            }
            "control" => self.control = choice("control", &value()?, [("1", true), ("0", false)])?,
            "heartbeat" => {
                self.heartbeat = Some(seconds("heartbeat", &value()?, HEARTBEAT_SECONDS)?);
            }
            "conflate" => {
                let choices = [("none", Conflate::None), ("topic", Conflate::Topic)];
                self.conflate = choice("conflate", &value()?, choices)?;
            }
            "probe" => self.probe = choice("probe", &value()?, [("1", true), ("0", false)])?,
            "ack" => self.ack = Some(seconds("ack", &value()?, ACK_SECONDS)?),
            _ => {}
        }
        Ok(())
    }
}

/// A query's parameters: their names, and what is still to be decoded.
pub(crate) fn pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, &str)> {
    query.split('&').filter(|pair| !pair.is_empty()).filter_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        // Nobody knows a name that cannot be read.
        Some((decode(name).ok()?, value))
    })
}

pub(crate) fn decode(text: &str) -> Result<Cow<'_, str>, Invalid> {
    if memchr2(b'+', b'%', text.as_bytes()).is_none() {
        return Ok(text.into());
    }
    let spaced = text.replace('+', " ");
    match percent_decode_str(&spaced).decode_utf8() {
        Ok(decoded) => Ok(decoded.into_owned().into()),
        Err(_) => Err(Invalid::new("query", "is not UTF-8 where its percent signs are decoded")),
    }
}

/// Reads one filter, and speaks of it as the parameter it came in.
fn filter(value: &str) -> Result<TopicFilter, Invalid> {
    TopicFilter::parse(value).map_err(|refusal| Invalid::new("topic", refusal.reason))
}

/// Reads a number of seconds.
pub(crate) fn seconds(
    name: &'static str,
    value: &str,
    range: RangeInclusive<u64>,
) -> Result<Duration, Invalid> {
    match value.parse() {
        Ok(seconds) if range.contains(&seconds) => Ok(Duration::from_secs(seconds)),
        _ => {
            let (least, most) = range.into_inner();
            let reason = format!("is not a whole number of seconds from {least} to {most}");
            Err(Invalid::new(name, reason))
        }
    }
}

pub(crate) fn choice<T: Copy>(
    name: &'static str,
    value: &str,
    choices: [(&'static str, T); 2],
) -> Result<T, Invalid> {
    choices.iter().find(|(spelling, _)| *spelling == value).map(|(_, choice)| *choice).ok_or_else(
        || Invalid::new(name, format!("is neither `{}` nor `{}`", choices[0].0, choices[1].0)),
    )
}

/// The last cursor that is not empty: some clients repeat their first one before the newest.
pub(crate) fn header_cursor(headers: &HeaderMap) -> Option<String> {
    let values: Vec<_> = headers
        .get_all(LAST_EVENT_ID)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect();
    let mut cursors = values.iter().flat_map(|value| value.split(',')).map(str::trim);
    cursors.rfind(|cursor| !cursor.is_empty()).map(cut)
}

/// A parameter's cursor, as spelled; `None` where it is empty.
pub(crate) fn cursor(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| cut(value))
}

/// Keeps enough of a cursor to recognise it: anything longer than a cursor is malformed anyway.
fn cut(cursor: &str) -> String {
    cursor[..cursor.floor_char_boundary(REQUESTED_BYTES_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn parse(query: &str) -> Result<SubscribeRequest, Invalid> {
        SubscribeRequest::parse(query, &HeaderMap::new())
    }

    fn cursor_of(query: &str, headers: &[&'static str]) -> Option<String> {
        let mut map = HeaderMap::new();
        for value in headers {
            map.append(LAST_EVENT_ID, HeaderValue::from_static(value));
        }
        SubscribeRequest::parse(&format!("topic=a&{query}"), &map).unwrap().last_event_id
    }

    #[test]
    fn reads_every_parameter() {
        let request = parse(
            "topic=a.%3E&topic=b&from=earliest&on_gap=now&envelope=cloudevents&control=0\
             &heartbeat=2&probe=1&ack=5&conflate=topic&_=123&utm=%FF&%FF=1",
        )
        .unwrap();
        assert_eq!(request.interest.filters().len(), 2);
        assert_eq!(request.interest.filters()[0].as_str(), "a.>");
        assert_eq!(request.from, From::Earliest);
        assert_eq!(request.on_gap, OnGap::Now);
        assert_eq!(request.envelope, Envelope::CloudEvents);
        assert!(!request.control);
        assert_eq!(request.heartbeat, Some(Duration::from_secs(2)));
        assert!(request.probe);
        assert_eq!(request.ack, Some(Duration::from_secs(5)));
        assert_eq!(request.conflate, Conflate::Topic);
    }

    #[test]
    fn the_newest_cursor_counts() {
        for (query, headers, expected) in [
            ("", &[][..], None),
            ("last_event_id=", &[], None),
            ("last_event_id=a-1", &[], Some("a-1")),
            ("lastEventID=a-1", &[], Some("a-1")),
            ("lastEventId=a-1", &[], Some("a-1")),
            ("last_event_id=a-1", &["a-2"], Some("a-2")),
            ("last_event_id=a-1", &[""], Some("a-1")),
            ("", &["a-1, a-2"], Some("a-2")),
            ("", &["a-1, "], Some("a-1")),
            ("", &["a-1", "a-2"], Some("a-2")),
        ] {
            assert_eq!(cursor_of(query, headers).as_deref(), expected, "{query} {headers:?}");
        }
    }

    #[test]
    fn refuses_with_the_parameters_name() {
        let many = "topic=a&".repeat(101);
        for (query, message) in [
            ("", "topic: is missing: name at least one filter"),
            ("topics=a", "topic: is missing: name at least one filter"),
            ("topic=", "topic: is empty"),
            ("topic=a..b", "topic: has an empty token (a dot at an end, or two in a row)"),
            (
                "topic=a%0Ab",
                "topic: holds U+000A: white space, control and invisible characters \
                             are not allowed",
            ),
            (
                "topic=a+b",
                "topic: holds U+0020: white space, control and invisible characters \
                           are not allowed",
            ),
            ("topic=%FF", "query: is not UTF-8 where its percent signs are decoded"),
            ("topic=a&on_gap=", "on_gap: is neither `earliest` nor `now`"),
            ("topic=a&envelope=xml", "envelope: is neither `none` nor `cloudevents`"),
            ("topic=a&control=yes", "control: is neither `1` nor `0`"),
            ("topic=a&probe=yes", "probe: is neither `1` nor `0`"),
            ("topic=a&ack=1", "ack: is not a whole number of seconds from 2 to 30"),
            ("topic=a&ack=31", "ack: is not a whole number of seconds from 2 to 30"),
            ("topic=a&conflate=1", "conflate: is neither `none` nor `topic`"),
            ("topic=a&heartbeat=1", "heartbeat: is not a whole number of seconds from 2 to 30"),
            ("topic=a&heartbeat=x", "heartbeat: is not a whole number of seconds from 2 to 30"),
            (&many, "topic: is given more than 100 times"),
        ] {
            assert_eq!(parse(query).unwrap_err().to_string(), message, "{query}");
        }
    }
}
