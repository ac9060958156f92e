//! Flows of numbered events over topics, so that a subscriber needs one number to know what comes
//! next.
//!
//! Event `n` of a flow is of topic `n % topics`. Its data says the flow, `n`, and when it was due.

use std::{fmt::Write as _, ops::Range};

use serde::{Deserialize, Serialize};

use crate::content::Content;

/// So many topics share all but the last token: one filter with a wildcard wants them all.
const GROUP: u64 = 10;
/// What the rolling hash of a subscriber is multiplied with before each event: odd, and mixes well.
const HASH_FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// A stream of events of one kind.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Flow {
    /// Which of the flows of a run it is, from 0.
    pub(crate) number: u16,
    pub(crate) topics: u64,
}

impl Flow {
    pub(crate) fn topic(self, event: u64) -> String {
        self.topic_name(event % self.topics)
    }

    /// Writes the data of an event into a text that it empties first.
    pub(crate) fn write_data(
        self,
        event: u64,
        due: u64,
        content: Content,
        bytes: usize,
        data: &mut String,
    ) {
        data.clear();
        // A String takes everything.
        write!(data, "{} {event} {due} ", self.number).ok();
        let rest = bytes.saturating_sub(data.len()).max(1);
        content.write(event, rest, data);
    }

    fn topic_name(self, topic: u64) -> String {
        format!("load.{}.{}.{}", self.number, topic / GROUP, topic % GROUP)
    }
}

/// What a subscriber wants of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Wanted {
    One(u64),
    /// The ten topics of one group, by a wildcard.
    Group(u64),
    /// The same, each by its name. Only this hub is asked so.
    Named(u64),
}

impl Wanted {
    /// The filter that says so, or several, as they stand in a query.
    pub(crate) fn filter(self, flow: Flow) -> String {
        match self {
            Self::One(topic) => flow.topic_name(topic),
            Self::Group(group) => format!("load.{}.{group}.*", flow.number),
            Self::Named(group) => {
                let names: Vec<_> =
                    Self::topics_of(group, flow).map(|topic| flow.topic_name(topic)).collect();
                names.join("&topic=")
            }
        }
    }

    /// The first of its events that is not before this one.
    pub(crate) fn first_from(self, flow: Flow, event: u64) -> u64 {
        let (first, last) = match self {
            Self::One(topic) => (topic, topic),
            Self::Group(group) | Self::Named(group) => {
                let topics = Self::topics_of(group, flow);
                (topics.start, topics.end - 1)
            }
        };
        let (round, topic) = (event / flow.topics, event % flow.topics);
        if topic < first {
            round * flow.topics + first
        } else if topic <= last {
            event
        } else {
            (round + 1) * flow.topics + first
        }
    }

    fn topics_of(group: u64, flow: Flow) -> Range<u64> {
        group * GROUP..(group * GROUP + GROUP).min(flow.topics)
    }
}

/// The rolling hash of what a subscriber got, after one event more.
pub(crate) fn hash_after(hash: u64, event_checksum: u32) -> u64 {
    hash.wrapping_mul(HASH_FACTOR).wrapping_add(u64::from(event_checksum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_next_is_what_the_filter_matches() {
        let flow = Flow { number: 3, topics: 25 };
        for wanted in [
            Wanted::One(0),
            Wanted::One(24),
            Wanted::Group(1),
            Wanted::Group(2),
            Wanted::Named(1),
            Wanted::Named(2),
        ] {
            let filter = wanted.filter(flow);
            let start = filter.trim_end_matches('*');
            let matches = |event: u64| match wanted {
                Wanted::Group(_) => flow.topic(event).starts_with(start),
                _ => filter.split("&topic=").any(|name| flow.topic(event) == name),
            };
            for event in 0..100 {
                let next = (event..).find(|event| matches(*event));
                assert_eq!(Some(wanted.first_from(flow, event)), next, "{wanted:?} {event}");
            }
        }
    }

    #[test]
    fn data_is_as_long_as_was_asked_for() {
        let (flow, mut data) = (Flow { number: 1, topics: 2 }, String::new());
        flow.write_data(27, 5, Content::Letter, 40, &mut data);
        assert_eq!((data.len(), data.as_str()), (40, &*format!("1 27 5 {}", "b".repeat(33))));
    }

    #[test]
    fn the_hash_tells_another_order() {
        let hash = |events: [u32; 3]| events.into_iter().fold(0, hash_after);
        assert_ne!(hash([1, 2, 3]), hash([2, 1, 3]));
        assert_ne!(hash([0, 1, 2]), hash([0, 1, 3]));
    }
}
