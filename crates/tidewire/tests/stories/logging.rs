//! What is logged: what an operator needs, in the form that its reader wants, and no secret ever.

use serde_json::Value;
use tidewire_client::{EventData, Item, NewEvent, Topic};
use tidewire_testbed::Process;

use super::{
    hub::{Flags, Hub},
    raw,
};

/// Of every part that is ours, all there is.
const EVERYTHING: &str = "tidewire=trace,tidewire_core=trace,tidewire_log=trace,tidewire_nats=trace,\
                          tidewire_ingest=trace,tidewire_edge=trace,tidewire_proto=trace";
const SECRET: &str = "s3cret-";

async fn hub(flags: &[&str]) -> Hub {
    let of_edge = if Hub::is_one_process() { &[] } else { flags };
    Hub::start_with(Flags { ingest: flags, edge: of_edge }).await
}

async fn change(process: &Process, filter: &str) -> raw::Response {
    raw::ask(&process.operations, "PUT", "/log-filter", &[], filter).await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_and_no_payload_is_logged_even_where_everything_is() {
    let mut hub = hub(&["--log-filter", EVERYTHING]).await;
    let mut subscriber = hub.subscriber("t").build().unwrap();
    assert!(matches!(subscriber.next().await.unwrap(), Item::Connected { .. }));
    let data = EventData::parse(format!("{SECRET}payload"), 100).unwrap();
    hub.publisher().publish(NewEvent::new(Topic::parse("t").unwrap(), data)).await.unwrap();
    assert!(matches!(subscriber.next().await.unwrap(), Item::Event { .. }));
    // Taken and refused, over HTTP, with tokens wherever clients put them.
    let token = [("authorization", "Bearer s3cret-token"), ("cookie", "session=s3cret-cookie")];
    let json = [token[0], token[1], ("content-type", "application/json")];
    let body = format!(r#"{{"topic":"t","data":"{SECRET}body"}}"#);
    let taken = raw::ask(&hub.publish_http, "POST", "/v1/events", &json, &body).await;
    assert_eq!(taken.status, 200, "{}", taken.body);
    for wrong in [
        format!(r#"{{"topic":"t..t","data":"{SECRET}body"}}"#),
        format!(r#"{{"topic":"t","data":"{SECRET}body","{SECRET}field":1}}"#),
        format!("{SECRET}no json"),
    ] {
        let refused = raw::ask(&hub.publish_http, "POST", "/v1/events", &json, &wrong).await;
        assert_eq!(refused.status, 400, "{}", refused.body);
    }
    for query in ["topic=t..t", "topic=t&access_token=s3cret-query", "topic=t&cursor=s3cret-cursor"]
    {
        let mut socket = raw::connect(&hub.http).await;
        raw::send(&mut socket, "GET", &format!("/v1/events?{query}"), &token).await;
        raw::read_until(&mut socket, "\r\n\r\n").await;
    }
    drop(subscriber);
    hub.terminate().await;
    for process in hub.processes() {
        let log = process.log();
        assert!(log.contains("stopped"), "{log}");
        let told = log.lines().find(|line| line.contains(SECRET));
        assert_eq!(told, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_read_objects_with_a_level_a_target_and_a_message() {
    let mut hub = hub(&["--log-format", "auto"]).await;
    hub.terminate().await;
    for process in hub.processes() {
        let log = process.log();
        let lines: Vec<Value> =
            log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        for field in ["timestamp", "level", "target", "message"] {
            assert!(lines.iter().all(|line| line[field].is_string()), "{field}: {log}");
        }
        for message in ["starting", "ready", "stopped"] {
            assert!(lines.iter().any(|line| line["message"] == message), "{message}: {log}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_logged_changes_while_it_runs_and_a_fault_is_named() {
    let mut hub = hub(&[]).await;
    let process = hub.ingest();
    let shown = raw::get(&process.operations, "/log-filter", &[]).await;
    assert_eq!((shown.status, &*shown.body), (200, "async_nats=off,info\n"));
    let refused = change(process, "info,tidewire=loud").await;
    assert_eq!(refused.status, 400);
    assert!(refused.body.starts_with("'tidewire=loud' names no level"), "{}", refused.body);
    let changed = change(process, "off").await;
    assert_eq!((changed.status, &*changed.body), (200, "off\n"));
    assert!(process.log().contains("the log filter is changed"), "{}", process.log());
    let too_long = change(process, &"info,".repeat(2_000)).await;
    assert_eq!(too_long.status, 413);
    hub.terminate().await;
    assert!(!hub.ingest().log().contains("stopped"), "nothing is logged any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_refusals_of_a_class_are_one_line() {
    let mut hub = hub(&[]).await;
    for _ in 0..1_000 {
        let data = EventData::parse("x".repeat(61 * 1024), 100 * 1024).unwrap();
        let refused =
            hub.publisher().publish(NewEvent::new(Topic::parse("t").unwrap(), data)).await;
        assert!(refused.is_err());
    }
    hub.terminate().await;
    let log = hub.ingest().log();
    assert_eq!(log.matches("events are refused").count(), 1, "{log}");
    assert!(log.contains("class=\"too_large\""), "{log}");
}
