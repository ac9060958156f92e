//! What everything that reads shares.

use std::sync::Arc;

use tidewire_core::{Epoch, Event};
use tokio::sync::Semaphore;

use crate::{
    api::Api, blocks::Blocks, kept_open::KeptOpen, known::Asker, metrics, regions::Regions,
    stored::Stored, subject::Subjects,
};

/// Places that are open at once for pages. A thousand unbounded ones took publishers' p99 from
/// 1 ms to some seconds and the server to gigabytes; sixteen at a time took the same total time.
const READS_MAX: usize = 16;

pub(crate) struct Shared {
    pub(crate) api: Api,
    pub(crate) subjects: Subjects,
    pub(crate) known: Arc<Asker>,
    pub(crate) reads: Semaphore,
    pub(crate) blocks: Blocks,
    pub(crate) kept_open: KeptOpen,
    pub(crate) regions: Regions,
}

impl Shared {
    pub(crate) fn new(api: Api, known: Arc<Asker>) -> Self {
        Self {
            subjects: Subjects::of(api.stream()),
            api,
            known,
            reads: Semaphore::new(READS_MAX),
            blocks: Blocks::default(),
            kept_open: KeptOpen::default(),
            regions: Regions::default(),
        }
    }

    /// What is stored, as an event; `None`, and counted, where it is none.
    pub(crate) fn event(&self, stored: Option<Stored>, epoch: Epoch) -> Option<Event> {
        let event = stored.and_then(|stored| stored.event(epoch, &self.subjects));
        if event.is_none() {
            metrics::count_unreadable();
        }
        event
    }
}
