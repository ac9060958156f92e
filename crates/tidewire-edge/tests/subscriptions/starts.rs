//! What is promised of each starting point, told from the whole log.

use tidewire_core::{Cursor, Event, Interest, ResumePoint, Sequence, UnixMillis};
use tidewire_edge::{From, SubscribeRequest};

use super::model::State;

/// Checks where a subscription without a cursor begins. `head_then` was the log's head when it was
/// asked for; what has come and gone since is in `log`.
pub(crate) fn check(request: &SubscribeRequest, id: ResumePoint, head_then: Cursor, log: &State) {
    assert_eq!(id.in_snapshot, request.from == From::Latest);
    let id = id.after;
    // An edge that has not heard of it yet may be in the life of the log before.
    let until = if id.epoch == head_then.epoch { head_then } else { log.end_of(id.epoch) };
    assert!(id <= until, "{id} is not beyond {until}");
    let began = Began { id, interest: &request.interest, log };
    let events = &log.truth[&id.epoch][..usize::try_from(until.sequence.0).unwrap()];
    match request.from {
        // What comes after it is checked event by event.
        From::Now | From::Earliest => {}
        From::Latest => assert!(began.nothing_before(events, |_| true), "all topics are to come"),
        From::Last(wanted) => began.check_last(wanted.into(), events),
        From::Since(time) => began.check_since(time, events),
    }
}

/// The place of the next event of the same topic that stands behind all others of it.
pub(crate) fn later_of_its_topic(event: &Event, log: &State) -> Option<Cursor> {
    let events = &log.truth[&event.cursor.epoch];
    let last = events.iter().rfind(|other| other.event.topic == event.event.topic);
    last.map(|last| last.cursor).filter(|last| *last > event.cursor)
}

struct Began<'s> {
    id: Cursor,
    interest: &'s Interest,
    log: &'s State,
}

impl Began<'_> {
    /// The last so many of the log as the edge knew it, which may have been a little behind.
    fn check_last(&self, wanted: usize, events: &[Event]) {
        let after = events.iter().filter(|event| event.cursor > self.id && self.wants(event));
        let found = after.count();
        let all_there_are = self.nothing_before(events, |event| self.wants(event));
        assert!(found >= wanted || all_there_are, "{found} of {wanted} after {}", self.id);
        // The earliest of them is wanted: the search goes no further than it must.
        let next = events.iter().find(|event| event.cursor > self.id);
        assert!(all_there_are || next.is_none_or(|next| self.wants(next)), "{next:?}");
    }

    fn check_since(&self, time: UnixMillis, events: &[Event]) {
        assert!(self.nothing_before(events, |event| event.time >= time));
        let next = events.iter().find(|event| event.cursor > self.id);
        assert!(next.is_none_or(|next| next.time >= time), "{next:?} is too early for {time:?}");
    }

    /// Whether nothing of this kind is retained before the beginning.
    fn nothing_before(&self, events: &[Event], is_meant: impl Fn(&Event) -> bool) -> bool {
        let retained = |event: &&Event| event.cursor.sequence >= self.oldest();
        let mut before = events.iter().filter(|event| event.cursor <= self.id).filter(retained);
        !before.any(is_meant)
    }

    fn wants(&self, event: &Event) -> bool {
        self.interest.wants(&event.event.topic)
    }

    fn oldest(&self) -> Sequence {
        self.log.lost.get(&self.id.epoch).copied().unwrap_or(self.log.oldest)
    }
}
