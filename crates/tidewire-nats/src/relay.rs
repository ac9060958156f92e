//! What edges say to each other: core messages on a subject for each edge, which no stream keeps.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use tidewire_core::{EdgeNumber, Relay, RelayError, WordStream};
use tokio::time::timeout;

use crate::{Nats, config::StreamName};

/// How long the connection may take to accept a word: its queue may be full.
const SAY_MAX: Duration = Duration::from_secs(1);

/// Where an edge listens. Not below `tw.`, whose messages are events.
fn subject(stream: &StreamName, edge: EdgeNumber) -> String {
    format!("twedge.{stream}.{edge}")
}

#[async_trait]
impl Relay for Nats {
    async fn say(&self, to: EdgeNumber, word: Bytes) -> Result<(), RelayError> {
        let api = &self.shared.api;
        // The client would hold it until there is a connection again, which may be too late.
        if !api.connection().is_connected() {
            return Err(RelayError("not connected to NATS".into()));
        }
        let saying = api.connection().client.publish(subject(api.stream(), to), word);
        match timeout(SAY_MAX, saying).await {
            Ok(said) => said.map_err(|error| RelayError(error.into())),
            Err(_) => Err(RelayError("the connection to NATS takes nothing".into())),
        }
    }

    async fn listen(&self, edge: EdgeNumber) -> Result<WordStream, RelayError> {
        let api = &self.shared.api;
        let heard = api.connection().client.subscribe(subject(api.stream(), edge)).await;
        let heard = heard.map_err(|error| RelayError(error.into()))?;
        Ok(Box::pin(heard.map(|message| message.payload)))
    }
}
