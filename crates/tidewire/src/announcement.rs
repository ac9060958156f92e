//! What is said once the hub is ready: to people on standard output, to programs in a file.

use std::{
    fmt::Write as _,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process,
};

use anyhow::Context;
use serde_json::json;

use crate::listeners::Urls;

/// Where clients look when they are told nothing else; then the examples need not tell them.
const HTTP_URL_DEFAULT: &str = "http://127.0.0.1:8080";
const GRPC_URL_DEFAULT: &str = "http://127.0.0.1:50051";

/// What listens where, what to open, and what to type next: `program` is how this one was called,
/// so that what is shown can be typed.
pub(crate) fn start_message(program: &str, urls: &Urls, data_dir: &str, page: bool) -> String {
    let Urls { http, grpc, operations } = urls;
    let to =
        |url: &str, default| if url == default { String::new() } else { format!(" --url {url}") };
    let (to_http, to_grpc) = (to(http, HTTP_URL_DEFAULT), to(grpc, GRPC_URL_DEFAULT));
    let mut text = format!("Tidewire {} is ready.\n\n", env!("CARGO_PKG_VERSION"));
    let mut row = |name, value: &str, meaning| {
        let _infallible = writeln!(text, "  {name:<11} {value:<25} {meaning}");
    };
    row("http", http, "subscribe over SSE, publish with POST");
    row("grpc", grpc, "publish");
    row("operations", operations, "/livez, /readyz, /metrics");
    row("data", data_dir, "the log");
    if page {
        let _infallible = write!(text, "\nOpen {http}/ in a browser.\n");
    }
    let _infallible = write!(
        text,
        "
In another terminal:
  {program} demo{to_grpc}
  {program} subscribe --topic '>'{to_http}
  {program} publish --topic greetings --data hello{to_grpc}
  curl -N '{http}/v1/events?topic=greetings'

Ctrl-C ends it.
"
    );
    text
}

/// A file that exists while the hub is ready.
pub(crate) struct ReadyFile(PathBuf);

impl ReadyFile {
    /// Removes what a process that was killed has left behind.
    pub(crate) fn remove_stale(path: &Path) -> anyhow::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| cannot_write(path))
            }
            _ => Ok(()),
        }
    }

    /// Writes it whole or not at all.
    pub(crate) fn write(path: PathBuf, urls: &Urls) -> anyhow::Result<Self> {
        let facts = json!({
            "pid": process::id(),
            "version": env!("CARGO_PKG_VERSION"),
            "http": urls.http,
            "grpc": urls.grpc,
            "operations": urls.operations,
        });
        let mut unfinished = path.clone().into_os_string();
        unfinished.push(".tmp");
        fs::write(&unfinished, format!("{facts}\n"))
            .and_then(|()| fs::rename(&unfinished, &path))
            .with_context(|| cannot_write(&path))?;
        Ok(Self(path))
    }
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write '{}' (--ready-file)", path.display())
}

impl Drop for ReadyFile {
    fn drop(&mut self) {
        // Gone already is as good as removed, and the process is ending anyway.
        let _gone = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(http_port: u16) -> Urls {
        Urls {
            http: format!("http://127.0.0.1:{http_port}"),
            grpc: GRPC_URL_DEFAULT.into(),
            operations: "http://127.0.0.1:9090".into(),
        }
    }

    #[test]
    fn the_examples_name_an_address_only_where_it_is_needed() {
        let message = start_message("tidewire", &urls(8080), "./data", true);
        assert!(message.contains("Open http://127.0.0.1:8080/ in"), "{message}");
        assert!(!message.contains("--url"), "{message}");
        let message = start_message("./tidewire", &urls(41234), "./data", false);
        assert!(
            message.contains("  ./tidewire subscribe --topic '>' --url http://127.0.0.1:41234\n"),
            "{message}"
        );
        assert!(message.contains("'http://127.0.0.1:41234/v1/events?"), "{message}");
        assert!(!message.contains("Open"), "{message}");
    }

    #[test]
    fn the_ready_file_is_whole_and_goes_with_the_hub() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ready.json");
        let ready = ReadyFile::write(path.clone(), &urls(8080)).unwrap();
        let facts: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(facts["http"], "http://127.0.0.1:8080");
        assert_eq!(facts["pid"], process::id());
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        drop(ready);
        assert!(!path.exists());

        fs::write(&path, "left behind").unwrap();
        ReadyFile::remove_stale(&path).unwrap();
        assert!(!path.exists());
        ReadyFile::remove_stale(&path).unwrap();
    }
}
