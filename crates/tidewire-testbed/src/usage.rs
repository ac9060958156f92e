//! What a process has used, as Linux tells it.

use std::fs;

/// The kernel's unit of time towards programs, the same on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// The bytes of memory that a process has resident.
pub(crate) fn resident_bytes(pid: u32) -> u64 {
    let status = read(pid, "status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kibibytes.expect("the process has memory") * 1024
}

/// The seconds of processor time, its own and the kernel's for it, that a process has used.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    let stat = read(pid, "stat");
    // The name, in brackets, may hold anything: the fields that count follow its end.
    let (_, fields) = stat.rsplit_once(") ").expect("a name in brackets");
    let ticks =
        fields.split(' ').skip(11).take(2).map(|field| field.parse::<f64>().expect("ticks"));
    ticks.sum::<f64>() / TICKS_PER_SECOND
}

fn read(pid: u32, file: &str) -> String {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}
