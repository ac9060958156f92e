//! What is logged of connections that are not served.

use std::io;

use tracing::warn;

use crate::{Config, admission::Full, refusal::Refusal, refused::refused};

/// There is no room for a connection: it is counted, and now and then one is logged.
pub(crate) fn no_room(full: Full, config: &Config) {
    let Some(count) = Refusal::of(full).count() else { return };
    let Config { connections_max, connections_address_max, .. } = config;
    match full {
        Full::Edge => {
            warn!(connections_max, count, "connections are refused: raise the limit, or add hubs");
        }
        Full::Address => warn!(
            connections_address_max,
            count, "connections of one address are refused: if that is a proxy, name it as trusted"
        ),
    }
}

/// A connection could not be accepted.
pub(crate) fn not_accepted(error: &io::Error) {
    if let Some(count) = refused("not_accepted") {
        warn!(%error, count, "connections cannot be accepted: is the limit of open files too low?");
    }
}
