//! The operations port: whether the process lives, whether it is ready, what it has counted, what it logs,
//! and a page that shows how it is.

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    log_filter::LogFilter,
    readiness::Readiness,
    status::{self, Status},
    telemetry::Metrics,
};

/// Bytes of a log filter.
const LOG_FILTER_BYTES_MAX: usize = 4 * 1024;
const UNCOUNTED: &str = "nothing is counted: this process runs with --metrics false\n";

/// Serves the port until it is told to stop.
pub(crate) async fn serve(
    listener: TcpListener,
    readiness: Arc<Readiness>,
    metrics: Metrics,
    status: Status,
    log_filter: LogFilter,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let status = status::router(status, stop.clone());
    let routes = router(readiness, metrics, log_filter).merge(status);
    axum::serve(listener, routes.into_make_service())
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}

fn router(readiness: Arc<Readiness>, metrics: Metrics, log_filter: LogFilter) -> Router {
    let log_filter = get(shown_log_filter)
        .put(change_log_filter)
        .layer(DefaultBodyLimit::max(LOG_FILTER_BYTES_MAX))
        .with_state(log_filter);
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz).with_state(readiness))
        .route("/metrics", get(scrape).with_state(metrics))
        .route("/log-filter", log_filter)
}

async fn readyz(State(readiness): State<Arc<Readiness>>) -> impl IntoResponse {
    let missing = readiness.missing();
    if missing.is_empty() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, missing.join("\n") + "\n")
    }
}

async fn shown_log_filter(State(filter): State<LogFilter>) -> String {
    filter.shown() + "\n"
}

async fn change_log_filter(
    State(filter): State<LogFilter>,
    text: String,
) -> Result<String, (StatusCode, String)> {
    match filter.change(text.trim()) {
        Ok(()) => Ok(filter.shown() + "\n"),
        Err(fault) => Err((StatusCode::BAD_REQUEST, fault + "\n")),
    }
}

/// Where nothing is counted, a page without metrics would look like a process in good health.
async fn scrape(State(metrics): State<Metrics>) -> Response {
    match metrics.render() {
        Some(text) => {
            ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
        }
        None => (StatusCode::NOT_FOUND, UNCOUNTED).into_response(),
    }
}
