//! What an edge shows of its state, looked at every second: how far its window reaches, how far its
//! tail is behind the log, and how far a drain has come.

use std::{convert::Infallible, time::Duration};

use tidewire_core::{Bounds, Cursor};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::{metrics, subscription::Shared};

const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How many looks there are for each question where the log ends: on NATS that is a request.
const LOOKS_PER_QUESTION: u32 = 5;
/// How long an answer is waited for.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Keeps the gauges for as long as it is polled.
pub(crate) async fn keep(shared: &Shared) -> Infallible {
    let mut looks = interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut lag = TailLag::default();
    let mut until_question = 0;
    loop {
        looks.tick().await;
        if until_question == 0 {
            until_question = LOOKS_PER_QUESTION;
            // Without an answer, what was known last stays: whether NATS is there is told elsewhere.
            if let Ok(Ok(bounds)) = timeout(ANSWER_MAX, shared.backbone.bounds()).await {
                lag.asked = Some(bounds);
            }
        }
        until_question -= 1;
        let (events, seconds) = lag.look(shared.fanout.head(), Instant::now());
        metrics::set_tail_lag(events, seconds);
        metrics::set_window_reach(shared.fanout.window_reach());
        metrics::set_drain(shared.drain.progress());
    }
}

/// How far the tail is behind what the log said.
#[derive(Debug, Default)]
struct TailLag {
    /// What the log has said last.
    asked: Option<Bounds>,
    /// The event that the window has been without for the longest time, and since when that is known.
    missing: Option<(Cursor, Instant)>,
}

impl TailLag {
    /// How many events the tail is behind, and for how long it has been. Before it has found its place,
    /// it is not behind, but not there.
    fn look(&mut self, reached: Option<Cursor>, now: Instant) -> (u64, Duration) {
        let (Some(reached), Some(bounds)) = (reached, &self.asked) else {
            return (0, Duration::ZERO);
        };
        let events = if reached.epoch == bounds.epoch {
            bounds.head.0.saturating_sub(reached.sequence.0)
        } else {
            // Another log than the one that it follows: all of that is new to it.
            bounds.head.0.saturating_sub(bounds.start().sequence.0)
        };
        let is_reached = |(missing, _): &(Cursor, Instant)| {
            missing.epoch == reached.epoch && missing.sequence <= reached.sequence
        };
        self.missing = self.missing.filter(|missing| !is_reached(missing));
        if events > 0 {
            let (_, since) = *self.missing.get_or_insert_with(|| (bounds.head(), now));
            return (events, now - since);
        }
        self.missing = None;
        (0, Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use tidewire_core::{Epoch, Sequence};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn bounds(epoch: u32, head: u64) -> Option<Bounds> {
        Some(Bounds { epoch: Epoch(epoch), oldest: Sequence(1), head: Sequence(head) })
    }

    fn at(epoch: u32, sequence: u64) -> Option<Cursor> {
        Some(Cursor::new(Epoch(epoch), Sequence(sequence)))
    }

    #[test]
    fn a_tail_lags_for_as_long_as_it_has_not_had_what_the_log_is_known_to_hold() {
        let now = Instant::now();
        let mut lag = TailLag::default();
        assert_eq!(lag.look(at(1, 7), now), (0, Duration::ZERO), "nobody has asked");
        lag.asked = bounds(1, 10);
        assert_eq!(lag.look(None, now), (0, Duration::ZERO), "there is no tail yet");
        assert_eq!(lag.look(at(1, 7), now), (3, Duration::ZERO));
        assert_eq!(lag.look(at(1, 9), now + SECOND), (1, SECOND));
        // It goes on, and so does the log: the next one that it lacks is another.
        lag.asked = bounds(1, 20);
        assert_eq!(lag.look(at(1, 10), now + 2 * SECOND), (10, Duration::ZERO));
        assert_eq!(lag.look(at(1, 10), now + 5 * SECOND), (10, 3 * SECOND));
        assert_eq!(lag.look(at(1, 25), now + 6 * SECOND), (0, Duration::ZERO), "it is ahead");
    }

    #[test]
    fn a_tail_of_another_epoch_lacks_all_of_the_log() {
        let now = Instant::now();
        let mut lag = TailLag { asked: bounds(2, 4), missing: None };
        assert_eq!(lag.look(at(1, 900), now), (4, Duration::ZERO));
        assert_eq!(lag.look(at(1, 900), now + SECOND), (4, SECOND));
        assert_eq!(lag.look(at(2, 4), now + SECOND), (0, Duration::ZERO));
        lag.asked = bounds(2, 0);
        assert_eq!(lag.look(at(1, 900), now), (0, Duration::ZERO), "an empty one has nothing");
    }
}
