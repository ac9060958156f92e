//! A subscription at rest: live, and handed all that there was. It needs no task of its own; whoever
//! holds it looks when its feed has moved, when it is due, and when there is news.

use std::sync::Arc;

use bytes::Bytes;
use tidewire_core::Cursor;
use tokio::time::Instant;

use crate::{
    Subscription,
    coding::Coded,
    feed::{Batch, Feed},
    metrics::ReplayBecause,
};

/// What a subscription does next.
pub(crate) enum Next {
    /// It hands these out: whole frames.
    Bytes(Bytes),
    /// It has handed out all there was.
    Rest,
    /// It is over.
    End,
}

/// What a silence ends with.
pub(crate) enum Due {
    Bytes(Bytes),
    /// Nothing: it is not due yet.
    Later,
    /// The stream: its last words are for who carries it.
    Over,
}

impl Subscription {
    /// The feed that it waits for.
    pub(crate) fn feed(&self) -> Option<&Arc<Feed>> {
        self.live.as_ref().map(|live| live.feed())
    }

    /// Up to where it has been handed everything.
    pub(crate) fn position(&self) -> Option<Cursor> {
        self.live.as_ref().map(|live| live.position())
    }

    /// Notes that it is handed what its feed has behind its position.
    pub(crate) fn hand(&mut self, batch: &Batch, now: Instant) {
        if let Some(live) = &mut self.live {
            live.move_to(batch.cursor);
        }
        self.check = self.check.then(batch.coded.check);
        self.tell_at(batch.cursor.into(), now);
        self.quiet_from(now);
    }

    /// Notes that its feed does not reach back to its position any more: it goes on from the log.
    pub(crate) fn lag(&mut self) {
        self.live = None;
        self.begin_replay(ReplayBecause::Lagged);
    }

    /// When to look whether its [silence is to be broken](Self::break_silence).
    pub(crate) fn due(&self) -> Instant {
        let until = self.stay.until_or(self.quiet_until);
        self.owed.as_ref().map_or(until, |owed| owed.due_or(until))
    }

    /// What it hands out into a silence, if that has been long enough. Who `is_stalled` has still to
    /// take what it was handed before, and gets nothing on top of it.
    pub(crate) fn break_silence(&mut self, now: Instant, is_stalled: bool) -> Due {
        if self.over().is_some() {
            return Due::Over;
        }
        if now < self.due() {
            return Due::Later;
        }
        if is_stalled {
            self.quiet_from(now);
            return Due::Later;
        }
        match self.keep_alive() {
            Some(frame) => {
                let Coded { bytes, check } = self.encode(frame);
                self.check = self.check.then(check);
                self.quiet_from(now);
                self.count_bytes(bytes.len());
                Due::Bytes(bytes)
            }
            None => Due::Later,
        }
    }

    /// Hears of a drain, or the end, if there is such news.
    pub(crate) fn hear_news(&mut self) {
        if self.stay.news().is_cancelled() {
            self.stay.hear(&self.shared.drain);
        }
    }
}
