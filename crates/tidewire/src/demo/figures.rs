//! This machine's own figures, as events to publish.

mod numbering;
mod rates;
mod token;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use sysinfo::{DiskRefreshKind, Disks, Networks, ProcessRefreshKind, ProcessesToUpdate, System};
use tokio::time::Instant;

use self::{numbering::Numbering, rates::Rates, token::token};

/// How many disks, and how many network interfaces, are published at most: a host of many
/// containers has hundreds, and nobody could look at them.
const DEVICES_MAX: usize = 12;

/// One event to publish.
#[derive(Debug)]
pub(crate) struct Figure {
    /// A valid topic: `machine.cpu`, `machine.disk./home`.
    pub(crate) topic: String,
    /// The event's type; empty, so that a page hears it without asking for it by name.
    pub(crate) event_type: &'static str,
    /// An object: what was measured, `sampled_unix_ms`, and `run` and `n`, by which a reader sees
    /// that nothing is missing and nothing came twice.
    pub(crate) data: Value,
}

/// What is measured, by topic: of two devices that would share a topic, the first has it.
type Measured = BTreeMap<String, Value>;

/// Measures this machine.
pub(crate) struct Figures {
    system: System,
    disks: Disks,
    networks: Networks,
    rates: Rates,
    numbering: Numbering,
}

impl Figures {
    /// Takes the first readings, which later samples are compared with.
    ///
    /// # Errors
    /// Where the system gives no figures.
    pub(crate) fn new() -> Result<Self, sysinfo::Error> {
        let mut figures = Self {
            system: System::new()?,
            disks: Disks::new()?,
            networks: Networks::new()?,
            rates: Rates::new(Instant::now()),
            numbering: Numbering::default(),
        };
        figures.measure();
        Ok(figures)
    }

    /// Measures once. Usage and rates are those since the call before, or since `new`; the system
    /// counts CPU time coarsely, so let at least 200 ms pass. Reads files for a few milliseconds.
    pub(crate) fn sample(&mut self) -> Vec<Figure> {
        let measured = self.measure();
        self.numbering
            .number(measured)
            .into_iter()
            .map(|(topic, data)| Figure { topic, event_type: "", data })
            .collect()
    }

    fn measure(&mut self) -> Measured {
        self.refresh();
        let mut measured = Measured::from([
            ("machine.cpu".into(), cpu(&self.system)),
            ("machine.memory".into(), memory(&self.system)),
            ("machine.host".into(), host(&self.system)),
        ]);
        if let Some(load) = load() {
            measured.insert("machine.load".into(), load);
        }
        add_disks(&mut measured, &self.disks, &mut self.rates);
        add_networks(&mut measured, &self.networks, &mut self.rates);
        measured
    }

    fn refresh(&mut self) {
        self.rates.advance(Instant::now());
        self.system.refresh_cpu_usage();
        self.system.refresh_memory();
        self.system.refresh_processes_specifics(
            ProcessesToUpdate::All,
            true,
            ProcessRefreshKind::nothing().without_tasks(),
        );
        let kind = DiskRefreshKind::nothing().with_storage().with_io_usage();
        self.disks.refresh_specifics(true, kind);
        self.networks.refresh(true);
    }
}

fn cpu(system: &System) -> Value {
    let cores: Vec<_> = system.cpus().iter().map(|core| percent(core.usage())).collect();
    json!({ "total": percent(system.global_cpu_usage()), "cores": cores })
}

fn memory(system: &System) -> Value {
    json!({
        "total_bytes": system.total_memory(),
        "used_bytes": system.used_memory(),
        "available_bytes": system.available_memory(),
        "swap_total_bytes": system.total_swap(),
        "swap_used_bytes": system.used_swap(),
    })
}

fn host(system: &System) -> Value {
    json!({
        "host": System::host_name().ok(),
        "os": System::long_os_version().ok(),
        "kernel": System::kernel_version().ok(),
        "uptime_seconds": System::uptime().ok(),
        "processes": system.processes().len(),
    })
}

fn load() -> Option<Value> {
    let load = System::load_average().ok()?;
    Some(json!({
        "one_minute": hundredths(load.one),
        "five_minutes": hundredths(load.five),
        "fifteen_minutes": hundredths(load.fifteen),
    }))
}

/// Adds each disk under its shortest mount point: one that is mounted in several places is one.
fn add_disks(measured: &mut Measured, disks: &Disks, rates: &mut Rates) {
    let mut disks: Vec<_> = disks.iter().filter(|disk| disk.total_space() > 0).collect();
    disks.sort_by_key(|disk| (disk.mount_point().as_os_str().len(), disk.mount_point()));
    let mut seen = BTreeSet::new();
    disks.retain(|disk| seen.insert(disk.name()));
    for disk in disks.into_iter().take(DEVICES_MAX) {
        let name = disk.mount_point().to_string_lossy();
        let topic = format!("machine.disk.{}", token(&name));
        let usage = disk.usage();
        let data = json!({
            "name": name,
            "total_bytes": disk.total_space(),
            "used_bytes": disk.total_space().saturating_sub(disk.available_space()),
            "read_bytes_per_second":
                rates.per_second(format!("read {name}"), usage.total_read_bytes),
            "written_bytes_per_second":
                rates.per_second(format!("written {name}"), usage.total_written_bytes),
        });
        measured.entry(topic).or_insert(data);
    }
}

/// Adds each network interface that has ever carried anything.
fn add_networks(measured: &mut Measured, networks: &Networks, rates: &mut Rates) {
    let mut used: Vec<_> = networks
        .iter()
        .filter(|(_, network)| network.total_received() > 0 || network.total_transmitted() > 0)
        .collect();
    used.sort_by_key(|(name, _)| *name);
    for (name, network) in used.into_iter().take(DEVICES_MAX) {
        let name = name.to_string_lossy();
        let data = json!({
            "name": name,
            "received_bytes_per_second":
                rates.per_second(format!("received {name}"), network.total_received()),
            "sent_bytes_per_second":
                rates.per_second(format!("sent {name}"), network.total_transmitted()),
        });
        measured.entry(format!("machine.network.{}", token(&name))).or_insert(data);
    }
}

/// A share in percent, to a tenth.
fn percent(share: f32) -> f64 {
    (f64::from(share) * 10.0).round() / 10.0
}

fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use tidewire_core::Topic;

    use super::*;

    #[test]
    fn every_figure_can_be_published_and_follows_the_one_before() {
        let mut figures = Figures::new().unwrap();
        let (first, second) = (figures.sample(), figures.sample());
        for figure in &first {
            Topic::parse(&figure.topic).unwrap();
            assert_eq!(figure.data["n"], 1);
        }
        for topic in ["machine.cpu", "machine.memory", "machine.host"] {
            let of = |sample: &[Figure]| {
                sample.iter().find(|figure| figure.topic == topic).unwrap().data.clone()
            };
            assert_eq!(of(&second)["n"], 2, "{topic}");
            assert_eq!(of(&second)["run"], of(&first)["run"], "{topic}");
        }
    }

    #[test]
    fn figures_are_within_what_is_possible() {
        let figures = Figures::new().unwrap().sample();
        let data = |topic: &str| &figures.iter().find(|figure| figure.topic == topic).unwrap().data;
        let total = data("machine.cpu")["total"].as_f64().unwrap();
        assert!((0.0..=100.0).contains(&total), "{total}");
        let memory = data("machine.memory");
        let bytes = |field: &str| memory[field].as_u64().unwrap();
        assert!(0 < bytes("used_bytes") && bytes("used_bytes") <= bytes("total_bytes"));
        assert!(data("machine.host")["processes"].as_u64().unwrap() > 0);
    }
}
