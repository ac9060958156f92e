//! Publishing over gRPC.

use std::{fmt, time::Duration};

use tidewire_core::{Invalid, NewEvent, Receipt, TraceParent, limits::BATCH_EVENTS_MAX};
use tidewire_proto::v1::{PublishBatchRequest, PublishRequest, ingest_client::IngestClient};
use tonic::{
    Request,
    transport::{Channel, Endpoint},
};

use crate::{
    publish_error::PublishError,
    publish_stream::{PublishStream, StreamOptions},
    wire,
};

/// How long an attempt to connect may take.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(5);
/// How long a hub may take to answer a call. Longer than it tries itself to reach its log.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(30);
/// How often the connection is tested, so that one whose other end has vanished is noticed.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// How long such a test may take.
const KEEPALIVE_WAIT_MAX: Duration = Duration::from_secs(5);
/// Bytes of answers that may be under way: some ten thousand receipts.
const WINDOW_BYTES: u32 = 1024 * 1024;

/// Publishes events to a hub, over one gRPC connection that is made when it is first needed, and
/// again whenever it is lost. Cheap to clone; clones share the connection.
#[derive(Clone)]
pub struct Publisher {
    client: IngestClient<Channel>,
    trace: Option<TraceParent>,
}

impl Publisher {
    /// A publisher to the hub at this address, such as `http://127.0.0.1:50051`. Returns at once:
    /// it connects with the first event. Belongs in a Tokio runtime.
    ///
    /// # Errors
    /// [`PublishError::Invalid`] for an address that is not `http://`.
    pub fn connect(url: &str) -> Result<Self, PublishError> {
        let endpoint =
            Endpoint::from_shared(url.to_owned()).map_err(|_| Invalid::new("url", "is no URL"))?;
        if endpoint.uri().scheme_str() != Some("http") {
            return Err(Invalid::new("url", "does not begin http://").into());
        }
        let connection = endpoint
            .connect_timeout(CONNECT_WAIT_MAX)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_WAIT_MAX)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .connect_lazy();
        Ok(Self { client: IngestClient::new(connection), trace: None })
    }

    /// The same publisher, on the same connection, for calls that this span of the caller's makes: the
    /// hub goes on with its trace, and stores it with their events. Those of a
    /// [stream](Self::stream) say it themselves, as an attribute called `traceparent`.
    #[must_use]
    pub fn with_trace(&self, trace: TraceParent) -> Self {
        Self { trace: Some(trace), ..self.clone() }
    }

    /// Publishes one event: one attempt. A receipt means that it is stored.
    ///
    /// # Errors
    /// [`PublishError`]. Where it [may pass](PublishError::may_pass), the event may have been
    /// stored: sent again under the same id, it is stored once.
    pub async fn publish(&self, event: NewEvent) -> Result<Receipt, PublishError> {
        let request = self.request(PublishRequest { event: Some(wire::event(&event)) });
        let answer = self.client.clone().publish(request).await?;
        wire::receipt(answer.into_inner().receipt)
    }

    /// Publishes up to 1,000 events in one call, and answers for each of them, in their order. They
    /// are independent: one that is refused keeps none of the others back.
    ///
    /// # Errors
    /// [`PublishError`] where the call itself failed: then any of them may have been stored.
    pub async fn publish_batch(
        &self,
        events: Vec<NewEvent>,
    ) -> Result<Vec<Result<Receipt, PublishError>>, PublishError> {
        let handed_in = events.len();
        if handed_in == 0 || handed_in > BATCH_EVENTS_MAX {
            let reason = format!("has {handed_in} events; 1 to {BATCH_EVENTS_MAX} are allowed");
            return Err(Invalid::new("events", reason).into());
        }
        let request =
            self.request(PublishBatchRequest { events: events.iter().map(wire::event).collect() });
        let results = self.client.clone().publish_batch(request).await?.into_inner().results;
        if results.len() != handed_in {
            return Err(PublishError::refused("the hub did not answer for every event"));
        }
        Ok(results.into_iter().map(|result| wire::result(Some(result))).collect())
    }

    /// Opens a stream for many events: see [`PublishStream`].
    pub fn stream(&self, options: StreamOptions) -> PublishStream {
        PublishStream::open(self.client.clone(), options)
    }

    fn request<T>(&self, call: T) -> Request<T> {
        let mut request = Request::new(call);
        request.set_timeout(ANSWER_WAIT_MAX);
        // Hex digits and hyphens are a header's value.
        let trace = self.trace.as_ref().and_then(|trace| trace.as_str().parse().ok());
        if let Some(trace) = trace {
            request.metadata_mut().insert(TraceParent::NAME, trace);
        }
        request
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").finish_non_exhaustive()
    }
}
