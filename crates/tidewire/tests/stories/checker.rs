//! Knows every receipt, and judges what a subscriber saw.

use std::collections::HashSet;

use tidewire_client::Cursor;

/// An event as a subscriber saw it: the publisher's number, and where it stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) n: u64,
    pub(crate) cursor: Cursor,
}

/// What breaks the promise.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// There is a receipt for it, and it never came.
    Lost { n: u64 },
    /// It came more than once.
    Repeated { n: u64 },
    /// It came after one that stands behind it in the log.
    OutOfOrder { n: u64 },
    /// It came from another place in the log than its receipt says.
    Moved { n: u64 },
    /// Nobody published it, or not to this subscriber.
    Phantom { n: u64 },
}

/// What was published: `receipts[n]` is the place of event `n`, where a receipt came for it.
pub(crate) struct Truth {
    pub(crate) receipts: Vec<Option<Cursor>>,
}

impl Truth {
    /// Judges what a subscriber saw who wants the events for which `wants` holds: every receipt's
    /// event once, in order; what had no receipt at most once.
    pub(crate) fn judge(
        &self,
        wants: impl Fn(u64) -> bool,
        seen: &[Seen],
    ) -> Result<(), Violation> {
        let mut known = HashSet::new();
        let mut last: Option<Cursor> = None;
        for Seen { n, cursor } in seen.iter().copied() {
            let receipt = usize::try_from(n).ok().and_then(|n| self.receipts.get(n));
            match receipt {
                Some(receipt) if wants(n) => {
                    if receipt.is_some_and(|receipt| receipt != cursor) {
                        return Err(Violation::Moved { n });
                    }
                }
                _ => return Err(Violation::Phantom { n }),
            }
            if !known.insert(n) {
                return Err(Violation::Repeated { n });
            }
            if last.is_some_and(|last| cursor <= last) {
                return Err(Violation::OutOfOrder { n });
            }
            last = Some(cursor);
        }
        let receipts = (0_u64..).zip(&self.receipts);
        for (n, _) in receipts.filter(|(n, receipt)| receipt.is_some() && wants(*n)) {
            if !known.contains(&n) {
                return Err(Violation::Lost { n });
            }
        }
        Ok(())
    }
}
