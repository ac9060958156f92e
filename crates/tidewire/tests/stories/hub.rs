//! A hub of a test's own: the real binary on free ports of 127.0.0.1 and a directory of its own.
//! Dropping it ends it.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use tidewire_client::{Publisher, Subscriber, SubscriberBuilder, TopicFilter};
use tokio::time::{sleep, timeout};

/// How long a hub may take to end, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

pub(crate) struct Hub {
    dir: TempDir,
    flags: Vec<String>,
    child: Child,
    /// What it says to people, after the first line.
    pub(crate) stdout: BufReader<ChildStdout>,
    /// Where it listens: the same after a restart.
    pub(crate) http: String,
    pub(crate) grpc: String,
    pub(crate) operations: String,
}

impl Hub {
    /// Starts a hub with clients that come back quickly.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(flags: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        let flags: Vec<_> = flags.iter().map(ToString::to_string).collect();
        let (child, stdout) = spawn(&dir, &flags, ["127.0.0.1:0"; 3], |command| command);
        let facts = fs::read(dir.path().join("ready.json")).unwrap();
        let facts: Value = serde_json::from_slice(&facts).unwrap();
        let url = |name: &str| facts[name].as_str().unwrap().to_owned();
        let (http, grpc, operations) = (url("http"), url("grpc"), url("operations"));
        Self { dir, flags, child, stdout, http, grpc, operations }
    }

    /// Starts it again on the same directory and the same ports.
    pub(crate) fn start_again(&mut self) {
        self.start_again_as(|command| command);
    }

    /// The same, by another command that is made of the plain one.
    pub(crate) fn start_again_as(&mut self, wrap: impl FnOnce(Command) -> Command) {
        let addresses = [&self.http, &self.grpc, &self.operations];
        let addresses = addresses.map(|url| url.trim_start_matches("http://"));
        (self.child, self.stdout) = spawn(&self.dir, &self.flags, addresses, wrap);
    }

    /// SIGKILL: nothing is finished.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and waits for the end.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.ended().await
    }

    /// Waits for the end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let ended = async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
                sleep(LOOK_INTERVAL).await;
            }
        };
        timeout(PATIENCE, ended).await.expect("the hub ends")
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn publisher(&self) -> Publisher {
        Publisher::connect(&self.grpc).unwrap()
    }

    pub(crate) fn subscriber(&self, filter: &str) -> SubscriberBuilder {
        Subscriber::builder(&self.http)
            .filter(TopicFilter::parse(filter).unwrap())
            .reading(tidewire_client::Reading::Strict)
    }

    /// The value of one line of /metrics.
    pub(crate) async fn metric(&self, line: &str) -> f64 {
        let metrics = super::raw::get(&self.operations, "/metrics", &[]).await.body;
        let found = metrics.lines().find_map(|held| held.strip_prefix(line)?.trim().parse().ok());
        found.unwrap_or_else(|| panic!("no {line} in\n{metrics}"))
    }

    /// What it logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn ready_file(&self) -> PathBuf {
        self.dir.path().join("ready.json")
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the hub's log:\n{}", self.log());
        }
        // Gone already, or gone now.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn spawn(
    dir: &TempDir,
    flags: &[String],
    [http, grpc, operations]: [&str; 3],
    wrap: impl FnOnce(Command) -> Command,
) -> (Child, BufReader<ChildStdout>) {
    let log = File::options().create(true).append(true).open(dir.path().join("log")).unwrap();
    let mut command = tidewire();
    command
        .arg("standalone")
        .args(["--http-listen", http, "--grpc-listen", grpc, "--operations-listen", operations])
        .args(["--retry-min", "20ms", "--retry-max", "200ms", "--log-filter", "info"])
        .arg("--data-dir")
        .arg(dir.path().join("data"))
        .arg("--ready-file")
        .arg(dir.path().join("ready.json"))
        .args(flags);
    let mut child = wrap(command).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    // The first line comes when it is ready; the end of the output, when it could not start.
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    stdout.read_line(&mut first).unwrap();
    assert!(first.contains("is ready"), "{}", fs::read_to_string(dir.path().join("log")).unwrap());
    (child, stdout)
}

/// The same command, in a shell that has done something to itself before.
pub(crate) fn under_shell(before: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{before}; exec \"$@\""), "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

/// The binary, without settings from this process's environment.
pub(crate) fn tidewire() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidewire"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TIDEWIRE_")) {
        command.env_remove(name);
    }
    command
}
