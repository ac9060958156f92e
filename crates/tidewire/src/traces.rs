//! Traces: spans on their way to a collector, by OTLP over gRPC.
//!
//! They wait in a bounded queue, and a thread of their own sends them: whoever makes a span never waits.

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::Context as _;
use metrics::{Counter, counter, describe_counter};
use opentelemetry::{Context, KeyValue, global};
use opentelemetry_otlp::{SpanExporter as OtlpExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    resource::{EnvResourceDetector, TelemetryResourceDetector},
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, Span, SpanData,
        SpanExporter, SpanProcessor,
    },
};
use parking_lot::Mutex;
use tidewire_core::Seldom;
use tokio::{
    task::spawn_blocking,
    time::{Instant, timeout},
};
use tracing::{info, warn};

use crate::{process, settings::TracesArgs};

/// Spans that wait to be sent. One more is dropped, and counted.
const QUEUE_SPANS: usize = 4_096;
/// How long the last spans may take to leave when the process ends.
pub(crate) const FLUSH_MAX: Duration = Duration::from_secs(2);
const DROPPED: &str = "tidewire_traces_dropped_total";

/// The traces of the process, where they are on.
pub(crate) struct Traces(Option<SdkTracerProvider>);

impl Traces {
    /// Installs what sends spans, where an endpoint is set. It need not answer yet. Within a tokio
    /// runtime, and after the metrics recorder is installed.
    ///
    /// # Errors
    /// Where the exporter cannot be made.
    pub(crate) fn begin(args: &TracesArgs, role: &str) -> anyhow::Result<Self> {
        let endpoint = match args.endpoint() {
            Ok(Some(endpoint)) if !is_disabled() => endpoint,
            Ok(_) => return Ok(Self(None)),
            Err(why) => {
                warn!(why, "traces are off");
                return Ok(Self(None));
            }
        };
        describe_counter!(DROPPED, "Spans that were not sent: too many, or nobody took them");
        let exporter = OtlpExporter::builder()
            .with_tonic()
            .with_endpoint(&endpoint)
            .build()
            .context("OTLP")?;
        let (waiting, dropped) = (Arc::<AtomicUsize>::default(), counter!(DROPPED));
        let exporter = Told {
            exporter,
            waiting: Arc::clone(&waiting),
            dropped: dropped.clone(),
            seldom: Mutex::new(Seldom::new()),
            begun: Instant::now(),
        };
        let batches = BatchConfigBuilder::default().with_max_queue_size(QUEUE_SPANS).build();
        let sending = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
        let drawn = Sampler::TraceIdRatioBased(args.trace_sample_ratio);
        let provider = SdkTracerProvider::builder()
            .with_span_processor(Bounded { sending, waiting, dropped })
            .with_sampler(Sampler::ParentBased(Box::new(drawn)))
            .with_resource(resource(role))
            .build();
        global::set_tracer_provider(provider.clone());
        info!(endpoint, share = args.trace_sample_ratio, "traces are sent");
        Ok(Self(Some(provider)))
    }

    pub(crate) fn are_on(&self) -> bool {
        self.0.is_some()
    }

    /// How long [`flush`](Self::flush) takes at most.
    pub(crate) fn flush_max(&self) -> Duration {
        if self.are_on() { FLUSH_MAX } else { Duration::ZERO }
    }

    /// Sends what is left, for as long as that may take. Nothing can be traced after it.
    pub(crate) async fn flush(self) {
        let Some(provider) = self.0 else { return };
        // It blocks, and needs this runtime meanwhile.
        let sent = spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_MAX));
        match timeout(FLUSH_MAX, sent).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => warn!(%error, "the last spans were not sent"),
            Ok(Err(_)) | Err(_) => warn!("the last spans were not sent in time"),
        }
    }
}

/// Whether all of OpenTelemetry shall be off, as its specification spells it.
fn is_disabled() -> bool {
    env::var("OTEL_SDK_DISABLED").is_ok_and(|value| value.eq_ignore_ascii_case("true"))
}

/// Who this process is. Its environment may say otherwise, and more.
fn resource(role: &str) -> Resource {
    let ours = Resource::builder_empty()
        .with_service_name(format!("tidewire-{role}"))
        .with_attribute(KeyValue::new("service.instance.id", process::instance()))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_detector(Box::new(EnvResourceDetector::new()));
    match env::var("OTEL_SERVICE_NAME") {
        Ok(name) if !name.is_empty() => ours.with_service_name(name).build(),
        _ => ours.build(),
    }
}

/// Takes spans as long as not too many wait.
#[derive(Debug)]
struct Bounded {
    sending: BatchSpanProcessor,
    waiting: Arc<AtomicUsize>,
    dropped: Counter,
}

impl SpanProcessor for Bounded {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.waiting.fetch_add(1, Relaxed) < QUEUE_SPANS {
            self.sending.on_end(span);
        } else {
            self.waiting.fetch_sub(1, Relaxed);
            self.dropped.increment(1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.sending.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.sending.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.sending.set_resource(resource);
    }
}

/// Sends spans, and tells where nobody takes them.
#[derive(Debug)]
struct Told {
    exporter: OtlpExporter,
    waiting: Arc<AtomicUsize>,
    dropped: Counter,
    seldom: Mutex<Seldom>,
    begun: Instant,
}

impl SpanExporter for Told {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        self.waiting.fetch_sub(spans, Relaxed);
        let sent = self.exporter.export(batch).await;
        if let Err(error) = &sent {
            self.dropped.increment(spans as u64);
            let told = self.seldom.lock().count(self.begun.elapsed());
            if let Some(batches) = told {
                warn!(%error, batches, "spans cannot be sent, and are dropped");
            }
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
