//! What is said to programs once the process is ready: a file that is there as long.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process,
};

use anyhow::Context;
use serde_json::json;

use crate::listeners::Urls;

/// A file that exists while the process is ready.
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

    fn urls(grpc: Option<&str>) -> Urls {
        Urls {
            http: "http://127.0.0.1:8080".into(),
            grpc: grpc.map(Into::into),
            operations: "http://127.0.0.1:9090".into(),
        }
    }

    fn facts_of(path: &Path) -> serde_json::Value {
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    }

    #[test]
    fn the_ready_file_is_whole_and_goes_with_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ready.json");
        let ready = ReadyFile::write(path.clone(), &urls(Some("http://127.0.0.1:1"))).unwrap();
        let facts = facts_of(&path);
        assert_eq!(facts["http"], "http://127.0.0.1:8080");
        assert_eq!(facts["grpc"], "http://127.0.0.1:1");
        assert_eq!(facts["pid"], process::id());
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        drop(ready);
        assert!(!path.exists());

        fs::write(&path, "left behind").unwrap();
        ReadyFile::remove_stale(&path).unwrap();
        assert!(!path.exists());
        ReadyFile::remove_stale(&path).unwrap();
    }

    #[test]
    fn a_port_that_is_not_there_is_null() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ready.json");
        let _ready = ReadyFile::write(path.clone(), &urls(None)).unwrap();
        assert!(facts_of(&path)["grpc"].is_null());
    }
}
