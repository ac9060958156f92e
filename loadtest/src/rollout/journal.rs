//! What became of all clients' connections: how they ended, how many came back at once, and how
//! long they were away.

use std::{collections::BTreeMap, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{latency::Latencies, output};

/// Kept by all clients together.
#[derive(Debug, Default)]
pub(super) struct Journal(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    ends: Vec<Instant>,
    returns: Vec<Instant>,
    away: Latencies,
    /// By what happened, in words.
    happened: BTreeMap<String, usize>,
}

impl Journal {
    /// A stream has ended.
    pub(super) fn ended(&self, how: &str) {
        let mut kept = self.0.lock();
        kept.ends.push(Instant::now());
        kept.count(format!("streams ended, {how}"));
    }

    /// A client whose stream has ended has a connection again, whatever will be answered on it.
    pub(super) fn returned(&self) {
        self.0.lock().returns.push(Instant::now());
    }

    /// A client that was away for so long has a stream again.
    pub(super) fn back_after(&self, away: Duration) {
        self.0.lock().away.take(away);
    }

    /// A client was not let in.
    pub(super) fn refused(&self, how: &str) {
        self.0.lock().count(format!("refused, {how}"));
    }

    /// Begins anew.
    pub(super) fn forget(&self) {
        *self.0.lock() = Kept::default();
    }

    /// Says all that; says the most that came back in one second.
    pub(super) fn print(&self) -> usize {
        let mut kept = self.0.lock();
        let ends_most = most_in_a_second(&mut kept.ends);
        let returns_most = most_in_a_second(&mut kept.returns);
        output::line(format!(
            "in any one second at most {ends_most} streams ended, and {returns_most} came back"
        ));
        let away = [50, 99, 100].map(|percent| kept.away.percentile(percent).as_secs_f64());
        output::line(format!(
            "away {} times: p50 {:.2} s, p99 {:.2} s, at most {:.2} s",
            kept.away.count(),
            away[0],
            away[1],
            away[2]
        ));
        for (what, times) in &kept.happened {
            output::line(format!("{what}: {times}"));
        }
        if !kept.happened.keys().any(|what| what.starts_with("refused")) {
            output::line("refused: 0");
        }
        returns_most
    }
}

impl Kept {
    fn count(&mut self, what: String) {
        *self.happened.entry(what).or_default() += 1;
    }
}

/// How many of these moments lie within one second at most, wherever that second begins.
fn most_in_a_second(moments: &mut [Instant]) -> usize {
    moments.sort_unstable();
    let mut first = 0;
    let mut most = 0;
    for (last, moment) in moments.iter().enumerate() {
        while *moment - moments[first] >= Duration::from_secs(1) {
            first += 1;
        }
        most = most.max(last + 1 - first);
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_second_is_found_wherever_it_begins() {
        let now = Instant::now();
        for (milliseconds, most) in [
            (&[][..], 0),
            (&[5_000], 1),
            (&[0, 1_000, 2_000], 1),
            (&[0, 999, 1_000], 2),
            (&[2_400, 100, 1_000, 1_100, 1_899, 1_900], 4),
            (&[7, 7, 7, 1_007], 3),
        ] {
            let moments = milliseconds.iter().map(|at| now + Duration::from_millis(*at));
            assert_eq!(
                most_in_a_second(&mut moments.collect::<Vec<_>>()),
                most,
                "{milliseconds:?}"
            );
        }
    }
}
