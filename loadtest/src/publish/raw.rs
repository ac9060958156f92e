//! Publishing by `async-nats` alone: a process of its own, built from the examples of
//! `tidewire-nats`, the only crate that names it.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, ensure};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

use super::{Load, Outcome, TOPIC};
use crate::{
    processes::{self, Cluster},
    usage::Meter,
};

/// Publishes, and says also how many seconds of processor time the process used for it.
pub(super) async fn publish(cluster: &Cluster, load: &Load) -> anyhow::Result<(Outcome, f64)> {
    let numbers = [load.events, load.in_flight, load.event_bytes].map(|number| number.to_string());
    let mut child = Command::new(processes::program("examples/raw_publish")?)
        .args([cluster.urls(), Cluster::subject(TOPIC)])
        .args(numbers)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let meter = Meter::begin(child.id().into_iter().collect())?;
    let output = child.stdout.take().context("its output")?;
    let line = BufReader::new(output).lines().next_line().await?.context("its result")?;
    let cpu_seconds = meter.cpu_seconds()?;
    // It ends with its input.
    drop(child.stdin.take());
    let status = child.wait().await?;
    ensure!(status.success(), "raw publishing ended with {status}");
    Ok((outcome(&serde_json::from_str(&line)?)?, cpu_seconds))
}

fn outcome(told: &Value) -> anyhow::Result<Outcome> {
    let microseconds = |name: &str| told[name].as_u64().map(Duration::from_micros).context("times");
    let receipts = [microseconds("p50_microseconds")?, microseconds("p99_microseconds")?];
    let seconds = told["seconds"].as_f64().context("a time")?;
    Ok(Outcome { elapsed: Duration::from_secs_f64(seconds), receipts })
}
