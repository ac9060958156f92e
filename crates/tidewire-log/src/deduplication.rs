//! The ids of the recent past, so that a repeated one is recognised.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use tidewire_core::{EventId, Sequence, UnixMillis};

/// Ids remembered at once: 66,000 a second for two minutes. Full, the two tables below take about
/// 700 MB.
pub(crate) const IDS_MAX: usize = 8_000_000;

/// The ids of a window of time, by hash.
pub(crate) struct Deduplication {
    window: Duration,
    ids_max: usize,
    /// Random for each process, so that nobody can make two ids that collide.
    hashers: [RandomState; 2],
    known: HashMap<IdHash, Sequence>,
    /// In order of time.
    order: VecDeque<(UnixMillis, Sequence, IdHash)>,
}

/// 128 bits of an id: among 8,000,000 ids two collide with a probability of 10⁻²⁵.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct IdHash(u64, u64);

/// What is known of an id.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// It is stored, here.
    Stored(Sequence),
    /// It is not.
    New,
    /// It is not, and no more ids can be remembered.
    Full,
}

impl Deduplication {
    pub(crate) fn new(window: Duration, ids_max: usize) -> Self {
        Self {
            window,
            ids_max,
            hashers: [RandomState::new(), RandomState::new()],
            known: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Whether an id was stored within the window.
    pub(crate) fn look_up(&self, id: &EventId) -> Known {
        match self.known.get(&self.hash(id.as_str())) {
            Some(sequence) => Known::Stored(*sequence),
            None if self.order.len() >= self.ids_max => Known::Full,
            None => Known::New,
        }
    }

    /// Remembers an id. Times never go back.
    pub(crate) fn remember(&mut self, id: &str, sequence: Sequence, time: UnixMillis) {
        let hash = self.hash(id);
        self.known.insert(hash, sequence);
        self.order.push_back((time, sequence, hash));
    }

    /// Takes back what was remembered from this sequence on: it was not stored.
    pub(crate) fn take_back(&mut self, from: Sequence) {
        while let Some((_, _, hash)) = self.order.pop_back_if(|(_, sequence, _)| *sequence >= from)
        {
            self.known.remove(&hash);
        }
    }

    /// Forgets what is older than the window.
    pub(crate) fn forget_expired(&mut self, now: UnixMillis) {
        let oldest = now.before(self.window);
        while let Some((_, sequence, hash)) = self.order.pop_front_if(|(time, ..)| *time <= oldest)
        {
            // With a window that was longer before, an id may be remembered twice.
            if self.known.get(&hash) == Some(&sequence) {
                self.known.remove(&hash);
            }
        }
    }

    fn hash(&self, id: &str) -> IdHash {
        let [one, other] = &self.hashers;
        IdHash(one.hash_one(id), other.hash_one(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> EventId {
        EventId::parse(text).unwrap().unwrap()
    }

    fn ids(ids_max: usize) -> Deduplication {
        Deduplication::new(Duration::from_millis(100), ids_max)
    }

    #[test]
    fn an_id_is_known_for_the_window_and_no_longer() {
        let mut ids = ids(10);
        assert_eq!(ids.look_up(&id("a")), Known::New);
        ids.remember("a", Sequence(7), UnixMillis(1_000));
        ids.forget_expired(UnixMillis(1_099));
        assert_eq!(ids.look_up(&id("a")), Known::Stored(Sequence(7)));
        ids.forget_expired(UnixMillis(1_100));
        assert_eq!(ids.look_up(&id("a")), Known::New);
        assert!(ids.known.is_empty() && ids.order.is_empty());
    }

    #[test]
    fn a_full_memory_says_so_and_forgets_nothing() {
        let mut ids = ids(2);
        ids.remember("a", Sequence(1), UnixMillis(1_000));
        ids.remember("b", Sequence(2), UnixMillis(1_050));
        assert_eq!(ids.look_up(&id("c")), Known::Full);
        assert_eq!(ids.look_up(&id("a")), Known::Stored(Sequence(1)));
        ids.forget_expired(UnixMillis(1_100));
        assert_eq!(ids.look_up(&id("c")), Known::New);
    }

    #[test]
    fn what_was_not_stored_is_taken_back() {
        let mut ids = ids(10);
        ids.remember("a", Sequence(1), UnixMillis(1_000));
        ids.remember("b", Sequence(2), UnixMillis(1_000));
        ids.remember("c", Sequence(3), UnixMillis(1_000));
        ids.take_back(Sequence(2));
        assert_eq!(ids.look_up(&id("a")), Known::Stored(Sequence(1)));
        assert_eq!(ids.look_up(&id("b")), Known::New);
        assert_eq!(ids.look_up(&id("c")), Known::New);
    }

    #[test]
    fn an_id_stored_again_is_known_by_its_later_event() {
        let mut ids = ids(10);
        ids.remember("a", Sequence(1), UnixMillis(1_000));
        ids.remember("a", Sequence(2), UnixMillis(1_050));
        ids.forget_expired(UnixMillis(1_100));
        assert_eq!(ids.look_up(&id("a")), Known::Stored(Sequence(2)));
    }
}
