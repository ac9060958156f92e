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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_then_how_many_there_were_in_a_minute() {
        let mut seldom = Seldom::new();
        let counted = [0, 1, 59, 60, 61, 500].map(|s| seldom.count(Duration::from_secs(s)));
        assert_eq!(counted, [Some(1), None, None, Some(3), None, Some(2)]);
    }
}
