//! What the stories do again and again.

use futures_util::{StreamExt, future::join_all};
use serde_json::Value;
use tidewire_core::{
    Backbone as _, Cursor, Event, EventStream, Interest, NewEvent, PageLimit, TopicFilter,
};
use tidewire_nats::Nats;
use tokio::time::{sleep, timeout};

use crate::PATIENCE;

/// No limit.
pub(crate) const ALL: PageLimit = PageLimit { events: usize::MAX, bytes: usize::MAX };
/// Events that are published together.
const TOGETHER: usize = 8_192;

pub(crate) fn interest(filters: &[&str]) -> Interest {
    Interest::new(filters.iter().map(|filter| TopicFilter::parse(filter).unwrap())).unwrap()
}

pub(crate) fn limit(events: usize) -> PageLimit {
    PageLimit { events, bytes: usize::MAX }
}

/// Publishes an event; says where it stands.
pub(crate) async fn publish(nats: &Nats, event: NewEvent) -> Cursor {
    nats.publish(event).await.expect("a receipt").cursor
}

/// Publishes events, many in flight at once; says where each stands.
pub(crate) async fn publish_all(
    nats: &Nats,
    events: impl IntoIterator<Item = NewEvent>,
) -> Vec<Cursor> {
    let mut events = events.into_iter().peekable();
    let mut cursors = Vec::new();
    while events.peek().is_some() {
        let together = events.by_ref().take(TOGETHER).map(|event| nats.publish(event));
        let receipts = join_all(together).await;
        cursors.extend(receipts.into_iter().map(|receipt| receipt.expect("a receipt").cursor));
    }
    cursors
}

/// Everything wanted that is retained.
pub(crate) async fn read_all(nats: &Nats, interest: &Interest) -> Vec<Event> {
    let start = nats.bounds().await.expect("bounds").start();
    read_after(nats, interest, start, ALL).await
}

/// Everything wanted after a cursor, page by page.
pub(crate) async fn read_after(
    nats: &Nats,
    interest: &Interest,
    mut after: Cursor,
    limit: PageLimit,
) -> Vec<Event> {
    let head = nats.bounds().await.expect("bounds").head();
    let mut events = Vec::new();
    while after < head {
        let page = nats.read(interest, after, limit).await.expect("a page");
        assert!(page.next > after, "a page makes progress");
        after = page.next;
        events.extend(page.events);
    }
    events
}

/// The next so many events of a tail.
pub(crate) async fn take(tail: &mut EventStream, events: usize) -> Vec<Event> {
    let taken = tail.take(events).map(|event| event.expect("an event")).collect();
    timeout(PATIENCE, taken).await.expect("the tail goes on")
}

pub(crate) fn cursors(events: &[Event]) -> Vec<Cursor> {
    events.iter().map(|event| event.cursor).collect()
}

/// The events' data, as text.
pub(crate) fn texts(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| std::str::from_utf8(event.event.data.as_bytes()).unwrap()).collect()
}

/// Waits until something is so.
pub(crate) async fn until<L: Future<Output = bool>>(what: &str, is_so: impl Fn() -> L) {
    let waited = timeout(PATIENCE, async {
        while !is_so().await {
            sleep(std::time::Duration::from_millis(10)).await;
        }
    });
    assert!(waited.await.is_ok(), "it never came: {what}");
}

/// Waits until the backbone tells of a trouble in these words.
pub(crate) async fn until_trouble(nats: &Nats, words: &str) {
    let told = || nats.trouble().unwrap_or_default();
    let is_told = timeout(PATIENCE, async {
        while !told().contains(words) {
            sleep(std::time::Duration::from_millis(10)).await;
        }
    });
    assert!(is_told.await.is_ok(), "{words:?} is wanted, and it says {:?}", told());
}

/// Asks JetStream's API, as an operator's tools do.
pub(crate) async fn ask(client: &async_nats::Client, what: &str, question: Value) -> Value {
    let answer = client.request(format!("$JS.API.{what}"), question.to_string().into()).await;
    serde_json::from_slice(&answer.expect("an answer").payload).expect("JSON")
}

/// As [`ask`], where the answer must not be a refusal.
pub(crate) async fn done(client: &async_nats::Client, what: &str, question: Value) -> Value {
    let answer = ask(client, what, question).await;
    assert!(answer.get("error").is_none(), "{what}: {answer}");
    answer
}
