//! An edge: one tail, one fan-out, and the subscriptions on them.

use std::{
    io,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::Router;
use parking_lot::Mutex;
use tidewire_core::{Backbone, ReadError, Relay};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    Acknowledged, Config, DrainPlan, EdgeStatus, PollAnswer, PollError, PollRequest,
    SubscribeRequest, Subscription,
    acknowledging::Acknowledgements,
    admission::Admission,
    carried::Carried,
    drain::Drain,
    fanout::Fanout,
    follow::{TailHealth, follow},
    gauges, http,
    metrics::{self, Sent, Streamed},
    poll,
    replays::Replays,
    returns::Returns,
    server, status,
    subscription::{Audience, Shared},
    traces::Traces,
};

/// A running edge. It holds nothing that its clients' cursors cannot rebuild.
pub struct Edge {
    shared: Arc<Shared>,
    follower: Mutex<Option<JoinHandle<()>>>,
    /// What hears other edges, where there are any.
    hearer: Mutex<Option<JoinHandle<()>>>,
}

impl Edge {
    /// Starts to follow the log. Cancelling `ending` ends every subscription at once, in good order,
    /// and the tail; [`drain`](Self::drain) before it lets them end one after the other.
    ///
    /// Must be called within a tokio runtime, and after the metrics recorder is installed.
    pub fn start(config: Config, backbone: Arc<dyn Backbone>, ending: CancellationToken) -> Self {
        metrics::set_connections_max(config.connections_max);
        let fanout = Arc::new(Fanout::new(&config));
        let health = Arc::new(TailHealth::new());
        let traces = Traces::new(config.traces);
        let follower = tokio::spawn(follow(
            Arc::clone(&backbone),
            Arc::clone(&fanout),
            Arc::clone(&health),
            traces.clone(),
            config.window_events_max,
            ending.clone(),
        ));
        let replays = Arc::new(Replays::new(Arc::clone(&backbone), config.replays_max));
        let admission = Admission::new(&config);
        let drain = Drain::new(&config, ending);
        let returns = Returns::new(&config);
        let shared = Arc::new(Shared {
            config,
            backbone,
            fanout,
            health,
            sent: Sent::new(),
            streamed: Streamed::new(),
            replays,
            admission,
            drain,
            returns,
            traces,
            acknowledgements: Arc::new(Acknowledgements::new()),
            answers: Arc::new(Semaphore::new(poll::HELD_BYTES_MAX)),
            notes: Arc::default(),
            carried: Carried::default(),
            sweepers: OnceLock::new(),
        });
        Self { shared, follower: Mutex::new(Some(follower)), hearer: Mutex::default() }
    }

    /// Takes part among the edges on one log: what clients say here to another is passed on to it,
    /// and what it passes on is heard, until `ending` is cancelled. Once for each edge.
    pub fn join(&self, relay: Arc<dyn Relay>) {
        let acknowledgements = Arc::clone(&self.shared.acknowledgements);
        let ending = self.shared.drain.ending().clone();
        let hearing = async move { acknowledgements.join(relay, ending).await };
        *self.hearer.lock() = Some(tokio::spawn(hearing));
    }

    /// The public routes: `GET /v1/events`, `POST /v1/events:subscribe`, `GET /v1/poll`,
    /// `POST /v1/ack/{connection}`, and the page where it is on.
    pub fn router(&self) -> Router {
        http::router(&self.shared)
    }

    /// Serves this edge's routes, and others beside them, until `ending` is cancelled and every
    /// connection has ended. Subscriptions end by themselves; other requests finish.
    ///
    /// # Errors
    /// Where the listener's socket options cannot be set.
    pub async fn serve(&self, listener: TcpListener, beside: Router) -> io::Result<()> {
        let router = self.router().merge(beside);
        tokio::select! {
            served = server::serve(listener, router, &self.shared) => served,
            never = gauges::keep(&self.shared) => match never {},
        }
    }

    /// Begins to drain: every open stream ends at its own moment of the drain's window, and new
    /// ones are refused. Events go on until then.
    pub fn drain(&self) -> DrainPlan {
        self.shared.drain.begin()
    }

    /// What a drain that began now would do.
    pub fn drain_plan(&self) -> DrainPlan {
        self.shared.drain.plan()
    }

    /// How long a drain takes at most.
    pub fn drain_time_max(&self) -> Duration {
        self.shared.drain.time_max()
    }

    /// Waits until the drain that has begun is over: every stream has ended, but for those whose
    /// readers take nothing. They end with `ending`, or are cut off some seconds later.
    pub async fn drained(&self) {
        self.shared.drain.over().await;
    }

    /// Begins a subscription, as `GET /v1/events` does.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`] where the backbone must be asked and does not answer.
    pub async fn subscribe(&self, request: SubscribeRequest) -> Result<Subscription, ReadError> {
        let shared = Arc::clone(&self.shared);
        let (audience, now) = (Audience::Stream, Instant::now());
        let (subscription, _) = Subscription::begin(shared, request, audience, now).await?;
        Ok(subscription)
    }

    /// Answers a poll, as `GET /v1/poll` does.
    ///
    /// # Errors
    /// [`PollError`] where the backbone does not answer, or this edge is ending.
    pub async fn poll(&self, request: PollRequest) -> Result<PollAnswer, PollError> {
        let (answer, _) = poll::poll(Arc::clone(&self.shared), request).await?;
        Ok(answer)
    }

    /// Takes the acknowledgement of a connection's probe, as `POST /v1/ack/{connection}` does.
    pub async fn acknowledge(&self, connection: &str) -> Acknowledged {
        self.shared.acknowledgements.take(connection).await
    }

    /// Why this edge should get no new subscribers, if it should not.
    pub fn trouble(&self) -> Option<&'static str> {
        if self.follower.lock().as_ref().is_none_or(JoinHandle::is_finished) {
            return Some("the edge follows the log no more");
        }
        self.shared.health.trouble()
    }

    /// What its metrics do not tell: who is slow, and what went wrong last. It costs what looking at
    /// the slow streams costs; who has all is not looked at.
    pub async fn status(&self) -> EdgeStatus {
        status::of(&self.shared).await
    }

    /// Waits until the edge follows and hears nothing more, after `ending` was cancelled.
    pub async fn stopped(&self) {
        let tasks = [self.follower.lock().take(), self.hearer.lock().take()];
        for task in tasks.into_iter().flatten() {
            // An error here is a panic of the task, which has been reported by its hook.
            task.await.ok();
        }
    }

    #[cfg(test)]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}
