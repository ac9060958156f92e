//! Signals to processes, by the `kill` command: without `unsafe`.

use std::process::Command;

/// Sends a signal, by its name without "SIG".
pub(crate) fn send(signal: &str, pid: u32) {
    let sent = Command::new("kill").args(["-s", signal, &pid.to_string()]).status();
    assert!(sent.expect("kill runs").success(), "SIG{signal} to {pid}");
}
