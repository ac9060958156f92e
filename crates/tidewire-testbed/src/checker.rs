//! Knows every receipt, and judges what a subscriber saw.

use std::collections::HashSet;

use tidewire_core::Cursor;

/// An event as a subscriber saw it: the publisher's number, and where it stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The publisher's number of it, from 0.
    pub n: u64,
    /// The cursor that came with it.
    pub cursor: Cursor,
}

/// What breaks the promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// There is a receipt for it, and it never came.
    Lost {
        /// The publisher's number of it.
        n: u64,
    },
    /// It came more than once.
    Repeated {
        /// The publisher's number of it.
        n: u64,
    },
    /// It came after one that stands behind it in the log.
    OutOfOrder {
        /// The publisher's number of it.
        n: u64,
    },
    /// It came from another place in the log than its receipt says.
    Moved {
        /// The publisher's number of it.
        n: u64,
    },
    /// Nobody published it, or not to this subscriber.
    Phantom {
        /// The number that came.
        n: u64,
    },
}

/// What was published: `receipts[n]` is the place of event `n`, where a receipt came for it.
#[derive(Debug, Clone, Default)]
pub struct Truth {
    /// One for each event that was sent, in the order of their numbers.
    pub receipts: Vec<Option<Cursor>>,
}

impl Truth {
    /// Judges what a subscriber saw who wants the events for which `wants` holds: every receipt's
    /// event once, in order; what had no receipt at most once.
    ///
    /// # Errors
    ///
    /// The first violation: what came is looked at in its order, then what did not come.
    pub fn judge(&self, wants: impl Fn(u64) -> bool, seen: &[Seen]) -> Result<(), Violation> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(sequence: u64) -> Cursor {
        format!("5f3a91c2-{sequence}").parse().unwrap()
    }

    fn seen(pairs: &[(u64, u64)]) -> Vec<Seen> {
        pairs.iter().map(|(n, sequence)| Seen { n: *n, cursor: at(*sequence) }).collect()
    }

    #[test]
    fn every_kind_of_violation_is_seen() {
        // Event 2 got no receipt: it may have been stored, or not.
        let truth = Truth { receipts: vec![Some(at(1)), Some(at(2)), None, Some(at(4))] };
        let even = |n: u64| n.is_multiple_of(2);
        let all = |_| true;
        assert_eq!(truth.judge(all, &seen(&[(0, 1), (1, 2), (2, 3), (3, 4)])), Ok(()));
        assert_eq!(truth.judge(all, &seen(&[(0, 1), (1, 2), (3, 4)])), Ok(()));
        assert_eq!(truth.judge(even, &seen(&[(0, 1)])), Ok(()));
        for (came, violation) in [
            (&[(0, 1), (3, 4)][..], Violation::Lost { n: 1 }),
            (&[(0, 1), (1, 2)], Violation::Lost { n: 3 }),
            (&[(0, 1), (1, 2), (1, 2), (3, 4)], Violation::Repeated { n: 1 }),
            (&[(0, 1), (1, 2), (2, 3), (2, 5), (3, 4)], Violation::Repeated { n: 2 }),
            (&[(1, 2), (0, 1), (3, 4)], Violation::OutOfOrder { n: 0 }),
            (&[(0, 1), (1, 3), (3, 4)], Violation::Moved { n: 1 }),
            (&[(0, 1), (1, 2), (3, 4), (4, 5)], Violation::Phantom { n: 4 }),
        ] {
            assert_eq!(truth.judge(all, &seen(came)), Err(violation));
        }
        assert_eq!(truth.judge(even, &seen(&[(1, 2)])), Err(Violation::Phantom { n: 1 }));
    }
}
