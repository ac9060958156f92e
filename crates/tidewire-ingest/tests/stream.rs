//! `PublishStream`: many in flight, in order, and flow control instead of errors.
#![expect(clippy::unwrap_used, reason = "a test: what cannot be unwrapped is its result")]

mod hub;

use std::{sync::Arc, time::Duration};

use hub::{
    TestHub, event,
    held::{Held, unavailable},
    says_retry, sequence, violation,
};
use tidewire_ingest::Config;
use tonic::Code;

#[tokio::test]
async fn more_than_may_be_in_flight_is_answered_whole_and_stored_in_order() {
    let hub = TestHub::start_with(Config { stream_in_flight_max: 64, ..Config::default() }).await;
    let mut stream = hub.stream().await;
    for n in 0..5_000 {
        stream.send(n, event("t", n.to_string())).await;
    }
    stream.half_close();
    let mut receipts = Vec::new();
    for _ in 0..5_000 {
        let (request_id, receipt) = stream.receipt().await;
        receipts.push((request_id, sequence(&receipt)));
    }
    assert!(stream.next().await.unwrap().is_none(), "the stream ends well once all is answered");
    receipts.sort_unstable();
    assert!(receipts.iter().map(|(id, _)| *id).eq(0..5_000), "each request has one answer");
    assert!(receipts.is_sorted_by(|a, b| a.1 < b.1), "the log's order is the order of sending");
    let expected: Vec<_> = (0..5_000).map(|n| n.to_string()).collect();
    assert_eq!(hub.stored_data().await, expected);
}

#[tokio::test]
async fn no_more_is_read_than_may_be_in_flight() {
    let held = Arc::new(Held::new());
    let config = Config { stream_in_flight_max: 8, ..Config::default() };
    let hub = TestHub::start_before(config, Arc::clone(&held) as _).await;
    let mut stream = hub.stream().await;
    for n in 0..100 {
        stream.send(n, event("t", n.to_string())).await;
    }
    held.wait_for(8).await;
    for n in 0..100 {
        held.acknowledge(n).await;
        stream.receipt().await;
    }
    assert_eq!(held.open_max(), 8);
    let expected: Vec<_> = (0..100).map(|n| n.to_string()).collect();
    assert_eq!(held.given(), expected, "first polled in the order of sending");
}

#[tokio::test]
async fn answers_come_as_events_are_stored_not_as_they_were_sent() {
    let held = Arc::new(Held::new());
    let hub = TestHub::start_before(Config::default(), Arc::clone(&held) as _).await;
    let mut stream = hub.stream().await;
    for request_id in [70, 71, 72] {
        stream.send(request_id, event("t", "x")).await;
    }
    for (at, request_id) in [(2, 72), (0, 70), (1, 71)] {
        held.acknowledge(at).await;
        let (answered, receipt) = stream.receipt().await;
        assert_eq!((answered, sequence(&receipt)), (request_id, at as u64 + 1));
    }
}

#[tokio::test]
async fn a_bad_event_has_a_status_of_its_own_and_the_stream_goes_on() {
    let hub = TestHub::start().await;
    let mut stream = hub.stream().await;
    stream.send(1, event("t", "one")).await;
    assert_eq!(stream.receipt().await.0, 1);
    stream.send(2, event("t.*", "two")).await;
    let (request_id, status) = stream.refusal().await;
    assert_eq!((request_id, status.code()), (2, Code::InvalidArgument));
    assert_eq!(violation(&status).unwrap().0, "topic");
    stream.send(3, event("t", "three")).await;
    assert_eq!(stream.receipt().await.0, 3);
    assert_eq!(hub.stored_data().await, ["one", "three"]);
}

#[tokio::test]
async fn an_id_sent_twice_is_stored_once_and_has_one_cursor() {
    let hub = TestHub::start().await;
    let mut stream = hub.stream().await;
    for (request_id, data) in [(1, "one"), (2, "two")] {
        let mut event = event("t", data);
        event.id = "same".to_owned();
        stream.send(request_id, event).await;
    }
    let mut answers = [stream.receipt().await, stream.receipt().await];
    answers.sort_by_key(|(request_id, _)| *request_id);
    assert_eq!(answers.each_ref().map(|(_, receipt)| receipt.duplicate), [false, true]);
    assert_eq!(answers[0].1.cursor, answers[1].1.cursor);
    assert_eq!(hub.stored_data().await, ["one"]);
}

#[tokio::test]
async fn a_full_budget_makes_the_stream_wait_and_its_own_receipts_free_it() {
    let held = Arc::new(Held::new());
    // Each event takes 256 + 10 bytes: three fit.
    let config = Config { in_flight_bytes_max: 800, ..Config::default() };
    let hub = TestHub::start_before(config, Arc::clone(&held) as _).await;
    let mut stream = hub.stream().await;
    for n in 0..10 {
        stream.send(n, event("t", "123456789")).await;
    }
    for n in 0..10 {
        held.acknowledge(n).await;
        assert_eq!(stream.receipt().await.0, n as u64);
    }
    assert_eq!(held.open_max(), 3);
}

#[tokio::test]
async fn an_event_larger_than_the_whole_budget_passes_alone() {
    let hub = TestHub::start_with(Config { in_flight_bytes_max: 100, ..Config::default() }).await;
    let mut stream = hub.stream().await;
    for n in 0..3 {
        stream.send(n, event("t", "x".repeat(500))).await;
    }
    for n in 0..3 {
        assert_eq!(stream.receipt().await.0, n);
    }
}

#[tokio::test]
async fn after_a_half_close_what_is_in_flight_is_answered() {
    let held = Arc::new(Held::new());
    let hub = TestHub::start_before(Config::default(), Arc::clone(&held) as _).await;
    let mut stream = hub.stream().await;
    for n in 0..3 {
        stream.send(n, event("t", "x")).await;
    }
    held.wait_for(3).await;
    stream.half_close();
    for n in 0..3 {
        held.acknowledge(n).await;
        assert_eq!(stream.receipt().await.0, n as u64);
    }
    assert!(stream.next().await.unwrap().is_none());
}

#[tokio::test]
async fn stopping_in_the_middle_finishes_what_was_read_and_says_why_it_ends() {
    let held = Arc::new(Held::new());
    let config = Config { stream_in_flight_max: 3, ..Config::default() };
    let mut hub = TestHub::start_before(config, Arc::clone(&held) as _).await;
    let mut stream = hub.stream().await;
    for n in 0..100 {
        stream.send(n, event("t", n.to_string())).await;
    }
    held.wait_for(3).await;
    hub.stop.cancel();
    for n in 0..3 {
        held.acknowledge(n).await;
        assert_eq!(stream.receipt().await.0, n as u64);
    }
    let status = stream.next().await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "the process is stopping"));
    assert!(says_retry(&status));
    assert_eq!(held.given(), ["0", "1", "2"], "nothing more was read");
    (&mut hub.serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_receipt_that_does_not_come_is_an_answer_and_the_stream_goes_on() {
    let held = Arc::new(Held::new());
    let config = Config { publish_timeout: Duration::from_millis(50), ..Config::default() };
    let hub = TestHub::start_before(config, Arc::clone(&held) as _).await;
    let mut stream = hub.stream().await;
    for n in 0..3 {
        stream.send(n, event("t", "x")).await;
        let (request_id, status) = stream.refusal().await;
        assert_eq!((request_id, status.code()), (n, Code::Unavailable));
        assert_eq!(
            status.message(),
            "no receipt came within 50ms: the event may have been stored; \
             send it again under the same id"
        );
        assert!(says_retry(&status));
    }
    stream.send(3, event("t", "x")).await;
    held.answer(3, Err(unavailable())).await;
    let (request_id, status) = stream.refusal().await;
    assert_eq!((request_id, status.code()), (3, Code::Unavailable));
    assert_eq!(
        status.message(),
        "the backbone does not answer: the event may have been stored; \
         send it again under the same id"
    );
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing_in_flight() {
    let held = Arc::new(Held::new());
    let hub = TestHub::start_before(Config::default(), Arc::clone(&held) as _).await;
    let stream = hub.stream().await;
    stream.send(1, event("t", "x")).await;
    held.wait_for(1).await;
    drop(stream);
    held.given_up(0).await;
}
