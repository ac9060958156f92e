//! What a run has shown, for machines and for people: JSON, and a page.

use std::{
    fs,
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail};
use serde::Serialize;

use crate::{network, output, page, session::Turn};

/// Where results go.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Output {
    /// The directory for the results, as JSON and as a page.
    #[arg(long, default_value = "target/loadtest")]
    results: PathBuf,
    /// Stays on plain loopback where a network of its own could be had.
    #[arg(long)]
    pub(crate) plain_network: bool,
}

/// Everything that one command has found.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) scenario: &'static str,
    /// What was typed.
    pub(crate) command: String,
    pub(crate) machine: Machine,
    pub(crate) network: &'static str,
    /// Seconds since 1970.
    pub(crate) begun: u64,
    pub(crate) turns: Vec<Turn>,
    /// Figures with a bound, of a bench.
    pub(crate) targets: Vec<Target>,
    /// What else is to be said.
    pub(crate) notes: Vec<String>,
}

/// Where it ran.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: u64,
    pub(crate) kernel: String,
}

/// A figure that is to be met.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Target {
    pub(crate) figure: String,
    /// What it is a multiple of, or its unit.
    pub(crate) of: &'static str,
    /// None where it was not measured.
    pub(crate) value: Option<f64>,
    /// What it must be at most, or with `is_least` at least.
    pub(crate) must: f64,
    pub(crate) is_least: bool,
}

impl Target {
    /// One that must be at most so much.
    pub(crate) fn most(figure: &str, of: &'static str, value: Option<f64>, must: f64) -> Self {
        Self { figure: figure.to_owned(), of, value, must, is_least: false }
    }

    /// One that must be at least so much.
    pub(crate) fn least(figure: &str, of: &'static str, value: Option<f64>, must: f64) -> Self {
        Self { is_least: true, ..Self::most(figure, of, value, must) }
    }

    /// Whether it is met, where it was measured.
    pub(crate) fn is_met(&self) -> Option<bool> {
        self.value.map(|value| if self.is_least { value >= self.must } else { value <= self.must })
    }
}

/// Says of each whether it is met.
pub(crate) fn print_targets(targets: &[Target]) {
    for target in targets {
        let value = target.value.map_or_else(|| "–".to_owned(), |value| target.in_unit(value));
        let sign = if target.is_least { '≥' } else { '≤' };
        let word = match target.is_met() {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "not measured",
        };
        let must = target.in_unit(target.must);
        output::line(format!("  {word:<12} {value:>10}  {sign} {must:<8} {}", target.figure));
    }
}

impl Results {
    /// Begins a run.
    pub(crate) fn new(scenario: &'static str) -> Self {
        let command: Vec<_> = std::env::args().skip(1).collect();
        let begun = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self {
            scenario,
            command: format!("loadtest {}", command.join(" ")),
            machine: Machine::this(),
            network: network::describe(),
            begun,
            turns: Vec::new(),
            targets: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Writes everything.
    ///
    /// # Errors
    /// It cannot be written, or somebody did not get what they should have.
    pub(crate) fn finish(self, to: &Output) -> anyhow::Result<()> {
        fs::create_dir_all(&to.results)?;
        let path = |ending: &str| to.results.join(format!("{}.{ending}", self.scenario));
        let (json, html) = (path("json"), path("html"));
        let with_name = |path: &PathBuf| path.display().to_string();
        fs::write(&json, serde_json::to_vec_pretty(&self)?).with_context(|| with_name(&json))?;
        fs::write(&html, page::render(&self)).with_context(|| with_name(&html))?;
        output::line(format!("results: {} and {}", with_name(&json), with_name(&html)));
        let violations: u64 = self.turns.iter().map(|turn| turn.verdict.violations.total()).sum();
        if violations > 0 {
            bail!("{violations} violations: somebody did not get what they should have");
        }
        Ok(())
    }
}

impl Machine {
    fn this() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let value = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
        };
        let (cpuinfo, meminfo) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
        let memory = value(&meminfo, "MemTotal").unwrap_or_default();
        let kibibytes: u64 = memory.trim_end_matches(" kB").parse().unwrap_or_default();
        Self {
            processor: value(&cpuinfo, "model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
            memory_gib: kibibytes / (1024 * 1024),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }
}
