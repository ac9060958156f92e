//! What an operator is told of clients that are not served, and of gaps: the last few of each, with their
//! moments, and for each reason a line of the log, seldom.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tidewire_core::{SeldomEach, UnixMillis};
use tokio::time::Instant;

use crate::{
    client_address::ClientAddress,
    gap::GapReason,
    metrics,
    status::{RecentGap, RecentRefusal},
};

/// How many of each are kept: more are counted, and no more than that.
const KEPT_MAX: usize = 20;

/// The last refusals and the last gaps, newest last.
///
/// A note is a reason that is one of ours and an address: nothing that a client says.
#[derive(Debug)]
pub(crate) struct Notes {
    begun: Instant,
    /// When a line was last logged about each reason, all of which are ours.
    told: Mutex<SeldomEach>,
    refusals: Kept<(&'static str, Option<ClientAddress>)>,
    gaps: Kept<(GapReason, Option<ClientAddress>)>,
}

impl Default for Notes {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            told: Mutex::default(),
            refusals: Kept::default(),
            gaps: Kept::default(),
        }
    }
}

impl Notes {
    /// Notes and counts that a client was not served. Nobody's address is known before its connection
    /// is. Where the last line about this reason is a minute old, the answer is how many there were
    /// since, for the next.
    pub(crate) fn refused(
        &self,
        reason: &'static str,
        client: Option<ClientAddress>,
    ) -> Option<u64> {
        metrics::count_refused(reason);
        self.note(reason, client);
        self.told.lock().count(reason, self.begun.elapsed())
    }

    /// Notes what was asked for wrongly, which is nobody's concern but the client's: it is not
    /// counted among refusals.
    pub(crate) fn note(&self, reason: &'static str, client: Option<ClientAddress>) {
        self.refusals.note((reason, client));
    }

    /// Notes a gap that was announced; to whom where that is known.
    pub(crate) fn gap(&self, reason: GapReason, client: Option<ClientAddress>) {
        self.gaps.note((reason, client));
    }

    /// The refusals, newest first.
    pub(crate) fn refusals(&self) -> Vec<RecentRefusal> {
        self.refusals.newest_first(|at, (reason, client)| RecentRefusal {
            at,
            reason,
            client: client.map(|client| client.to_string()),
        })
    }

    /// The gaps, newest first.
    pub(crate) fn gaps(&self) -> Vec<RecentGap> {
        self.gaps.newest_first(|at, (reason, client)| RecentGap {
            at,
            reason: reason.as_str(),
            client: client.map(|client| client.to_string()),
        })
    }
}

/// The last few of something. A short lock, taken where something has gone wrong already.
#[derive(Debug)]
struct Kept<T>(Mutex<VecDeque<(UnixMillis, T)>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Mutex::new(VecDeque::with_capacity(KEPT_MAX)))
    }
}

impl<T: Copy> Kept<T> {
    fn note(&self, noted: T) {
        let mut kept = self.0.lock();
        if kept.len() == KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back((UnixMillis::now(), noted));
    }

    fn newest_first<R>(&self, show: impl Fn(UnixMillis, T) -> R) -> Vec<R> {
        self.0.lock().iter().rev().map(|(at, noted)| show(*at, *noted)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_twenty_are_kept_and_the_newest_is_first() {
        let notes = Notes::default();
        for _ in 0..30 {
            notes.refused("full", None);
        }
        notes.refused("draining", Some(ClientAddress::of([192, 0, 2, 7].into())));
        let refusals = notes.refusals();
        assert_eq!(refusals.len(), KEPT_MAX);
        assert_eq!(refusals[0].reason, "draining");
        assert_eq!(refusals[0].client.as_deref(), Some("192.0.2.7"));
        assert_eq!((refusals[19].reason, &refusals[19].client), ("full", &None));
        assert!(refusals[0].at >= refusals[19].at);
        assert!(notes.gaps().is_empty());
    }
}
