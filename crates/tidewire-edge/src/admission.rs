//! Who comes in: so many connections and subscriptions, of all clients and of each.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::Arc,
};

use http::HeaderMap;
use parking_lot::Mutex;

use crate::{
    Config, Network,
    client_address::{ClientAddress, is_trusted},
};

/// What an edge has room for.
///
/// A connection of HTTP/2 carries many subscriptions, and one from a proxy those of many clients. So
/// both are counted, each against the same limits.
pub(crate) struct Admission {
    connections: Arc<Places>,
    subscriptions: Arc<Places>,
    trusted: Vec<Network>,
}

/// What there is no room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// Anybody.
    Edge,
    /// More of this client.
    Address,
}

impl Admission {
    pub(crate) fn new(config: &Config) -> Self {
        let places =
            || Arc::new(Places::new(config.connections_max, config.connections_address_max));
        Self {
            connections: places(),
            subscriptions: places(),
            trusted: config.trusted_proxies.clone(),
        }
    }

    /// Room for a connection. One of a trusted proxy is nobody's in particular.
    pub(crate) fn connection(&self, peer: IpAddr) -> Result<Place, Full> {
        let client = (!is_trusted(peer, &self.trusted)).then(|| ClientAddress::of(peer));
        self.connections.take(client)
    }

    /// Room for a subscription of a client. Without one it came by no connection.
    pub(crate) fn subscription(&self, client: Option<ClientAddress>) -> Result<Place, Full> {
        self.subscriptions.take(client)
    }

    /// Whom a request counts for; `None` where it came by no connection.
    pub(crate) fn client(
        &self,
        peer: Option<IpAddr>,
        headers: &HeaderMap,
    ) -> Option<ClientAddress> {
        peer.map(|peer| ClientAddress::behind(peer, headers, &self.trusted))
    }
}

/// Places of one kind.
///
/// A short lock around a plain map: it is taken once when something comes and once when it goes,
/// thousands of times a second at most, and keeps both counts true together.
struct Places {
    all_max: usize,
    address_max: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    /// Only of clients that have a place: it is no longer than `all`.
    by_address: HashMap<ClientAddress, usize>,
}

impl Places {
    fn new(all_max: usize, address_max: usize) -> Self {
        Self { all_max, address_max, taken: Mutex::default() }
    }

    fn take(self: &Arc<Self>, client: Option<ClientAddress>) -> Result<Place, Full> {
        let mut taken = self.taken.lock();
        if taken.all >= self.all_max {
            return Err(Full::Edge);
        }
        if let Some(client) = client {
            let of_client = taken.by_address.entry(client).or_default();
            // At least one is allowed, so a client that is refused has an entry already.
            if *of_client >= self.address_max.max(1) {
                return Err(Full::Address);
            }
            *of_client += 1;
        }
        taken.all += 1;
        Ok(Place { places: Arc::clone(self), client })
    }
}

/// Room that is taken, until it is dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    client: Option<ClientAddress>,
}

impl Place {
    /// Whose it is; `None` where it is nobody's in particular.
    pub(crate) fn client(&self) -> Option<ClientAddress> {
        self.client
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        taken.all -= 1;
        let Some(client) = self.client else { return };
        if let Entry::Occupied(mut of_client) = taken.by_address.entry(client) {
            *of_client.get_mut() -= 1;
            if *of_client.get() == 0 {
                of_client.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(last: u8) -> Option<ClientAddress> {
        Some(ClientAddress::of([192, 0, 2, last].into()))
    }

    #[test]
    fn a_place_is_free_again_when_it_is_left_and_nothing_is_kept_of_its_client() {
        let places = Arc::new(Places::new(4, 2));
        let mut held: Vec<_> = [1, 1, 2].map(|last| places.take(client(last)).ok().unwrap()).into();
        assert_eq!(places.take(client(1)).err(), Some(Full::Address));
        held.push(places.take(None).ok().unwrap());
        assert_eq!(places.take(client(3)).err(), Some(Full::Edge));
        assert_eq!(places.taken.lock().by_address.len(), 2);
        held.remove(0);
        held.push(places.take(client(1)).ok().unwrap());
        held.clear();
        assert_eq!(places.taken.lock().all, 0);
        assert!(places.taken.lock().by_address.is_empty());
    }
}
