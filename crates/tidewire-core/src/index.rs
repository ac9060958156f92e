//! Which interests want a topic, found without asking each of them.

use std::{collections::HashMap, sync::Arc};

use smallvec::SmallVec;

use crate::{Interest, Topic, TopicFilter};

/// An index from topics to the keys of the interests that want them.
///
/// Exact filters are found by one hash of the topic; filters with wildcards by walking a tree of
/// tokens. Cost grows with the wildcard paths that match, not with the interests held.
#[derive(Debug)]
pub struct InterestIndex<K> {
    /// Their texts are those of the filters. Most topics are wanted by one or two.
    exact: HashMap<Arc<str>, SmallVec<[K; 2]>>,
    patterns: Node<K>,
}

#[derive(Debug)]
struct Node<K> {
    literal: HashMap<Box<str>, Self>,
    any: Option<Box<Self>>,
    /// Keys of filters that end here.
    here: Vec<K>,
    /// Keys of filters whose `>` stands here.
    rest: Vec<K>,
}

impl<K> Default for Node<K> {
    fn default() -> Self {
        Self { literal: HashMap::new(), any: None, here: Vec::new(), rest: Vec::new() }
    }
}

impl<K> Default for InterestIndex<K> {
    fn default() -> Self {
        Self { exact: HashMap::new(), patterns: Node::default() }
    }
}

impl<K: Copy + Ord> InterestIndex<K> {
    /// Adds an interest under a key. A key belongs to one interest.
    pub fn insert(&mut self, interest: &Interest, key: K) {
        for filter in interest.filters() {
            if filter.is_exact() {
                self.exact.entry(filter.text()).or_default().push(key);
            } else {
                self.patterns.insert(filter.tokens(), key);
            }
        }
    }

    /// Removes an interest that was added under this key, and all memory it took.
    pub fn remove(&mut self, interest: &Interest, key: K) {
        for filter in interest.filters() {
            if filter.is_exact() {
                self.remove_exact(filter, key);
            } else {
                self.patterns.remove(filter.tokens(), key);
            }
        }
    }

    fn remove_exact(&mut self, filter: &TopicFilter, key: K) {
        if let Some(keys) = self.exact.get_mut(filter.as_str()) {
            keys.retain(|held| *held != key);
            if keys.is_empty() {
                self.exact.remove(filter.as_str());
            }
        }
    }

    /// Puts the keys of all interests that want the topic into `found`, each once, in order;
    /// what `found` held before is dropped.
    pub fn find(&self, topic: &Topic, found: &mut Vec<K>) {
        found.clear();
        if let Some(keys) = self.exact.get(topic.as_str()) {
            found.extend_from_slice(keys);
        }
        self.patterns.find(topic.tokens(), found);
        found.sort_unstable();
        found.dedup();
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.patterns.is_empty()
    }
}

impl<K: Copy + Ord> Node<K> {
    fn insert<'f>(&mut self, mut tokens: impl Iterator<Item = &'f str>, key: K) {
        match tokens.next() {
            None => self.here.push(key),
            Some(">") => self.rest.push(key),
            Some("*") => self.any.get_or_insert_default().insert(tokens, key),
            Some(token) => self.literal.entry(token.into()).or_default().insert(tokens, key),
        }
    }

    fn remove<'f>(&mut self, mut tokens: impl Iterator<Item = &'f str>, key: K) {
        match tokens.next() {
            None => self.here.retain(|held| *held != key),
            Some(">") => self.rest.retain(|held| *held != key),
            Some("*") => {
                if let Some(any) = &mut self.any {
                    any.remove(tokens, key);
                    if any.is_empty() {
                        self.any = None;
                    }
                }
            }
            Some(token) => {
                if let Some(child) = self.literal.get_mut(token) {
                    child.remove(tokens, key);
                    if child.is_empty() {
                        self.literal.remove(token);
                    }
                }
            }
        }
    }

    fn find<'t>(&self, mut tokens: impl Iterator<Item = &'t str> + Clone, found: &mut Vec<K>) {
        let Some(token) = tokens.next() else {
            found.extend_from_slice(&self.here);
            return;
        };
        found.extend_from_slice(&self.rest);
        if let Some(any) = &self.any {
            any.find(tokens.clone(), found);
        }
        if let Some(child) = self.literal.get(token) {
            child.find(tokens, found);
        }
    }

    fn is_empty(&self) -> bool {
        self.literal.is_empty()
            && self.any.is_none()
            && self.here.is_empty()
            && self.rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // Few tokens, so that filters and topics meet often.
    fn topics() -> impl Strategy<Value = Topic> {
        proptest::collection::vec("[abc]", 1..5).prop_map(|t| Topic::parse(&t.join(".")).unwrap())
    }

    fn filters() -> impl Strategy<Value = TopicFilter> {
        (proptest::collection::vec("[abc*]", 0..4), "[abc*>]").prop_map(|(mut tokens, last)| {
            tokens.push(last);
            TopicFilter::parse(&tokens.join(".")).unwrap()
        })
    }

    fn interests() -> impl Strategy<Value = Interest> {
        proptest::collection::vec(filters(), 1..5).prop_map(|f| Interest::new(f).unwrap())
    }

    proptest! {
        #[test]
        fn finds_what_the_reference_matcher_wants(
            interests in proptest::collection::vec(interests(), 0..12),
            removed in proptest::collection::vec(any::<bool>(), 12),
            topics in proptest::collection::vec(topics(), 1..8),
        ) {
            let mut index = InterestIndex::default();
            for (key, interest) in interests.iter().enumerate() {
                index.insert(interest, key);
            }
            for (key, interest) in interests.iter().enumerate().filter(|(key, _)| removed[*key]) {
                index.remove(interest, key);
            }
            let mut found = vec![usize::MAX];
            for topic in &topics {
                index.find(topic, &mut found);
                let wanted: Vec<_> = interests.iter().enumerate()
                    .filter(|(key, interest)| !removed[*key] && interest.wants(topic))
                    .map(|(key, _)| key)
                    .collect();
                prop_assert_eq!(&found, &wanted);
            }
            for (key, interest) in interests.iter().enumerate().filter(|(key, _)| !removed[*key]) {
                index.remove(interest, key);
            }
            prop_assert!(index.is_empty(), "a removed interest leaves nothing behind");
        }
    }
}
