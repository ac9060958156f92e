//! One event on its way into the log.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_util::future::BoxFuture;
use tidewire_core::{Backbone, NewEvent, PublishError, Receipt};
use tokio::time::Instant;

use crate::{budget::Permit, metrics::Metrics, refusal::Refusal};

/// An event handed over to the backbone. It takes its place in the log when it is first polled;
/// its bytes stay taken from the budget until it is dropped.
pub(crate) struct Publishing<'a> {
    receipt: BoxFuture<'a, Result<Receipt, PublishError>>,
    data_bytes: u64,
    since: Instant,
    metrics: &'a Metrics,
    _permit: Permit,
}

impl<'a> Publishing<'a> {
    pub(crate) fn new(
        backbone: &'a dyn Backbone,
        metrics: &'a Metrics,
        event: NewEvent,
        permit: Permit,
    ) -> Self {
        Self {
            data_bytes: event.data.as_bytes().len() as u64,
            receipt: backbone.publish(event),
            since: Instant::now(),
            metrics,
            _permit: permit,
        }
    }

    /// When it was handed over.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }
}

impl Future for Publishing<'_> {
    type Output = Result<Receipt, Refusal>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let receipt = ready!(self.receipt.as_mut().poll(cx))?;
        self.metrics.observe_receipt(self.since.elapsed());
        if !receipt.duplicate {
            self.metrics.count_stored_bytes(self.data_bytes);
        }
        Poll::Ready(Ok(receipt))
    }
}
