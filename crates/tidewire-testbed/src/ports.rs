//! Ports that nobody uses, and that nobody takes while their server is down.

use std::{fs, net::TcpListener, ops::Range, sync::LazyLock};

use parking_lot::Mutex;
use rand::random_range;

/// Below what Linux (from 32,768) and macOS (from 49,152) give to outgoing connections: thousands of
/// clients that reconnect would soon sit on a port whose server is down for a moment.
const BELOW_OUTGOING: Range<u16> = 12_000..32_000;
/// Where this machine says the first and the last port of outgoing connections: some begin lower.
const OUTGOING: &str = "/proc/sys/net/ipv4/ip_local_port_range";
/// So many are left at least, whatever the machine says.
const CANDIDATES_MIN: u16 = 2_000;

/// Those of this machine.
static CANDIDATES: LazyLock<Range<u16>> = LazyLock::new(|| {
    let outgoing = fs::read_to_string(OUTGOING).ok();
    let first = outgoing.as_deref().and_then(|range| range.split_whitespace().next()?.parse().ok());
    let Range { start, end } = BELOW_OUTGOING;
    start..first.unwrap_or(end).clamp(start + CANDIDATES_MIN, end)
});
/// The port to try next. All that start servers at once choose from here: what one has chosen, its
/// server has often not bound yet when another one chooses. Programs that start at the same time begin
/// at different places.
static NEXT: LazyLock<Mutex<u16>> = LazyLock::new(|| Mutex::new(random_range(CANDIDATES.clone())));

/// The ports of one server, the same after a restart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) client: u16,
    pub(crate) monitor: u16,
    pub(crate) route: u16,
}

/// Free ports for that many servers. Another program may take one before they are bound.
pub(crate) fn choose(servers: usize) -> Vec<Ports> {
    (0..servers)
        .map(|_| {
            let [client, monitor, route] = free();
            Ports { client, monitor, route }
        })
        .collect()
}

/// Some free ports of 127.0.0.1, none of which this process has chosen lately. Another program may
/// take one before they are bound.
///
/// # Panics
///
/// Where none can be found.
#[must_use]
pub fn free<const COUNT: usize>() -> [u16; COUNT] {
    [(); COUNT].map(|()| another())
}

fn another() -> u16 {
    let Range { start, end } = CANDIDATES.clone();
    let mut next = NEXT.lock();
    for _ in start..end {
        let port = *next;
        *next = if port + 1 < end { port + 1 } else { start };
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port of 127.0.0.1 from {start} to {} is free", end - 1);
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, thread};

    use super::*;

    #[test]
    fn nobody_gets_what_another_one_was_given_and_has_not_bound_yet() {
        let choosing: Vec<_> = (0..8).map(|_| thread::spawn(free::<50>)).collect();
        let chosen: Vec<u16> =
            choosing.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        let different: HashSet<_> = chosen.iter().collect();
        assert_eq!(different.len(), 400, "{chosen:?}");
        assert!(chosen.iter().all(|port| CANDIDATES.contains(port)), "{chosen:?}");
    }
}
