//! A proxy of a test's own, as a configuration file says, on free ports. Dropping it ends it.

use std::{
    fs::{self, File, Permissions},
    net::TcpStream,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;
use tidewire_testbed::free_ports;
use tokio::time::{Instant, sleep};

use crate::{
    program::{Kind, command},
    stream::{Front, LOOK_INTERVAL, PATIENCE},
};

/// Another process may take a port between its choice and its use, but not often.
const START_TRIES_MAX: usize = 5;
/// Becomes the proxy, and leaves behind what removes its files and ends its whole group when nobody
/// holds its input any more: the test has ended, in whatever way.
const LEASH: &str =
    r#"exec 3<&0; { read -r held <&3; rm -rf "$0"; kill -s KILL 0; } & exec "$@" </dev/null 3<&-"#;

/// The ports of an edge.
#[derive(Clone, Copy)]
pub(crate) struct Upstream {
    pub(crate) http: u16,
    pub(crate) operations: u16,
}

pub(crate) struct Proxy {
    child: Child,
    plain_port: u16,
    tls_port: u16,
    log: PathBuf,
    /// Holds its files.
    _dir: TempDir,
}

impl Proxy {
    /// Starts it as `config` says, in which the addresses and paths of the examples are replaced.
    /// Returns when it listens.
    pub(crate) async fn start(kind: Kind, config: &str, edges: [Upstream; 2]) -> Self {
        for _ in 0..START_TRIES_MAX {
            let mut proxy = Self::launch(kind, config, edges);
            if proxy.listens().await {
                return proxy;
            }
            let log = fs::read_to_string(&proxy.log).unwrap_or_default();
            // nginx, HAProxy, Caddy, Envoy and Apache each have words of their own for the same.
            let taken = ["in use", "cannot bind", "could not bind"];
            assert!(taken.iter().any(|words| log.contains(words)), "{kind:?} ended:\n{log}");
        }
        panic!("the ports chosen were taken by others, {START_TRIES_MAX} times");
    }

    fn launch(kind: Kind, config: &str, edges: [Upstream; 2]) -> Self {
        let dir = TempDir::with_prefix("tidewire-proxy-").unwrap();
        let home = dir.path();
        // Proxies that are started as root read their files as somebody else.
        fs::set_permissions(home, Permissions::from_mode(0o755)).unwrap();
        fs::copy(example("no-edge.sse"), home.join("no-edge.sse")).unwrap();
        certify(home);

        let [plain_port, tls_port, own_port] = free_ports();
        let ports = [
            ("8080", plain_port),
            ("8443", tls_port),
            ("8083", own_port),
            ("8081", edges[0].http),
            ("8082", edges[1].http),
            ("9091", edges[0].operations),
            ("9092", edges[1].operations),
        ];
        let mut words = vec![("/etc/tidewire", home.display().to_string())];
        words.extend(ports.map(|(example, port)| (example, port.to_string())));
        let config = replace(config, &words);
        let log = home.join("log");
        let child = spawn(&command(kind, home, &config), home, &log);
        Self { child, plain_port, tls_port, log, _dir: dir }
    }

    pub(crate) fn url(&self, front: Front) -> String {
        match front {
            Front::Http1 => format!("http://127.0.0.1:{}", self.plain_port),
            Front::Http2 => format!("https://127.0.0.1:{}", self.tls_port),
        }
    }

    /// Waits until it listens; false where it has ended.
    async fn listens(&mut self) -> bool {
        let began = Instant::now();
        let is_open = |port: u16| TcpStream::connect(("127.0.0.1", port)).is_ok();
        while !is_open(self.plain_port) || !is_open(self.tls_port) {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            assert!(began.elapsed() < PATIENCE, "it does not listen");
            sleep(LOOK_INTERVAL).await;
        }
        true
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            eprintln!("the log of the proxy:\n{log}");
        }
        // The end of its input is the end of it.
        self.child.stdin.take();
        self.child.wait().ok();
    }
}

/// A file of the documents.
pub(crate) fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations/proxies").join(name)
}

/// Replaces words of an example; not every example has every word. All at once: a port that stands for
/// one may look like another.
fn replace(config: &str, words: &[(&str, String)]) -> String {
    let mark = |number: usize| format!("@{number}@");
    let mut text = config.to_owned();
    for (number, (word, _)) in words.iter().enumerate() {
        text = text.replace(word, &mark(number));
    }
    assert_ne!(text, config, "there is something to replace");
    for (number, (_, by)) in words.iter().enumerate() {
        text = text.replace(&mark(number), by);
    }
    text
}

/// A certificate that nobody trusts, as each proxy wants it.
fn certify(home: &Path) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    fs::write(home.join("tls.crt"), &certificate).unwrap();
    fs::write(home.join("tls.key"), &key).unwrap();
    fs::write(home.join("tls.pem"), certificate + &key).unwrap();
}

fn spawn(command: &Command, home: &Path, log: &Path) -> Child {
    let mut shell = Command::new("sh");
    shell.args(["-c", LEASH]).arg(home).arg(command.get_program()).args(command.get_args());
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let log = File::options().create(true).append(true).open(log).unwrap();
    shell
        .current_dir(home)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .expect("sh runs")
}
