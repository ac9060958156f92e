//! What Prometheus' own tool says of the rules, of their cases, and of what processes tell.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tidewire_testbed::Process;

use crate::{hub::Hub, prometheus::installed, rules::RULES};

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/prometheus/tests");

#[test]
fn the_rules_are_what_prometheus_takes() {
    promtool(&["check", "rules"], &[PathBuf::from(RULES)]);
}

#[test]
fn each_rule_fires_in_its_case_and_not_in_the_other() {
    let cases = fs::read_dir(CASES).unwrap().map(|file| file.unwrap().path());
    promtool(&["test", "rules"], &cases.collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_help_are_as_is_usual_for_prometheus() {
    let hub = Hub::start().await;
    for process in [&hub.standalone, &hub.ingest, &hub.edges[0]] {
        lint(process).await;
    }
}

fn promtool(arguments: &[&str], files: &[PathBuf]) {
    let output = Command::new(installed("promtool")).args(arguments).args(files).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
}

async fn lint(process: &Process) {
    let metrics = process.metrics().await;
    let mut promtool = Command::new(installed("promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{}: {said}", process.operations);
}

/// Files of a directory whose names end so, in their order.
pub(crate) fn files(directory: &str, ending: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension() == Path::new(ending).file_name())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{directory} has files that end in .{ending}");
    files
}
