//! The edges to which new connections go, as a balancer in front of them has it.
//!
//! Clients choose for themselves: a process in between would be an open file more for each of its
//! two ends, and its share of the machine.

use parking_lot::Mutex;
use rand::seq::SliceRandom as _;
use tokio::net::TcpStream;

use crate::sse;

/// Addresses, in no order.
#[derive(Debug, Default)]
pub(super) struct Targets(Mutex<Vec<String>>);

impl Targets {
    /// New connections may go to this URL.
    pub(super) fn add(&self, http: &str) {
        self.0.lock().push(sse::address(http).to_owned());
    }

    /// None goes to it any more; those that are there stay.
    pub(super) fn remove(&self, http: &str) {
        self.0.lock().retain(|held| held != sse::address(http));
    }

    /// Connects to one at random, or to another where that one does not accept.
    pub(super) async fn connect(&self) -> Option<TcpStream> {
        let mut targets = self.0.lock().clone();
        targets.shuffle(&mut rand::rng());
        for target in targets {
            if let Ok(socket) = TcpStream::connect(target).await {
                return Some(socket);
            }
        }
        None
    }
}
