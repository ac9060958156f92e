//! The recent events an edge keeps in memory, in log order.

use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use tidewire_core::{Cursor, Event, Interest, Sequence, Topic, UnixMillis};

use crate::{Coding, Envelope, by_topic::ByTopic, coding::Coded, frame};

/// Bytes that an event takes in the window beside its data: its parts, its frame's fields, what
/// holds them (600, measured with a full window, and the places of frames by gzip), and its place among its topic's events, where
/// each has a topic of its own. So tiny events are bounded too.
const ENTRY_BYTES: usize = 752;
/// Bytes that a frame by gzip takes beside its own: what knows its check, and who holds it.
const GZIP_FRAME_BYTES: usize = 80;
/// Events that are handed out at once to one who is far behind, or looks back.
pub(crate) const RECENT_MAX: usize = 1_024;
/// The same, where only wanted ones are: this many of each topic have to be put in order.
const RECENT_WANTED_MAX: usize = 256;

/// An event as a subscriber gets it.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) sequence: Sequence,
    /// When the log took it.
    pub(crate) stored: UnixMillis,
    /// From when on it is left out: its ttl has passed.
    pub(crate) expires: UnixMillis,
    pub(crate) coded: Coded,
}

/// An event in the window, and its frames, each encoded once, when somebody first wants it.
#[derive(Debug)]
pub(crate) struct Entry {
    event: Event,
    plain: OnceLock<Bytes>,
    cloud_event: OnceLock<Bytes>,
    /// The same by gzip. Where nobody wants them so, they take the room of a pointer.
    plain_gzip: OnceLock<Box<Coded>>,
    cloud_event_gzip: OnceLock<Box<Coded>>,
}

impl Entry {
    pub(crate) fn new(event: Event) -> Self {
        Self {
            event,
            plain: OnceLock::new(),
            cloud_event: OnceLock::new(),
            plain_gzip: OnceLock::new(),
            cloud_event_gzip: OnceLock::new(),
        }
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

    /// The event's frame, its bytes kept for all who want it in this envelope and coding.
    pub(crate) fn frame(&self, envelope: Envelope, coding: Coding) -> Frame {
        let coded = match coding {
            Coding::Identity => {
                let made = self.made(envelope);
                Coded::identity(made.get_or_init(|| frame::event(&self.event, envelope)).clone())
            }
            Coding::Gzip => {
                let made = self.made_gzip(envelope);
                let make = || Box::new(coding.encode(self.identity_apart(envelope)));
                Coded::clone(made.get_or_init(make))
            }
        };
        Frame {
            sequence: self.event.cursor.sequence,
            stored: self.event.time,
            expires: self.event.expires(),
            coded,
        }
    }

    /// What the frame holds, made for this one reader where nobody has wanted it before.
    pub(crate) fn coded_apart(&self, envelope: Envelope, coding: Coding) -> Coded {
        match coding {
            Coding::Identity => Coded::identity(self.identity_apart(envelope)),
            Coding::Gzip => match self.made_gzip(envelope).get() {
                Some(made) => Coded::clone(made),
                None => coding.encode(self.identity_apart(envelope)),
            },
        }
    }

    fn identity_apart(&self, envelope: Envelope) -> Bytes {
        let made = self.made(envelope).get().cloned();
        made.unwrap_or_else(|| frame::event(&self.event, envelope))
    }

    fn made(&self, envelope: Envelope) -> &OnceLock<Bytes> {
        match envelope {
            Envelope::None => &self.plain,
            Envelope::CloudEvents => &self.cloud_event,
        }
    }

    fn made_gzip(&self, envelope: Envelope) -> &OnceLock<Box<Coded>> {
        match envelope {
            Envelope::None => &self.plain_gzip,
            Envelope::CloudEvents => &self.cloud_event_gzip,
        }
    }

    /// What the entry is counted as: its data and attributes, the frames that are made already,
    /// and the rest.
    fn bytes(&self) -> usize {
        let event = &self.event.event;
        let attributes = event.attributes.iter().map(|(name, value)| name.len() + value.len());
        let frames =
            [&self.plain, &self.cloud_event].map(|frame| frame.get().map_or(0, Bytes::len));
        let gzip = [&self.plain_gzip, &self.cloud_event_gzip]
            .map(|frame| frame.get().map_or(0, |made| made.bytes.len() + GZIP_FRAME_BYTES));
        event.data.as_bytes().len()
            + attributes.sum::<usize>()
            + frames.iter().sum::<usize>()
            + gzip.iter().sum::<usize>()
            + ENTRY_BYTES
    }
}

/// The recent events, up to `head`, from after `start`.
#[derive(Debug)]
pub(crate) struct Window {
    /// Each with what it was counted as when it came.
    entries: VecDeque<(Arc<Entry>, usize)>,
    /// The number of the first of them: how many have gone.
    first: u64,
    by_topic: ByTopic,
    bytes: usize,
    events_max: usize,
    bytes_max: usize,
    start: Cursor,
    head: Cursor,
}

impl Window {
    /// An empty window at a place in the log.
    pub(crate) fn new(at: Cursor, events_max: usize, bytes_max: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            first: 0,
            by_topic: ByTopic::default(),
            bytes: 0,
            events_max,
            bytes_max,
            start: at,
            head: at,
        }
    }

    /// The cursor after which every event is here.
    pub(crate) fn start(&self) -> Cursor {
        self.start
    }

    /// The cursor of the newest event here.
    pub(crate) fn head(&self) -> Cursor {
        self.head
    }

    /// When the log took the oldest event here.
    pub(crate) fn oldest(&self) -> Option<UnixMillis> {
        self.entries.front().map(|(entry, _)| entry.event().time)
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
        self.by_topic.push(entry.topic(), self.first + self.entries.len() as u64);
        self.entries.push_back((entry, bytes));
        let held = self.entries.len();
        while self.entries.len() > self.events_max || self.bytes > self.bytes_max {
            let Some((oldest, bytes)) = self.entries.pop_front() else { break };
            self.bytes -= bytes;
            self.first += 1;
            self.by_topic.pop(oldest.topic());
            self.start = oldest.cursor();
        }
        held - self.entries.len()
    }

    /// The events after a place, oldest first.
    pub(crate) fn after(
        &self,
        place: Sequence,
    ) -> impl DoubleEndedIterator<Item = &Arc<Entry>> + ExactSizeIterator {
        self.entries.range(self.index_after(place)..).map(|(entry, _)| entry)
    }

    /// The next events after a place for one who is far behind.
    pub(crate) fn recent(&self, interest: &Interest, place: Sequence) -> Recent {
        let from = self.first + self.index_after(place) as u64;
        let (entries, max): (Vec<_>, _) =
            match self.by_topic.wanted(interest, from, RECENT_WANTED_MAX) {
                Some(wanted) => {
                    (wanted.into_iter().map(|number| self.at(number)).collect(), RECENT_WANTED_MAX)
                }
                None => (self.after(place).take(RECENT_MAX).cloned().collect(), RECENT_MAX),
            };
        let next = match entries.last() {
            Some(last) if entries.len() == max => last.cursor(),
            _ => self.head,
        };
        Recent { entries, next }
    }

    /// The events up to a place, oldest first.
    pub(crate) fn until(&self, place: Sequence) -> impl DoubleEndedIterator<Item = &Arc<Entry>> {
        self.entries.range(..self.index_after(place)).map(|(entry, _)| entry)
    }

    fn index_after(&self, place: Sequence) -> usize {
        self.entries.partition_point(|(entry, _)| entry.cursor().sequence <= place)
    }

    fn at(&self, number: u64) -> Arc<Entry> {
        let index = usize::try_from(number - self.first).unwrap_or(usize::MAX);
        Arc::clone(&self.entries[index].0)
    }
}

/// Events of the window, and how far they go.
#[derive(Debug)]
pub(crate) struct Recent {
    /// All that is wanted up to `next`, and perhaps others.
    pub(crate) entries: Vec<Arc<Entry>>,
    pub(crate) next: Cursor,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidewire_core::{Epoch, EventData, NewEvent, TopicFilter};

    use super::*;

    const TOPICS: u64 = 5;

    fn entry(sequence: u64, topic: u64) -> Arc<Entry> {
        let topic = Topic::parse(&format!("t.{topic}")).unwrap();
        let event = NewEvent::new(topic, EventData::parse("x", 1).unwrap());
        let cursor = Cursor::new(Epoch(1), Sequence(sequence));
        Arc::new(Entry::new(event.stored(cursor, UnixMillis(0))))
    }

    fn interest(filters: &[&str]) -> Interest {
        Interest::new(filters.iter().map(|text| TopicFilter::parse(text).unwrap())).unwrap()
    }

    proptest! {
        #[test]
        fn one_who_is_far_behind_is_handed_all_that_is_wanted_in_order(
            topics in proptest::collection::vec(0..TOPICS, 0..1_500),
            events_max in 1_usize..1_500,
            behind in 0_u64..1_500,
        ) {
            let at = Cursor::new(Epoch(1), Sequence(0));
            let mut window = Window::new(at, events_max, usize::MAX);
            // With holes between.
            for (n, topic) in (1_u64..).zip(topics) {
                window.push(entry(n * 2, topic));
            }
            let start = window.start().sequence;
            let from = Sequence(window.head().sequence.0.saturating_sub(behind)).max(start);
            for wanted in [interest(&["t.1"]), interest(&["t.0", "t.2", "no"]), interest(&["*.1"])] {
                let (mut place, mut handed_out) = (from, Vec::new());
                while place < window.head().sequence {
                    let Recent { entries, next } = window.recent(&wanted, place);
                    prop_assert!(next.sequence > place, "it moves on");
                    handed_out.extend(entries.iter().map(|entry| entry.cursor().sequence));
                    place = next.sequence;
                }
                handed_out.retain(|sequence| {
                    let mut all = window.after(Sequence(sequence.0 - 1));
                    all.next().is_some_and(|entry| wanted.wants(entry.topic()))
                });
                let all = window.after(from).filter(|entry| wanted.wants(entry.topic()));
                let all: Vec<_> = all.map(|entry| entry.cursor().sequence).collect();
                prop_assert_eq!(handed_out, all);
            }
        }
    }

    #[test]
    fn an_entry_makes_and_counts_a_frame_for_each_envelope_and_coding() {
        let entry = entry(1, 1);
        let mut counted = entry.bytes();
        for envelope in [Envelope::None, Envelope::CloudEvents] {
            for (coding, beside) in [(Coding::Gzip, GZIP_FRAME_BYTES), (Coding::Identity, 0)] {
                let made_for_it = coding.encode(frame::event(entry.event(), envelope));
                assert_eq!(entry.coded_apart(envelope, coding), made_for_it);
                assert_eq!(entry.bytes(), counted, "nothing is kept");
                assert_eq!(entry.frame(envelope, coding).coded, made_for_it);
                assert_eq!(entry.coded_apart(envelope, coding), made_for_it);
                counted += made_for_it.bytes.len() + beside;
                assert_eq!(entry.bytes(), counted, "{envelope:?} {coding:?}");
            }
        }
    }

    #[test]
    fn what_has_left_the_window_has_left_its_index() {
        let mut window = Window::new(Cursor::new(Epoch(1), Sequence(0)), 2, usize::MAX);
        (1..=5).for_each(|n| {
            window.push(entry(n, n));
        });
        let gone = window.by_topic.wanted(&interest(&["t.1", "t.2", "t.3"]), 0, 9);
        assert_eq!(gone, Some(vec![]));
        assert_eq!(window.by_topic.wanted(&interest(&["t.5", "t.4"]), 0, 9), Some(vec![3, 4]));
    }
}
