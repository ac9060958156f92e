//! The demonstration page: plain files, built into the binary.

use axum::{Router, response::IntoResponse, routing::get};
use http::{HeaderValue, header};

/// Nothing but this origin's own files and streams; no inline script or style.
const CONTENT_SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// The page at `/`, and its assets.
pub(crate) fn router() -> Router {
    let html = "text/html; charset=utf-8";
    let css = "text/css; charset=utf-8";
    let script = "text/javascript; charset=utf-8";
    Router::new()
        .route("/", asset(html, include_str!("../assets/index.html")))
        .route("/style.css", asset(css, include_str!("../assets/style.css")))
        .route("/app.js", asset(script, include_str!("../assets/app.js")))
        .route("/favicon.svg", asset("image/svg+xml", include_str!("../assets/favicon.svg")))
}

fn asset(content_type: &'static str, body: &'static str) -> axum::routing::MethodRouter {
    get(async move || {
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        ];
        (headers, body).into_response()
    })
}
