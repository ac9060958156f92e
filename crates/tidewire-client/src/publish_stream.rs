//! Publishing many events at once, across every interruption.

use std::{
    fmt,
    future::Future,
    panic,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tidewire_core::{EventId, NewEvent, Receipt};
use tidewire_proto::v1::ingest_client::IngestClient;
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::JoinHandle,
};
use tonic::transport::Channel;

use crate::{publish_error::PublishError, publish_stream::courier::Courier};

mod courier;
#[cfg(test)]
mod tests;
mod unanswered;

/// How a [`PublishStream`] behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamOptions {
    /// Events handed in and not yet answered; one more has to wait. At least 1; 1,024 by default.
    pub in_flight_max: usize,
    /// So long without an event being settled, and the stream gives up. 60 s by default.
    pub give_up_after: Duration,
    /// So long without an answer of any kind, and the connection is taken for dead. Should be
    /// longer than a hub tries to reach its log; 20 s by default.
    pub silence_max: Duration,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self {
            in_flight_max: 1_024,
            give_up_after: Duration::from_secs(60),
            silence_max: Duration::from_secs(20),
        }
    }
}

/// Publishes events with many of them in flight, and heals itself.
///
/// When the connection or the hub is lost, it connects again, later and later, and sends everything
/// unanswered again, in order and under the same ids; an event without an id gets a random one when
/// it is handed in, so that it is stored once. An event that the hub cannot store for now is sent
/// again, too. After [`give_up_after`](StreamOptions::give_up_after) without an event being settled
/// the stream is over, and every unanswered event says so.
///
/// Events stand in the log in the order in which they were handed in, but for those that the hub
/// could not store at first.
///
/// Dropped without [`finish`](Self::finish), it still sends what was handed in, for as long as its
/// runtime lives.
pub struct PublishStream {
    handed_in: mpsc::Sender<HandedIn>,
    /// One permit for each event that may still be handed in; answers give them back.
    room: Arc<Semaphore>,
    courier: JoinHandle<Result<(), PublishError>>,
}

/// An event on its way in, and where its answer goes.
struct HandedIn {
    event: NewEvent,
    answer: oneshot::Sender<Result<Receipt, PublishError>>,
}

impl PublishStream {
    pub(crate) fn open(client: IngestClient<Channel>, options: StreamOptions) -> Self {
        let in_flight_max = options.in_flight_max.clamp(1, Semaphore::MAX_PERMITS);
        let room = Arc::new(Semaphore::new(in_flight_max));
        // As long as the events that may be unanswered: it is never full.
        let (handed_in, taken_in) = mpsc::channel(in_flight_max);
        let courier = Courier::new(client, options, taken_in, Arc::clone(&room));
        Self { handed_in, room, courier: tokio::spawn(courier.run()) }
    }

    /// Hands an event in, and returns once there is room for it. Its receipt is awaited apart, so
    /// that others can follow meanwhile.
    ///
    /// # Errors
    /// [`PublishError::StreamOver`], and the event has not been sent.
    pub async fn send(&self, mut event: NewEvent) -> Result<Pending, PublishError> {
        if event.id.is_none() {
            event.id = random_id();
        }
        let permit = self.room.acquire().await.map_err(|_| PublishError::StreamOver)?;
        let (answer, receipt) = oneshot::channel();
        self.handed_in
            .try_send(HandedIn { event, answer })
            .map_err(|_| PublishError::StreamOver)?;
        // It comes back with the answer.
        permit.forget();
        Ok(Pending { receipt })
    }

    /// Hands nothing in any more, and waits until every event has been answered.
    ///
    /// # Errors
    /// Why the stream gave up, if it did; each unanswered event has been told the same.
    pub async fn finish(self) -> Result<(), PublishError> {
        let Self { handed_in, courier, .. } = self;
        drop(handed_in);
        match courier.await {
            Ok(outcome) => outcome,
            Err(error) if error.is_panic() => panic::resume_unwind(error.into_panic()),
            Err(_) => Err(PublishError::StreamOver),
        }
    }
}

impl fmt::Debug for PublishStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublishStream")
            .field("room", &self.room.available_permits())
            .finish_non_exhaustive()
    }
}

/// The receipt of an event that was handed in. Dropping it does not stop the event.
#[derive(Debug)]
#[must_use = "an event is stored once its receipt has come"]
pub struct Pending {
    receipt: oneshot::Receiver<Result<Receipt, PublishError>>,
}

impl Future for Pending {
    type Output = Result<Receipt, PublishError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.receipt).poll(context));
        Poll::Ready(answer.unwrap_or(Err(PublishError::StreamOver)))
    }
}

/// An id that nobody else has: 128 random bits.
fn random_id() -> Option<EventId> {
    EventId::parse(&format!("{:032x}", rand::random::<u128>())).ok().flatten()
}
