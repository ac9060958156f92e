//! One process of the hub: the real binary, on free ports of 127.0.0.1 and in a directory of its
//! own.

use std::{
    env,
    fs::{self, File},
    io::BufReader,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::{http, leash::Leash, ports, signal};

/// How long a process may take to be ready, or to end, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// Another process may take a port between its choice and its use, but not often.
const START_TRIES_MAX: usize = 5;

/// A `tidewire` that serves, as `standalone`, `ingest` or `edge`. Dropping it kills it and removes
/// its files; in a test that fails, it prints its log.
///
/// # Panics
///
/// Where the process ends before it is ready, or does not do what it is asked for within a minute,
/// every method panics and says what it logged.
pub struct Process {
    /// Where it takes HTTP, `http://127.0.0.1:port`, or `https://` where the flags name a certificate:
    /// the same after a restart, as the two below.
    pub http: String,
    /// Where it takes gRPC; empty where the command has no such port.
    pub grpc: String,
    /// Where operators ask it.
    pub operations: String,
    /// What it says to people. Of a process that was started again, from then on.
    pub stdout: BufReader<ChildStdout>,
    program: PathBuf,
    arguments: Vec<String>,
    child: Child,
    /// There while it runs.
    leash: Option<Leash>,
    home: PathBuf,
    /// Holds `home`. Below the rest, so that the process has ended when it is removed.
    _dir: TempDir,
}

impl Process {
    /// Starts the binary `program` as `command` with these flags beside those that say where it
    /// listens and what it writes, and that it ends at once where they do not say otherwise. Returns when it is ready; blocks the thread until then.
    #[must_use]
    pub fn start(program: &Path, command: &str, flags: &[String]) -> Self {
        for _ in 0..START_TRIES_MAX {
            let mut process = Self::launch(program, command, flags);
            match process.block_until_ready() {
                Ok(()) => return process,
                Err(Failed { port_taken: true, .. }) => {}
                Err(Failed { why, .. }) => panic!("{why}"),
            }
        }
        panic!("the ports chosen were taken by others, {START_TRIES_MAX} times");
    }

    /// The same without waiting: it may not even listen yet.
    #[must_use]
    pub fn launch(program: &Path, command: &str, flags: &[String]) -> Self {
        let dir = TempDir::with_prefix("tidewire-process-").expect("a directory for the process");
        let home = dir.path().join(command);
        fs::create_dir(&home).expect("a directory for its files");
        let [http, grpc, operations] = ports::free().map(|port| format!("127.0.0.1:{port}"));
        let has_grpc = command != "edge";

        let ready_file = ready_file(&home).display().to_string();
        let mut arguments = vec![command, "--http-listen", &http];
        arguments.extend(["--operations-listen", &operations, "--ready-file", &ready_file]);
        if has_grpc {
            arguments.extend(["--grpc-listen", &grpc]);
        }
        let data_dir = home.join("data").display().to_string();
        if command == "standalone" {
            arguments.extend(["--data-dir", &data_dir]);
        }
        // A test that waits for an end says how slow it shall be.
        let unless_said = |flag| !flags.iter().any(|said| said.starts_with(flag));
        if unless_said("--drain-delay") {
            arguments.push("--drain-delay=0s");
        }
        if command != "ingest" && unless_said("--drain-window") {
            arguments.push("--drain-window=0s");
        }
        // People read the log of a test that fails.
        if unless_said("--log-format") {
            arguments.push("--log-format=text");
        }
        arguments.extend(flags.iter().map(String::as_str));
        let arguments: Vec<_> = arguments.into_iter().map(str::to_owned).collect();

        let url = |address: &str| format!("http://{address}");
        let has_tls = flags.iter().any(|flag| flag == "--tls-certificate");
        let (child, stdout) = spawn(program, &arguments, &home, |command| command);
        Self {
            http: if has_tls { format!("https://{http}") } else { url(&http) },
            grpc: if has_grpc { url(&grpc) } else { String::new() },
            operations: url(&operations),
            stdout,
            program: program.to_path_buf(),
            arguments,
            leash: Some(Leash::tie(child.id(), &home)),
            child,
            home,
            _dir: dir,
        }
    }

    /// Waits until it is ready.
    pub async fn ready(&mut self) {
        let ready = async {
            while !self.is_ready()? {
                sleep(LOOK_INTERVAL).await;
            }
            Ok(())
        };
        match timeout(PATIENCE, ready).await {
            Ok(Ok(())) => {}
            Ok(Err(Failed { why, .. })) => panic!("{why}"),
            Err(_) => panic!("{}", self.never_ready()),
        }
    }

    /// Starts it again where it has ended, on the same ports and in the same directory. Returns
    /// when it is ready; blocks the thread until then.
    pub fn start_again(&mut self) {
        self.start_again_as(|command| command);
    }

    /// The same, by another command that is made of the plain one, such as by [`under_shell`]. It
    /// must become the process, not start it.
    pub fn start_again_as(&mut self, wrap: impl FnOnce(Command) -> Command) {
        self.launch_again_as(wrap);
        if let Err(Failed { why, .. }) = self.block_until_ready() {
            panic!("{why}");
        }
    }

    /// Starts it again without waiting.
    pub fn launch_again(&mut self) {
        self.launch_again_as(|command| command);
    }

    /// The same by another command, as [`start_again_as`](Self::start_again_as) makes it.
    pub fn launch_again_as(&mut self, wrap: impl FnOnce(Command) -> Command) {
        assert!(self.has_ended().is_some(), "it runs already");
        (self.child, self.stdout) = spawn(&self.program, &self.arguments, &self.home, wrap);
        self.leash = Some(Leash::tie(self.child.id(), &self.home));
    }

    /// SIGKILL, and the end of it: nothing is finished. Nothing happens to one that has ended.
    pub fn kill(&mut self) {
        // Gone already, or gone now.
        self.child.kill().ok();
        self.child.wait().ok();
        self.leash = None;
    }

    /// SIGTERM, and waits for the end.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.ended().await
    }

    /// Waits for the end.
    pub async fn ended(&mut self) -> ExitStatus {
        let ended = async {
            loop {
                if let Some(status) = self.has_ended() {
                    return status;
                }
                sleep(LOOK_INTERVAL).await;
            }
        };
        timeout(PATIENCE, ended).await.expect("the process ends")
    }

    /// Sends it a signal, by its name without "SIG": "STOP", "CONT", "TERM", "INT".
    pub fn signal(&self, signal: &str) {
        signal::send(signal, self.pid());
    }

    /// Its id, as long as it runs.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The value of one line of its metrics: `line` is what stands before the value, labels and
    /// all.
    pub async fn metric(&self, line: &str) -> f64 {
        let metrics = self.metrics().await;
        let found = metrics.lines().find_map(|held| held.strip_prefix(line)?.trim().parse().ok());
        found.unwrap_or_else(|| panic!("no {line} in\n{metrics}"))
    }

    /// Waits until a line of its metrics has a value: what a client has seen is counted a moment
    /// later.
    pub async fn tells(&self, line: &str, value: f64) {
        let mut last = self.metric(line).await;
        let telling = async {
            while last != value {
                sleep(LOOK_INTERVAL).await;
                last = self.metric(line).await;
            }
        };
        let outcome = timeout(PATIENCE, telling).await;
        assert!(outcome.is_ok(), "{line}is {last}, and not {value}: {}", self.log());
    }

    /// All of its metrics, in Prometheus' text format.
    pub async fn metrics(&self) -> String {
        let port = self.operations.rsplit(':').next().and_then(|port| port.parse().ok());
        let answer = http::get(port.expect("a URL ends with a port"), "/metrics").await;
        String::from_utf8(answer.expect("it answers").body).expect("text")
    }

    /// What it has logged, since it was first started.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(log(&self.home)).unwrap_or_default()
    }

    /// The file that is there while it is ready.
    #[must_use]
    pub fn ready_file(&self) -> PathBuf {
        ready_file(&self.home)
    }

    /// How it ended, once it has.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().expect("a child can be waited for")?;
        self.leash = None;
        Some(status)
    }

    #[expect(clippy::disallowed_methods, reason = "for callers who say that the thread may block")]
    fn block_until_ready(&mut self) -> Result<(), Failed> {
        let looks = PATIENCE.as_millis() / LOOK_INTERVAL.as_millis();
        for _ in 0..looks {
            if self.is_ready()? {
                return Ok(());
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        panic!("{}", self.never_ready());
    }

    fn is_ready(&mut self) -> Result<bool, Failed> {
        let is_ready = self.ready_file().exists();
        match self.has_ended() {
            Some(status) => {
                let log = self.log();
                let why = format!("{} ended: {status}. Its log:\n{log}", self.arguments[0]);
                Err(Failed { port_taken: log.contains("cannot listen on"), why })
            }
            None => Ok(is_ready),
        }
    }

    fn never_ready(&self) -> String {
        format!("{} is not ready after {} s", self.arguments[0], PATIENCE.as_secs())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the log of {}:\n{}", self.arguments[0], self.log());
        }
        self.kill();
    }
}

/// Why it cannot be used.
struct Failed {
    why: String,
    port_taken: bool,
}

fn spawn(
    program: &Path,
    arguments: &[String],
    home: &Path,
    wrap: impl FnOnce(Command) -> Command,
) -> (Child, BufReader<ChildStdout>) {
    // One that was killed has left it there. It may never have been.
    fs::remove_file(ready_file(home)).ok();
    let log = File::options().create(true).append(true).open(log(home));
    let mut command = command(program);
    command.args(arguments);
    let mut child = wrap(command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log.expect("its directory takes its log"))
        .spawn()
        .unwrap_or_else(|error| panic!("{} does not run: {error}", program.display()));
    let stdout = BufReader::new(child.stdout.take().expect("it was asked for"));
    (child, stdout)
}

/// A command of the binary, without settings from this process's environment.
#[must_use]
pub fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("TIDEWIRE_") {
            command.env_remove(name);
        }
    }
    command
}

/// The same command, in a shell that has done something to itself before, such as `ulimit -n 200`.
#[must_use]
pub fn under_shell(before: &str, command: &Command) -> Command {
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

fn ready_file(home: &Path) -> PathBuf {
    home.join("ready.json")
}

fn log(home: &Path) -> PathBuf {
    home.join("log")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "edge ended: exit status: 1. Its log:")]
    fn one_that_ends_before_it_is_ready_is_told_at_once() {
        drop(Process::start(Path::new("false"), "edge", &[]));
    }

    #[test]
    fn a_shell_before_a_command_hands_on_its_arguments_and_environment() {
        let mut command = command(Path::new("sh"));
        command.args(["-c", "echo $0 $1 $A ${HOME-none} $B", "a b", "c"]);
        command.env("A", "given").env_remove("HOME");
        let output = under_shell("B=before; export B", &command).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "a b c given none before\n");
    }
}
