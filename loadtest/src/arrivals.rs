//! When events came to their subscribers, and how long they had been under way.

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{latency::Latencies, source::Source};

/// The number of each event that came, and when, for all subscribers together.
#[derive(Debug, Default)]
pub(crate) struct Arrivals(Mutex<Vec<(usize, Instant)>>);

impl Arrivals {
    /// The event of this number has come to a subscriber.
    pub(crate) fn take(&self, number: usize) {
        self.0.lock().push((number, Instant::now()));
    }

    /// How long each had been under way that was handed in to this source from a moment on.
    pub(crate) fn latencies(&self, source: &Source, from: Instant) -> Latencies {
        let mut latencies = Latencies::default();
        for (number, came) in self.0.lock().iter() {
            let handed_in = source.handed_in(*number);
            if let Some(handed_in) = handed_in.filter(|handed_in| *handed_in >= from) {
                latencies.take(came.duration_since(handed_in));
            }
        }
        latencies
    }
}
