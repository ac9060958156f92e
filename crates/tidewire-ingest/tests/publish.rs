//! Publishing what is good, at every door: what is stored, and what the receipt says.
#![expect(clippy::unwrap_used, reason = "a test: what cannot be unwrapped is its result")]

mod hub;

use std::collections::HashMap;

use hub::{TestHub, event, outcome, sequence};
use prost_types::Duration;
use serde_json::json;
use tidewire_core::{Event, NewEvent};
use tidewire_ingest::{Config, Ingest, metrics::describe};
use tidewire_log::Log;
use tidewire_proto::v1::{
    self, PublishBatchRequest, PublishRequest, publish_result::Result as Outcome,
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, metadata::MetadataMap};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test]
async fn every_part_of_an_event_is_stored_as_it_was_handed_in() {
    let hub = TestHub::start().await;
    let whole = v1::Event {
        topic: "orders.eu.42".to_owned(),
        data: "{\"n\": 1}\nπ".to_owned(),
        r#type: "price".to_owned(),
        id: "order 42".to_owned(),
        attributes: HashMap::from([("source".to_owned(), "/shop".to_owned())]),
        ttl: Some(Duration { seconds: 3_600, nanos: 0 }),
    };
    hub.publish(whole.clone()).await.unwrap();
    let body = json!({
        "topic": whole.topic, "data": whole.data, "type": whole.r#type, "id": "order 43",
        "attributes": whole.attributes, "ttl": 3_600,
    });
    assert_eq!(hub.post_json(body.to_string()).await.status, 200);
    let stored = hub.stored().await;
    assert_eq!(stored.len(), 2);
    for (stored, id) in stored.iter().zip(["order 42", "order 43"]) {
        let NewEvent { topic, event_type, id: stored_id, data, attributes, ttl } = &stored.event;
        assert_eq!(topic.as_str(), "orders.eu.42");
        assert_eq!(event_type.as_ref().unwrap().as_str(), "price");
        assert_eq!(stored_id.as_ref().unwrap().as_str(), id);
        assert_eq!(&data.as_bytes()[..], whole.data.as_bytes());
        assert_eq!(attributes.iter().collect::<Vec<_>>(), [("source", "/shop")]);
        assert_eq!(ttl.unwrap().seconds(), 3_600);
    }
}

#[tokio::test]
async fn a_receipt_names_the_place_in_the_log() {
    let hub = TestHub::start().await;
    let receipt = hub.publish(event("t", "x")).await.unwrap();
    let stored = hub.stored().await;
    assert_eq!(receipt.cursor, stored[0].cursor.to_string());
    assert!(!receipt.duplicate);
}

#[tokio::test]
async fn a_batch_is_stored_in_its_order_and_answered_in_it() {
    let hub = TestHub::start().await;
    let events = (0..1_000).map(|n| event("t", n.to_string())).collect();
    let answer = hub.client().await.publish_batch(PublishBatchRequest { events }).await.unwrap();
    let sequences = answer.into_inner().results.into_iter().map(|result| match outcome(result) {
        Outcome::Receipt(receipt) => sequence(&receipt),
        Outcome::Status(status) => panic!("{status:?}"),
    });
    let sequences: Vec<_> = sequences.collect();
    assert_eq!(sequences.len(), 1_000);
    assert!(sequences.is_sorted_by(|a, b| a < b));
    assert!(hub.stored_data().await.into_iter().eq((0..1_000).map(|n| n.to_string())));
}

#[tokio::test]
async fn an_array_is_stored_in_its_order_and_answered_in_it() {
    let hub = TestHub::start().await;
    let events: Vec<_> = (0..1_000).map(|n| json!({ "topic": "t", "data": n })).collect();
    let http = hub.post_json(json!(events).to_string()).await;
    assert_eq!(http.status, 200);
    assert_eq!(http.header("content-type"), "application/json");
    let cursors: Vec<_> = hub.stored().await.iter().map(|e| e.cursor.to_string()).collect();
    let expected: Vec<_> =
        cursors.iter().map(|cursor| json!({ "cursor": cursor, "duplicate": false })).collect();
    assert_eq!(http.json(), json!(expected));
    assert!(hub.stored_data().await.into_iter().eq((0..1_000).map(|n| n.to_string())));
}

#[tokio::test]
async fn an_id_is_stored_once_whichever_doors_it_comes_through() {
    let hub = TestHub::start().await;
    let first = v1::Event { id: "same".to_owned(), ..event("t", "first") };
    let receipt = hub.publish(first.clone()).await.unwrap();
    let again = hub.publish(first).await.unwrap();
    assert_eq!(again, v1::Receipt { cursor: receipt.cursor.clone(), duplicate: true });
    let expected = json!({ "cursor": receipt.cursor, "duplicate": true });
    let body = json!({ "topic": "t", "data": "second", "id": "same" });
    assert_eq!(hub.post_json(body.to_string()).await.json(), expected);
    assert_eq!(hub.post("/v1/topics/t?id=same", &[], "third").await.json(), expected);
    assert_eq!(hub.stored_data().await, ["first"]);
}

#[tokio::test]
async fn json_data_that_is_no_string_is_stored_as_its_compact_text() {
    let hub = TestHub::start().await;
    for body in [
        r#"{ "topic": "t", "data": { "b": 1.50, "a": [ 1, "x y" ] } }"#,
        r#"{ "topic": "t", "data": null }"#,
        r#"{ "topic": "t", "data": "a \"string\"\n" }"#,
    ] {
        assert_eq!(hub.post_json(body).await.status, 200);
    }
    let expected = [r#"{"b":1.50,"a":[1,"x y"]}"#, "null", "a \"string\"\n"];
    assert_eq!(hub.stored_data().await, expected);
}

#[tokio::test]
async fn a_body_posted_to_a_topic_is_its_data_whatever_it_is_called() {
    let hub = TestHub::start().await;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let http = hub.post("/v1/topics/orders.%C3%A9?type=price&id=a%20b", &form, "a=1&b").await;
    assert_eq!(http.status, 200);
    let [Event { cursor, event, .. }] = <[_; 1]>::try_from(hub.stored().await).unwrap();
    assert_eq!(http.json(), json!({ "cursor": cursor.to_string(), "duplicate": false }));
    assert_eq!(event.topic.as_str(), "orders.é");
    assert_eq!(event.event_type.unwrap().as_str(), "price");
    assert_eq!(event.id.unwrap().as_str(), "a b");
    assert_eq!(&event.data.as_bytes()[..], b"a=1&b");
}

#[tokio::test]
async fn the_trace_of_a_call_is_stored_with_each_of_its_events() {
    let hub = TestHub::start().await;
    let mut client = hub.client().await;
    let batch = PublishBatchRequest { events: vec![event("t", "batch"), event("t", "batch")] };
    client.publish_batch(traced(batch, TRACE)).await.unwrap();
    let one = PublishRequest { event: Some(event("t", "unary")) };
    client.publish(traced(one.clone(), TRACE)).await.unwrap();
    let sent = tokio_stream::iter([v1::PublishStreamRequest { request_id: 1, event: one.event }]);
    let answers = client.publish_stream(traced(sent, TRACE)).await.unwrap();
    answers.into_inner().message().await.unwrap().unwrap();
    hub.post("/v1/topics/t", &[("traceparent", TRACE)], "http").await;
    let traces: Vec<_> = hub.stored().await.iter().map(trace).collect();
    assert_eq!(traces, vec![Some(TRACE.to_owned()); 5]);
}

#[tokio::test]
async fn an_events_own_trace_stays_and_a_malformed_one_is_left_out() {
    let hub = TestHub::start().await;
    let mut client = hub.client().await;
    let attributes = HashMap::from([("traceparent".to_owned(), "own".to_owned())]);
    let own = v1::Event { attributes, ..event("t", "x") };
    client.publish(traced(PublishRequest { event: Some(own) }, TRACE)).await.unwrap();
    let other = PublishRequest { event: Some(event("t", "x")) };
    client.publish(traced(other, "00-nonsense")).await.unwrap();
    let traces: Vec<_> = hub.stored().await.iter().map(trace).collect();
    assert_eq!(traces, [Some("own".to_owned()), None]);
}

#[tokio::test]
async fn what_was_answered_is_counted_by_outcome_and_transport() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(tidewire_log::Config::new(dir.path())).await.unwrap();
    let backbone: std::sync::Arc<dyn tidewire_core::Backbone> = std::sync::Arc::new(log);
    let stop = CancellationToken::new();
    let ingest = metrics::with_local_recorder(&recorder, || {
        describe();
        Ingest::new(Config::default(), std::sync::Arc::clone(&backbone), stop.clone())
    });
    let hub = TestHub::serve(ingest, backbone, stop).await;

    let once = v1::Event { id: "once".to_owned(), ..event("t", "four") };
    hub.publish(once.clone()).await.unwrap();
    hub.publish(once).await.unwrap();
    hub.publish(event("", "x")).await.unwrap_err();
    let mut stream = hub.stream().await;
    stream.send(1, event("t", "stream")).await;
    stream.receipt().await;
    let rendered = recorder.handle().render();
    assert!(rendered.contains("tidewire_ingest_streams 1"), "{rendered}");
    stream.half_close();
    assert!(stream.next().await.unwrap().is_none());
    hub.post("/v1/topics/t", &[], "http").await;
    hub.post("/v1/topics/t", &[], "x".repeat(70_000)).await;

    let rendered = recorder.handle().render();
    for line in [
        r#"tidewire_ingest_events_total{outcome="stored",transport="grpc"} 2"#,
        r#"tidewire_ingest_events_total{outcome="duplicate",transport="grpc"} 1"#,
        r#"tidewire_ingest_events_total{outcome="invalid",transport="grpc"} 1"#,
        r#"tidewire_ingest_events_total{outcome="stored",transport="http"} 1"#,
        r#"tidewire_ingest_events_total{outcome="too_large",transport="http"} 1"#,
        "tidewire_ingest_bytes_total 14",
        "tidewire_ingest_receipt_seconds_count 4",
        "tidewire_ingest_in_flight_bytes 0",
        r#"tidewire_ingest_calls_total{method="publish",code="ok"} 2"#,
        r#"tidewire_ingest_calls_total{method="publish",code="invalid_argument"} 1"#,
        r#"tidewire_ingest_calls_total{method="publish_stream",code="ok"} 1"#,
        r#"tidewire_ingest_calls_total{method="http",code="ok"} 1"#,
        r#"tidewire_ingest_calls_total{method="http",code="resource_exhausted"} 1"#,
        r#"tidewire_ingest_call_seconds_count{method="publish_stream"} 1"#,
        "tidewire_ingest_streams 0",
    ] {
        assert!(rendered.lines().any(|found| found == line), "{line}\n{rendered}");
    }
}

fn traced<T>(body: T, trace: &str) -> Request<T> {
    let mut request = Request::new(body);
    let metadata: &mut MetadataMap = request.metadata_mut();
    metadata.insert("traceparent", trace.parse().unwrap());
    request
}

fn trace(event: &Event) -> Option<String> {
    event.event.attributes.get("traceparent").map(str::to_owned)
}
