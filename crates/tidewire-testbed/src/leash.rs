//! What ends a server when this process is killed, and cannot end it itself.

use std::{
    io::Write,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
};

/// Waits for a line, or for the end of the process that would write it: then nobody else is there to
/// end the server and remove its files. The last of a cluster removes what held them all.
const SCRIPT: &str = r#"read -r released || { kill -s KILL "$1"; rm -rf "$2"; rmdir "${2%/*}"; }"#;

/// Holds a server for as long as this process lives. Dropping it lets the server be.
pub(crate) struct Leash(Child);

impl Leash {
    /// Holds the process `pid`, whose files are in `dir`.
    pub(crate) fn tie(pid: u32, dir: &Path) -> Self {
        let shell = Command::new("sh")
            .args(["-c", SCRIPT, "sh", &pid.to_string()])
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // What a terminal sends to a test must not end what cleans up behind it.
            .process_group(0)
            .spawn();
        Self(shell.expect("sh runs"))
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        if let Some(mut input) = self.0.stdin.take() {
            // Not there any more, or gone after this.
            input.write_all(b"released\n").ok();
        }
        self.0.wait().ok();
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::process::ExitStatusExt};

    use super::*;

    fn held() -> (Child, tempfile::TempDir, Leash) {
        let server = Command::new("sleep").arg("600").spawn().unwrap();
        let cluster = tempfile::tempdir().unwrap();
        let files = cluster.path().join("n0");
        fs::create_dir(&files).unwrap();
        fs::write(files.join("log"), "").unwrap();
        let leash = Leash::tie(server.id(), &files);
        (server, cluster, leash)
    }

    #[test]
    fn a_server_ends_and_its_files_go_with_the_process_that_held_it() {
        let (mut server, cluster, mut leash) = held();
        // As the kernel does when it ends a process.
        drop(leash.0.stdin.take());
        assert_eq!(server.wait().unwrap().signal(), Some(9));
        drop(leash);
        assert!(!cluster.path().exists());
    }

    #[test]
    fn a_server_that_is_let_go_stays() {
        let (mut server, cluster, leash) = held();
        drop(leash);
        assert!(server.try_wait().unwrap().is_none());
        assert!(cluster.path().join("n0/log").exists());
        server.kill().unwrap();
        server.wait().unwrap();
    }
}
