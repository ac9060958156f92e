//! The status page of one process, and what it shows: for whoever has no dashboard at hand.
//!
//! What is a metric is read from the metrics as they are scraped, so that the page and a dashboard never
//! disagree. What is none, such as who is slow, the edge is asked for.

use std::{
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tidewire_edge::{Edge, EdgeStatus};
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{
    readiness::Readiness,
    status::{past::Past, report::Report, samples::Samples, totals::Totals},
    telemetry::Metrics,
};

mod past;
mod quantiles;
mod report;
mod routes;
mod samples;
mod totals;

pub(crate) use routes::router;

/// How often viewers get a report.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Of so many seconds, the counters are looked at in one where nobody views them: the first report that
/// somebody gets has rates and a last minute too.
const SECONDS_UNSEEN: u64 = 5;
/// Who may view the page at once. All get the same reports; each is a connection.
const VIEWERS_MAX: usize = 16;

/// Makes reports of this process. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Status(Arc<State>);

struct State {
    role: &'static str,
    started: Instant,
    readiness: Arc<Readiness>,
    metrics: Metrics,
    edge: OnceLock<Weak<Edge>>,
    past: Mutex<Past>,
    viewers: Arc<Semaphore>,
    /// What all viewers get, as JSON.
    reports: watch::Sender<Arc<str>>,
}

impl Status {
    pub(crate) fn new(role: &'static str, readiness: Arc<Readiness>, metrics: Metrics) -> Self {
        Self(Arc::new(State {
            role,
            started: Instant::now(),
            readiness,
            metrics,
            edge: OnceLock::new(),
            past: Mutex::default(),
            viewers: Arc::new(Semaphore::new(VIEWERS_MAX)),
            reports: watch::Sender::new("".into()),
        }))
    }

    /// Asks an edge too, from now on, for as long as it is there.
    pub(crate) fn ask(&self, edge: &Arc<Edge>) {
        let _asked_before = self.0.edge.set(Arc::downgrade(edge));
    }

    /// Looks at the counters now and then, and makes reports while somebody views them, until it is
    /// told to stop.
    pub(crate) async fn keep_up(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut ticks = interval(REPORT_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seconds = 0_u64;
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let is_seen = self.0.reports.receiver_count() > 0;
            if is_seen || seconds.is_multiple_of(SECONDS_UNSEEN) {
                let samples = self.samples();
                self.0.past.lock().note(Instant::now(), Totals::of(&samples));
                if is_seen {
                    let report = self.report(&samples).await;
                    self.0.reports.send_replace(report.to_json().into());
                }
            }
            seconds += 1;
        }
        Ok(())
    }

    /// How the process is now.
    pub(crate) async fn now(&self) -> String {
        self.report(&self.samples()).await.to_json()
    }

    fn samples(&self) -> Samples {
        Samples::parse(&self.0.metrics.render().unwrap_or_default())
    }

    async fn report(&self, samples: &Samples) -> Report {
        let edge = self.0.edge.get().and_then(Weak::upgrade);
        let edge = match edge {
            Some(edge) => edge.status().await,
            None => EdgeStatus::default(),
        };
        let course = self.0.past.lock().until(Instant::now(), &Totals::of(samples));
        let missing = self.0.readiness.missing();
        Report::new(self.0.role, self.0.started.elapsed(), missing, samples, &course, edge)
    }
}
