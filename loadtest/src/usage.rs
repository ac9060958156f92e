//! What processes use of the machine, as Linux tells it.

use std::fs;

use anyhow::Context;

/// The kernel's unit of socket memory, on x86-64 and usually on ARM.
const PAGE_BYTES: u64 = 4_096;

/// The kernel's unit of time towards programs, the same on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Some processes that do one thing together, observed from a moment on.
pub(crate) struct Meter {
    pids: Vec<u32>,
    cpu_seconds_before: f64,
}

impl Meter {
    /// Begins to observe. A process's peak of memory begins here anew.
    pub(crate) fn begin(pids: Vec<u32>) -> anyhow::Result<Self> {
        for pid in &pids {
            // The kernel's word for it.
            fs::write(format!("/proc/{pid}/clear_refs"), "5").context("the peak of memory")?;
        }
        let cpu_seconds_before = all_cpu_seconds(&pids)?;
        Ok(Self { pids, cpu_seconds_before })
    }

    /// This process itself.
    pub(crate) fn own() -> anyhow::Result<Self> {
        Self::begin(vec![std::process::id()])
    }

    /// Processor time since the beginning, of all together.
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        Ok(all_cpu_seconds(&self.pids)? - self.cpu_seconds_before)
    }

    /// The most that any of them has had resident since the beginning, in bytes.
    pub(crate) fn peak_bytes(&self) -> anyhow::Result<u64> {
        let peaks = self.pids.iter().map(|pid| memory(*pid, "VmHWM:"));
        Ok(peaks.collect::<anyhow::Result<Vec<_>>>()?.into_iter().max().unwrap_or_default())
    }
}

/// Resident memory now, in bytes.
pub(crate) fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    memory(pid, "VmRSS:")
}

/// Resident memory of some processes that no file stands behind, in bytes: what they have for
/// themselves, without their programs' code.
pub(crate) fn private_bytes(pids: &[u32]) -> anyhow::Result<u64> {
    let names = ["RssAnon:", "RssShmem:"];
    let parts = pids.iter().flat_map(|pid| names.map(|name| memory(*pid, name)));
    parts.sum()
}

/// Processor time of some processes so far, in seconds: their own, and the kernel's for them.
pub(crate) fn cpu_times(pids: &[u32]) -> anyhow::Result<[f64; 2]> {
    let mut sum = [0.0; 2];
    for pid in pids {
        for (sum, time) in sum.iter_mut().zip(cpu_times_of(*pid)?) {
            *sum += time;
        }
    }
    Ok(sum)
}

/// Segments that this network has had to send again.
pub(crate) fn retransmissions() -> anyhow::Result<u64> {
    let snmp = fs::read_to_string("/proc/net/snmp")?;
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = lines.next().zip(lines.next()).context("TCP's counters in /proc")?;
    let mut counters = names.split(' ').zip(values.split(' '));
    let found = counters.find(|(name, _)| *name == "RetransSegs");
    Ok(found.context("RetransSegs in /proc")?.1.parse()?)
}

/// The kernel's memory for its own objects, such as sockets, of the whole machine, in bytes.
pub(crate) fn slab_bytes() -> anyhow::Result<u64> {
    in_kibibytes(&fs::read_to_string("/proc/meminfo")?, "Slab:").context("Slab in /proc/meminfo")
}

/// What all TCP sockets of this machine hold of the kernel's memory for what is sent and received,
/// in bytes. The sockets themselves are not in it.
pub(crate) fn socket_bytes() -> anyhow::Result<u64> {
    socket_pages(&fs::read_to_string("/proc/net/sockstat")?)
        .map(|pages| pages * PAGE_BYTES)
        .context("the memory of TCP in /proc")
}

fn socket_pages(sockstat: &str) -> Option<u64> {
    let tcp = sockstat.lines().find_map(|line| line.strip_prefix("TCP: "))?;
    let mut words = tcp.split(' ').skip_while(|word| *word != "mem");
    words.nth(1)?.parse().ok()
}

fn memory(pid: u32, name: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    in_kibibytes(&status, name).context("its memory in /proc")
}

/// The bytes of a line that ends in kibibytes.
fn in_kibibytes(lines: &str, name: &str) -> Option<u64> {
    let line = lines.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
}

fn all_cpu_seconds(pids: &[u32]) -> anyhow::Result<f64> {
    pids.iter().map(|pid| cpu_seconds(*pid)).sum()
}

fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    Ok(cpu_times_of(pid)?.iter().sum())
}

/// Processor time of a process so far, its own and the kernel's for it.
fn cpu_times_of(pid: u32) -> anyhow::Result<[f64; 2]> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name, in brackets, may hold anything: the fields that count follow its end.
    let (_, fields) = stat.rsplit_once(") ").context("a name in brackets in /proc")?;
    let mut ticks = fields.split(' ').skip(11).map(str::parse::<f64>);
    let (own, kernel) = ticks.next().zip(ticks.next()).context("its times in /proc")?;
    Ok([own? / TICKS_PER_SECOND, kernel? / TICKS_PER_SECOND])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_tcp_is_found_among_the_rest() {
        let sockstat = "sockets: used 12\nTCP: inuse 1 orphan 0 tw 4226 alloc 1 mem 147\nUDP: inuse \
                        0 mem 3\n";
        assert_eq!(socket_pages(sockstat), Some(147));
        assert_eq!(socket_pages("UDP: inuse 0 mem 3\n"), None);
        assert!(socket_bytes().is_ok());
    }
}
