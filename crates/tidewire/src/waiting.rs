//! A start that takes long says so: soon, when its reason changes, and now and then.

use std::time::Duration;

use tokio::time::Instant;

/// A start that takes no longer is not worth a word, nor is a reason that has just been replaced.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the same is said again.
const REMINDER_INTERVAL: Duration = Duration::from_secs(30);

pub(crate) struct Waiting {
    began: Instant,
    said: Option<(Instant, Vec<String>)>,
}

impl Waiting {
    pub(crate) fn begin() -> Self {
        Self { began: Instant::now(), said: None }
    }

    /// Whether what is missing now should be said, which is then taken for said.
    pub(crate) fn is_worth_a_word(&mut self, missing: &[String]) -> bool {
        let is_due = match &self.said {
            None => self.began.elapsed() >= PATIENCE,
            Some((at, said)) => {
                let interval = if said == missing { REMINDER_INTERVAL } else { PATIENCE };
                at.elapsed() >= interval
            }
        };
        if is_due {
            self.said = Some((Instant::now(), missing.to_vec()));
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn speaks_after_a_while_and_when_the_reason_changes_and_now_and_then() {
        let mut waiting = Waiting::begin();
        let mut said = Vec::new();
        for tenths in 0..=700 {
            let reason = if tenths < 50 { "not connected" } else { "no stream" };
            if waiting.is_worth_a_word(&[reason.into()]) {
                said.push((tenths, reason));
            }
            advance(Duration::from_millis(100)).await;
        }
        let (away, no_stream) = ("not connected", "no stream");
        assert_eq!(said, [(20, away), (50, no_stream), (350, no_stream), (650, no_stream)]);
    }

    #[tokio::test(start_paused = true)]
    async fn reasons_that_change_all_the_time_are_said_at_intervals() {
        let mut waiting = Waiting::begin();
        let mut said = 0;
        for tenths in 0..100 {
            said += usize::from(waiting.is_worth_a_word(&[tenths.to_string()]));
            advance(Duration::from_millis(100)).await;
        }
        assert_eq!(said, 4, "at 2, 4, 6 and 8 seconds");
    }
}
