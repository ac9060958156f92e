//! Ports that nobody uses, and that nobody takes while their server is down.

use std::{net::TcpListener, ops::Range};

use rand::random_range;

/// Below what Linux (from 32,768) and macOS (from 49,152) give to outgoing connections: thousands of
/// clients that reconnect would soon sit on a port whose server is down for a moment.
const CANDIDATES: Range<u16> = 12_000..32_000;
const TRIES_MAX: usize = 1_000;

/// The ports of one server, the same after a restart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) client: u16,
    pub(crate) monitor: u16,
    pub(crate) route: u16,
}

/// Free ports for that many servers. Another process may take one before they are bound.
pub(crate) fn choose(servers: usize) -> Vec<Ports> {
    // All are held until all are chosen, so that none is chosen twice.
    let mut held = Vec::new();
    (0..servers)
        .map(|_| Ports {
            client: another(&mut held),
            monitor: another(&mut held),
            route: another(&mut held),
        })
        .collect()
}

/// Some free ports of 127.0.0.1. Another process may take one before they are bound.
///
/// # Panics
///
/// Where none can be found.
#[must_use]
pub fn free<const COUNT: usize>() -> [u16; COUNT] {
    let mut held = Vec::new();
    [(); COUNT].map(|()| another(&mut held))
}

fn another(held: &mut Vec<TcpListener>) -> u16 {
    let listener = (0..TRIES_MAX)
        .find_map(|_| TcpListener::bind(("127.0.0.1", random_range(CANDIDATES))).ok())
        .expect("a free port on 127.0.0.1");
    let port = listener.local_addr().expect("a listener has an address").port();
    held.push(listener);
    port
}
