//! One event is followed from its publisher's trace, over the ingest, to the edge.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use tidewire_client::{EventData, Item, NewEvent, StreamOptions, Topic, TraceParent};

use super::{
    collector::{Collector, Sent},
    hub::{Flags, Hub},
};

/// The publisher's span, recorded and not.
const TRACE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
const SPAN: u64 = 0x00f0_67aa_0ba9_02b7;
const NOT_RECORDED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

fn event(data: &str) -> NewEvent {
    let data = EventData::parse(data.to_owned(), 100).unwrap();
    NewEvent::new(Topic::parse("orders.secret-topic").unwrap(), data)
}

/// A hub that draws this share of what nobody has decided on.
async fn traced(collector: &str, share: &str) -> Hub {
    let flags = ["--otlp-endpoint", collector, "--trace-sample-ratio", share];
    // One process takes the flags of both.
    let of_edge: &[&str] = if Hub::is_one_process() { &[] } else { &flags };
    Hub::start_with(Flags { ingest: &flags, edge: of_edge }).await
}

fn one(mut spans: Vec<Sent>) -> Sent {
    assert_eq!(spans.len(), 1, "{spans:?}");
    spans.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publishers_trace_goes_on_at_the_ingest_and_at_the_edge() {
    let (collector, url) = Collector::start().await;
    let mut hub = traced(&url, "0").await;
    let mut first = hub.subscriber("orders.>").build().unwrap();
    let mut second = hub.subscriber("orders.>").build().unwrap();
    for subscriber in [&mut first, &mut second] {
        assert!(matches!(subscriber.next().await.unwrap(), Item::Connected { .. }));
    }
    let publisher = hub.publisher();
    // Whoever has got an event is there for the next. This one nobody wants recorded.
    publisher.publish(event("secret-payload")).await.unwrap();
    for subscriber in [&mut first, &mut second] {
        assert!(matches!(subscriber.next().await.unwrap(), Item::Event { .. }));
    }
    let traced = publisher.with_trace(TraceParent::of_sampled(TRACE, SPAN));
    let cursor = traced.publish(event("secret-payload")).await.unwrap().cursor.to_string();
    // Nor this one.
    let unrecorded = publisher.with_trace(TraceParent::parse(NOT_RECORDED).unwrap());
    unrecorded.publish(event("secret-payload")).await.unwrap();
    for subscriber in [&mut first, &mut second] {
        for _ in 0..2 {
            assert!(matches!(subscriber.next().await.unwrap(), Item::Event { .. }));
        }
    }
    hub.terminate().await;

    let call = one(collector.named("tidewire.v1.Ingest/Publish"));
    assert_eq!(call.span.kind(), SpanKind::Server);
    assert_eq!(call.span.trace_id, TRACE.to_be_bytes());
    assert_eq!(call.span.parent_span_id, SPAN.to_be_bytes());
    assert_eq!(call.attribute("rpc.system.name").as_deref(), Some("grpc"));
    assert_eq!(call.attribute("rpc.response.status_code").as_deref(), Some("OK"));

    let send = one(collector.named("send"));
    assert_eq!(send.span.kind(), SpanKind::Producer);
    assert_eq!(send.span.trace_id, TRACE.to_be_bytes());
    assert_eq!(send.span.parent_span_id, call.span.span_id);
    assert_eq!(send.attribute("messaging.message.id").as_ref(), Some(&cursor));

    let process = one(collector.named("process"));
    assert_eq!(process.span.kind(), SpanKind::Consumer);
    assert_eq!(process.span.links.len(), 1);
    assert_eq!(process.span.links[0].trace_id, TRACE.to_be_bytes());
    assert_eq!(process.span.links[0].span_id, send.span.span_id);
    assert_eq!(process.attribute("messaging.message.id").as_ref(), Some(&cursor));
    assert_eq!(process.attribute("tidewire.recipients").as_deref(), Some("2"));
    assert_eq!(process.attribute("tidewire.feeds").as_deref(), Some("1"));

    let (ingest, edge) = if Hub::is_one_process() {
        ("tidewire-standalone", "tidewire-standalone")
    } else {
        ("tidewire-ingest", "tidewire-edge")
    };
    assert_eq!(send.resource("service.name").as_deref(), Some(ingest));
    assert_eq!(process.resource("service.name").as_deref(), Some(edge));
    assert!(process.resource("service.instance.id").is_some());
    assert!(process.resource("service.version").is_some());
    for sent in collector.spans() {
        assert!(!sent.everything().contains("secret"), "{sent:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connect_is_traced_until_its_first_byte_whatever_its_client_says() {
    let (collector, url) = Collector::start().await;
    let mut hub = traced(&url, "1").await;
    let said = format!("00-{TRACE:032x}-{SPAN:016x}-01");
    let mut socket = super::raw::connect(&hub.http).await;
    let headers = [("traceparent", &*said)];
    super::raw::send(&mut socket, "GET", "/v1/events?topic=a", &headers).await;
    super::raw::read_until(&mut socket, "tidewire.hello").await;
    let refused = super::raw::get(&hub.http, "/v1/events?topic=a..b", &[]).await;
    assert_eq!(refused.status, 400);
    hub.terminate().await;
    let mut connects = collector.named("GET /v1/events");
    connects.sort_by_key(|sent| sent.attribute("http.response.status_code"));
    let [begun, refused] = &connects[..] else { panic!("{connects:?}") };
    assert_eq!(begun.span.kind(), SpanKind::Server);
    assert_eq!(begun.attribute("http.response.status_code").as_deref(), Some("200"));
    assert_eq!(begun.attribute("tidewire.start").as_deref(), Some("live"));
    assert_ne!(begun.span.trace_id, TRACE.to_be_bytes(), "a client does not decide for us");
    assert_eq!(begun.span.links[0].trace_id, TRACE.to_be_bytes());
    assert_eq!(refused.attribute("http.response.status_code").as_deref(), Some("400"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_of_a_stream_and_all_of_a_batch_are_sent_under_spans() {
    let (collector, url) = Collector::start().await;
    let mut hub = traced(&url, "1").await;
    let publisher = hub.publisher();
    publisher.publish_batch(vec![event("1"), event("2")]).await.unwrap();
    let stream = publisher.stream(StreamOptions::default());
    for data in ["3", "4"] {
        stream.send(event(data)).await.unwrap().await.unwrap();
    }
    stream.finish().await.unwrap();
    let mut subscriber =
        hub.subscriber("orders.>").from(tidewire_client::Start::Earliest).build().unwrap();
    for _ in 0..5 {
        subscriber.next().await.unwrap();
    }
    hub.terminate().await;
    let batch = one(collector.named("tidewire.v1.Ingest/PublishBatch"));
    let streamed = one(collector.named("tidewire.v1.Ingest/PublishStream"));
    let sends = collector.named("send");
    let of_batch = |sent: &&Sent| sent.span.parent_span_id == batch.span.span_id;
    let sent_together = one(sends.iter().filter(of_batch).cloned().collect());
    assert_eq!(sent_together.attribute("messaging.batch.message_count").as_deref(), Some("2"));
    let of_stream = |sent: &&Sent| {
        sent.span.links.first().is_some_and(|link| link.span_id == streamed.span.span_id)
    };
    let sent_alone: Vec<_> = sends.iter().filter(of_stream).collect();
    assert_eq!((sends.len(), sent_alone.len()), (3, 2));
    let linked = |to: &Sent| {
        let processed = collector.named("process").into_iter();
        processed.filter(|sent| sent.span.links[0].span_id == to.span.span_id).count()
    };
    assert_eq!(linked(&sent_together), 2);
    assert_eq!(sent_alone.iter().map(|sent| linked(sent)).collect::<Vec<_>>(), [1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_that_nobody_takes_are_counted_and_hold_nothing_up() {
    // A port that is free, and stays so for long enough.
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let mut hub = traced(&url, "1").await;
    for _ in 0..10 {
        hub.publisher().publish(event("1")).await.unwrap();
    }
    let ingest = hub.ingest();
    let dropped = async { while ingest.metric("tidewire_traces_dropped_total ").await == 0.0 {} };
    tokio::time::timeout(std::time::Duration::from_secs(60), dropped).await.unwrap();
    let log = ingest.log();
    assert_eq!(log.matches("spans cannot be sent").count(), 1, "{log}");
    hub.terminate().await;
}
