//! Calls, each counted when it ends, by its method and the code of its end.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    extract::Request,
    middleware::{Next, from_fn},
    routing::MethodRouter,
};
use futures_util::future::BoxFuture;
use http::StatusCode;
use metrics::{Counter, Histogram};
use tidewire_core::metric::Label;
use tokio::time::Instant;
use tonic::{Code, Status};
use tower::{Layer, Service};

use crate::{
    ingest::Ingest,
    metrics::{CALL, CALLS},
};

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Publish,
    PublishBatch,
    PublishStream,
    /// Either route of HTTP.
    Http,
}

/// By which methods are told apart, in the order of [`Method`].
pub(crate) const METHODS: Label =
    Label { name: "method", values: &["publish", "publish_batch", "publish_stream", "http"] };

/// By which ends are told apart. What has no name here is `unknown`.
pub(crate) const CODES: Label = Label {
    name: "code",
    values: &[
        "unknown",
        "ok",
        "cancelled",
        "invalid_argument",
        "deadline_exceeded",
        "permission_denied",
        "resource_exhausted",
        "unimplemented",
        "internal",
        "unavailable",
    ],
};

impl Method {
    /// What tonic names by this path, where that is answered with one message.
    fn unary(path: &str) -> Option<Self> {
        match path.rsplit('/').next()? {
            "Publish" => Some(Self::Publish),
            "PublishBatch" => Some(Self::PublishBatch),
            _ => None,
        }
    }
}

/// Where a code stands among [`CODES`].
fn place_of(code: Code) -> usize {
    let name = match code {
        Code::Ok => "ok",
        Code::Cancelled => "cancelled",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        _ => "unknown",
    };
    CODES.values.iter().position(|value| *value == name).unwrap_or_default()
}

/// What gRPC would say where HTTP says this.
fn code_of(status: StatusCode) -> Code {
    match status {
        StatusCode::BAD_REQUEST | StatusCode::UNSUPPORTED_MEDIA_TYPE => Code::InvalidArgument,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::REQUEST_TIMEOUT => Code::DeadlineExceeded,
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::TOO_MANY_REQUESTS => Code::ResourceExhausted,
        StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        status if status.is_success() => Code::Ok,
        _ => Code::Unknown,
    }
}

/// The handles of all methods, looked up once, in the order of [`METHODS`].
pub(crate) struct Calls(Vec<Arc<Handles>>);

struct Handles {
    /// In the order of [`CODES`].
    ended: Vec<Counter>,
    seconds: Histogram,
}

impl Calls {
    pub(crate) fn new() -> Self {
        let handles = |method: &&'static str| {
            Arc::new(Handles {
                ended: CODES.values.iter().map(|code| CALLS.counter_of(&[method, code])).collect(),
                seconds: CALL.histogram_of(&[method]),
            })
        };
        Self(METHODS.values.iter().map(handles).collect())
    }

    pub(crate) fn begin(&self, method: Method) -> Call {
        let handles = Arc::clone(&self.0[method as usize]);
        Call { handles, code: Code::Cancelled, since: Instant::now() }
    }
}

/// A call. It is counted when it is dropped: as cancelled, unless its end was told.
pub(crate) struct Call {
    handles: Arc<Handles>,
    code: Code,
    since: Instant,
}

impl Call {
    /// It has ended with this.
    pub(crate) fn ended(mut self, code: Code) {
        self.code = code;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.handles.ended[place_of(self.code)].increment(1);
        self.handles.seconds.record(self.since.elapsed());
    }
}

impl Ingest {
    /// Counts the calls of HTTP.
    pub(crate) fn counted_http<S>(&self, routes: MethodRouter<S>) -> MethodRouter<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        let ingest = self.clone();
        let counted = move |request: Request, next: Next| {
            let call = ingest.metrics().call(Method::Http);
            async move {
                let response = next.run(request).await;
                call.ended(code_of(response.status()));
                response
            }
        };
        routes.route_layer(from_fn(counted))
    }

    /// Counts the calls of gRPC that are answered with one message. A stream's end comes later, and is
    /// counted by who carries it.
    pub(crate) fn counted_unary(&self) -> UnaryLayer {
        UnaryLayer(self.clone())
    }
}

#[derive(Clone)]
pub(crate) struct UnaryLayer(Ingest);

impl<S> Layer<S> for UnaryLayer {
    type Service = Unary<S>;

    fn layer(&self, calls: S) -> Unary<S> {
        Unary { ingest: self.0.clone(), calls }
    }
}

#[derive(Clone)]
pub(crate) struct Unary<S> {
    ingest: Ingest,
    calls: S,
}

impl<S, B, R> Service<http::Request<B>> for Unary<S>
where
    S: Service<http::Request<B>, Response = http::Response<R>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<R>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<http::Response<R>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.calls.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let method = Method::unary(request.uri().path());
        let call = method.map(|method| self.ingest.metrics().call(method));
        let answer = self.calls.call(request);
        Box::pin(async move {
            let Ok(answer) = answer.await;
            if let Some(call) = call {
                // Without a status in its head, an answer has a message.
                let status = Status::from_header_map(answer.headers());
                call.ended(status.map_or(Code::Ok, |status| status.code()));
            }
            Ok(answer)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_that_is_answered_has_its_own_name() {
        let codes = [
            Code::Ok,
            Code::Cancelled,
            Code::InvalidArgument,
            Code::DeadlineExceeded,
            Code::PermissionDenied,
            Code::ResourceExhausted,
            Code::Unimplemented,
            Code::Internal,
            Code::Unavailable,
        ];
        let mut places: Vec<_> = codes.into_iter().map(place_of).collect();
        places.dedup();
        assert_eq!(places, (1..CODES.values.len()).collect::<Vec<_>>());
        assert_eq!(CODES.values[place_of(Code::DataLoss)], "unknown");
    }

    #[test]
    fn methods_stand_where_their_names_do() {
        for (method, name) in [
            (Method::Publish, "publish"),
            (Method::PublishBatch, "publish_batch"),
            (Method::PublishStream, "publish_stream"),
            (Method::Http, "http"),
        ] {
            assert_eq!(METHODS.values[method as usize], name);
        }
        assert_eq!(Method::unary("/tidewire.v1.Ingest/PublishBatch"), Some(Method::PublishBatch));
        assert_eq!(Method::unary("/tidewire.v1.Ingest/PublishStream"), None);
        assert_eq!(Method::unary("/tidewire.v1.Ingest/anything else"), None);
    }

    #[test]
    fn ends_over_http_have_the_names_that_they_have_over_grpc() {
        for (status, name) in [
            (200, "ok"),
            (400, "invalid_argument"),
            (413, "resource_exhausted"),
            (418, "unknown"),
            (429, "resource_exhausted"),
            (503, "unavailable"),
        ] {
            let code = code_of(StatusCode::from_u16(status).unwrap());
            assert_eq!(CODES.values[place_of(code)], name, "{status}");
        }
    }
}
