//! The backbone as everyone else holds it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::future::join_all;
use parking_lot::Mutex;
use tidewire_core::{
    Backbone, Bounds, Cursor, EventStream, Interest, NewEvent, Page, PageLimit, PublishError,
    ReadError, Receipt, UnixMillis,
};
use tokio::{
    sync::OnceCell,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Config,
    api::Api,
    connection::{AccessError, Connection, Purpose},
    keeper::{Health, Keeper},
    known::{Asker, unavailable},
    metrics, pages,
    publisher::{self, Publisher},
    round_trips::Measured,
    shared::Shared,
    tail,
};

/// How often what is held for readers is looked through.
const TIDY_INTERVAL: Duration = Duration::from_secs(5);

/// A log on a JetStream stream.
///
/// Dropping it without [`close`](Nats::close) ends it a little later, without anybody waiting.
pub struct Nats {
    config: Config,
    pub(crate) shared: Arc<Shared>,
    health: Arc<Health>,
    /// Where this process publishes.
    publisher: Option<Publisher>,
    /// The connection of tails, made for the first one.
    tails: Arc<OnceCell<Connection>>,
    ending: CancellationToken,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// Why it could not begin: what it was told cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StartError(#[from] AccessError);

/// Why it cannot go on, until somebody has changed something.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub(crate) String);

impl Nats {
    /// Begins to connect, and to look after the stream. Returns at once: whether NATS is there is
    /// told by [`Nats::trouble`].
    ///
    /// # Errors
    /// [`StartError`] where a file that was named cannot be used.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let connection = Connection::begin(&config, Purpose::Read).await?;
        let api = Api::new(connection, config.stream.clone());
        let known = Arc::new(Asker::new(api.clone()));
        let health = Arc::new(Health::new());
        let shared = Arc::new(Shared::new(api.clone(), Arc::clone(&known)));
        let ending = CancellationToken::new();
        let publisher = match config.keep {
            Some(_) => Some(Publisher::start(
                Connection::begin(&config, Purpose::Publish).await?,
                Arc::clone(&known),
                shared.subjects.clone(),
                ending.clone(),
            )),
            None => None,
        };
        let tails = Arc::<OnceCell<Connection>>::default();
        if publisher.is_none() {
            // Who does not publish follows, as soon as the stream is there.
            metrics::not_connected_yet(Purpose::Tail);
        }
        let measured = Measured {
            api: api.clone(),
            publish: publisher.as_ref().map(|publisher| publisher.connection.clone()),
            tails: Arc::clone(&tails),
        };
        let keeper = Keeper {
            config: config.clone(),
            api,
            known,
            health: Arc::clone(&health),
            told: String::new(),
        };
        let tasks = vec![
            tokio::spawn(keeper.keep(ending.clone())),
            tokio::spawn(tidy(Arc::clone(&shared), ending.clone())),
            tokio::spawn(measured.keep(ending.clone())),
        ];
        Ok(Self { config, shared, health, publisher, tails, ending, tasks: Mutex::new(tasks) })
    }

    /// What is missing, where the log cannot be used: not connected for some seconds, no stream.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.health.trouble()
    }

    /// Waits until it cannot go on: a server that is too old, a stream that is otherwise than the
    /// settings say where the policy is to stop. Pends for ever while all is well.
    pub async fn failed(&self) -> Failure {
        self.health.failed().await
    }

    /// Ends the connections, and whatever is still in flight or followed.
    pub async fn close(&self) {
        self.ending.cancel();
        self.shared.reads.close();
        let tasks = std::mem::take(&mut *self.tasks.lock());
        for task in tasks {
            // An error here is a panic, which has been reported by its hook.
            task.await.ok();
        }
        let publish = self.publisher.as_ref().map(|publisher| &publisher.connection);
        let connections = [Some(self.shared.api.connection()), publish, self.tails.get()];
        join_all(connections.into_iter().flatten().map(Connection::end)).await;
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.ending.cancel();
    }
}

async fn tidy(shared: Arc<Shared>, ending: CancellationToken) {
    let mut ticks = interval(TIDY_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while ending.run_until_cancelled(ticks.tick()).await.is_some() {
        shared.blocks.tidy();
        shared.kept_open.tidy();
        shared.regions.tidy();
    }
}

#[async_trait]
impl Backbone for Nats {
    async fn publish(&self, event: NewEvent) -> Result<Receipt, PublishError> {
        let Some(publisher) = &self.publisher else {
            return Err(publisher::unavailable("this process only reads"));
        };
        if let Some(missing) = self.health.hopeless() {
            return Err(publisher::unavailable(missing));
        }
        match publisher.publish(event).await {
            // Why the stream is not there says more than that nothing answers.
            Err(PublishError::Unavailable(why)) => Err(match self.health.hopeless() {
                Some(missing) => publisher::unavailable(missing),
                None => PublishError::Unavailable(why),
            }),
            outcome => outcome,
        }
    }

    async fn read(
        &self,
        interest: &Interest,
        after: Cursor,
        limit: PageLimit,
    ) -> Result<Page, ReadError> {
        pages::read(&self.shared, interest, after, limit).await
    }

    async fn latest(
        &self,
        interest: &Interest,
        after: Cursor,
        limit: PageLimit,
    ) -> Result<Page, ReadError> {
        pages::latest(&self.shared, interest, after, limit).await
    }

    async fn tail(&self, after: Cursor) -> Result<EventStream, ReadError> {
        self.shared.known.fresh().await?.bounds.check(after)?;
        let connection = self
            .tails
            .get_or_try_init(|| Connection::begin(&self.config, Purpose::Tail))
            .await
            .map_err(|error| unavailable(error.to_string()))?;
        Ok(tail::follow(Arc::clone(&self.shared), connection.clone(), after))
    }

    async fn bounds(&self) -> Result<Bounds, ReadError> {
        Ok(self.shared.known.fresh().await?.bounds)
    }

    async fn cursor_at(&self, time: UnixMillis) -> Result<Cursor, ReadError> {
        pages::cursor_at(&self.shared, time).await
    }
}
