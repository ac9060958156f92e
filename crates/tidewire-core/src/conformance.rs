//! The suite that holds every [`Backbone`] to its contract.
//!
//! An implementation gives a [`Fixture`] and calls [`conformance_tests!`](crate::conformance_tests)
//! in a test; each case below becomes a test of its own there.
#![expect(clippy::expect_used, reason = "a test suite: a failed expectation is its result")]

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use futures_util::{StreamExt, future::join_all};

use crate::{
    Backbone, Bounds, Cursor, Epoch, Event, EventData, EventId, Interest, NewEvent, Page,
    PageLimit, ReadError, Sequence, Topic, TopicFilter, limits::EVENT_BYTES_MAX_DEFAULT,
};

/// A log under test, and what can happen to it.
#[async_trait]
pub trait Fixture: Send {
    /// The log, opened; new at the first call.
    async fn open(&mut self) -> Arc<dyn Backbone>;
    /// Ends the log without ceremony, as a crash would, and opens it again.
    async fn reopen(&mut self) -> Arc<dyn Backbone>;
    /// Makes the log anew: everything is gone, and the epoch is another.
    async fn recreate(&mut self) -> Arc<dyn Backbone>;
    /// Publishes what it takes, and waits, until events after `cursor` have left retention.
    async fn expire(&mut self, cursor: Cursor);
    /// Breaks what lies beneath the open log while it is in use, and heals it. Where nothing lies
    /// beneath, there is nothing to do.
    async fn disturb(&mut self);
}

/// Makes a test of every case: `conformance_tests!(fixture_expression)`. Needs `tokio` with its
/// macros where it is called.
#[macro_export]
macro_rules! conformance_tests {
    ($fixture:expr) => {
        $crate::conformance_tests!(@each $fixture;
            what_was_acknowledged_is_readable_after_reopening,
            sequences_strictly_rise_in_the_order_of_publishing,
            the_same_id_twice_is_stored_once_and_says_so,
            an_id_is_remembered_across_reopening,
            a_page_is_ordered_keeps_its_limit_and_makes_progress,
            page_by_page_equals_all_at_once,
            what_was_handed_in_comes_out_unchanged,
            a_tail_from_any_cursor_equals_the_pages_after_it,
            a_tail_survives_a_disturbance_without_a_hole_or_a_repeat,
            expired_foreign_and_future_cursors_are_told_apart,
            a_log_made_anew_has_another_epoch,
            latest_agrees_with_a_full_read,
            latest_page_by_page_misses_no_topic_while_events_come,
            the_cursor_of_a_moment_has_everything_later_after_it,
            concurrent_publishers_lose_nothing,
            filters_agree_with_the_reference_matcher,
        );
    };
    (@each $fixture:expr; $($case:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let mut fixture = $fixture;
                $crate::conformance::$case(&mut fixture).await;
            }
        )+
    };
}

const ALL: PageLimit = PageLimit { events: usize::MAX, bytes: usize::MAX };

/// What got a receipt is there after a crash, at the same cursor, and the log goes on after it.
pub async fn what_was_acknowledged_is_readable_after_reopening(fixture: &mut dyn Fixture) {
    let log = fixture.open().await;
    let published = publish_all(&*log, (0..100).map(numbered)).await;
    drop(log);
    let log = fixture.reopen().await;
    assert_eq!(cursors(&read_all(&*log, &Interest::everything()).await), published);
    let later = publish(&*log, numbered(100)).await;
    assert!(later > published[99], "the log goes on where it ended");
}

/// Order in the log is the order in which one caller's publishes were first polled.
pub async fn sequences_strictly_rise_in_the_order_of_publishing(fixture: &mut dyn Fixture) {
    let log = fixture.open().await;
    let published = publish_all(&*log, (0..1_000).map(numbered)).await;
    assert!(published.is_sorted_by(|a, b| a < b), "publishes in flight together keep their order");
    let bounds = log.bounds().await.expect("bounds");
    assert_eq!(bounds.head(), published[999]);
    assert_eq!(bounds.oldest, published[0].sequence);
}

/// A repeated id gets the first one's cursor, whether the first is stored already or in flight.
pub async fn the_same_id_twice_is_stored_once_and_says_so(fixture: &mut dyn Fixture) {
    let log = fixture.open().await;
    let with_id = |n, id| NewEvent { id: EventId::parse(id).expect("id"), ..numbered(n) };
    let together = join_all([
        log.publish(with_id(0, "one")),
        log.publish(with_id(1, "one")),
        log.publish(with_id(2, "two")),
    ])
    .await;
    let receipts: Vec<_> = together.into_iter().map(|r| r.expect("receipt")).collect();
    assert_eq!(receipts.iter().map(|r| r.duplicate).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(receipts[0].cursor, receipts[1].cursor);
    let again = log.publish(with_id(3, "two")).await.expect("receipt");
    assert!(again.duplicate);
    assert_eq!(again.cursor, receipts[2].cursor);
    assert_eq!(read_all(&*log, &Interest::everything()).await.len(), 2);
}

/// A publisher that retries across a crash of the log stores its event once.
pub async fn an_id_is_remembered_across_reopening(fixture: &mut dyn Fixture) {
    let event = NewEvent { id: EventId::parse("once").expect("id"), ..numbered(0) };
    let log = fixture.open().await;
    let first = log.publish(event.clone()).await.expect("receipt");
    drop(log);
    let log = fixture.reopen().await;
    let second = log.publish(event).await.expect("receipt");
    assert!(second.duplicate && second.cursor == first.cursor);
    assert_eq!(read_all(&*log, &Interest::everything()).await.len(), 1);
}

/// Pages hold at most what was asked for, and `next` moves over events that nobody wanted.
pub async fn a_page_is_ordered_keeps_its_limit_and_makes_progress(fixture: &mut dyn Fixture) {
    let log = fixture.open().await;
    publish_all(&*log, (0..300).map(|n| event(if n % 50 == 0 { "rare" } else { "many" }, n))).await;
    let start = log.bounds().await.expect("bounds").start();

    let page = read(&*log, &Interest::everything(), start, limit(7)).await;
    assert_eq!(page.events.len(), 7);
    assert_eq!(page.next, page.events[6].cursor);

    let tiny = PageLimit { events: 100, bytes: 1 };
    let page = read(&*log, &Interest::everything(), start, tiny).await;
    assert_eq!(page.events.len(), 1, "one event is handed out however small the limit");

    let (mut after, mut rare, head) = (start, 0, log.bounds().await.expect("bounds").head());
    while after != head {
        let page = read(&*log, &interest("rare"), after, limit(2)).await;
        assert!(page.next > after, "every page makes progress");
        rare += page.events.len();
        after = page.next;
    }
    assert_eq!(rare, 6);
    let nothing = read(&*log, &interest("absent"), head, limit(2)).await;
    assert_eq!(
        nothing,
        Page { events: vec![], next: head },
        "a read at the head waits for nothing"
    );
}

/// The size of pages changes nothing about what is read.
pub async fn page_by_page_equals_all_at_once(fixture: &mut dyn Fixture) {
    let log = fixture.open().await;
    publish_all(&*log, (0..500).map(|n| event(["a.x", "a.y", "b"][n % 3], n))).await;
    let wanted = interest("a.*");
    let whole = read_all(&*log, &wanted).await;
    assert_eq!(whole.len(), 334);
    for size in [1, 3, 100, 1_000] {
        let start = log.bounds().await.expect("bounds").start();
        assert_eq!(read_after(&*log, &wanted, start, limit(size)).await, whole, "pages of {size}");
    }
}

/// Every part of an event survives storage byte for byte.
pub async fn what_was_handed_in_comes_out_unchanged(fixture: &mut dyn Fixture) {
    use crate::{Attributes, EventType, Ttl};
    let log = fixture.open().await;
    let full = NewEvent {
        topic: Topic::parse("é.日本.a%20b.-_~").expect("topic"),
        event_type: EventType::parse("order.created/v1").expect("type"),
        id: EventId::parse("key with spaces: é").expect("id"),
        data: EventData::parse("line\r\nline\rline\n\u{feff}🦀", 100).expect("data"),
        attributes: Attributes::parse([("source", "/x?y=é"), ("traceparent", "00-1-2-01")])
            .expect("attributes"),
        ttl: Some(Ttl::from_seconds(3_600).expect("ttl")),
    };
    let large = NewEvent {
        data: EventData::parse(vec![b'x'; EVENT_BYTES_MAX_DEFAULT], EVENT_BYTES_MAX_DEFAULT)
            .expect("data"),
        ..numbered(0)
    };
    let handed_in = vec![full, large, numbered(1)];
    publish_all(&*log, handed_in.clone()).await;
    drop(log);
    let log = fixture.reopen().await;
    let read = read_all(&*log, &Interest::everything()).await;
    assert!(read.is_sorted_by_key(|event| event.time), "times never go back");
    assert_eq!(read.into_iter().map(|event| event.event).collect::<Vec<_>>(), handed_in);
}

/// A tail is the pages after its cursor, and then what comes.
pub async fn a_tail_from_any_cursor_equals_the_pages_after_it(fixture: &mut dyn Fixture) {
    let log = fixture.open().await;
    let mut published = publish_all(&*log, (0..200).map(numbered)).await;
    let start = log.bounds().await.expect("bounds").start();
    let froms = [start, published[0], published[99], published[199]];
    let mut tails = Vec::new();
    for from in froms {
        tails.push(log.tail(from).await.expect("tail"));
    }
    published.extend(publish_all(&*log, (200..300).map(numbered)).await);
    for (from, tail) in froms.into_iter().zip(tails) {
        let expected: Vec<_> = published.iter().copied().filter(|c| *c > from).collect();
        let seen: Vec<_> = tail.take(expected.len()).collect().await;
        let seen: Vec<_> = seen.into_iter().map(|event| event.expect("event").cursor).collect();
        assert_eq!(seen, expected, "the tail after {from}");
    }
}

/// What happens beneath an open log is not seen in its tail.
pub async fn a_tail_survives_a_disturbance_without_a_hole_or_a_repeat(fixture: &mut dyn Fixture) {
    let log = fixture.open().await;
    let start = log.bounds().await.expect("bounds").start();
    let tail = log.tail(start).await.expect("tail");
    let mut published = publish_all(&*log, (0..50).map(numbered)).await;
    fixture.disturb().await;
    published.extend(publish_all(&*log, (50..100).map(numbered)).await);
    let seen: Vec<_> = tail.take(100).map(|event| event.expect("event").cursor).collect().await;
    assert_eq!(seen, published);
}

/// A cursor that cannot be resumed exactly says why; one that can is not refused.
pub async fn expired_foreign_and_future_cursors_are_told_apart(fixture: &mut dyn Fixture) {
    let log = fixture.open().await;
    let first = publish(&*log, numbered(0)).await;
    publish(&*log, numbered(1)).await;
    fixture.expire(first).await;
    let bounds = log.bounds().await.expect("bounds");
    assert!(bounds.oldest.previous() > first.sequence, "the fixture expired {first}");

    let foreign = Cursor::new(Epoch(bounds.epoch.0 ^ 1), bounds.head);
    let ahead = Cursor::new(bounds.epoch, bounds.head.next());
    for (cursor, expected) in [(first, "expired"), (foreign, "foreign"), (ahead, "ahead")] {
        let read = log.read(&Interest::everything(), cursor, ALL).await.map(drop);
        assert_eq!(reason(read), expected, "read after {cursor}");
        let tail = log.tail(cursor).await.map(drop);
        assert_eq!(reason(tail), expected, "tail after {cursor}");
    }
    for cursor in [bounds.start(), bounds.head()] {
        assert_eq!(reason(log.read(&Interest::everything(), cursor, ALL).await.map(drop)), "fine");
    }
}

/// A cursor of the log's former life is foreign in its new one.
pub async fn a_log_made_anew_has_another_epoch(fixture: &mut dyn Fixture) {
    let log = fixture.open().await;
    let old = publish(&*log, numbered(0)).await;
    drop(log);
    let log = fixture.recreate().await;
    let bounds = log.bounds().await.expect("bounds");
    assert_ne!(bounds.epoch, old.epoch);
    assert_eq!(bounds, Bounds { epoch: bounds.epoch, oldest: Sequence(1), head: Sequence::ZERO });
    let read = log.read(&Interest::everything(), old, ALL).await.map(drop);
    assert_eq!(reason(read), "foreign");
}

/// The last event of every wanted topic, and nothing else.
pub async fn latest_agrees_with_a_full_read(fixture: &mut dyn Fixture) {
    let log = fixture.open().await;
    publish_all(&*log, (0..400).map(|n| event(&format!("t.{}", n * n % 37), n))).await;
    publish_all(&*log, [event("other", 0)]).await;
    for _ in 0..2 {
        let log = fixture.reopen().await;
        let bounds = log.bounds().await.expect("bounds");
        for wanted in [interest("t.*"), interest("t.1"), interest("absent"), interest(">")] {
            let mut last = BTreeMap::new();
            for event in read_all(&*log, &wanted).await {
                last.insert(event.event.topic.clone(), event);
            }
            let mut expected: Vec<_> = last.into_values().collect();
            expected.sort_by_key(|event| event.cursor.sequence);
            let page = log.latest(&wanted, bounds.start(), ALL).await.expect("latest");
            assert_eq!(page, Page { events: expected, next: bounds.head() });
        }
    }
}

/// A snapshot in pages, with events coming in between, ends with every topic's last event seen.
pub async fn latest_page_by_page_misses_no_topic_while_events_come(fixture: &mut dyn Fixture) {
    let log = fixture.open().await;
    let topic = |n: usize| format!("t.{}", n % 20);
    publish_all(&*log, (0..100).map(|n| event(&topic(n), n))).await;
    let mut after = log.bounds().await.expect("bounds").start();
    let mut seen = BTreeMap::new();
    for n in 100.. {
        let page = log.latest(&interest("t.*"), after, limit(3)).await.expect("latest");
        let past = after;
        after = page.next;
        for event in page.events {
            assert!(event.cursor > past && event.cursor <= after);
            seen.insert(event.event.topic.clone(), event);
        }
        if after == log.bounds().await.expect("bounds").head() {
            break;
        }
        if n < 110 {
            publish(&*log, event(&topic(n * 7), n)).await;
        }
    }
    let mut last = BTreeMap::new();
    for event in read_all(&*log, &interest("t.*")).await {
        last.insert(event.event.topic.clone(), event);
    }
    assert_eq!(seen, last);
}

/// Reading after the cursor of a moment yields the events of that moment and later.
pub async fn the_cursor_of_a_moment_has_everything_later_after_it(fixture: &mut dyn Fixture) {
    let log = fixture.open().await;
    for n in 0..30 {
        publish(&*log, numbered(n)).await;
    }
    let events = read_all(&*log, &Interest::everything()).await;
    for at in [events[0].time, events[10].time, events[29].time] {
        let cursor = log.cursor_at(at).await.expect("cursor");
        let after = read_after(&*log, &Interest::everything(), cursor, ALL).await;
        let expected: Vec<_> = events.iter().filter(|event| event.time >= at).cloned().collect();
        assert_eq!(after, expected);
    }
    let bounds = log.bounds().await.expect("bounds");
    assert_eq!(log.cursor_at(crate::UnixMillis(0)).await.expect("cursor"), bounds.start());
    let never = crate::UnixMillis(events[29].time.0 + 1_000_000);
    assert_eq!(log.cursor_at(never).await.expect("cursor"), bounds.head());
}

/// Eight publishers at once: every receipt's event is there, each once, each publisher in order.
pub async fn concurrent_publishers_lose_nothing(fixture: &mut dyn Fixture) {
    let log = fixture.open().await;
    let publishers = (0..8).map(|p| {
        let log = &log;
        async move { publish_all(&**log, (0..500).map(|n| event(&format!("p.{p}"), n))).await }
    });
    let mut published = Vec::new();
    for cursors in join_all(publishers).await {
        assert!(cursors.is_sorted_by(|a, b| a < b));
        published.extend(cursors);
    }
    published.sort_by_key(|cursor| cursor.sequence);
    assert_eq!(cursors(&read_all(&*log, &Interest::everything()).await), published);
}

/// For many topics and filters, the log's own way of filtering is the reference's.
pub async fn filters_agree_with_the_reference_matcher(fixture: &mut dyn Fixture) {
    let log = fixture.open().await;
    let mut random = XorShift(0x5eed_cafe_f00d_0001);
    let mut word = |choices: &[&str], most: usize| {
        let tokens = 1 + random.below(most);
        (0..tokens).map(|_| choices[random.below(choices.len())].to_owned()).collect::<Vec<_>>()
    };
    let topics: Vec<_> =
        (0..300).map(|_| word(&["a", "b", "é", "A", "%2E", "$x"], 4).join(".")).collect();
    publish_all(&*log, topics.iter().enumerate().map(|(n, topic)| event(topic, n))).await;
    let everything = read_all(&*log, &Interest::everything()).await;
    for round in 0..60 {
        let filters = (0..=round % 3).map(|_| {
            let mut tokens = word(&["a", "b", "é", "A", "%2E", "$x", "*"], 4);
            if tokens.len() > 1 && round % 2 == 0 {
                tokens.pop();
                tokens.push(">".into());
            }
            TopicFilter::parse(&tokens.join(".")).expect("filter")
        });
        let wanted = Interest::new(filters).expect("interest");
        let expected: Vec<_> =
            everything.iter().filter(|event| wanted.wants(&event.event.topic)).cloned().collect();
        assert_eq!(read_all(&*log, &wanted).await, expected, "{wanted:?}");
    }
}

fn event(topic: &str, n: usize) -> NewEvent {
    let data = EventData::parse(format!("{{\"n\":{n}}}"), EVENT_BYTES_MAX_DEFAULT).expect("data");
    NewEvent::new(Topic::parse(topic).expect("topic"), data)
}

fn numbered(n: usize) -> NewEvent {
    event("numbers", n)
}

fn interest(filter: &str) -> Interest {
    Interest::new([TopicFilter::parse(filter).expect("filter")]).expect("interest")
}

fn limit(events: usize) -> PageLimit {
    PageLimit { events, ..ALL }
}

fn cursors(events: &[Event]) -> Vec<Cursor> {
    events.iter().map(|event| event.cursor).collect()
}

fn reason(result: Result<(), ReadError>) -> &'static str {
    match result {
        Ok(()) => "fine",
        Err(ReadError::Expired { .. }) => "expired",
        Err(ReadError::ForeignEpoch { .. }) => "foreign",
        Err(ReadError::Ahead { .. }) => "ahead",
        Err(ReadError::Unavailable(_)) => "unavailable",
    }
}

async fn publish(log: &dyn Backbone, event: NewEvent) -> Cursor {
    log.publish(event).await.expect("receipt").cursor
}

/// Publishes all at once, in order, and answers with their cursors.
async fn publish_all(
    log: &dyn Backbone,
    events: impl IntoIterator<Item = NewEvent>,
) -> Vec<Cursor> {
    let receipts = join_all(events.into_iter().map(|event| log.publish(event))).await;
    receipts.into_iter().map(|receipt| receipt.expect("receipt").cursor).collect()
}

async fn read(log: &dyn Backbone, wanted: &Interest, after: Cursor, limit: PageLimit) -> Page {
    let page = log.read(wanted, after, limit).await.expect("page");
    assert!(page.events.len() <= limit.events);
    assert!(page.events.is_sorted_by(|a, b| a.cursor < b.cursor));
    assert!(page.events.iter().all(|event| event.cursor > after && event.cursor <= page.next));
    page
}

async fn read_after(
    log: &dyn Backbone,
    wanted: &Interest,
    mut after: Cursor,
    limit: PageLimit,
) -> Vec<Event> {
    let head = log.bounds().await.expect("bounds").head();
    let mut events = Vec::new();
    while after < head {
        let page = read(log, wanted, after, limit).await;
        assert!(page.next > after, "every page makes progress");
        events.extend(page.events);
        after = page.next;
    }
    events
}

async fn read_all(log: &dyn Backbone, wanted: &Interest) -> Vec<Event> {
    let start = log.bounds().await.expect("bounds").start();
    read_after(log, wanted, start, ALL).await
}

/// A small random generator, so that the suite needs no dependency of its own.
struct XorShift(u64);

impl XorShift {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).expect("a remainder below a usize")
    }
}
