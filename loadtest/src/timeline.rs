//! How a run goes: some figures of the server and its clients, again and again.

use std::{sync::Arc, time::Duration};

use serde::Serialize;
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{fleet::Heard, histogram::Histogram, output, usage};

/// One look.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Sample {
    /// Since the first.
    pub(crate) seconds: f64,
    pub(crate) deliveries_per_second: f64,
    /// Of all deliveries since the look before; none where there were none.
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) max_ms: Option<f64>,
    /// Cores that the server has used: its own time, and the kernel's for it.
    pub(crate) own_cores: f64,
    pub(crate) kernel_cores: f64,
    /// The server's memory that no file stands behind.
    pub(crate) memory_bytes: u64,
    pub(crate) connections: u64,
}

/// Looks until it is stopped.
pub(crate) struct Timeline {
    looking: JoinHandle<anyhow::Result<Vec<Sample>>>,
    stop: oneshot::Sender<()>,
}

impl Timeline {
    /// Begins to look at a server's processes and its clients. Says every so often how things are,
    /// where that is wanted.
    pub(crate) fn start(
        heard: Arc<Heard>,
        pids: Vec<u32>,
        every: Duration,
        said_every: Option<Duration>,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        let looking = tokio::spawn(look(heard, pids, every, said_every, stopped));
        Self { looking, stop }
    }

    /// What there was.
    pub(crate) async fn stop(self) -> anyhow::Result<Vec<Sample>> {
        // Where it ended by an error, that is said below.
        self.stop.send(()).ok();
        self.looking.await?
    }
}

async fn look(
    heard: Arc<Heard>,
    pids: Vec<u32>,
    every: Duration,
    said_every: Option<Duration>,
    mut stopped: oneshot::Receiver<()>,
) -> anyhow::Result<Vec<Sample>> {
    let mut samples = Vec::new();
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let begun = ticks.tick().await;
    heard.look();
    let (mut before, mut cpu_before) = (begun, usage::cpu_times(&pids)?);
    let mut said = begun;
    loop {
        let is_last = tokio::select! {
            _ = ticks.tick() => false,
            _ = &mut stopped => true,
        };
        let now = Instant::now();
        let passed = now.duration_since(before).as_secs_f64();
        if is_last && passed < every.as_secs_f64() / 2.0 {
            return Ok(samples);
        }
        let mut times = Histogram::default();
        for flow in heard.look() {
            times.append(&flow);
        }
        let cpu = usage::cpu_times(&pids)?;
        let [own_cores, kernel_cores] = [0, 1].map(|part| (cpu[part] - cpu_before[part]) / passed);
        let any = times.count() > 0;
        #[expect(clippy::cast_precision_loss, reason = "a count of deliveries is far below 2^52")]
        let sample = Sample {
            seconds: now.duration_since(begun).as_secs_f64(),
            deliveries_per_second: times.count() as f64 / passed,
            p50_ms: any.then(|| times.percentile_ms(50)),
            p99_ms: any.then(|| times.percentile_ms(99)),
            max_ms: any.then(|| times.max_ms()),
            own_cores,
            kernel_cores,
            memory_bytes: usage::private_bytes(&pids)?,
            connections: heard.sum(|status| status.live),
        };
        if let Some(interval) = said_every
            && now.duration_since(said) >= interval
        {
            said = now;
            say(&sample, &heard);
        }
        samples.push(sample);
        (before, cpu_before) = (now, cpu);
        if is_last {
            return Ok(samples);
        }
    }
}

/// A line of progress.
#[expect(clippy::cast_precision_loss, reason = "memory is far below 2^52 bytes")]
fn say(sample: &Sample, heard: &Heard) {
    output::line(format!(
        "  {:>5.0} s: {} connections, {:.0} deliveries/s, p99 {:.1} ms, {:.2} cores, {:.1} MB; {} \
         violations",
        sample.seconds,
        sample.connections,
        sample.deliveries_per_second,
        sample.p99_ms.unwrap_or_default(),
        sample.own_cores + sample.kernel_cores,
        sample.memory_bytes as f64 / 1e6,
        heard.sum(|status| status.violations.total()),
    ));
}
