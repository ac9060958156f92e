//! Numbered events over numbered topics, so that each subscriber knows what it has to get.
//!
//! Event `n` is of topic `n % topics`, its `n / topics`-th from 0. Its data says both.

use anyhow::Context;
use tidewire_client::{EventData, NewEvent, Topic};

/// So many topics share all but the last token: one filter with a wildcard wants them all.
const GROUP: usize = 10;

/// Some topics, from `first` on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Topics {
    pub(crate) first: usize,
    pub(crate) count: usize,
}

impl Topics {
    /// The event of this number, with at least so many bytes of data.
    pub(crate) fn event(self, number: usize, event_bytes: usize) -> anyhow::Result<NewEvent> {
        let topic = self.first + number % self.count;
        let mut data = format!("{topic} {} ", number / self.count);
        data.extend(std::iter::repeat_n('x', event_bytes.saturating_sub(data.len())));
        let bytes_max = data.len();
        Ok(NewEvent::new(Topic::parse(&name(topic))?, EventData::parse(data, bytes_max)?))
    }

    /// How many events of a topic there are among the first so many.
    pub(crate) fn events_before(self, number: usize, topic: usize) -> usize {
        let offset = topic - self.first;
        (number + self.count - 1 - offset) / self.count
    }

    /// The last event of a topic among the first so many.
    pub(crate) fn last_before(self, number: usize, topic: usize) -> Option<usize> {
        let nth = self.events_before(number, topic).checked_sub(1)?;
        Some(self.number(topic, nth))
    }

    /// The number of a topic's `nth` event from 0.
    pub(crate) fn number(self, topic: usize, nth: usize) -> usize {
        nth * self.count + topic - self.first
    }
}

fn name(topic: usize) -> String {
    format!("load.{}.{}", topic / GROUP, topic % GROUP)
}

/// The topic and the number within it that an event's data says.
pub(crate) fn read(data: &str) -> anyhow::Result<(usize, usize)> {
    let mut words = data.split(' ');
    let mut number = || words.next()?.parse().ok();
    number().zip(number()).context("data that nobody published")
}

/// What one subscriber wants.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wanted {
    /// One topic.
    One(usize),
    /// All topics of this one's group.
    GroupOf(usize),
}

impl Wanted {
    /// The filter that says so.
    pub(crate) fn filter(self) -> String {
        match self {
            Self::One(topic) => name(topic),
            Self::GroupOf(topic) => format!("load.{}.*", topic / GROUP),
        }
    }

    /// The topics.
    pub(crate) fn topics(self) -> std::ops::Range<usize> {
        match self {
            Self::One(topic) => topic..topic + 1,
            Self::GroupOf(topic) => topic / GROUP * GROUP..(topic / GROUP + 1) * GROUP,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_event_says_is_what_was_counted() {
        let topics = Topics { first: 20, count: 30 };
        let mut counted = vec![0; 50];
        for number in 0..100 {
            for (topic, counted) in counted.iter().enumerate().skip(20) {
                assert_eq!(topics.events_before(number, topic), *counted, "{number} {topic}");
                assert_eq!(topics.last_before(number, topic).is_some(), *counted > 0);
            }
            let event = topics.event(number, 64).unwrap();
            assert_eq!(event.data.as_bytes().len(), 64);
            let data = str::from_utf8(event.data.as_bytes()).unwrap();
            let (topic, nth) = read(data).unwrap();
            assert_eq!((event.topic.as_str(), nth), (name(topic).as_str(), counted[topic]));
            assert_eq!(topics.last_before(number + 1, topic), Some(number));
            counted[topic] += 1;
        }
    }

    #[test]
    fn a_group_is_the_topics_that_its_filter_matches() {
        let group = Wanted::GroupOf(37);
        assert_eq!((group.filter().as_str(), group.topics()), ("load.3.*", 30..40));
        assert!(group.topics().all(|topic| name(topic).starts_with("load.3.")));
        assert_eq!(
            (Wanted::One(37).filter().as_str(), Wanted::One(37).topics()),
            ("load.3.7", 37..38)
        );
    }
}
