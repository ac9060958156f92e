//! The log as its users hold it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "tests: a failed expectation is their result"
)]

mod conformance;
mod crash;
mod life;
mod load;

use std::sync::Arc;

use futures_util::future::join_all;
use tidewire_core::{
    Backbone, Cursor, Event, EventData, Interest, NewEvent, PageLimit, PublishError, Receipt,
    Topic, limits::EVENT_BYTES_MAX_DEFAULT,
};
use tidewire_log::{Config, Log};

const ALL: PageLimit = PageLimit { events: usize::MAX, bytes: usize::MAX };

async fn open(config: &Config) -> Arc<Log> {
    Arc::new(Log::open(config.clone()).await.expect("the log opens"))
}

fn event(topic: &str, data: impl Into<String>) -> NewEvent {
    let data = EventData::parse(data.into(), EVENT_BYTES_MAX_DEFAULT).unwrap();
    NewEvent::new(Topic::parse(topic).unwrap(), data)
}

/// Publishes all at once, each polled first in this order.
async fn publish_all(
    log: &Log,
    events: impl IntoIterator<Item = NewEvent>,
) -> Vec<Result<Receipt, PublishError>> {
    join_all(events.into_iter().map(|event| log.publish(event))).await
}

fn cursors_of(receipts: Vec<Result<Receipt, PublishError>>) -> Vec<Cursor> {
    receipts.into_iter().map(|receipt| receipt.expect("a receipt").cursor).collect()
}

/// Everything retained, page by page.
async fn read_all(log: &Log) -> Vec<Event> {
    let bounds = log.bounds().await.unwrap();
    let (mut after, mut events) = (bounds.start(), Vec::new());
    while after < bounds.head() {
        let page = log.read(&Interest::everything(), after, ALL).await.expect("a page");
        events.extend(page.events);
        after = page.next;
    }
    events
}
