//! A page that is being filled.

use tidewire_core::{Cursor, Event, Page, PageLimit};

/// A page that is being filled.
pub(crate) struct Filling {
    events: Vec<Event>,
    bytes: usize,
    limit: PageLimit,
    /// Everything wanted up to here is in the page.
    pub(crate) next: Cursor,
}

impl Filling {
    pub(crate) fn new(after: Cursor, limit: PageLimit) -> Self {
        Self { events: Vec::new(), bytes: 0, limit, next: after }
    }

    /// Takes an event, unless the page is full.
    pub(crate) fn take(&mut self, event: Event) -> bool {
        let bytes = self.bytes + event.event.data.as_bytes().len();
        let is_full = self.events.len() >= self.limit.events || bytes > self.limit.bytes;
        if is_full && !self.events.is_empty() {
            return false;
        }
        self.bytes = bytes;
        self.events.push(event);
        true
    }

    /// The page, ending at its last event.
    pub(crate) fn cut(mut self) -> Page {
        if let Some(last) = self.events.last() {
            self.next = last.cursor;
        }
        self.whole()
    }

    /// The page, ending where was searched.
    pub(crate) fn whole(self) -> Page {
        Page { events: self.events, next: self.next }
    }
}
