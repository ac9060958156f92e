//! A Prometheus of a test's own, that looks at a hub every second. Dropping it ends it.

use std::{
    fmt::Write as _,
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use tidewire_testbed::{free_ports, get};
use tokio::time::{Instant, sleep};

/// How long anything may take, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// Where `make setup-prometheus` puts it.
const INSTALLED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/prometheus/bin");
/// Another process may take a port between its choice and its use, but not often.
const START_TRIES_MAX: usize = 5;
/// Becomes Prometheus, and leaves behind what removes its files and ends its whole group when nobody
/// holds its input any more: the test has ended, in whatever way.
const LEASH: &str =
    r#"exec 3<&0; { read -r held <&3; rm -rf "$0"; kill -s KILL 0; } & exec "$@" </dev/null 3<&-"#;

pub(crate) struct Prometheus {
    child: Child,
    port: u16,
    log: PathBuf,
    /// Holds its files.
    _dir: TempDir,
}

impl Prometheus {
    /// Starts one that looks at these targets, each with its job's name, and has these rules. Returns
    /// when it answers.
    pub(crate) async fn start(targets: &[(&str, String)], rules: &str) -> Self {
        for _ in 0..START_TRIES_MAX {
            let mut prometheus = Self::launch(targets, rules);
            if prometheus.is_ready().await {
                return prometheus;
            }
            let log = prometheus.log();
            assert!(log.contains("address already in use"), "Prometheus ended:\n{log}");
        }
        panic!("the ports chosen were taken by others, {START_TRIES_MAX} times");
    }

    fn launch(targets: &[(&str, String)], rules: &str) -> Self {
        let dir = TempDir::with_prefix("tidewire-prometheus-").unwrap();
        let home = dir.path();
        fs::write(home.join("rules.yaml"), rules).unwrap();
        fs::write(home.join("prometheus.yaml"), configuration(targets)).unwrap();
        let [port] = free_ports();
        let log = home.join("log");
        let output = File::create(&log).unwrap();
        let child = Command::new("sh")
            .args(["-c", LEASH])
            .arg(home)
            .arg(installed("prometheus"))
            .args(["--config.file=prometheus.yaml", "--storage.tsdb.path=data"])
            .args([format!("--web.listen-address=127.0.0.1:{port}"), "--log.level=warn".to_owned()])
            .current_dir(home)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .expect("sh runs");
        Self { child, port, log, _dir: dir }
    }

    /// Waits until it answers; false where it has ended.
    async fn is_ready(&mut self) -> bool {
        let began = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            if get(self.port, "/-/ready").await.is_ok_and(|answer| answer.status == 200) {
                return true;
            }
            assert!(began.elapsed() < PATIENCE, "it does not answer:\n{}", self.log());
            sleep(LOOK_INTERVAL).await;
        }
        false
    }

    /// The series that an expression has now.
    ///
    /// # Panics
    /// Where it is no expression.
    pub(crate) async fn query(&self, expression: &str) -> Vec<Value> {
        let path = format!("/api/v1/query?query={}", percent_encoded(expression));
        let told = self.ask(&path).await;
        told["result"].as_array().unwrap_or_else(|| panic!("{expression}: {told}")).clone()
    }

    /// The data that it answers to a question.
    pub(crate) async fn ask(&self, path: &str) -> Value {
        let answer = get(self.port, path).await.unwrap_or_else(|error| panic!("{path}: {error}"));
        let text = String::from_utf8(answer.body).unwrap();
        assert_eq!(answer.status, 200, "{path}: {text}");
        let mut told: Value = serde_json::from_str(&text).unwrap();
        told["data"].take()
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the log of Prometheus:\n{}", self.log());
        }
        // The end of its input is the end of it.
        self.child.stdin.take();
        self.child.wait().ok();
    }
}

/// What `make setup-prometheus` has put there.
pub(crate) fn installed(name: &str) -> PathBuf {
    let program = Path::new(INSTALLED).join(name);
    assert!(
        program.exists(),
        "there is no {name}: `make setup-prometheus` installs what is needed"
    );
    program.canonicalize().unwrap()
}

fn configuration(targets: &[(&str, String)]) -> String {
    let mut text = "global: { scrape_interval: 1s, evaluation_interval: 1s }\n\
                    rule_files: [rules.yaml]\nscrape_configs:\n"
        .to_owned();
    let mut jobs: Vec<_> = targets.iter().map(|(job, _)| *job).collect();
    jobs.dedup();
    for job in jobs {
        let of_job = targets.iter().filter(|(of, _)| *of == job);
        let addresses: Vec<_> = of_job.map(|(_, address)| format!("'{address}'")).collect();
        let addresses = addresses.join(", ");
        writeln!(text, "- job_name: {job}\n  static_configs: [{{ targets: [{addresses}] }}]")
            .unwrap();
    }
    text
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
