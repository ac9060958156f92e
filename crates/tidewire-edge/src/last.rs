//! Where the last so many wanted events begin: searched for backwards, in memory and then in the log.
//!
//! The log is read in stretches, each before the one gone through already; a stretch itself is read
//! forwards, as the log can be. The longer nothing comes, the longer they get, up to a bound.

use std::collections::VecDeque;

use tidewire_core::{Bounds, Cursor, Interest, PageLimit, ReadError, Sequence, UnixMillis};
use tokio::task::yield_now;

use crate::{metrics, subscription::Shared};

/// How far behind the head is searched at most. Whoever asks for the last events of topics that are
/// hardly ever spoken of would otherwise have the whole log read, in which there may be none.
const SEARCHED_SEQUENCES_MAX: u64 = 1_048_576;
/// How many reads of the log one search may take: where events are large, a read gets through few
/// of them, and this comes first.
const READS_MAX: usize = 256;
/// The first stretch, unless more events are wanted: of large ones, few enough to read in vain.
const STRETCH_SEQUENCES_MIN: u64 = 64;
/// The longest stretch: what is read of one is of no use until all of it has been.
const STRETCH_SEQUENCES_MAX: u64 = 65_536;
/// A stretch that took no more reads than this is followed by a longer one.
const STRETCH_READS_FEW: usize = 4;
/// By how much longer.
const STRETCH_GROWTH: u64 = 4;
/// What one read may hold: all of it is let go at once, but for where it stood.
const PAGE: PageLimit = PageLimit { events: 1_024, bytes: 1024 * 1024 };

/// Finds the cursor after which the last so many wanted events stand, or all that were found.
///
/// # Errors
/// [`ReadError`] where the backbone must be asked and does not answer, or is made anew meanwhile.
pub(crate) async fn find(
    interest: &Interest,
    events: usize,
    shared: &Shared,
) -> Result<Cursor, ReadError> {
    let head = match shared.near_head() {
        Some(head) => head,
        None => shared.backbone.bounds().await?.head(),
    };
    let mut search = Search {
        interest,
        shared,
        head,
        missing: events,
        gone_through: head,
        start: head,
        reads_left: READS_MAX,
    };
    search.in_memory().await;
    if search.missing > 0 {
        search.in_log().await?;
    }
    Ok(search.start)
}

struct Search<'s> {
    interest: &'s Interest,
    shared: &'s Shared,
    head: Cursor,
    /// How many events are still to be found.
    missing: usize,
    /// Everything after this has been gone through.
    gone_through: Cursor,
    /// The place before the earliest event found.
    start: Cursor,
    reads_left: usize,
}

impl Search<'_> {
    async fn in_memory(&mut self) {
        let now = UnixMillis::now();
        loop {
            let entries = self.shared.fanout.before(self.gone_through);
            if entries.is_empty() {
                return;
            }
            for entry in entries {
                if entry.event().expires() > now && self.interest.wants(entry.topic()) {
                    self.found(entry.cursor().sequence);
                    if self.missing == 0 {
                        return;
                    }
                }
                self.gone_through = before(self.head, entry.cursor().sequence);
            }
            yield_now().await;
        }
    }

    async fn in_log(&mut self) -> Result<(), ReadError> {
        let mut stretch = STRETCH_SEQUENCES_MIN.max(self.missing as u64);
        while self.missing > 0 {
            let bounds = self.shared.backbone.bounds().await?;
            let Some(from) = self.stretch_start(stretch, &bounds)? else { return Ok(()) };
            let reads_before = self.reads_left;
            match self.read(from).await {
                Ok(Some(sequences)) => {
                    sequences.into_iter().rev().for_each(|sequence| self.found(sequence));
                    self.gone_through = from;
                }
                Ok(None) => {
                    metrics::count_last_search_ended_early();
                    return Ok(());
                }
                // Its beginning has left: what is left is a shorter stretch.
                Err(ReadError::Expired { .. }) => continue,
                Err(error) => return Err(error),
            }
            if reads_before - self.reads_left <= STRETCH_READS_FEW {
                stretch = (stretch * STRETCH_GROWTH).min(STRETCH_SEQUENCES_MAX);
            }
        }
        Ok(())
    }

    /// Where the next stretch begins; `None` where there is nothing more to search.
    fn stretch_start(&self, stretch: u64, bounds: &Bounds) -> Result<Option<Cursor>, ReadError> {
        if bounds.epoch != self.head.epoch {
            return Err(ReadError::ForeignEpoch { epoch: bounds.epoch });
        }
        let oldest = bounds.start().sequence.0;
        let searched = self.head.sequence.0.saturating_sub(SEARCHED_SEQUENCES_MAX);
        let end = self.gone_through.sequence.0;
        if end <= oldest {
            return Ok(None);
        }
        if end <= searched {
            metrics::count_last_search_ended_early();
            return Ok(None);
        }
        let start = end.saturating_sub(stretch).max(oldest).max(searched);
        Ok(Some(Cursor::new(self.head.epoch, Sequence(start))))
    }

    /// The last wanted events of the stretch between `from` and what has been gone through, as many
    /// as are missing; `None` where that would take more reads than are left.
    async fn read(&mut self, from: Cursor) -> Result<Option<VecDeque<Sequence>>, ReadError> {
        let end = self.gone_through.sequence;
        let mut after = from;
        let mut found = VecDeque::new();
        while after.sequence < end {
            if self.reads_left == 0 {
                return Ok(None);
            }
            self.reads_left -= 1;
            let page = {
                // One for each page, so that a search stands in no other's way.
                let _permit = self.shared.replays.permit().await;
                metrics::count_page_read();
                self.shared.backbone.read(self.interest, after, PAGE).await?
            };
            if page.next == after {
                return Err(ReadError::Unavailable("the log has less than its head says".into()));
            }
            after = page.next;
            let sequences = page.events.iter().map(|event| event.cursor.sequence);
            for sequence in sequences.take_while(|sequence| *sequence <= end) {
                found.push_back(sequence);
                if found.len() > self.missing {
                    found.pop_front();
                }
            }
        }
        Ok(Some(found))
    }

    /// Counts an event, the last one before those found already.
    fn found(&mut self, sequence: Sequence) {
        self.missing -= 1;
        self.start = before(self.head, sequence);
    }
}

/// The cursor before an event of the epoch of `head`.
fn before(head: Cursor, sequence: Sequence) -> Cursor {
    Cursor::new(head.epoch, sequence.previous())
}
