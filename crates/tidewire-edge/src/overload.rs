//! Connections beyond the limits: some are held for as long as it takes to tell them so.

use std::{net::TcpStream, sync::Arc, time::Duration};

use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::{
    admission::Full,
    connection::{Came, Connections, Lean},
    http::Route,
    plain::Sweepers,
    refusal::{self, Refusal},
    stream::Streams,
    subscription::Shared,
};

/// Connections beyond the limits that are being answered at once; one more is closed unheard. With
/// a client a fifth of a second away it is a thousand answers in a second. Each is an open file.
const ANSWERED_MAX: usize = 256;
/// The share of the limit that they may be at most: where files are few, so are these.
const SHARE_OF_LIMIT: usize = 4;

/// Answers connections for which there is no room. What they ask for does not matter: the answer is
/// always to come back later, in the form that the client survives.
pub(crate) struct Overload {
    answered: TaskTracker,
    answered_max: usize,
    edge_full: Arc<Connections>,
    address_full: Arc<Connections>,
    time_max: Duration,
}

impl Overload {
    pub(crate) fn new(shared: &Arc<Shared>, streams: &Streams, sweepers: Option<Sweepers>) -> Self {
        let config = &shared.config;
        let refusing = |full: Full| {
            let router = refusal::router(Arc::clone(shared), Refusal::of(full));
            let route = Route::new(router.clone());
            let lean = sweepers.clone().map(|sweepers| Lean { sweepers, route });
            let connections =
                Connections::new(router, config, streams.clone(), &shared.drain, lean);
            Arc::new(connections.noting(Arc::clone(&shared.notes)))
        };
        Self {
            answered: TaskTracker::new(),
            answered_max: (config.connections_max / SHARE_OF_LIMIT).clamp(1, ANSWERED_MAX),
            edge_full: refusing(Full::Edge),
            address_full: refusing(Full::Address),
            time_max: config.header_timeout,
        }
    }

    /// Answers a connection where there is room for it, and closes it in any case.
    pub(crate) fn answer(&self, socket: TcpStream, came: Came, full: Full) {
        if self.answered.len() >= self.answered_max {
            return;
        }
        let connections = match full {
            Full::Edge => &self.edge_full,
            Full::Address => &self.address_full,
        };
        let (served, time_max) = (connections.serve(socket, came, None), self.time_max);
        self.answered.spawn(async move {
            // Who has not asked by then, or does not take the answer, is closed unheard.
            let _late = timeout(time_max, served).await;
        });
    }

    /// Waits until every one of them is closed.
    pub(crate) async fn ended(&self) {
        self.answered.close();
        self.answered.wait().await;
    }
}
