//! How far a stream is behind, as an operator is told.

use tidewire_core::{Cursor, UnixMillis};

use crate::{
    SlowState, SlowStream, Subscription, client_address::ClientAddress,
    connection_name::ConnectionName, fanout::Lag,
};

/// Characters of a connection's own number that are shown: enough to tell streams apart, too few to
/// acknowledge anything in its name.
const NUMBER_LENGTH_SHOWN: usize = 6;

/// Who a stream is for, as far as it is told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Whose {
    pub(crate) connection: ConnectionName,
    pub(crate) client: Option<ClientAddress>,
    pub(crate) filters: usize,
}

impl Whose {
    pub(crate) fn of(subscription: &Subscription, client: Option<ClientAddress>) -> Self {
        let filters = subscription.key.interest.filters().len();
        Self { connection: subscription.name, client, filters }
    }

    /// One whose stream was handed something last at `since`, and is behind by `lag`.
    pub(crate) fn slow(&self, state: SlowState, since: UnixMillis, lag: Lag) -> SlowStream {
        let now = UnixMillis::now();
        let missed = lag.oldest_missed.map_or(0, |time| now.0.saturating_sub(time.0));
        SlowStream {
            connection: self.connection.shortened(NUMBER_LENGTH_SHOWN),
            client: self.client.map(|client| client.to_string()),
            filters: self.filters,
            state,
            since,
            events: lag.events,
            events_at_most: lag.events_at_most,
            seconds: missed as f64 / 1_000.0,
            seconds_at_least: lag.is_beyond_window,
        }
    }
}

impl Subscription {
    /// Where it stands, and that its client takes nothing: for who holds it and its socket.
    pub(crate) fn stalled(&self, client: Option<ClientAddress>) -> SlowStream {
        let lag = self.shared.fanout.lag(self.handed_up_to(), self.feed());
        let (_, handed_at) = self.told;
        let since = UnixMillis::now().before(handed_at.elapsed());
        Whose::of(self, client).slow(SlowState::Stalled, since, lag)
    }

    /// Up to where everything that is wanted has been handed out.
    pub(crate) fn handed_up_to(&self) -> Cursor {
        self.position().unwrap_or(self.cursor)
    }
}
