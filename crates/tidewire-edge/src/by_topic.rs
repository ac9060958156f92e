//! Where in the window each topic's events stand, so that who wants one topic need not look at all.

use std::collections::{HashMap, VecDeque};

use tidewire_core::{Interest, Topic, TopicFilter};

/// The numbers of the window's events by topic, each topic's in order. Numbers only ever rise.
#[derive(Debug, Default)]
pub(crate) struct ByTopic(HashMap<Topic, VecDeque<u64>>);

impl ByTopic {
    /// The newest event.
    pub(crate) fn push(&mut self, topic: &Topic, number: u64) {
        match self.0.get_mut(topic.as_str()) {
            Some(numbers) => numbers.push_back(number),
            None => {
                self.0.insert(topic.clone(), VecDeque::from([number]));
            }
        }
    }

    /// The oldest event of all, which is about this, has gone.
    pub(crate) fn pop(&mut self, topic: &Topic) {
        let Some(numbers) = self.0.get_mut(topic.as_str()) else { return };
        numbers.pop_front();
        if numbers.is_empty() {
            self.0.remove(topic.as_str());
        }
    }

    /// The first wanted numbers from `from` on, at most `max`; `None` for an interest with
    /// wildcards, for which every event has to be looked at.
    pub(crate) fn wanted(&self, interest: &Interest, from: u64, max: usize) -> Option<Vec<u64>> {
        if !interest.filters().iter().all(TopicFilter::is_exact) {
            return None;
        }
        let mut wanted = Vec::new();
        for numbers in interest.filters().iter().filter_map(|filter| self.0.get(filter.as_str())) {
            let first = numbers.partition_point(|number| *number < from);
            wanted.extend(numbers.range(first..).take(max));
        }
        wanted.sort_unstable();
        wanted.truncate(max);
        Some(wanted)
    }
}
