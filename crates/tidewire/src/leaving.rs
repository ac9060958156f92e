//! How a process that serves leaves: in steps, each with a bound, and all told beforehand.

use std::time::{Duration, SystemTime};

use metrics::{describe_gauge, gauge};
use tidewire_edge::{DrainPlan, Edge};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    backbone::{self, OpenBackbone},
    process,
    services::Services,
    settings::units::as_duration,
    shutdown::Shutdown,
};

/// How long streams and connections may take to end, once all of them shall; where events are
/// published, beside the time for which a publish may wait for its receipt.
const SERVICES_END_MAX: Duration = Duration::from_secs(7);

/// Which part of its end a process is in. The metric's values are these, in this order.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// It serves, and has not been asked to leave.
    Serving,
    /// It is not ready any more, and serves as before: not everybody knows it yet.
    Announced,
    /// Its streams end one after the other, and it takes nothing new.
    Draining,
    /// What is left ends at once.
    Ending,
}

/// Names and explains what is told of an end.
pub(crate) fn describe_metrics() {
    describe_gauge!(
        "tidewire_drain_state",
        "0 while the process serves, 1 once it has been asked to leave and is not ready any more, 2 \
         while its streams end, 3 while what is left ends at once"
    );
    describe_gauge!(
        "tidewire_drain_deadline_timestamp_seconds",
        "When the process will have ended at the latest, as a Unix time; 0 until it is asked to leave"
    );
    tell(Step::Serving);
    gauge!("tidewire_drain_deadline_timestamp_seconds").set(0.0);
}

fn tell(step: Step) {
    gauge!("tidewire_drain_state").set(f64::from(step as u8));
}

/// What leaves, and how.
pub(crate) struct Leaving<'a> {
    /// How long it goes on serving after it has said that it is not ready any more.
    pub(crate) delay: Duration,
    /// How long a publish may wait for its receipt; nothing where none is taken.
    pub(crate) publish_timeout: Duration,
    /// How long the last spans may take to leave.
    pub(crate) flush_max: Duration,
    pub(crate) edge: Option<&'a Edge>,
    pub(crate) shutdown: &'a Shutdown,
    /// Cancelled when nothing is published any more.
    pub(crate) publishing_ends: CancellationToken,
    /// Cancelled when everything that is left ends.
    pub(crate) all_ends: CancellationToken,
}

impl Leaving<'_> {
    /// Takes the steps one after the other, the waits between them only as long as nobody hurries
    /// and the backbone can be used.
    ///
    /// # Errors
    /// What has failed, or has not ended in its time.
    pub(crate) async fn run(self, open: &OpenBackbone, services: Services) -> anyhow::Result<()> {
        self.tell_until_when();
        let waits = async {
            tell(Step::Announced);
            sleep(self.delay).await;
            tell(Step::Draining);
            info!("draining: nothing new is taken, and streams end one after the other");
            self.publishing_ends.cancel();
            if let Some(edge) = self.edge {
                edge.drain();
                edge.drained().await;
            }
            Ok(())
        };
        let outcome = tokio::select! {
            biased;
            () = self.shutdown.hurried().cancelled() => Ok(()),
            failure = open.failed() => Err(failure),
            outcome = waits => outcome,
        };
        tell(Step::Ending);
        self.publishing_ends.cancel();
        self.all_ends.cancel();
        info!("stopping: ending what is left, finishing what was accepted");
        outcome.and(services.all_ended(self.services_time_up()).await)
    }

    /// Completes when what is served must have ended. Who hurries does not wait for receipts.
    async fn services_time_up(&self) {
        let hurried = self.shutdown.hurried();
        hurried.run_until_cancelled(sleep(self.publish_timeout)).await;
        sleep(SERVICES_END_MAX).await;
    }

    /// The longest that the process may take from now on: the sum of every step's bound.
    fn time_max(&self) -> Duration {
        let after = self.publish_timeout
            + SERVICES_END_MAX
            + backbone::CLOSE_MAX
            + self.flush_max
            + process::OPERATIONS_END_MAX;
        if self.shutdown.hurried().is_cancelled() {
            return after;
        }
        self.delay + self.edge.map_or(Duration::ZERO, Edge::drain_time_max) + after
    }

    fn tell_until_when(&self) {
        let time_max = self.time_max();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let deadline = (now + time_max).as_secs_f64();
        gauge!("tidewire_drain_deadline_timestamp_seconds").set(deadline);
        let plan = self.edge.map(Edge::drain_plan);
        let streams = plan.map_or(0, |plan| plan.streams);
        info!(streams, "leaving: not ready any more, gone within {}", as_duration(time_max));
        if let Some(DrainPlan { keeps_rate: false, spread, .. }) = plan {
            let spread = as_duration(spread);
            warn!(
                streams,
                spread,
                "more streams end in a second than --drain-rate-max: the window \
                                    is too short for them"
            );
        }
    }
}
