//! The operations port: whether the process lives, whether it is ready, what it has counted, and a page
//! that shows how it is.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    readiness::Readiness,
    status::{self, Status},
    telemetry::Metrics,
};

/// Serves the port until it is told to stop.
pub(crate) async fn serve(
    listener: TcpListener,
    readiness: Arc<Readiness>,
    metrics: Metrics,
    status: Status,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let routes = router(readiness, metrics).merge(status::router(status, stop.clone()));
    axum::serve(listener, routes.into_make_service())
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}

fn router(readiness: Arc<Readiness>, metrics: Metrics) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz).with_state(readiness))
        .route("/metrics", get(scrape).with_state(metrics))
}

async fn readyz(State(readiness): State<Arc<Readiness>>) -> impl IntoResponse {
    let missing = readiness.missing();
    if missing.is_empty() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, missing.join("\n") + "\n")
    }
}

async fn scrape(State(metrics): State<Metrics>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.render())
}
