//! One nats-server: its process, its ports and its files.

use std::{
    fs::{self, File},
    io, mem,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
};

use parking_lot::Mutex;
use serde_json::Value;

use crate::{http, leash::Leash, ports::Ports, signal::send};

/// The lines of a log that are told when a test fails.
const TAIL_LINES: usize = 40;

pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) ports: Ports,
    program: PathBuf,
    dir: PathBuf,
    process: Mutex<Process>,
}

enum Process {
    Down,
    Running(Child, Leash),
    /// Frozen by SIGSTOP.
    Stopped(Child, Leash),
}

impl Node {
    /// A node that is down, with this configuration.
    pub(crate) fn new(
        name: String,
        ports: Ports,
        program: PathBuf,
        dir: PathBuf,
        config: &str,
    ) -> Self {
        fs::write(dir.join(CONFIG), config).expect("the node's directory takes its configuration");
        Self { name, ports, program, dir, process: Mutex::new(Process::Down) }
    }

    /// Starts the process; returns before it is of use.
    pub(crate) fn start(&self) {
        let mut process = self.process.lock();
        assert!(matches!(*process, Process::Down), "{} runs already", self.name);
        let log = File::options().create(true).append(true).open(self.log_path());
        let child = Command::new(&self.program)
            .arg("--config")
            .arg(self.dir.join(CONFIG))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("the node's directory takes its log"))
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not run: {error}", self.program.display()));
        let leash = Leash::tie(child.id(), &self.dir);
        *process = Process::Running(child, leash);
    }

    /// SIGKILL, and the end of it.
    pub(crate) fn kill(&self) {
        let process = mem::replace(&mut *self.process.lock(), Process::Down);
        if let Process::Running(mut child, _leash) | Process::Stopped(mut child, _leash) = process {
            // Gone already, or gone now.
            child.kill().ok();
            child.wait().ok();
        }
    }

    /// Freezes it, or lets it go on.
    pub(crate) fn freeze(&self, frozen: bool) {
        let mut process = self.process.lock();
        *process = match mem::replace(&mut *process, Process::Down) {
            Process::Running(child, leash) if frozen => {
                send("STOP", child.id());
                Process::Stopped(child, leash)
            }
            Process::Stopped(child, leash) if !frozen => {
                send("CONT", child.id());
                Process::Running(child, leash)
            }
            other => other,
        };
    }

    /// SIGTERM; returns before it has ended.
    pub(crate) fn terminate(&self) {
        send("TERM", self.pid());
    }

    /// How it ended, once it has; it is down then.
    pub(crate) fn ended(&self) -> Option<ExitStatus> {
        let mut process = self.process.lock();
        let (Process::Running(child, _) | Process::Stopped(child, _)) = &mut *process else {
            return None;
        };
        let status = child.try_wait().expect("a child can be waited for")?;
        *process = Process::Down;
        Some(status)
    }

    /// Whether it has ended, or was not started.
    pub(crate) fn is_down(&self) -> bool {
        // Looks after the child first.
        let _status = self.ended();
        matches!(*self.process.lock(), Process::Down)
    }

    /// Whether it runs and is not frozen.
    pub(crate) fn is_running(&self) -> bool {
        matches!(*self.process.lock(), Process::Running(..))
    }

    pub(crate) fn pid(&self) -> u32 {
        match &*self.process.lock() {
            Process::Running(child, _) | Process::Stopped(child, _) => child.id(),
            Process::Down => panic!("{} is down", self.name),
        }
    }

    /// Asks whether it is well: JetStream is there, and knows what its peers know. The error is why
    /// it is not.
    pub(crate) async fn health(&self) -> Result<(), String> {
        match http::get(self.ports.monitor, "/healthz").await {
            Ok(answer) if answer.status == 200 => Ok(()),
            Ok(answer) => Err(String::from_utf8_lossy(&answer.body).into_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    pub(crate) async fn monitor(&self, path: &str) -> io::Result<Value> {
        let answer = http::get(self.ports.monitor, path).await?;
        Ok(serde_json::from_slice(&answer.body)?)
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    pub(crate) fn log_tail(&self) -> String {
        let log = self.log();
        // Said at every look; the last is told elsewhere.
        let lines = log.lines().filter(|line| !line.contains("Healthcheck failed"));
        let lines: Vec<_> = lines.collect();
        let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
        format!("the end of {}'s log:\n{tail}", self.name)
    }

    fn log_path(&self) -> PathBuf {
        self.dir.join("log")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

const CONFIG: &str = "nats.conf";
