//! What is logged of connections that are not served.

use std::{io, time::Duration};

use tokio::time::Instant;
use tracing::warn;

use crate::{Config, admission::Full, metrics, refusal::Refusal};

/// Logged complaints about connections come at most this often.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

/// Connections that are not served: each is counted, and now and then one is logged.
#[derive(Default)]
pub(crate) struct Complaints {
    last: Option<Instant>,
}

impl Complaints {
    pub(crate) fn refused(&mut self, full: Full, config: &Config) {
        Refusal::of(full).count();
        if !self.is_due() {
            return;
        }
        let Config { connections_max, connections_address_max, .. } = config;
        match full {
            Full::Edge => {
                warn!(connections_max, "connections are refused: raise the limit, or add hubs");
            }
            Full::Address => warn!(
                connections_address_max,
                "connections of one address are refused: if that is a proxy, name it as trusted"
            ),
        }
    }

    pub(crate) fn not_accepted(&mut self, error: &io::Error) {
        metrics::count_refused("not_accepted");
        if self.is_due() {
            warn!(%error, "connections cannot be accepted: is the limit of open files too low?");
        }
    }

    fn is_due(&mut self) -> bool {
        let due = self.last.is_none_or(|last| last.elapsed() >= COMPLAINT_INTERVAL);
        if due {
            self.last = Some(Instant::now());
        }
        due
    }
}
