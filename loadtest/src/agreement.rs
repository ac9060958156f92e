//! Whether the time that the hub says its deliveries took is what its clients saw.
//!
//! The two are not the same time. A client's begins when the event was due, and ends when the client has
//! read it. The hub's begins when the log has taken the event, cut to a millisecond, and ends at the end
//! of the sweep in which it is handed to the socket. So they are compared by the hub's own buckets, and
//! may be one bucket apart; how many deliveries there were must be the same.

use std::{fmt, time::Duration};

use anyhow::Context;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::{
    results::Target,
    server::Server,
    session::{Phase, Turn},
};

const BUCKET: &str = "tidewire_edge_delivery_latency_seconds_bucket{le=\"";
/// How long the hub may take to count what its clients have read already: it does so once a sweep.
const PATIENCE: Duration = Duration::from_secs(2);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// How many buckets the two may be apart.
const APART_MAX: f64 = 1.0;

/// What a hub has counted since its start: deliveries that took at most so many seconds, by the upper
/// bounds of the buckets.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Counted(Vec<(f64, u64)>);

/// What a hub tells of one phase.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Told {
    pub(crate) deliveries: u64,
    pub(crate) p50: Bucket,
    pub(crate) p99: Bucket,
}

/// Where a quantile lies, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Bucket {
    above: f64,
    until: f64,
    /// How many buckets away the clients' figure is.
    apart: usize,
}

impl Counted {
    /// What this server has counted, where it is a hub that counts.
    pub(crate) async fn by(server: &Server) -> Option<Self> {
        Some(Self::parse(&server.metrics().await?))
    }

    /// What it has counted since, in a phase that is over.
    pub(crate) async fn since(self, server: &Server, phase: &Phase) -> anyhow::Result<Told> {
        let over = Instant::now();
        loop {
            let now = Self::by(server).await.context("a hub's metrics")?;
            let counted = now.without(&self);
            if counted.total() >= phase.deliveries || over.elapsed() > PATIENCE {
                return Ok(counted.told(phase.p50_ms, phase.p99_ms));
            }
            sleep(LOOK_INTERVAL).await;
        }
    }

    fn parse(metrics: &str) -> Self {
        let buckets = metrics.lines().filter_map(|line| {
            let (bound, count) = line.strip_prefix(BUCKET)?.split_once("\"} ")?;
            Some((bound.parse().ok()?, count.parse().ok()?))
        });
        Self(buckets.collect())
    }

    fn without(mut self, before: &Self) -> Self {
        for ((_, count), (_, before)) in self.0.iter_mut().zip(&before.0) {
            *count -= before;
        }
        self
    }

    fn total(&self) -> u64 {
        self.0.last().map_or(0, |(_, count)| *count)
    }

    fn told(&self, p50_ms: f64, p99_ms: f64) -> Told {
        let bucket = |percent: u64, clients_ms: f64| {
            let wanted = (self.total() * percent).div_ceil(100).max(1);
            let ours = self.0.partition_point(|(_, count)| *count < wanted);
            let theirs = self.0.partition_point(|(bound, _)| bound * 1e3 < clients_ms);
            let bound = |at: usize| self.0.get(at).map_or(f64::INFINITY, |(bound, _)| bound * 1e3);
            let above = ours.checked_sub(1).map_or(0.0, bound);
            Bucket { above, until: bound(ours), apart: ours.abs_diff(theirs) }
        };
        let (p50, p99) = (bucket(50, p50_ms), bucket(99, p99_ms));
        Told { deliveries: self.total(), p50, p99 }
    }
}

/// For all phases in which a hub told how long its deliveries took: how far apart it and its clients
/// were at most.
pub(crate) fn targets(turns: &[Turn]) -> Vec<Target> {
    let told = || turns.iter().flat_map(|turn| &turn.phases).filter_map(|phase| phase.told);
    let target = |name: &str, apart: fn(Told) -> usize| {
        let figure = format!("{name} of deliveries by the hub's metric, and by its clients: apart");
        // There are some twenty.
        let apart = told().map(apart).max()?;
        Some(Target::most(&figure, "buckets", u32::try_from(apart).ok().map(f64::from), APART_MAX))
    };
    let targets = [target("p50", |told| told.p50.apart), target("p99", |told| told.p99.apart)];
    targets.into_iter().flatten().collect()
}

impl fmt::Display for Told {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { deliveries, p50, p99 } = self;
        write!(out, "the hub: p50 {p50}, p99 {p99} ms of {deliveries}")
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:.0} to {:.0}", self.above, self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "tidewire_edge_delivery_latency_seconds_bucket{le=\"0.001\"} 10\n\
                          tidewire_edge_delivery_latency_seconds_bucket{le=\"0.01\"} 10\n\
                          tidewire_edge_delivery_latency_seconds_bucket{le=\"0.05\"} 10\n\
                          tidewire_edge_delivery_latency_seconds_bucket{le=\"+Inf\"} 10\n\
                          tidewire_edge_delivery_latency_seconds_sum 0.01\n\
                          tidewire_edge_delivery_latency_seconds_count 10\n";

    fn told(p50_ms: f64, p99_ms: f64) -> Told {
        let after = BEFORE
            .replace("0.01\"} 10", "0.01\"} 70")
            .replace("0.05\"} 10", "0.05\"} 108")
            .replace("Inf\"} 10", "Inf\"} 110");
        Counted::parse(&after).without(&Counted::parse(BEFORE)).told(p50_ms, p99_ms)
    }

    #[test]
    fn a_quantile_lies_in_the_bucket_that_has_it_in_this_phase() {
        let told = told(5.0, 60.0);
        assert_eq!(told.deliveries, 100);
        assert_eq!(told.p50, Bucket { above: 1.0, until: 10.0, apart: 0 });
        assert_eq!(told.p99, Bucket { above: 50.0, until: f64::INFINITY, apart: 0 });
        assert_eq!(told.to_string(), "the hub: p50 1 to 10, p99 50 to inf ms of 100");
    }

    #[test]
    fn how_far_apart_two_figures_are_is_counted_in_buckets() {
        for (p50_ms, apart) in [(0.9, 1), (1.0, 1), (1.1, 0), (10.0, 0), (10.1, 1), (51.0, 2)] {
            assert_eq!(told(p50_ms, 60.0).p50.apart, apart, "{p50_ms}");
        }
        assert_eq!(told(5.0, 9.0).p99.apart, 2);
    }

    #[test]
    fn a_hub_that_has_delivered_nothing_tells_of_nothing() {
        let before = Counted::parse(BEFORE);
        assert_eq!(before.clone().without(&before).told(0.0, 0.0).deliveries, 0);
        assert_eq!(Counted::parse("").told(1.0, 1.0).deliveries, 0);
    }
}
