//! What is logged and in which form, and where traces go.

use std::env;

use axum::http::Uri;
use clap::{Args, ValueEnum};

use crate::log_filter;

/// The variables by which every program that speaks OTLP is told where to, the first first
/// (OpenTelemetry's "OTLP Exporter Configuration").
const STANDARD_ENDPOINTS: [&str; 2] =
    ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
/// And those by which it is told how.
const STANDARD_PROTOCOLS: [&str; 2] =
    ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];

/// What is logged.
#[derive(Debug, Args)]
pub(crate) struct TelemetryArgs {
    /// What is logged, on standard error: error, warn, info, debug or trace, or one for each part
    /// (info,tidewire_edge=debug). async_nats is the library that speaks with NATS: it tells of each
    /// attempt to connect, which is told once without it. A running process takes another one at
    /// /log-filter of its operations port.
    #[arg(
        long,
        value_name = "FILTER",
        default_value = "info,async_nats=off",
        value_parser = log_filter
    )]
    pub(crate) log_filter: String,

    /// How a line of the log is written: text for people, json for programs (an object a line), or
    /// auto, which is text on a terminal and json elsewhere.
    #[arg(long, value_name = "FORMAT", default_value = "auto")]
    pub(crate) log_format: LogFormat,
}

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Where traces go.
#[derive(Debug, Args)]
#[command(next_help_heading = "Traces")]
pub(crate) struct TracesArgs {
    /// Where traces are sent to, by OTLP over gRPC: a collector's address, such as
    /// http://127.0.0.1:4317. Without it, the usual OTEL_EXPORTER_OTLP_ENDPOINT is taken; without
    /// that, nothing is traced. What the traces say of this process may be added to by
    /// OTEL_RESOURCE_ATTRIBUTES.
    #[arg(long, value_name = "URL", value_parser = otlp_endpoint)]
    pub(crate) otlp_endpoint: Option<String>,

    /// Which share of publish calls, and of connects, is traced: 0 to 1. A publisher that says
    /// (traceparent) whether its own trace is recorded decides that for its events.
    #[arg(long, value_name = "SHARE", default_value = "0.01", value_parser = share)]
    pub(crate) trace_sample_ratio: f64,
}

impl TracesArgs {
    /// Where to send traces; nothing where they are off.
    ///
    /// # Errors
    /// Why the standard variables ask for what cannot be done. Perhaps it is others that they mean.
    pub(crate) fn endpoint(&self) -> Result<Option<String>, String> {
        if self.otlp_endpoint.is_some() {
            return Ok(self.otlp_endpoint.clone());
        }
        let said = |names: [&'static str; 2]| {
            names.into_iter().find_map(|name| {
                Some((name, env::var(name).ok().filter(|value| !value.is_empty())?))
            })
        };
        let Some((name, endpoint)) = said(STANDARD_ENDPOINTS) else { return Ok(None) };
        if let Some((name, protocol)) = said(STANDARD_PROTOCOLS)
            && protocol != "grpc"
        {
            return Err(format!("{name} asks for '{protocol}', and only grpc is spoken"));
        }
        otlp_endpoint(&endpoint).map(Some).map_err(|why| format!("{name}: {why}"))
    }
}

fn log_filter(text: &str) -> Result<String, String> {
    log_filter::parse(text).map(|_| text.into())
}

fn otlp_endpoint(text: &str) -> Result<String, String> {
    let wanted = "a collector's address is wanted, such as http://127.0.0.1:4317, without TLS, a \
                  name or a password";
    let uri = text.parse::<Uri>().map_err(|_| wanted)?;
    let is_plain = uri.scheme_str() == Some("http")
        && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    if is_plain { Ok(text.into()) } else { Err(wanted.into()) }
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "a number from 0 to 1 is wanted, such as 0.01 for one in a hundred".into())
}
