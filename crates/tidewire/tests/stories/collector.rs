//! A collector of traces: what it is sent by OTLP over gRPC, it keeps.

use std::sync::Arc;

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::Span,
};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Server};

/// A span, and who sent it.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) span: Span,
    resource: Vec<KeyValue>,
}

impl Sent {
    /// An attribute of the span, as text.
    pub(crate) fn attribute(&self, name: &str) -> Option<String> {
        text(&self.span.attributes, name)
    }

    /// What is said of its process.
    pub(crate) fn resource(&self, name: &str) -> Option<String> {
        text(&self.resource, name)
    }

    /// Everything that it says, to look for what it must not say.
    pub(crate) fn everything(&self) -> String {
        format!("{self:?}")
    }
}

#[derive(Clone, Default)]
pub(crate) struct Collector {
    spans: Arc<Mutex<Vec<Sent>>>,
}

impl Collector {
    /// Starts one, on a free port; says where. It ends with the test's runtime.
    pub(crate) async fn start() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let collector = Self::default();
        let service = TraceServiceServer::new(collector.clone());
        let incoming = TcpListenerStream::new(listener);
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
        (collector, url)
    }

    /// All spans that have come.
    pub(crate) fn spans(&self) -> Vec<Sent> {
        self.spans.lock().clone()
    }

    /// Those of this name.
    pub(crate) fn named(&self, name: &str) -> Vec<Sent> {
        self.spans().into_iter().filter(|sent| sent.span.name == name).collect()
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for of_process in request.into_inner().resource_spans {
            let resource = of_process.resource.unwrap_or_default().attributes;
            let spans = of_process.scope_spans.into_iter().flat_map(|scope| scope.spans);
            let sent = spans.map(|span| Sent { span, resource: resource.clone() });
            self.spans.lock().extend(sent);
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn text(attributes: &[KeyValue], name: &str) -> Option<String> {
    let value = &attributes.iter().find(|held| held.key == name)?.value;
    Some(match value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(truth) => truth.to_string(),
        other => format!("{other:?}"),
    })
}
