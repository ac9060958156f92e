//! When the backbone does not answer, or too much is in flight.
#![expect(clippy::unwrap_used, reason = "a test: what cannot be unwrapped is its result")]

mod hub;

use std::{sync::Arc, time::Duration};

use hub::{
    TestHub, event,
    held::{Held, unavailable},
    outcome, says_retry, violation, whole,
};
use serde_json::json;
use tidewire_core::PublishError;
use tidewire_ingest::Config;
use tidewire_proto::v1::{PublishBatchRequest, PublishRequest, publish_result::Result as Outcome};
use tonic::Code;

const FULL: &str = "too many bytes are in flight: send the event again later";
const AWAY: &str = "the backbone does not answer: the event may have been stored; \
                    send it again under the same id";
const LATE: &str = "no receipt came within 50ms: the event may have been stored; \
                    send it again under the same id";

#[tokio::test]
async fn an_unavailable_backbone_is_told_without_what_lies_beneath() {
    let held = Arc::new(Held::new());
    let hub = TestHub::start_before(Config::default(), Arc::clone(&held) as _).await;
    let (unary, ()) =
        tokio::join!(hub.publish(event("t", "x")), held.answer(0, Err(unavailable())));
    let status = unary.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, AWAY));
    assert!(says_retry(&status));

    let (http, ()) =
        tokio::join!(hub.post("/v1/topics/t", &[], "x"), held.answer(1, Err(unavailable())));
    assert_eq!((http.status.as_u16(), http.header("retry-after")), (503, "1"));
    assert_eq!(http.header("content-type"), "application/problem+json");
    let expected = json!({
        "type": "about:blank", "title": "Service Unavailable", "status": 503, "detail": AWAY,
    });
    assert_eq!(http.json(), expected);
}

#[tokio::test]
async fn a_receipt_that_does_not_come_in_time_is_told_at_every_door() {
    let config = Config { publish_timeout: Duration::from_millis(50), ..Config::default() };
    let hub = TestHub::start_before(config, Arc::new(Held::new())).await;
    let status = hub.publish(event("t", "x")).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, LATE));
    assert!(says_retry(&status));

    let batch = PublishBatchRequest { events: vec![event("t", "x"), event("t", "x")] };
    let answer = hub.client().await.publish_batch(batch).await.unwrap().into_inner();
    assert_eq!(answer.results.len(), 2);
    for result in answer.results {
        let Outcome::Status(status) = outcome(result) else { panic!("nothing was stored") };
        assert_eq!((whole(status.clone()).code(), &*status.message), (Code::Unavailable, LATE));
        assert!(says_retry(&whole(status)));
    }

    let http = hub.post_json(r#"{"topic":"t","data":"x"}"#).await;
    assert_eq!((http.status.as_u16(), http.header("retry-after")), (503, "1"));
    assert_eq!(http.json()["detail"], LATE);
}

#[tokio::test]
async fn an_event_too_large_for_the_backbone_is_final() {
    let held = Arc::new(Held::new());
    let hub = TestHub::start_before(Config::default(), Arc::clone(&held) as _).await;
    let reason = "is too large for the backbone: at most 10 bytes";
    let too_large = || Err(PublishError::TooLarge { bytes_max: 10 });
    let (unary, ()) = tokio::join!(hub.publish(event("t", "x")), held.answer(0, too_large()));
    let status = unary.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(violation(&status), Some(("data".to_owned(), reason.to_owned())));
    assert!(!says_retry(&status), "waiting does not help");

    let (http, ()) = tokio::join!(hub.post("/v1/topics/t", &[], "x"), held.answer(1, too_large()));
    assert_eq!((http.status.as_u16(), http.header("retry-after")), (413, ""));
    assert_eq!(http.json()["reason"], reason);
}

#[tokio::test]
async fn a_full_budget_refuses_calls_at_once_and_takes_them_again_when_it_is_free() {
    let held = Arc::new(Held::new());
    // One event of 1 + 43 bytes, and 256 for itself.
    let config = Config { in_flight_bytes_max: 300, ..Config::default() };
    let hub = TestHub::start_before(config, Arc::clone(&held) as _).await;
    let mut client = hub.client().await;
    let request = PublishRequest { event: Some(event("t", "x".repeat(43))) };
    let first = tokio::spawn(async move { client.publish(request).await });
    held.wait_for(1).await;

    let status = hub.publish(event("t", "x")).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, FULL));
    assert!(says_retry(&status));
    let batch = PublishBatchRequest { events: vec![event("t", "x")] };
    let answer = hub.client().await.publish_batch(batch).await.unwrap().into_inner();
    let Outcome::Status(status) = outcome(answer.results[0].clone()) else { panic!() };
    assert_eq!((whole(status.clone()).code(), &*status.message), (Code::ResourceExhausted, FULL));
    let http = hub.post("/v1/topics/t", &[], "x").await;
    assert_eq!((http.status.as_u16(), http.header("retry-after")), (429, "1"));
    let expected = json!({
        "type": "about:blank", "title": "Too Many Requests", "status": 429, "detail": FULL,
    });
    assert_eq!(http.json(), expected);

    held.acknowledge(0).await;
    first.await.unwrap().unwrap();
    let (second, ()) = tokio::join!(hub.publish(event("t", "x")), held.acknowledge(1));
    second.unwrap();
    assert_eq!(held.given().len(), 2, "what was refused never reached the backbone");
}

#[tokio::test]
async fn stopping_finishes_the_calls_in_flight() {
    let held = Arc::new(Held::new());
    let mut hub = TestHub::start_before(Config::default(), Arc::clone(&held) as _).await;
    let mut client = hub.client().await;
    let request = PublishRequest { event: Some(event("t", "x")) };
    let call = tokio::spawn(async move { client.publish(request).await });
    held.wait_for(1).await;
    hub.stop.cancel();
    held.acknowledge(0).await;
    call.await.unwrap().unwrap();
    (&mut hub.serving).await.unwrap().unwrap();
}
