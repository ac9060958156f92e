//! How a process that serves leaves: in steps, each with a bound, and all told beforehand.

use std::time::{Duration, SystemTime};

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
    telemetry::process_metrics::{DRAIN_DEADLINE, DRAIN_STATE},
};

/// How long streams and connections may take to end, once all of them shall; where events are
/// published, beside the time for which a publish may wait for its receipt.
const SERVICES_END_MAX: Duration = Duration::from_secs(7);

/// Which part of its end a process is in, as the metric has it; before all of them that is 0.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// It is not ready any more, and serves as before: not everybody knows it yet.
    Announced = 1,
    /// Its streams end one after the other, and it takes nothing new.
    Draining,
    /// What is left ends at once.
    Ending,
}

fn tell(step: Step) {
    DRAIN_STATE.set(f64::from(step as u8));
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
        DRAIN_DEADLINE.set(deadline);
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
