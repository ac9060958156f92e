//! What is logged of connections that are not served.

use std::{io, net::IpAddr};

use tracing::warn;

use crate::{
    Config, admission::Full, client_address::ClientAddress, notes::Notes, refusal::Refusal,
    subscription::Shared,
};

/// There is no room for a connection from here: it is counted, and now and then one is logged.
pub(crate) fn no_room(full: Full, peer: IpAddr, shared: &Shared) {
    let client = Some(ClientAddress::of(peer));
    let Some(count) = shared.notes.refused(Refusal::of(full).reason(), client) else { return };
    let Config { connections_max, connections_address_max, .. } = shared.config;
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
pub(crate) fn not_accepted(error: &io::Error, notes: &Notes) {
    if let Some(count) = notes.refused("not_accepted", None) {
        warn!(%error, count, "connections cannot be accepted: is the limit of open files too low?");
    }
}
