//! Where a measurement runs: a network of its own, with what is received handled on the clients'
//! cores, and one core kept for the server.
//!
//! On loopback the sender's call also runs the receiver's TCP, and a server would pay for its clients.
//! Receive steering (`rps_cpus`) hands that over to the clients' cores, so that the server pays what
//! it would pay before a network card.

use std::{
    env, fs,
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
    sync::OnceLock,
    thread,
};

use anyhow::{Context, bail};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Says to the command that runs inside which network it is.
const NETWORK: &str = "LOADTEST_NETWORK";
const STEERED: &str = "steered";
/// Says to it which cores are steered to.
const MASK: &str = "LOADTEST_STEERING";
const STEERING: &str = "/sys/class/net/lo/queues/rx-0/rps_cpus";
/// Cores that are steered to, of 32 that the mask names.
const STEERED_MAX: usize = 32;
/// Sets up the network that it is in. All is gone with its last process. The mount is not seen
/// outside either: `unshare` makes it private.
const SET_UP: &str = r#"set -e
ip link set lo up
mount -t sysfs sysfs /sys
echo "$1" > /sys/class/net/lo/queues/rx-0/rps_cpus
shift
exec "$@""#;

/// Runs this program again in a network of its own, where that is allowed; comes back where it is
/// not, or where it runs there already.
pub(crate) fn enter(is_plain_wanted: bool) -> anyhow::Result<()> {
    if env::var_os(NETWORK).is_some() || is_plain_wanted {
        return Ok(());
    }
    let Some(mask) = steering_mask() else { return Ok(()) };
    let mut probe = isolated(&mask);
    probe.arg("true").stdout(Stdio::null()).stderr(Stdio::null());
    if !probe.status().is_ok_and(|status| status.success()) {
        return Ok(());
    }
    let mut again = isolated(&mask);
    again
        .arg(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(NETWORK, STEERED)
        .env(MASK, &mask);
    Err(again.exec()).context("this program does not run again")
}

/// How processor time of the server is to be read, in one line.
pub(crate) fn describe() -> &'static str {
    if is_steered() {
        "a network namespace of its own; while processor time is measured, receiving is steered to \
         the clients' cores (rps_cpus): the server pays for sending only, as before a network card"
    } else {
        "plain loopback (no own network: one core, not allowed, or not wanted): the server's time \
         includes its clients' receiving, so compare ratios only"
    }
}

pub(crate) fn is_steered() -> bool {
    env::var(NETWORK).is_ok_and(|network| network == STEERED)
}

/// Switches steering off and on, in a network of this program's own. While it is on, more packets may
/// come at once than a core's queue holds (`netdev_max_backlog`, which only the whole machine has),
/// and what TCP then sends again comes late: processor time is measured with it, latency without.
pub(crate) fn steer(is_on: bool) -> anyhow::Result<()> {
    if is_steered() {
        let mask = if is_on { env::var(MASK)? } else { "0".to_owned() };
        fs::write(STEERING, mask).context("receive steering")?;
    }
    Ok(())
}

/// The core that servers have for themselves, where there is more than one.
static SERVER_CORE: OnceLock<usize> = OnceLock::new();

/// Leaves the first core to the server: this process, its threads and those that it starts run on
/// the others, where there are any.
pub(crate) fn leave_server_core() -> anyhow::Result<()> {
    let cores = cores()?;
    if let [first, others @ ..] = &cores[..]
        && !others.is_empty()
    {
        sched_setaffinity(None, &set_of(others))?;
        SERVER_CORE.get_or_init(|| *first);
    }
    Ok(())
}

/// Does something on the server's core; a process that it starts stays there.
pub(crate) fn on_server_core<Done: Send + 'static>(
    work: impl FnOnce() -> Done + Send + 'static,
) -> anyhow::Result<Done> {
    let on_core = thread::spawn(move || -> anyhow::Result<Done> {
        if let Some(core) = SERVER_CORE.get() {
            sched_setaffinity(None, &set_of(&[*core]))?;
        }
        Ok(work())
    });
    match on_core.join() {
        Ok(done) => done,
        Err(_) => bail!("the server could not be started"),
    }
}

fn isolated(mask: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "sh", "-c", SET_UP, "sh", mask]);
    command
}

/// All cores but the first, as the kernel's hexadecimal mask; none where there is only one.
fn steering_mask() -> Option<String> {
    let cores = cores().ok()?;
    let others = cores.iter().skip(1).filter(|core| **core < STEERED_MAX);
    let mask = others.fold(0_u64, |mask, core| mask | 1 << core);
    (mask > 0).then(|| format!("{mask:x}"))
}

fn cores() -> anyhow::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect())
}

fn set_of(cores: &[usize]) -> CpuSet {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core);
    }
    set
}
