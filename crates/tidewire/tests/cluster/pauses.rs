//! The longest time between two things that happen again and again.

use std::time::Duration;

use tokio::time::Instant;

#[derive(Debug, Default)]
pub(crate) struct Pauses {
    last: Option<Instant>,
    pub(crate) longest: Duration,
}

impl Pauses {
    /// It has happened now.
    pub(crate) fn mark(&mut self) {
        let now = Instant::now();
        if let Some(last) = self.last.replace(now) {
            self.longest = self.longest.max(now - last);
        }
    }
}
