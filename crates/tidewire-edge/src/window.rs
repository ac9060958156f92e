//! The recent events an edge keeps in memory, in log order.

use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use tidewire_core::{Cursor, Event, Sequence, Topic};

use crate::{Envelope, frame};

/// Bytes that an event takes in the window beside its data: its parts, its frame's fields, and
/// what holds them. Measured with a full window, so that tiny events are bounded too.
const ENTRY_BYTES: usize = 600;

/// An event in the window, and its frames, each encoded once, when somebody first wants it.
#[derive(Debug)]
pub(crate) struct Entry {
    event: Event,
    plain: OnceLock<Bytes>,
    cloud_event: OnceLock<Bytes>,
}

impl Entry {
    pub(crate) fn new(event: Event) -> Self {
        Self { event, plain: OnceLock::new(), cloud_event: OnceLock::new() }
    }

    pub(crate) fn topic(&self) -> &Topic {
        &self.event.event.topic
    }

    pub(crate) fn cursor(&self) -> Cursor {
        self.event.cursor
    }

    /// The event's frame, shared by all who want it in this envelope.
    pub(crate) fn frame(&self, envelope: Envelope) -> Bytes {
        let frame = match envelope {
            Envelope::None => &self.plain,
            Envelope::CloudEvents => &self.cloud_event,
        };
        frame.get_or_init(|| frame::event(&self.event, envelope)).clone()
    }

    /// What the entry is counted as: twice its data, since data and frame may both be held.
    fn bytes(&self) -> usize {
        2 * self.event.event.data.as_bytes().len() + ENTRY_BYTES
    }
}

/// The recent events, up to `head`, from after `start`.
#[derive(Debug)]
pub(crate) struct Window {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
    events_max: usize,
    bytes_max: usize,
    start: Cursor,
    head: Cursor,
}

impl Window {
    /// An empty window at a place in the log.
    pub(crate) fn new(at: Cursor, events_max: usize, bytes_max: usize) -> Self {
        let entries = VecDeque::new();
        Self { entries, bytes: 0, events_max, bytes_max, start: at, head: at }
    }

    /// The cursor after which every event is here.
    pub(crate) fn start(&self) -> Cursor {
        self.start
    }

    /// The cursor of the newest event here.
    pub(crate) fn head(&self) -> Cursor {
        self.head
    }

    pub(crate) fn events(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether every event after the cursor is here, or still to come.
    pub(crate) fn reaches(&self, cursor: Cursor) -> bool {
        cursor >= self.start
    }

    /// Takes the next event, and lets the oldest go where a limit is passed. Says how many went.
    pub(crate) fn push(&mut self, entry: Arc<Entry>) -> usize {
        debug_assert!(entry.cursor() > self.head, "the tail is in order");
        self.head = entry.cursor();
        self.bytes += entry.bytes();
        self.entries.push_back(entry);
        let held = self.entries.len();
        while self.entries.len() > self.events_max || self.bytes > self.bytes_max {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes -= oldest.bytes();
            self.start = oldest.cursor();
        }
        held - self.entries.len()
    }

    /// The events after one place and up to another, oldest first.
    pub(crate) fn between(
        &self,
        after: Sequence,
        until: Sequence,
    ) -> impl DoubleEndedIterator<Item = &Arc<Entry>> {
        let place = |sequence| self.entries.partition_point(|e| e.cursor().sequence <= sequence);
        let from = place(after);
        self.entries.range(from..place(until).max(from))
    }
}
