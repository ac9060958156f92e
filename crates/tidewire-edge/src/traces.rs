//! The spans of an edge, where traces are on: a client's way to its stream, and an event's to the feeds.
//!
//! Names and attributes are those of OpenTelemetry's conventions for HTTP and messaging. Nothing of an
//! event is among them but its place in the log, and nothing of a request but its route.

use std::{sync::Arc, time::SystemTime};

use http::{HeaderMap, StatusCode};
use opentelemetry::{
    Context, KeyValue,
    global::{self, BoxedSpan, BoxedTracer},
    trace::{
        Link, Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags,
        TraceId, TraceState, Tracer as _,
    },
};
use tidewire_core::{Cursor, Event, TraceParent};

/// Makes spans; nothing where traces are off, which is one branch. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Traces(Option<Arc<BoxedTracer>>);

impl Traces {
    pub(crate) const OFF: Self = Self(None);

    /// With the tracer that is installed by now, where traces are on.
    pub(crate) fn new(are_on: bool) -> Self {
        Self(are_on.then(|| Arc::new(global::tracer("tidewire-edge"))))
    }

    /// Begins a client's way to its stream.
    ///
    /// Anybody may say that its request belongs to a trace that is recorded. So that is a link, and
    /// whether the span is recorded is drawn here.
    pub(crate) fn connect(
        &self,
        method: &'static str,
        route: &'static str,
        headers: &HeaderMap,
    ) -> ConnectSpan {
        ConnectSpan(self.0.as_ref().and_then(|tracer| {
            let name = format!("{method} {route}");
            let said = headers.get(TraceParent::NAME).and_then(|said| said.to_str().ok());
            let caller = said.and_then(TraceParent::parse);
            let links = caller.iter().map(|caller| Link::with_context(context_of(caller)));
            let span = tracer
                .span_builder(name)
                .with_kind(SpanKind::Server)
                .with_links(links.collect())
                .with_attributes([
                    KeyValue::new("http.request.method", method),
                    KeyValue::new("http.route", route),
                    KeyValue::new("url.path", route),
                ])
                .start_with_context(&**tracer, &Context::new());
            span.is_recording().then(|| Box::new(span))
        }))
    }

    /// Begins to hand events to the feeds.
    pub(crate) fn processing(&self) -> Processing<'_> {
        Processing { tracer: self.0.as_deref(), processed: Vec::new() }
    }
}

/// A client's way to its stream, from its request to the first byte of the answer. A stream lives for
/// hours, of which its span would tell nothing until the end. What is dropped ends.
pub(crate) struct ConnectSpan(Option<Box<BoxedSpan>>);

impl ConnectSpan {
    pub(crate) const OFF: Self = Self(None);

    /// Takes it along to where the first byte is handed out, with how the stream begins.
    pub(crate) fn begun(&mut self, start: &'static str) -> Self {
        let mut taken = self.0.take();
        if let Some(span) = &mut taken {
            span.set_attribute(KeyValue::new("tidewire.start", start));
            span.set_attribute(KeyValue::new("http.response.status_code", 200));
        }
        Self(taken)
    }

    /// The first byte of the stream is handed to whoever writes it.
    pub(crate) fn first_byte(&mut self) {
        if let Some(mut span) = self.0.take() {
            span.end();
        }
    }

    /// There is no stream; the answer has this status.
    pub(crate) fn answered(mut self, status: StatusCode) {
        let Some(span) = &mut self.0 else { return };
        let code = status.as_u16();
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(code)));
        if status.is_server_error() {
            span.set_attribute(KeyValue::new("error.type", code.to_string()));
            span.set_status(Status::error(""));
        }
    }
}

/// Events that are handed to the feeds, and those among them that are traced: one span for each,
/// however many get it.
pub(crate) struct Processing<'a> {
    tracer: Option<&'a BoxedTracer>,
    processed: Vec<Processed>,
}

/// An event that is traced.
pub(crate) struct Processed {
    producer: TraceParent,
    cursor: Cursor,
    began: SystemTime,
    feeds: usize,
    recipients: usize,
}

impl Processing<'_> {
    /// Notes an event where its producer's span is recorded.
    pub(crate) fn begin(&self, event: &Event) -> Option<Processed> {
        self.tracer?;
        let producer = event.event.attributes.get(TraceParent::NAME)?;
        let producer = TraceParent::parse(producer).filter(TraceParent::is_sampled)?;
        let (cursor, began) = (event.cursor, SystemTime::now());
        Some(Processed { producer, cursor, began, feeds: 0, recipients: 0 })
    }

    /// So many have it now.
    pub(crate) fn handed(&mut self, processed: Processed, feeds: usize, recipients: usize) {
        self.processed.push(Processed { feeds, recipients, ..processed });
    }

    /// Ends what has been handed over: what waits for it has been told. Not under a lock.
    pub(crate) fn end(&mut self) {
        let Some(tracer) = self.tracer else { return };
        for Processed { producer, cursor, began, feeds, recipients } in self.processed.drain(..) {
            let producer = context_of(&producer);
            let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
            // What is to be done with one event may stand in its producer's trace, and is linked to it
            // in any case (the conventions' "process" spans).
            tracer
                .span_builder("process")
                .with_kind(SpanKind::Consumer)
                .with_start_time(began)
                .with_links(vec![Link::with_context(producer.clone())])
                .with_attributes([
                    KeyValue::new("messaging.system", "tidewire"),
                    KeyValue::new("messaging.operation.name", "process"),
                    KeyValue::new("messaging.operation.type", "process"),
                    KeyValue::new("messaging.message.id", cursor.to_string()),
                    KeyValue::new("tidewire.feeds", count(feeds)),
                    KeyValue::new("tidewire.recipients", count(recipients)),
                ])
                .start_with_context(tracer, &Context::new().with_remote_span_context(producer))
                .end();
        }
    }
}

fn context_of(parent: &TraceParent) -> SpanContext {
    SpanContext::new(
        TraceId::from(parent.trace_id()),
        SpanId::from(parent.span_id()),
        if parent.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::default() },
        true,
        TraceState::NONE,
    )
}
