//! The last event of every topic, in memory: what `latest` answers from.

use std::{borrow::Borrow, collections::BTreeMap, ops::Bound};

use tidewire_core::{Interest, Sequence, Topic, TopicFilter, UnixMillis};

/// The last event of every topic that has a retained one, so there are never more entries than
/// events; sorted, so that a filter that begins with plain tokens looks only at what begins so.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    topics: BTreeMap<TopicKey, Last>,
    head: Sequence,
}

/// A topic that can be looked up by its text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TopicKey(pub(crate) Topic);

impl Borrow<str> for TopicKey {
    // Equal, ordered and hashed as the topic is: a topic is its text.
    fn borrow(&self) -> &str {
        self.0.as_str()
    }
}

/// Where an event stands, and until when it is worth reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) sequence: Sequence,
    /// Where its record begins in its segment.
    pub(crate) offset: u64,
    pub(crate) expires: UnixMillis,
}

/// The last event of one topic, and those before it that outlive everything after them: once the
/// later ones' ttl has passed, such a one is the last again.
#[derive(Debug)]
struct Last {
    newest: Candidate,
    /// Oldest first; each expires later than all after it. Without ttls it is empty.
    earlier: Vec<Candidate>,
}

impl Topics {
    /// How far in the log this is.
    pub(crate) fn head(&self) -> Sequence {
        self.head
    }

    /// Moves on to this head.
    pub(crate) fn set_head(&mut self, head: Sequence) {
        self.head = head;
    }

    /// Adds an event that is later than all before. `topic` is its topic's text, and `parse` makes
    /// the topic where it is new.
    pub(crate) fn push<E>(
        &mut self,
        topic: &str,
        event: Candidate,
        parse: impl FnOnce() -> Result<Topic, E>,
    ) -> Result<(), E> {
        if let Some(last) = self.topics.get_mut(topic) {
            last.push(event);
        } else {
            let last = Last { newest: event, earlier: Vec::new() };
            self.topics.insert(TopicKey(parse()?), last);
        }
        Ok(())
    }

    /// The last event of every wanted topic, of those after `after`, in log order.
    pub(crate) fn find(
        &self,
        interest: &Interest,
        after: Sequence,
        now: UnixMillis,
    ) -> Vec<Candidate> {
        let wanted = interest.filters().iter().flat_map(|filter| self.matching(filter));
        let mut found: Vec<_> =
            wanted.filter_map(|last| last.at(now)).filter(|event| event.sequence > after).collect();
        found.sort_unstable_by_key(|event| event.sequence);
        // Two filters may want the same topic.
        found.dedup_by_key(|event| event.sequence);
        found
    }

    fn matching<'s>(&'s self, filter: &'s TopicFilter) -> impl Iterator<Item = &'s Last> {
        let text = filter.as_str();
        let plain = text.find(['*', '>']).map_or(text, |wildcard| &text[..wildcard]);
        self.topics
            .range::<str, _>((Bound::Included(plain), Bound::Unbounded))
            .take_while(move |(topic, _)| topic.0.as_str().starts_with(plain))
            // An exact filter's topic comes first of those that begin so.
            .take(if filter.is_exact() { 1 } else { usize::MAX })
            .filter(|(topic, _)| filter.matches(&topic.0))
            .map(|(_, last)| last)
    }

    /// Forgets what has left retention.
    pub(crate) fn forget_before(&mut self, oldest: Sequence) {
        self.topics.retain(|_, last| {
            last.earlier.retain(|event| event.sequence >= oldest);
            last.newest.sequence >= oldest
        });
    }
}

impl Last {
    fn push(&mut self, event: Candidate) {
        while self.earlier.last().is_some_and(|earlier| earlier.expires <= event.expires) {
            self.earlier.pop();
        }
        if self.newest.expires > event.expires {
            self.earlier.push(self.newest);
        }
        self.newest = event;
    }

    fn at(&self, now: UnixMillis) -> Option<Candidate> {
        let newest_first = std::iter::once(&self.newest).chain(self.earlier.iter().rev());
        newest_first.copied().find(|event| event.expires > now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOPICS: [&str; 6] = ["a", "a.b", "a.b.c", "a.c", "ab", "b.a"];
    const FILTERS: [&str; 8] = ["a", "a.*", "a.>", "*", "*.a", ">", "a.b", "c"];

    proptest! {
        #[test]
        fn agrees_with_a_full_read(
            // Topic, and after how many steps the event expires.
            events in proptest::collection::vec((0..TOPICS.len(), 1_u64..30), 1..60),
            filters in proptest::collection::vec(0..FILTERS.len(), 1..4),
            (oldest, after, later) in (0_u64..60, 0_u64..60, 0_u64..30),
        ) {
            let mut topics = Topics::default();
            let mut all = Vec::new();
            for (time, (topic, lasts)) in events.into_iter().enumerate() {
                let time = time as u64;
                let topic = Topic::parse(TOPICS[topic]).unwrap();
                // Twenty steps stand for ever.
                let expires = if lasts >= 20 { u64::MAX } else { time + lasts };
                let event = Candidate {
                    sequence: Sequence(time + 1), offset: time, expires: UnixMillis(expires),
                };
                topics.push(topic.as_str(), event, || Ok::<_, ()>(topic.clone())).unwrap();
                all.push((topic, event));
            }
            topics.forget_before(Sequence(oldest));
            let filters = filters.into_iter().map(|n| TopicFilter::parse(FILTERS[n]).unwrap());
            let interest = Interest::new(filters).unwrap();
            let now = UnixMillis(all.len() as u64 + later);

            let mut expected = BTreeMap::new();
            for (topic, event) in &all {
                let readable = event.sequence.0 >= oldest && event.expires > now;
                if readable && interest.wants(topic) {
                    expected.insert(topic, *event);
                }
            }
            let mut expected: Vec<_> =
                expected.into_values().filter(|event| event.sequence.0 > after).collect();
            expected.sort_unstable_by_key(|event| event.sequence);
            // A topic whose newest event has left is forgotten, and nothing older is left of it.
            prop_assert_eq!(topics.find(&interest, Sequence(after), now), expected);
        }
    }

    #[test]
    fn events_without_a_ttl_leave_one_entry_for_each_topic() {
        let mut topics = Topics::default();
        for n in 1..1_000 {
            let event =
                Candidate { sequence: Sequence(n), offset: n, expires: UnixMillis(u64::MAX) };
            topics.push("t", event, || Topic::parse("t")).unwrap();
        }
        let last = &topics.topics["t"];
        assert_eq!(last.newest.sequence, Sequence(999));
        assert_eq!(last.earlier, []);
    }
}
