//! What an operator may ask an edge beside its metrics: who is slow, and what went wrong last.

use std::time::Duration;

use serde::{Serialize, Serializer};
use tidewire_core::UnixMillis;
use tokio::{sync::mpsc, time::timeout};

use crate::{plain::Sweepers, subscription::Shared};

/// How many of the slowest streams are named.
pub(crate) const SLOWEST_MAX: usize = 10;
/// How long the threads that hold streams at rest may take to say who is slow: they are asked between
/// two turns of their work.
const ANSWER_MAX: Duration = Duration::from_millis(500);

/// What an edge knows that is no number: a client's address is never a metric's label.
#[derive(Debug, Clone, Default, Serialize)]
pub struct EdgeStatus {
    /// The streams that are furthest behind, ten at most. The first is the furthest.
    pub slowest: Vec<SlowStream>,
    /// The last clients that were not served, twenty at most, newest first.
    pub refusals: Vec<RecentRefusal>,
    /// The last gaps that were announced, twenty at most, newest first.
    pub gaps: Vec<RecentGap>,
}

/// A stream that has not got all that is there for it.
#[derive(Debug, Clone, Serialize)]
pub struct SlowStream {
    /// The beginning of what the connection is called. The whole name is its client's alone.
    pub connection: String,
    /// The client as limits know it: an IPv4 address, or the network of an IPv6 address.
    pub client: Option<String>,
    /// How many topic filters it has asked for.
    pub filters: usize,
    /// What keeps it.
    pub state: SlowState,
    /// When it was handed something last.
    #[serde(serialize_with = "milliseconds")]
    pub since: UnixMillis,
    /// Events between it and the newest one.
    pub events: u64,
    /// Whether those are all events of the log, of which it may not want each.
    pub events_at_most: bool,
    /// How old the first event is that it has not got, in seconds.
    pub seconds: f64,
    /// Whether that event has left the memory of the edge: it is older than this.
    pub seconds_at_least: bool,
}

/// What keeps a stream from being where the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SlowState {
    /// Its client takes nothing now.
    Stalled,
    /// It reads on from the log, or from memory.
    Replaying,
}

/// A client that was not served.
#[derive(Debug, Clone, Serialize)]
pub struct RecentRefusal {
    /// When.
    #[serde(serialize_with = "milliseconds")]
    pub at: UnixMillis,
    /// As `tidewire_edge_connections_refused_total` spells it; beside those `bad_request` and
    /// `head_too_large`.
    pub reason: &'static str,
    /// The client, where it is known.
    pub client: Option<String>,
}

/// A gap that was announced.
#[derive(Debug, Clone, Serialize)]
pub struct RecentGap {
    /// When.
    #[serde(serialize_with = "milliseconds")]
    pub at: UnixMillis,
    /// As `tidewire_edge_gaps_total` spells it.
    pub reason: &'static str,
    /// The client, where the stream began with the gap.
    pub client: Option<String>,
}

/// Asks everybody who holds streams. Nothing is kept for this of a stream that has all.
pub(crate) async fn of(shared: &Shared) -> EdgeStatus {
    let mut slowest = shared.carried.slowest(&shared.fanout);
    slowest.extend(resting(shared.sweepers.get().and_then(|sweepers| sweepers.upgrade())).await);
    EdgeStatus {
        slowest: furthest(slowest),
        refusals: shared.notes.refusals(),
        gaps: shared.notes.gaps(),
    }
}

/// The slowest of each thread; of one that does not answer in time, none.
async fn resting(sweepers: Option<Sweepers>) -> Vec<SlowStream> {
    let Some(sweepers) = sweepers else { return Vec::new() };
    let (answer, mut answers) = mpsc::channel(sweepers.threads());
    sweepers.ask_slowest(&answer);
    drop((answer, sweepers));
    let mut slowest = Vec::new();
    let gathering = async {
        while let Some(some) = answers.recv().await {
            slowest.extend(some);
        }
    };
    let _late = timeout(ANSWER_MAX, gathering).await;
    slowest
}

/// Those that are furthest behind, in time and then in events.
fn furthest(mut streams: Vec<SlowStream>) -> Vec<SlowStream> {
    streams.sort_by(|one, other| {
        other.seconds.total_cmp(&one.seconds).then(other.events.cmp(&one.events))
    });
    streams.truncate(SLOWEST_MAX);
    streams
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it so")]
fn milliseconds<S: Serializer>(moment: &UnixMillis, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(moment.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behind(seconds: f64, events: u64) -> SlowStream {
        SlowStream {
            connection: String::new(),
            client: None,
            filters: 1,
            state: SlowState::Stalled,
            since: UnixMillis(0),
            events,
            events_at_most: true,
            seconds,
            seconds_at_least: false,
        }
    }

    #[test]
    fn ten_are_named_and_the_furthest_behind_comes_first() {
        let streams = (0_u8..20).map(|n| behind(f64::from(n % 5), n.into())).collect();
        let named = furthest(streams);
        let named: Vec<_> = named.iter().map(|one| (one.seconds, one.events)).collect();
        assert_eq!(named.len(), SLOWEST_MAX);
        assert_eq!(named[..4], [(4.0, 19), (4.0, 14), (4.0, 9), (4.0, 4)]);
        assert_eq!(named[9], (2.0, 12));
    }
}
