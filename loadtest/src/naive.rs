//! What one writes first: axum's `Sse` over a `broadcast` channel for each topic.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use axum::{
    Router,
    extract::{Query, State},
    http::StatusCode,
    response::{
        Sse,
        sse::{Event, KeepAlive},
    },
    routing::{get, post},
};
use futures_util::{Stream, StreamExt as _};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

use crate::floor::end_with_input;

/// Events that a topic keeps for those who are behind.
const CHANNEL_EVENTS: usize = 64;

/// Where it listens.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    http: u16,
}

#[derive(Clone, Default)]
struct Hub {
    topics: Arc<Mutex<HashMap<String, broadcast::Sender<Arc<Published>>>>>,
    last_id: Arc<AtomicU64>,
}

struct Published {
    id: String,
    data: String,
}

#[derive(Deserialize)]
struct Asked {
    topic: String,
}

/// Serves until its input ends.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    end_with_input();
    let router = Router::new()
        .route("/events", get(subscribe))
        .route("/publish", post(publish))
        .with_state(Hub::default());
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, args.http)).await?;
    Ok(axum::serve(listener, router).await?)
}

async fn subscribe(
    State(hub): State<Hub>,
    Query(asked): Query<Asked>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let receiver = hub.sender(asked.topic).subscribe();
    // One who is behind loses events here, and is told nothing: that is what makes it naive.
    let events = BroadcastStream::new(receiver).filter_map(async |published| {
        let published = published.ok()?;
        Some(Ok(Event::default().id(&published.id).data(&published.data)))
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}

async fn publish(State(hub): State<Hub>, Query(asked): Query<Asked>, data: String) -> StatusCode {
    let id = hub.last_id.fetch_add(1, Relaxed).to_string();
    // Nobody may be subscribed.
    hub.sender(asked.topic).send(Arc::new(Published { id, data })).ok();
    StatusCode::NO_CONTENT
}

impl Hub {
    fn sender(&self, topic: String) -> broadcast::Sender<Arc<Published>> {
        let mut topics = self.topics.lock();
        topics.entry(topic).or_insert_with(|| broadcast::channel(CHANNEL_EVENTS).0).clone()
    }
}
