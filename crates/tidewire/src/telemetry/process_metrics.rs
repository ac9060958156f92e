//! What every process tells of itself: which version it is, how its runtime does, what it takes from
//! the system, and how far it is in leaving.

use metrics::gauge;
use metrics_process::Collector;
use tidewire_core::metric::{self, Label, Metric, Unit};
use tokio::runtime::{Handle, RuntimeMetrics};

const VERSION: &str = env!("CARGO_PKG_VERSION");

tidewire_core::metrics! {
    BUILD_INFO = Metric::gauge("tidewire_build_info", Unit::Count, "1, with the version as its label")
        .by(&[Label { name: "version", values: &[VERSION] }]);
    DRAIN_STATE = Metric::gauge(
        "tidewire_drain_state",
        Unit::Count,
        "0 while the process serves, 1 once it has been asked to leave and is not ready any more, 2 \
         while its streams end, 3 while what is left ends at once",
    );
    DRAIN_DEADLINE = Metric::gauge(
        "tidewire_drain_deadline_timestamp_seconds",
        Unit::Seconds,
        "When the process will have ended at the latest, as a Unix time; 0 until it is asked to leave",
    );
    WORKERS = Metric::gauge(
        "tidewire_runtime_workers",
        Unit::Count,
        "Threads that carry tasks",
    );
    TASKS = Metric::gauge("tidewire_runtime_tasks", Unit::Count, "Tasks that have not ended");
    QUEUED_TASKS = Metric::gauge(
        "tidewire_runtime_queued_tasks",
        Unit::Count,
        "Tasks that can go on and are in no thread's own queue: where they become many, threads are too \
         few",
    );
}

/// What is told as a gauge, since it has fractions, and is a counter.
const BUSY_SECONDS: Metric = Metric::counter(
    "tidewire_runtime_busy_seconds_total",
    Unit::Seconds,
    "Time for which threads that carry tasks were busy, of all together: its rate, divided by their \
     number, is the share of their time",
);

/// The runtime's, beside those that begin at zero.
pub(crate) const OF_RUNTIME: &[Metric] = &[BUSY_SECONDS];

/// What the system tells, as is usual for Prometheus. It is described by who collects it.
pub(crate) const OF_SYSTEM: &[Metric] = &[
    Metric::counter(
        "process_cpu_seconds_total",
        Unit::Seconds,
        "Total user and system CPU time spent in seconds.",
    ),
    Metric::gauge("process_open_fds", Unit::Count, "Number of open file descriptors."),
    Metric::gauge("process_max_fds", Unit::Count, "Maximum number of open file descriptors."),
    Metric::gauge("process_virtual_memory_bytes", Unit::Bytes, "Virtual memory size in bytes."),
    Metric::gauge(
        "process_virtual_memory_max_bytes",
        Unit::Bytes,
        "Maximum amount of virtual memory available in bytes.",
    ),
    Metric::gauge("process_resident_memory_bytes", Unit::Bytes, "Resident memory size in bytes."),
    Metric::gauge(
        "process_start_time_seconds",
        Unit::Seconds,
        "Start time of the process since unix epoch in seconds.",
    ),
    Metric::gauge("process_threads", Unit::Count, "Number of OS threads in the process."),
];

/// Looks at the system and the runtime, each time that somebody wants to know.
pub(crate) struct Looked {
    system: Collector,
    runtime: RuntimeMetrics,
}

impl Looked {
    /// Must be called within the runtime, after the recorder is installed.
    pub(crate) fn begin() -> Self {
        metric::describe(METRICS);
        metrics::describe_gauge!(BUSY_SECONDS.name, BUSY_SECONDS.unit, BUSY_SECONDS.help);
        BUILD_INFO.gauge_of(&[VERSION]).set(1.0);
        let system = Collector::default();
        system.describe();
        Self { system, runtime: Handle::current().metrics() }
    }

    pub(crate) fn look(&self) {
        self.system.collect();
        let runtime = &self.runtime;
        WORKERS.set(runtime.num_workers() as f64);
        TASKS.set(runtime.num_alive_tasks() as f64);
        QUEUED_TASKS.set(runtime.global_queue_depth() as f64);
        let busy =
            (0..runtime.num_workers()).map(|worker| runtime.worker_total_busy_duration(worker));
        gauge!(BUSY_SECONDS.name).set(busy.map(|busy| busy.as_secs_f64()).sum::<f64>());
    }
}
