//! A hub of this run's own, in a process and a directory of its own.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::sleep;

const READY_LOOKS_MAX: usize = 2_000;
const READY_LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// A running hub; dropping it ends it.
pub(crate) struct Hub {
    child: Child,
    dir: TempDir,
    pub(crate) http: String,
    pub(crate) grpc: String,
}

impl Hub {
    /// Starts the `tidewire` binary that lies beside this one, with its log under `dir`.
    pub(crate) async fn start(dir: &TempDir) -> anyhow::Result<Self> {
        let binary = std::env::current_exe()?.with_file_name("tidewire");
        if !binary.exists() {
            bail!("{} is not built: run `cargo build --release --workspace`", binary.display());
        }
        let dir = TempDir::new_in(dir.path())?;
        let ready: PathBuf = dir.path().join("ready.json");
        let any = "127.0.0.1:0";
        let mut child = Command::new(binary)
            .arg("standalone")
            .args(["--http-listen", any, "--grpc-listen", any, "--operations-listen", any])
            .args(["--log-filter", "warn", "--page", "false", "--data-dir"])
            .arg(dir.path().join("data"))
            .arg("--ready-file")
            .arg(&ready)
            .stdout(Stdio::null())
            .spawn()?;
        for _ in 0..READY_LOOKS_MAX {
            if let Ok(text) = fs::read_to_string(&ready) {
                let facts: Value = serde_json::from_str(&text)?;
                let url = |name: &str| facts[name].as_str().unwrap_or_default().to_owned();
                return Ok(Self { child, dir, http: url("http"), grpc: url("grpc") });
            }
            if let Some(status) = child.try_wait()? {
                bail!("the hub ended with {status}");
            }
            sleep(READY_LOOK_INTERVAL).await;
        }
        bail!("the hub does not become ready")
    }

    /// Resident memory now, in bytes.
    pub(crate) fn resident_bytes(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        Ok(kibibytes.context("VmRSS in /proc")?.trim().parse::<u64>()? * 1024)
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        // Gone already, or gone now; then its directory goes with it.
        self.child.kill().ok();
        self.child.wait().ok();
        fs::remove_dir_all(self.dir.path()).ok();
    }
}
