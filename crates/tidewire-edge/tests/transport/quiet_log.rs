//! A log in memory that a test publishes to; it never fails and never forgets.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream;
use tidewire_core::{
    Backbone, Bounds, Cursor, Epoch, Event, EventData, EventStream, Interest, NewEvent, Page,
    PageLimit, PublishError, ReadError, Receipt, Sequence, Topic, UnixMillis,
};
use tokio::sync::watch;

const EPOCH: Epoch = Epoch(7);

#[derive(Clone)]
pub(crate) struct QuietLog(Arc<watch::Sender<Vec<Event>>>);

impl QuietLog {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Vec::new())))
    }

    /// Publishes to the topic `t`.
    pub(crate) fn publish(&self, data: &str) {
        self.publish_to("t", data);
    }

    pub(crate) fn publish_to(&self, topic: &str, data: &str) {
        self.0.send_modify(|events| {
            let cursor = Cursor::new(EPOCH, Sequence(events.len() as u64 + 1));
            let data = EventData::parse(data.to_owned(), 1 << 20).unwrap();
            let event = NewEvent::new(Topic::parse(topic).unwrap(), data);
            events.push(event.stored(cursor, UnixMillis(0)));
        });
    }
}

fn after(events: &[Event], cursor: Cursor) -> &[Event] {
    &events[usize::try_from(cursor.sequence.0).unwrap()..]
}

#[async_trait]
impl Backbone for QuietLog {
    async fn publish(&self, _: NewEvent) -> Result<Receipt, PublishError> {
        unreachable!("an edge does not publish")
    }

    async fn read(
        &self,
        interest: &Interest,
        cursor: Cursor,
        limit: PageLimit,
    ) -> Result<Page, ReadError> {
        let mut events: Vec<_> = {
            let events = self.0.borrow();
            after(&events, cursor).iter().take(limit.events).cloned().collect()
        };
        let next = events.last().map_or(cursor, |event| event.cursor);
        events.retain(|event| interest.wants(&event.event.topic));
        Ok(Page { events, next })
    }

    async fn latest(&self, _: &Interest, _: Cursor, _: PageLimit) -> Result<Page, ReadError> {
        unreachable!("nobody asks for it")
    }

    async fn tail(&self, after_cursor: Cursor) -> Result<EventStream, ReadError> {
        let follower = (self.0.subscribe(), after_cursor);
        Ok(Box::pin(stream::unfold(follower, async |(mut events, cursor)| {
            let next = {
                let next = |events: &Vec<Event>| !after(events, cursor).is_empty();
                let events = events.wait_for(next).await.ok()?;
                after(&events, cursor)[0].clone()
            };
            let cursor = next.cursor;
            Some((Ok(next), (events, cursor)))
        })))
    }

    async fn bounds(&self) -> Result<Bounds, ReadError> {
        let head = Sequence(self.0.borrow().len() as u64);
        Ok(Bounds { epoch: EPOCH, oldest: Sequence(1), head })
    }

    async fn cursor_at(&self, _: UnixMillis) -> Result<Cursor, ReadError> {
        unreachable!("nobody asks for it")
    }
}
