//! One `PublishStream` with many events in flight: one end hands in, the other takes receipts.

use std::time::Duration;

use anyhow::Context;
use tidewire_client::{NewEvent, Pending, PublishStream, Publisher, Receipt, StreamOptions};
use tokio::{sync::mpsc, time::Instant};

/// Opens a stream to the hub at this address.
pub(crate) fn open(grpc: &str, in_flight: usize) -> anyhow::Result<(Sending, Receipts)> {
    let options = StreamOptions { in_flight_max: in_flight, ..StreamOptions::default() };
    let stream = Publisher::connect(grpc)?.stream(options);
    let (pending, receipts) = mpsc::channel(in_flight);
    Ok((Sending { stream, pending }, Receipts(receipts)))
}

/// Where events are handed in.
pub(crate) struct Sending {
    stream: PublishStream,
    pending: mpsc::Sender<(Pending, Instant)>,
}

impl Sending {
    /// Hands an event in, once there is room for it.
    pub(crate) async fn send(&self, event: NewEvent) -> anyhow::Result<()> {
        let handed_in = Instant::now();
        let answer = self.stream.send(event).await?;
        self.pending.send((answer, handed_in)).await.context("the taker of receipts ended")
    }

    /// Hands nothing in any more, and waits until everything is answered.
    pub(crate) async fn finish(self) -> anyhow::Result<()> {
        drop(self.pending);
        Ok(self.stream.finish().await?)
    }
}

/// A receipt, and when its event was handed in.
pub(crate) struct Taken {
    pub(crate) receipt: Receipt,
    pub(crate) handed_in: Instant,
    /// How long it took.
    pub(crate) took: Duration,
}

/// The receipts, in the order in which their events were handed in.
pub(crate) struct Receipts(mpsc::Receiver<(Pending, Instant)>);

impl Receipts {
    /// The next receipt; none when all have been taken and no more events come.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Taken>> {
        let Some((answer, handed_in)) = self.0.recv().await else { return Ok(None) };
        let receipt = answer.await?;
        Ok(Some(Taken { receipt, handed_in, took: handed_in.elapsed() }))
    }
}
