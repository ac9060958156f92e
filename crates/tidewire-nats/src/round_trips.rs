//! How long each connection takes there and back.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::OnceCell,
    time::{Instant, MissedTickBehavior, interval_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    api::Api,
    connection::{Connection, Purpose},
    metrics,
};

/// The first look; by then most have connected.
const FIRST_AFTER: Duration = Duration::from_secs(1);
const INTERVAL: Duration = Duration::from_secs(10);

/// The connections of a process.
pub(crate) struct Measured {
    pub(crate) api: Api,
    pub(crate) publish: Option<Connection>,
    pub(crate) tails: Arc<OnceCell<Connection>>,
}

impl Measured {
    /// Measures now and then, until `ending` is cancelled. It asks for the stream's state, which every
    /// process may: a server's own ping is not told of by the client.
    pub(crate) async fn keep(self, ending: CancellationToken) {
        let mut turns = interval_at(Instant::now() + FIRST_AFTER, INTERVAL);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while ending.run_until_cancelled(turns.tick()).await.is_some() {
            for (purpose, connection) in [
                (Purpose::Read, Some(self.api.connection())),
                (Purpose::Publish, self.publish.as_ref()),
                (Purpose::Tail, self.tails.get()),
            ] {
                let Some(connection) = connection.filter(|connection| connection.is_connected())
                else {
                    continue;
                };
                let api = self.api.over(connection.clone());
                let asked_at = Instant::now();
                if let Some(Ok(_)) = ending.run_until_cancelled(api.stream_info()).await {
                    metrics::set_round_trip(purpose, asked_at.elapsed());
                }
            }
        }
    }
}
