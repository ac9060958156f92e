//! The spans of publish calls, where traces are on: the call itself, and the sending of its events.
//!
//! Names and attributes are those of OpenTelemetry's conventions for RPC, HTTP and messaging. Nothing
//! of an event is among them but its place in the log.

use std::sync::Arc;

use opentelemetry::{
    Context, KeyValue,
    global::{self, BoxedSpan, BoxedTracer},
    trace::{
        Link, Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags,
        TraceId, TraceState, Tracer as _,
    },
};
use tidewire_core::{Receipt, TraceParent};

use crate::refusal::Refusal;

/// Makes spans; nothing where traces are off, which is one branch for each call. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Traces(Option<Arc<BoxedTracer>>);

/// How a publish was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Method {
    Publish,
    PublishBatch,
    PublishStream,
    PostEvents,
    PostTopic,
}

impl Traces {
    /// With the tracer that is installed by now, where traces are on.
    pub(crate) fn new(are_on: bool) -> Self {
        Self(are_on.then(|| Arc::new(global::tracer("tidewire-ingest"))))
    }

    /// Begins a call that publishes, caused by `parent`.
    pub(crate) fn call(&self, method: Method, parent: Option<TraceParent>) -> Call {
        let spans = self.0.as_ref().and_then(|tracer| {
            let server = server_span(tracer, method, parent.as_ref())?;
            let send = send_span(tracer, &server);
            Some(Box::new(Spans { server, send }))
        });
        Call { parent, spans }
    }

    /// Begins a stream that publishes. Its events are sent one by one, each with a span of its own.
    pub(crate) fn stream(&self, parent: Option<TraceParent>) -> StreamCall {
        let server = self
            .0
            .as_ref()
            .and_then(|tracer| server_span(tracer, Method::PublishStream, parent.as_ref()));
        StreamCall { traces: self.clone(), parent, server }
    }

    pub(crate) fn are_on(&self) -> bool {
        self.0.is_some()
    }
}

/// One call, from its first byte to its answer. What is dropped ends.
pub(crate) struct Call {
    parent: Option<TraceParent>,
    /// There where the call is traced.
    spans: Option<Box<Spans>>,
}

struct Spans {
    server: Context,
    send: BoxedSpan,
}

impl Call {
    /// What its events are stored with: where they were sent, or else the caller's own.
    pub(crate) fn trace(&self) -> Option<TraceParent> {
        match &self.spans {
            Some(spans) => Some(parent_of(spans.send.span_context())),
            None => self.parent.clone(),
        }
    }

    /// One event is stored, or refused.
    pub(crate) fn sent(&mut self, outcome: &Result<Receipt, Refusal>) {
        if let Some(spans) = &mut self.spans {
            finish(&mut spans.send, outcome);
        }
    }

    /// Several events are stored, or refused.
    pub(crate) fn sent_all(&mut self, outcomes: &[Result<Receipt, Refusal>]) {
        let Some(Spans { send, .. }) = self.spans.as_deref_mut() else { return };
        let mut refused = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
        send.set_attribute(KeyValue::new("messaging.batch.message_count", count(outcomes.len())));
        send.set_attribute(KeyValue::new("tidewire.refused", count(refused.clone().count())));
        if let Some(refusal) = refused.next() {
            fail(send, refusal.class());
        }
        send.end();
    }

    /// The call is answered with this gRPC code.
    pub(crate) fn answered_grpc(self, code: tonic::Code) {
        let Some(spans) = self.spans else { return };
        end_rpc(&spans.server, code);
    }

    /// The call is answered with this HTTP status.
    pub(crate) fn answered_http(self, status: http::StatusCode) {
        let Some(spans) = self.spans else { return };
        let server = spans.server.span();
        server
            .set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
        if status.is_server_error() {
            server.set_attribute(KeyValue::new("error.type", status.as_u16().to_string()));
            server.set_status(Status::error(""));
        }
    }
}

/// A stream that publishes, from its opening to its end.
pub(crate) struct StreamCall {
    traces: Traces,
    parent: Option<TraceParent>,
    /// There where the call is traced.
    server: Option<Context>,
}

impl StreamCall {
    /// What its events are stored with where they are not traced one by one.
    pub(crate) fn trace(&self) -> Option<TraceParent> {
        self.parent.clone()
    }

    /// Begins to send an event that has this trace of its own; nothing where it is not traced. Where
    /// the caller has said nothing, each event is judged alone: a stream may go on for days.
    pub(crate) fn send(&self, own: Option<&str>) -> Option<EventSpan> {
        let tracer = self.traces.0.as_ref()?;
        let own = own.and_then(TraceParent::parse);
        let parent = own.as_ref().or(self.parent.as_ref());
        let context = parent.map_or_else(Context::new, context_of);
        let link = self.server.as_ref().map(|server| server.span().span_context().clone());
        let span = recording(
            tracer
                .span_builder("send")
                .with_kind(SpanKind::Producer)
                .with_attributes(messaging("send"))
                .with_links(link.map(Link::with_context).into_iter().collect()),
            tracer,
            &context,
        )?;
        Some(EventSpan(Box::new(span)))
    }

    /// The stream has ended with this gRPC code.
    pub(crate) fn answered(self, code: tonic::Code) {
        if let Some(server) = self.server {
            end_rpc(&server, code);
        }
    }
}

/// One event of a stream, while it is sent.
pub(crate) struct EventSpan(Box<BoxedSpan>);

impl EventSpan {
    /// What the event is stored with.
    pub(crate) fn trace(&self) -> TraceParent {
        parent_of(self.0.span_context())
    }

    /// The event is stored, or refused.
    pub(crate) fn sent(mut self, outcome: &Result<Receipt, Refusal>) {
        finish(&mut self.0, outcome);
    }
}

fn server_span(
    tracer: &BoxedTracer,
    method: Method,
    parent: Option<&TraceParent>,
) -> Option<Context> {
    let parent = parent.map_or_else(Context::new, context_of);
    let rpc = |name: &'static str| {
        let of_rpc = [KeyValue::new("rpc.system.name", "grpc"), KeyValue::new("rpc.method", name)];
        (name, of_rpc.to_vec())
    };
    let post = |name: &'static str, route: &'static str| {
        let of_http = [
            KeyValue::new("http.request.method", "POST"),
            KeyValue::new("http.route", route),
            KeyValue::new("url.scheme", "http"),
        ];
        (name, of_http.to_vec())
    };
    let (name, attributes) = match method {
        Method::Publish => rpc("tidewire.v1.Ingest/Publish"),
        Method::PublishBatch => rpc("tidewire.v1.Ingest/PublishBatch"),
        Method::PublishStream => rpc("tidewire.v1.Ingest/PublishStream"),
        Method::PostEvents => post("POST /v1/events", "/v1/events"),
        Method::PostTopic => post("POST /v1/topics/{topic}", "/v1/topics/{topic}"),
    };
    let span = tracer.span_builder(name).with_kind(SpanKind::Server).with_attributes(attributes);
    recording(span, tracer, &parent).map(|span| Context::new().with_span(span))
}

fn send_span(tracer: &BoxedTracer, server: &Context) -> BoxedSpan {
    let send = tracer.span_builder("send").with_kind(SpanKind::Producer);
    send.with_attributes(messaging("send")).start_with_context(tracer, server)
}

/// Begins a span; nothing where it is not sampled, so that nothing is stored or said of it.
fn recording(
    span: opentelemetry::trace::SpanBuilder,
    tracer: &BoxedTracer,
    parent: &Context,
) -> Option<BoxedSpan> {
    let span = span.start_with_context(tracer, parent);
    span.is_recording().then_some(span)
}

fn messaging(operation: &'static str) -> [KeyValue; 3] {
    [
        KeyValue::new("messaging.system", "tidewire"),
        KeyValue::new("messaging.operation.name", operation),
        KeyValue::new("messaging.operation.type", operation),
    ]
}

fn finish(send: &mut BoxedSpan, outcome: &Result<Receipt, Refusal>) {
    match outcome {
        Ok(receipt) => {
            send.set_attribute(KeyValue::new("messaging.message.id", receipt.cursor.to_string()));
            send.set_attribute(KeyValue::new("tidewire.duplicate", receipt.duplicate));
        }
        Err(refusal) => fail(send, refusal.class()),
    }
    send.end();
}

fn fail(span: &mut BoxedSpan, class: &'static str) {
    span.set_attribute(KeyValue::new("error.type", class));
    span.set_status(Status::error(""));
}

/// Ends a call. An error is what is the server's fault, not the caller's.
fn end_rpc(server: &Context, code: tonic::Code) {
    use tonic::Code::{
        DataLoss, DeadlineExceeded, Internal, Ok, Unavailable, Unimplemented, Unknown,
    };
    let name = crate::status::code_name(code);
    let server = server.span();
    server.set_attribute(KeyValue::new("rpc.response.status_code", name));
    if code != Ok {
        server.set_attribute(KeyValue::new("error.type", name));
    }
    let is_ours = [DataLoss, DeadlineExceeded, Internal, Unavailable, Unimplemented, Unknown];
    if is_ours.contains(&code) {
        server.set_status(Status::error(""));
    }
    server.end();
}

fn context_of(parent: &TraceParent) -> Context {
    let flags = if parent.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::default() };
    Context::new().with_remote_span_context(SpanContext::new(
        TraceId::from(parent.trace_id()),
        SpanId::from(parent.span_id()),
        flags,
        true,
        TraceState::NONE,
    ))
}

/// What a recorded span is to what it causes.
fn parent_of(span: &SpanContext) -> TraceParent {
    TraceParent::of_sampled(
        u128::from_be_bytes(span.trace_id().to_bytes()),
        u64::from_be_bytes(span.span_id().to_bytes()),
    )
}

fn count(events: usize) -> i64 {
    i64::try_from(events).unwrap_or(i64::MAX)
}
