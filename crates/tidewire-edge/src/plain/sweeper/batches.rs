//! What one feed has for streams that stand at the same place, made once for all of them.

use std::sync::Arc;

use bytes::Bytes;
use tidewire_core::Cursor;

use crate::{
    feed::{Batch, Behind, Feed},
    plain::chunk,
};

/// Batches of one feed that are kept while its streams are looked at. Nearly all of them stand at one
/// position.
const BATCHES_MAX: usize = 8;

/// What one feed has behind some positions, as it is sent: made once for all who stand there.
pub(super) struct Batches {
    feed: Arc<Feed>,
    made: Vec<(Cursor, Option<(Batch, Bytes)>)>,
}

impl Batches {
    pub(super) fn of(feed: &Arc<Feed>) -> Self {
        Self { feed: Arc::clone(feed), made: Vec::new() }
    }

    /// What the feed has next behind a position, if anything.
    pub(super) fn behind(&mut self, position: Cursor) -> Result<Option<&(Batch, Bytes)>, Behind> {
        let made = self.made.iter().position(|(of, _)| *of == position);
        let index = match made {
            Some(index) => index,
            None => {
                let batch = self.feed.pending(position)?.map(framed);
                if self.made.len() == BATCHES_MAX {
                    self.made.clear();
                }
                self.made.push((position, batch));
                self.made.len() - 1
            }
        };
        Ok(self.made[index].1.as_ref())
    }
}

fn framed(batch: Batch) -> (Batch, Bytes) {
    let framed = chunk::of(&batch.coded.bytes).into();
    (batch, framed)
}
