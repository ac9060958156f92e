//! Places whose page was cut short, waiting for who goes on.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use tidewire_core::{Cursor, Event, Interest, Sequence};
use tokio::time::Instant;

use crate::reading::Reading;

/// Places that stay open.
const KEPT_MAX: usize = 64;
/// How long one stays open: less than the server keeps it.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// What a place hands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Every wanted event.
    Wanted,
    /// The last one of each wanted topic.
    Latest,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Wanted => "wanted",
            Self::Latest => "latest",
        }
    }
}

/// What is read, for whom, and behind which sequence it goes on.
type Key = (Kind, Interest, Sequence);

/// A place whose page was cut short.
#[derive(Debug)]
struct Kept {
    reading: Reading,
    /// Read already, and not in the page.
    left_over: Option<Event>,
    at: Instant,
}

/// The places that wait.
#[derive(Debug, Default)]
pub(crate) struct KeptOpen(Mutex<HashMap<Key, Kept>>);

impl KeptOpen {
    /// The place from which the page behind `after` can be read, and what was left over there.
    pub(crate) fn take(
        &self,
        kind: Kind,
        interest: &Interest,
        after: Cursor,
    ) -> Option<(Reading, Option<Event>)> {
        let kept = self.0.lock().remove(&(kind, interest.clone(), after.sequence))?;
        let is_good = kept.reading.epoch == after.epoch && kept.at.elapsed() < KEPT_FOR;
        is_good.then_some((kept.reading, kept.left_over))
    }

    /// Keeps a place for the page behind `after`. One that nobody goes on with is let go; the
    /// server's end of it goes by itself.
    pub(crate) fn keep(
        &self,
        kind: Kind,
        interest: &Interest,
        after: Cursor,
        reading: Reading,
        left_over: Event,
    ) {
        let mut places = self.0.lock();
        if places.len() >= KEPT_MAX {
            places.retain(|_, kept| kept.at.elapsed() < KEPT_FOR);
        }
        if places.len() < KEPT_MAX {
            let kept = Kept { reading, left_over: Some(left_over), at: Instant::now() };
            places.insert((kind, interest.clone(), after.sequence), kept);
        }
    }

    /// Lets go what nobody goes on with.
    pub(crate) fn tidy(&self) {
        self.0.lock().retain(|_, kept| kept.at.elapsed() < KEPT_FOR);
    }
}
