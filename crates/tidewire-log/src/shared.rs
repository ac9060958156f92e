//! What the writer and the readers share: the segments, the head, the topics.

use std::{
    collections::VecDeque,
    error::Error,
    sync::{Arc, OnceLock},
};

use parking_lot::RwLock;
use tidewire_core::{Bounds, Epoch, ReadError, Sequence};

use crate::{segment::Segment, topics::Topics};

/// The log as it can be read now. Only the writer changes it; every lock is held briefly.
pub(crate) struct Shared {
    pub(crate) epoch: Epoch,
    /// The last event of every topic. It never knows more than `view`.
    pub(crate) topics: RwLock<Topics>,
    view: RwLock<View>,
    failure: OnceLock<String>,
}

struct View {
    /// In order, never none; the last one is being written to.
    segments: VecDeque<Arc<Segment>>,
    /// The last event that is synced: nothing after it is ever handed out.
    head: Sequence,
}

impl Shared {
    pub(crate) fn new(
        epoch: Epoch,
        segments: VecDeque<Arc<Segment>>,
        head: Sequence,
        topics: Topics,
    ) -> Self {
        let (view, topics) = (RwLock::new(View { segments, head }), RwLock::new(topics));
        Self { epoch, topics, view, failure: OnceLock::new() }
    }

    /// The ends of what is retained.
    pub(crate) fn bounds(&self) -> Bounds {
        let view = self.view.read();
        let next = view.head.next();
        let oldest = view.segments.front().map_or(next, |segment| segment.base);
        Bounds { epoch: self.epoch, oldest, head: view.head }
    }

    /// The segment in which `sequence` stands or will stand; `None` where it has left.
    pub(crate) fn segment_of(&self, sequence: Sequence) -> Option<Arc<Segment>> {
        let view = self.view.read();
        let after = view.segments.partition_point(|segment| segment.base <= sequence);
        after.checked_sub(1).map(|at| view.segments[at].clone())
    }

    /// All segments now, in order.
    pub(crate) fn segments(&self) -> Vec<Arc<Segment>> {
        self.view.read().segments.iter().cloned().collect()
    }

    /// The oldest segment, unless it is the one being written to.
    pub(crate) fn oldest_finished(&self) -> Option<Arc<Segment>> {
        let view = self.view.read();
        view.segments.front().filter(|_| view.segments.len() > 1).cloned()
    }

    /// How many segments there are.
    pub(crate) fn segment_count(&self) -> usize {
        self.view.read().segments.len()
    }

    /// For the writer: shows readers more of the log.
    pub(crate) fn set_head(&self, head: Sequence) {
        self.view.write().head = head;
    }

    /// For the writer: from now on it writes to this one.
    pub(crate) fn push_segment(&self, segment: Arc<Segment>) {
        self.view.write().segments.push_back(segment);
    }

    /// For the writer: the oldest segment has left. Who reads it still holds its file.
    pub(crate) fn pop_segment(&self) {
        self.view.write().segments.pop_front();
        let oldest = self.bounds().oldest;
        self.topics.write().forget_before(oldest);
    }

    /// For the writer: the log is of no use until it is opened again.
    pub(crate) fn fail(&self, reason: String) {
        // The first reason is the one that explains the later ones.
        let _ = self.failure.set(reason);
    }

    /// Why the log is of no use, if it is not.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// Refuses to read a log that has failed.
    pub(crate) fn check_alive(&self) -> Result<(), ReadError> {
        self.failure().map_or(Ok(()), |reason| Err(unavailable(reason)))
    }
}

/// A read that cannot be answered.
pub(crate) fn unavailable(reason: impl Into<Box<dyn Error + Send + Sync>>) -> ReadError {
    ReadError::Unavailable(reason.into())
}
