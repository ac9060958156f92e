//! The recent events an edge keeps in memory, in log order.

use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use tidewire_core::{Cursor, Event, Sequence, Topic, UnixMillis};

use crate::{Envelope, frame};

/// Bytes that an event takes in the window beside its data: its parts, its frame's fields, and
/// what holds them. Measured with a full window, so that tiny events are bounded too.
const ENTRY_BYTES: usize = 600;

/// An event as a subscriber gets it.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) sequence: Sequence,
    /// From when on it is left out: its ttl has passed.
    pub(crate) expires: UnixMillis,
    pub(crate) bytes: Bytes,
}

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

    pub(crate) fn event(&self) -> &Event {
        &self.event
    }

    pub(crate) fn topic(&self) -> &Topic {
        &self.event.event.topic
    }

    pub(crate) fn cursor(&self) -> Cursor {
        self.event.cursor
    }

    /// The event's frame, its bytes kept for all who want it in this envelope.
    pub(crate) fn frame(&self, envelope: Envelope) -> Frame {
        let bytes = self.made(envelope).get_or_init(|| frame::event(&self.event, envelope));
        Frame {
            sequence: self.event.cursor.sequence,
            expires: self.event.expires(),
            bytes: bytes.clone(),
        }
    }

    /// The frame's bytes, made for this one reader where nobody has wanted them before.
    pub(crate) fn bytes_apart(&self, envelope: Envelope) -> Bytes {
        let made = self.made(envelope).get().cloned();
        made.unwrap_or_else(|| frame::event(&self.event, envelope))
    }

    fn made(&self, envelope: Envelope) -> &OnceLock<Bytes> {
        match envelope {
            Envelope::None => &self.plain,
            Envelope::CloudEvents => &self.cloud_event,
        }
    }

    /// What the entry is counted as: its data and attributes, the frames that are made already,
    /// and the rest.
    fn bytes(&self) -> usize {
        let event = &self.event.event;
        let attributes = event.attributes.iter().map(|(name, value)| name.len() + value.len());
        let frames =
            [&self.plain, &self.cloud_event].map(|frame| frame.get().map_or(0, Bytes::len));
        event.data.as_bytes().len()
            + attributes.sum::<usize>()
            + frames.iter().sum::<usize>()
            + ENTRY_BYTES
    }
}

/// The recent events, up to `head`, from after `start`.
#[derive(Debug)]
pub(crate) struct Window {
    /// Each with what it was counted as when it came.
    entries: VecDeque<(Arc<Entry>, usize)>,
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
        let bytes = entry.bytes();
        self.bytes += bytes;
        self.entries.push_back((entry, bytes));
        let held = self.entries.len();
        while self.entries.len() > self.events_max || self.bytes > self.bytes_max {
            let Some((oldest, bytes)) = self.entries.pop_front() else { break };
            self.bytes -= bytes;
            self.start = oldest.cursor();
        }
        held - self.entries.len()
    }

    /// The events after a place, oldest first.
    pub(crate) fn after(
        &self,
        place: Sequence,
    ) -> impl DoubleEndedIterator<Item = &Arc<Entry>> + ExactSizeIterator {
        let from = self.entries.partition_point(|(entry, _)| entry.cursor().sequence <= place);
        self.entries.range(from..).map(|(entry, _)| entry)
    }
}
