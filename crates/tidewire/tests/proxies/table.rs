//! The documents' table: each row is looked at again, and must be there as it is found.

use std::fs;

use crate::{
    finding::look,
    hub::Hub,
    program::Kind,
    proxy::{Proxy, example},
    stream::{FRONTS, Front},
};

const DOCUMENT: &str = include_str!("../../../../docs/operations/proxies.md");

#[tokio::test(flavor = "multi_thread")]
async fn nginx_is_as_the_table_says() {
    has_rows(
        Kind::Nginx,
        &[
            ("nginx, ours", &ours("nginx.conf")),
            ("nginx, its defaults", include_str!("defaults/nginx.conf")),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_that_does_not_see_the_edge_s_header_is_as_the_table_says() {
    has_rows(
        Kind::Nginx,
        &[
            (
                "nginx behind nginx, their defaults",
                include_str!("defaults/nginx-behind-nginx.conf"),
            ),
            (
                "nginx that ignores `X-Accel-Buffering`",
                include_str!("defaults/nginx-ignoring.conf"),
            ),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_is_as_the_table_says() {
    has_rows(
        Kind::Haproxy,
        &[
            ("HAProxy, ours", &ours("haproxy.cfg")),
            ("HAProxy, its defaults", include_str!("defaults/haproxy.cfg")),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn caddy_is_as_the_table_says() {
    has_rows(
        Kind::Caddy,
        &[
            ("Caddy, ours", &ours("Caddyfile")),
            ("Caddy, its defaults", include_str!("defaults/Caddyfile")),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_is_as_the_table_says() {
    has_rows(
        Kind::Envoy,
        &[
            ("Envoy, ours", &ours("envoy.yaml")),
            ("Envoy, its defaults", include_str!("defaults/envoy.yaml")),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apache_is_as_the_table_says() {
    has_rows(
        Kind::Apache,
        &[
            ("Apache, ours", &ours("apache.conf")),
            ("Apache, its defaults", include_str!("defaults/apache.conf")),
        ],
    )
    .await;
}

/// The configuration that the documents give.
pub(crate) fn ours(name: &str) -> String {
    fs::read_to_string(example(name)).unwrap()
}

/// Looks at a proxy with each of these configurations, from both fronts.
async fn has_rows(kind: Kind, configurations: &[(&str, &str)]) {
    let hub = Hub::start().await;
    let mut missing = String::new();
    for (number, (name, config)) in configurations.iter().enumerate() {
        let proxy = Proxy::start(kind, config, hub.upstreams()).await;
        for front in FRONTS {
            let found = look(&hub, &proxy, front, &format!("{front:?}.{number}")).await;
            let spoken = if front == Front::Http1 { "HTTP/1.1" } else { "HTTP/2" };
            let row = format!("| {name} | {spoken} | {}", found.cells());
            if !DOCUMENT.lines().any(|line| line == row) {
                missing = missing + "\n" + &row;
            }
        }
    }
    assert!(missing.is_empty(), "found, and not in docs/operations/proxies.md:{missing}");
}
