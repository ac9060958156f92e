//! What a subscriber has seen, and whether that is all: every event once, in order, no hole.

use anyhow::{bail, ensure};
use tidewire_client::Cursor;

use crate::{
    sse::Frame,
    topics::{self, Topics, Wanted},
};

/// How far a subscriber is.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    topics: Topics,
    wanted: Wanted,
    cursor: Option<Cursor>,
    /// For each wanted topic, how many of its events have been seen, or were not asked for.
    seen: Vec<usize>,
}

impl Progress {
    /// Of one who has everything before the event of this number, and comes with this cursor.
    pub(crate) fn after(
        topics: Topics,
        wanted: Wanted,
        number: usize,
        cursor: Option<Cursor>,
    ) -> Self {
        let seen = wanted.topics().map(|topic| topics.events_before(number, topic)).collect();
        Self { topics, wanted, cursor, seen }
    }

    pub(crate) fn wanted(&self) -> Wanted {
        self.wanted
    }

    pub(crate) fn cursor(&self) -> Option<Cursor> {
        self.cursor
    }

    /// Whether all wanted ones of the first so many events have been seen.
    pub(crate) fn has_all_of(&self, number: usize) -> bool {
        let mut topics = self.wanted.topics().zip(&self.seen);
        topics.all(|(topic, seen)| *seen >= self.topics.events_before(number, topic))
    }

    /// Takes a frame; says the number of the event where it is one.
    ///
    /// # Errors
    /// It is not what has to come next.
    pub(crate) fn take(&mut self, frame: &Frame) -> anyhow::Result<Option<usize>> {
        let is_event = match frame.event.as_str() {
            "" => true,
            "tidewire.hello" | "tidewire.cursor" => false,
            other => bail!("{other} came: {}", frame.data),
        };
        let cursor: Cursor = frame.id.parse()?;
        if let Some(before) = self.cursor {
            ensure!(cursor.epoch == before.epoch, "{cursor} came after {before}: another epoch");
            let is_next = cursor > before || (cursor == before && !is_event);
            ensure!(is_next, "{cursor} came after {before}");
        }
        self.cursor = Some(cursor);
        is_event.then(|| self.count(&frame.data)).transpose()
    }

    fn count(&mut self, data: &str) -> anyhow::Result<usize> {
        let (topic, number) = topics::read(data)?;
        let index = topic.checked_sub(self.wanted.topics().start);
        let Some(seen) = index.and_then(|index| self.seen.get_mut(index)) else {
            bail!("an event of topic {topic} came, which was not asked for");
        };
        ensure!(number == *seen, "event {number} of topic {topic} came, not {seen}");
        *seen += 1;
        Ok(self.topics.number(topic, number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPICS: Topics = Topics { first: 0, count: 20 };

    fn progress() -> Progress {
        let cursor = "0000000a-40".parse().unwrap();
        Progress::after(TOPICS, Wanted::One(3), 40, Some(cursor))
    }

    fn frame(id: u64, event: &str, data: &str) -> Frame {
        let (event, data) = (event.into(), data.into());
        Frame { id: format!("0000000a-{id}"), event, data, retry: String::new() }
    }

    #[test]
    fn what_comes_in_order_is_all_there_is() {
        let mut progress = progress();
        assert_eq!(progress.take(&frame(40, "tidewire.hello", "{}")).unwrap(), None);
        assert_eq!(progress.take(&frame(44, "", "3 2 x")).unwrap(), Some(43));
        assert!(progress.has_all_of(60));
        assert!(progress.has_all_of(63), "event 63 is the next of this topic");
        assert!(!progress.has_all_of(64));
        assert_eq!(progress.take(&frame(60, "tidewire.cursor", "{}")).unwrap(), None);
        assert_eq!(progress.take(&frame(64, "", "3 3 x")).unwrap(), Some(63));
        assert!(progress.has_all_of(64));
    }

    #[test]
    fn every_planted_fault_is_noticed() {
        for (fault, planted) in [
            ("a hole", frame(64, "", "3 3 x")),
            ("a repeat", frame(24, "", "3 1 x")),
            ("the same id again", frame(40, "", "3 2 x")),
            ("a topic that was not asked for", frame(44, "", "4 2 x")),
            ("a gap", frame(44, "tidewire.gap", "{}")),
            ("an end", frame(44, "tidewire.retry", "{}")),
            ("a cursor that goes back", frame(39, "tidewire.cursor", "{}")),
            ("another life of the log", Frame { id: "0000000b-44".into(), ..frame(44, "", "3 2") }),
            ("data of somebody else", frame(44, "", "hello")),
        ] {
            assert!(progress().take(&planted).is_err(), "{fault}");
        }
    }
}
