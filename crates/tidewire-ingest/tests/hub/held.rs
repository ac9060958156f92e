//! A backbone that acknowledges nothing until a test says so, and shows what it was given.

use std::io;

use async_trait::async_trait;
use parking_lot::Mutex;
use tidewire_core::{
    Backbone, Bounds, Cursor, Epoch, EventStream, Interest, NewEvent, Page, PageLimit,
    PublishError, ReadError, Receipt, Sequence, UnixMillis,
};
use tokio::sync::{oneshot, watch};

/// What a publish is answered with.
pub type Answer = Result<Receipt, PublishError>;

/// Holds every publish, in the order in which they were first polled.
pub struct Held {
    publishes: Mutex<Vec<Publish>>,
    /// How many it was given so far.
    given: watch::Sender<usize>,
    /// How many of them were open at once, at most.
    open_max: Mutex<usize>,
}

struct Publish {
    event: NewEvent,
    answer: Option<oneshot::Sender<Answer>>,
}

impl Held {
    pub fn new() -> Self {
        Self { publishes: Mutex::default(), given: watch::Sender::new(0), open_max: Mutex::new(0) }
    }

    /// Waits until it was given so many.
    pub async fn wait_for(&self, count: usize) {
        self.given.subscribe().wait_for(|given| *given >= count).await.unwrap();
    }

    /// The data of what it was given, in order.
    pub fn given(&self) -> Vec<String> {
        let text = |p: &Publish| String::from_utf8(p.event.data.as_bytes().to_vec()).unwrap();
        self.publishes.lock().iter().map(text).collect()
    }

    pub fn open_max(&self) -> usize {
        *self.open_max.lock()
    }

    /// Acknowledges the publish at this place, waiting until it is there.
    pub async fn acknowledge(&self, at: usize) {
        let sequence = Sequence(at as u64 + 1);
        let receipt = Receipt { cursor: Cursor::new(Epoch(1), sequence), duplicate: false };
        self.answer(at, Ok(receipt)).await;
    }

    /// Answers the publish at this place, waiting until it is there.
    pub async fn answer(&self, at: usize, answer: Answer) {
        self.wait_for(at + 1).await;
        let sender = self.publishes.lock()[at].answer.take().unwrap();
        // Whoever published may have gone.
        let _ = sender.send(answer);
    }

    /// Waits until whoever published at this place has given up.
    pub async fn given_up(&self, at: usize) {
        self.wait_for(at + 1).await;
        let mut sender = self.publishes.lock()[at].answer.take().unwrap();
        sender.closed().await;
    }
}

pub fn unavailable() -> PublishError {
    PublishError::Unavailable(io::Error::other("the disk at /secret/place").into())
}

#[async_trait]
impl Backbone for Held {
    async fn publish(&self, event: NewEvent) -> Answer {
        let (sender, answer) = oneshot::channel();
        {
            let mut publishes = self.publishes.lock();
            publishes.push(Publish { event, answer: Some(sender) });
            let open = publishes.iter().filter(|p| p.answer.is_some()).count();
            let mut open_max = self.open_max.lock();
            *open_max = open.max(*open_max);
        }
        self.given.send_modify(|given| *given += 1);
        answer.await.unwrap_or_else(|_| Err(unavailable()))
    }

    async fn read(&self, _: &Interest, _: Cursor, _: PageLimit) -> Result<Page, ReadError> {
        unreachable!("the ingest reads nothing")
    }

    async fn latest(&self, _: &Interest, _: Cursor, _: PageLimit) -> Result<Page, ReadError> {
        unreachable!("the ingest reads nothing")
    }

    async fn tail(&self, _: Cursor) -> Result<EventStream, ReadError> {
        unreachable!("the ingest reads nothing")
    }

    async fn bounds(&self) -> Result<Bounds, ReadError> {
        unreachable!("the ingest reads nothing")
    }

    async fn cursor_at(&self, _: UnixMillis) -> Result<Cursor, ReadError> {
        unreachable!("the ingest reads nothing")
    }
}
