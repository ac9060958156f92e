//! Streams that have still to take what they were handed: those of one sweeper, counted with all others.

use std::collections::HashSet;

use ::metrics::Gauge;

use crate::metrics;

/// Their places.
pub(super) struct Full {
    keys: HashSet<usize>,
    all: Gauge,
}

impl Default for Full {
    fn default() -> Self {
        Self { keys: HashSet::new(), all: metrics::slow_readers() }
    }
}

impl Full {
    pub(super) fn insert(&mut self, key: usize) {
        if self.keys.insert(key) {
            self.all.increment(1.0);
        }
    }

    pub(super) fn remove(&mut self, key: usize) {
        if self.keys.remove(&key) {
            self.all.decrement(1.0);
        }
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = usize> {
        self.keys.iter().copied()
    }
}
