//! Publishing: many in flight on one connection, in the order they were given in, each repeated
//! under its id until JetStream has acknowledged it.

mod acknowledgement;
mod courier;
mod flying;

use std::sync::Arc;

use tidewire_core::{NewEvent, PublishError, Receipt};
use tokio::{
    sync::{Mutex, Semaphore, mpsc, oneshot},
    task::unconstrained,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use self::{courier::Courier, flying::Parcel};
use crate::{connection::Connection, known::Asker, stored::Outgoing, subject::Subjects};

/// Events in flight at once. More than a few hundred bring little speed; what they bring is that
/// callers with many events in flight do not wait for each other.
const IN_FLIGHT_MAX: usize = 16_384;

/// Takes events to JetStream.
#[derive(Debug)]
pub(crate) struct Publisher {
    pub(crate) connection: Connection,
    subjects: Subjects,
    /// Never full: who has a permit has a place.
    parcels: mpsc::Sender<Parcel>,
    permits: Arc<Semaphore>,
    /// Held by the one who waits for a permit; the others wait for it.
    turn: Mutex<()>,
    _courier: AbortOnDropHandle<()>,
}

impl Publisher {
    /// Begins to publish over this connection, until `ending` is cancelled.
    pub(crate) fn start(
        connection: Connection,
        known: Arc<Asker>,
        subjects: Subjects,
        ending: CancellationToken,
    ) -> Self {
        let (parcels, waiting) = mpsc::channel(IN_FLIGHT_MAX);
        let courier = Courier::new(connection.clone(), known, subjects.clone(), waiting);
        let courier = tokio::spawn(async move {
            ending.run_until_cancelled(courier.run()).await;
        });
        Self {
            connection,
            subjects,
            parcels,
            permits: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
            turn: Mutex::new(()),
            _courier: AbortOnDropHandle::new(courier),
        }
    }

    /// Publishes an event. Its place in the order is taken at the first poll, or, where there are
    /// too many in flight, in the order of those who wait.
    pub(crate) async fn publish(&self, event: NewEvent) -> Result<Receipt, PublishError> {
        let (answer, receipt) = oneshot::channel();
        let (random, subjects) = (rand::random(), &self.subjects);
        let outgoing = Outgoing::new(&event, random, subjects);
        // Nothing here may yield to the scheduler on its own account: that would put off even the
        // first poll.
        unconstrained(async {
            let _turn = self.turn.lock().await;
            let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(drop)?;
            let parcel = Parcel::new(event, random, outgoing, answer, permit);
            self.parcels.send(parcel).await.map_err(drop)
        })
        .await
        .map_err(|()| unavailable("the backbone is closed"))?;
        receipt.await.map_err(|_| unavailable("the backbone was closed before it answered"))?
    }
}

pub(crate) fn unavailable(reason: impl Into<String>) -> PublishError {
    PublishError::Unavailable(reason.into().into())
}
