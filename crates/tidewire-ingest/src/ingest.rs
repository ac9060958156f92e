//! What all doors share: check, take bytes from the budget, publish, count.

use std::{pin::Pin, sync::Arc};

use futures_util::{
    future::{MaybeDone, join_all, maybe_done},
    poll,
};
use tidewire_core::{Backbone, NewEvent, Receipt, TraceParent};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    border::Border,
    budget::{Budget, Permit},
    config::Config,
    metrics::{Metrics, Transport},
    publishing::Publishing,
    refusal::Refusal,
    refused::refused,
    traces::Traces,
};

/// The publishing service: [`serve_grpc`](Ingest::serve_grpc) and
/// [`http_router`](Ingest::http_router) are its doors. Clones share one budget.
#[derive(Clone)]
pub struct Ingest {
    config: Config,
    backbone: Arc<dyn Backbone>,
    budget: Budget,
    metrics: Arc<Metrics>,
    stopping: CancellationToken,
    traces: Traces,
}

impl Ingest {
    /// An ingest in front of `backbone`; once `stopping` is cancelled it finishes what is in
    /// flight and takes no more. The metrics recorder must be installed by now.
    #[must_use]
    pub fn new(config: Config, backbone: Arc<dyn Backbone>, stopping: CancellationToken) -> Self {
        let metrics = Arc::new(Metrics::new());
        let budget = Budget::new(config.in_flight_bytes_max, &metrics);
        let traces = Traces::new(config.traces);
        Self { config, backbone, budget, metrics, stopping, traces }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    pub(crate) fn traces(&self) -> &Traces {
        &self.traces
    }

    /// The border for the events of one call, with the trace that they are stored with.
    pub(crate) fn border(&self, trace: Option<TraceParent>) -> Border {
        Border::new(self.config.event_bytes_max, trace)
    }

    /// Publishes one event; refuses it at once where the budget is used up.
    pub(crate) async fn publish(
        &self,
        event: Result<NewEvent, Refusal>,
        transport: Transport,
    ) -> Result<Receipt, Refusal> {
        let outcome = match event.and_then(|event| self.start_or_refuse(event)) {
            Ok(publishing) => timeout(self.config.publish_timeout, publishing)
                .await
                .unwrap_or_else(|_| Err(self.late())),
            Err(refusal) => Err(refusal),
        };
        self.answered(transport, outcome)
    }

    /// Publishes events all at once, in their order in the log, and answers for each, in order.
    pub(crate) async fn publish_all(
        &self,
        events: Vec<Result<NewEvent, Refusal>>,
        transport: Transport,
    ) -> Vec<Result<Receipt, Refusal>> {
        let mut outcomes = Vec::with_capacity(events.len());
        for event in events {
            let mut outcome = match event.and_then(|event| self.start_or_refuse(event)) {
                Ok(publishing) => maybe_done(publishing),
                Err(refusal) => MaybeDone::Done(Err(refusal)),
            };
            // The first poll is what gives an event its place: before the next one's.
            let _ = poll!(&mut outcome);
            outcomes.push(outcome);
        }
        // Those that are not done in time say so below.
        let _ = timeout(self.config.publish_timeout, join_all(&mut outcomes)).await;
        outcomes
            .iter_mut()
            .map(|outcome| {
                let outcome = Pin::new(outcome).take_output();
                self.answered(transport, outcome.unwrap_or_else(|| Err(self.late())))
            })
            .collect()
    }

    /// Hands an event over to the backbone.
    pub(crate) fn start(&self, event: NewEvent, permit: Permit) -> Publishing<'_> {
        Publishing::new(&*self.backbone, &self.metrics, event, permit)
    }

    /// Counts an outcome, and passes it on.
    pub(crate) fn answered(
        &self,
        transport: Transport,
        outcome: Result<Receipt, Refusal>,
    ) -> Result<Receipt, Refusal> {
        self.metrics.count_answered(transport, outcome.as_ref());
        if let Err(refusal) = &outcome {
            refused(refusal);
        }
        outcome
    }

    /// Counts a request that could not be read as events, and passes its refusal on.
    pub(crate) fn refused(&self, transport: Transport, refusal: Refusal) -> Refusal {
        self.metrics.count_answered(transport, Err(&refusal));
        refused(&refusal);
        refusal
    }

    fn start_or_refuse(&self, event: NewEvent) -> Result<Publishing<'_>, Refusal> {
        let permit = self.budget.try_take(&event).ok_or(Refusal::Exhausted)?;
        Ok(self.start(event, permit))
    }

    fn late(&self) -> Refusal {
        Refusal::late(self.config.publish_timeout)
    }
}
