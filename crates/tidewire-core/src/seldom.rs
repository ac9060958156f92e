//! How often it is worth a line of the log that something happens again and again.

use std::time::Duration;

/// The least time between two lines of one kind.
const INTERVAL: Duration = Duration::from_secs(60);

/// Counts what happens again and again, and says when it is to be told: the first at once, then at
/// most once in a minute, with how many there were since.
#[derive(Debug, Default)]
pub struct Seldom {
    told_at: Option<Duration>,
    untold: u64,
}

impl Seldom {
    /// One that has told nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { told_at: None, untold: 0 }
    }

    /// Counts one. `now` is the time since any fixed moment. Where it is to be told now, the answer is
    /// how many were counted since the last time, this one included.
    pub fn count(&mut self, now: Duration) -> Option<u64> {
        self.untold += 1;
        let is_due = self.told_at.is_none_or(|told_at| now.saturating_sub(told_at) >= INTERVAL);
        is_due.then(|| {
            self.told_at = Some(now);
            std::mem::take(&mut self.untold)
        })
    }
}

/// The same for several kinds, which are few and known.
#[derive(Debug, Default)]
pub struct SeldomEach(Vec<(&'static str, Seldom)>);

impl SeldomEach {
    /// None of which anything has been told.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Counts one of a kind, as [`Seldom::count`] does.
    pub fn count(&mut self, kind: &'static str, now: Duration) -> Option<u64> {
        let at = self.0.iter().position(|(known, _)| *known == kind).unwrap_or_else(|| {
            self.0.push((kind, Seldom::new()));
            self.0.len() - 1
        });
        self.0[at].1.count(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_then_how_many_there_were_in_a_minute() {
        let mut seldom = Seldom::new();
        let counted = [0, 1, 59, 60, 61, 500].map(|s| seldom.count(Duration::from_secs(s)));
        assert_eq!(counted, [Some(1), None, None, Some(3), None, Some(2)]);
    }

    #[test]
    fn each_kind_is_told_by_itself() {
        let mut seldom = SeldomEach::new();
        let counted = [("a", 0), ("b", 1), ("a", 2), ("b", 61), ("a", 62)];
        let counted = counted.map(|(kind, s)| seldom.count(kind, Duration::from_secs(s)));
        assert_eq!(counted, [Some(1), Some(1), None, Some(1), Some(2)]);
    }
}
