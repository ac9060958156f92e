//! Where the server's program is: what `scripts/nats-server` finds or installs.

use std::{path::PathBuf, process::Stdio};

use tokio::process::Command;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/nats-server");

/// The path of nats-server, of the version asked for or of any that the hub takes.
pub(crate) async fn find(version: Option<&str>) -> PathBuf {
    let found = Command::new(SCRIPT)
        .args(version)
        .stderr(Stdio::inherit())
        .output()
        .await
        .unwrap_or_else(|error| panic!("{SCRIPT} does not run: {error}"));
    assert!(found.status.success(), "no nats-server: see what scripts/nats-server says");
    String::from_utf8(found.stdout).expect("a path in UTF-8").trim_end().into()
}
