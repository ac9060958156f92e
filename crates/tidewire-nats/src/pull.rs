//! A place in the stream from which events are pulled: an ephemeral JetStream consumer.
//!
//! Every delivery is counted, so that one that got lost on the way is noticed; silence is noticed
//! by heartbeats that stay away. A place that has gone wrong is given up, and another one opened.

use std::{sync::Arc, time::Duration};

use async_nats::{HeaderMap, Message, StatusCode, Subscriber};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tidewire_core::{Sequence, UnixMillis};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use crate::{
    api::{Api, ApiError},
    connection::Connection,
    metrics,
    stored::Stored,
};

/// How often the server says that it is there while it has nothing to hand out.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// How long it may say nothing: two heartbeats, and half of one.
const SILENCE_MAX: Duration = Duration::from_millis(2_500);
/// How long one request for events stands.
const REQUEST_EXPIRES: Duration = Duration::from_secs(30);
/// The wait after a request that reached nobody. A place that has just been made in a cluster is
/// not known to every server yet.
const UNKNOWN_DELAY: Duration = Duration::from_millis(10);
/// So many requests in a row may reach nobody.
const UNKNOWN_MAX: u32 = 50;
/// How long the server keeps a place from which nobody pulls.
const INACTIVE_MAX: Duration = Duration::from_secs(15);

/// Where to begin.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Begin {
    /// At this sequence or behind it.
    At(Sequence),
    /// With the first event of this moment or later.
    AtTime(UnixMillis),
    /// With the last event of every topic, of those that are there now.
    LastOfEachTopic,
}

impl Begin {
    fn add_to(self, config: &mut Value) {
        match self {
            Self::At(sequence) => {
                config["deliver_policy"] = json!("by_start_sequence");
                config["opt_start_seq"] = json!(sequence.0.max(1));
            }
            Self::AtTime(time) => {
                config["deliver_policy"] = json!("by_start_time");
                config["opt_start_time"] = json!(rfc3339(time));
            }
            Self::LastOfEachTopic => config["deliver_policy"] = json!("last_per_subject"),
        }
    }
}

/// A place in the stream.
#[derive(Debug)]
pub(crate) struct Pull {
    api: Api,
    connection: Connection,
    name: String,
    inbox: String,
    received: Subscriber,
    turns: watch::Receiver<u64>,
    /// How many have been handed out.
    delivered: u64,
    /// How many requests in a row have reached nobody.
    unknown: u32,
    /// How many have been asked for and not come yet.
    pub(crate) requested: usize,
    /// Bytes for which the last request asked.
    request_bytes: usize,
    /// How many there were behind the last that came.
    pub(crate) pending: u64,
    /// The place before the first one to come.
    pub(crate) before: Sequence,
}

/// What came.
#[derive(Debug)]
pub(crate) enum Pulled {
    /// The next event.
    Event(Stored),
    /// Nothing; the server is there.
    Heartbeat,
    /// A request has ended before all it asked for had come.
    Ended,
}

/// Why a place is of no use any more: another one has to be opened.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Gone(Arc<str>);

impl From<&str> for Gone {
    fn from(reason: &str) -> Self {
        Self(reason.into())
    }
}

impl Pull {
    /// Opens a place, over this connection, that hands out what any of these subjects match.
    pub(crate) async fn open(
        api: &Api,
        connection: &Connection,
        begin: Begin,
        subjects: &[String],
    ) -> Result<Self, ApiError> {
        let name = format!("tw-{:032x}", rand::random::<u128>());
        let turns = connection.turns();
        let inbox = connection.client.new_inbox();
        let received = connection.client.subscribe(inbox.clone()).await;
        let received = received.map_err(|error| ApiError::Unanswered(error.to_string()))?;
        let mut config = json!({
            "name": name,
            "ack_policy": "none",
            "replay_policy": "instant",
            "filter_subjects": subjects,
            "num_replicas": 1,
            "mem_storage": true,
            "inactive_threshold": nanoseconds(INACTIVE_MAX),
        });
        begin.add_to(&mut config);
        let info = api.create_consumer(&name, &config).await?;
        metrics::count_opened();
        Ok(Self {
            api: api.clone(),
            connection: connection.clone(),
            name,
            inbox,
            received,
            turns,
            delivered: 0,
            unknown: 0,
            requested: 0,
            request_bytes: 0,
            pending: info.num_pending,
            before: Sequence(info.delivered.stream_seq),
        })
    }

    /// Asks for more: so many events, as long as they have fewer bytes than that.
    pub(crate) async fn request(&mut self, events: usize, bytes: usize) -> Result<(), Gone> {
        let request = json!({
            "batch": events,
            "max_bytes": bytes,
            "expires": nanoseconds(REQUEST_EXPIRES),
            "idle_heartbeat": nanoseconds(HEARTBEAT_INTERVAL),
        });
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", self.api.stream(), self.name);
        let request = request.to_string().into();
        let client = &self.connection.client;
        let sent = client.publish_with_reply(subject, self.inbox.clone(), request);
        match timeout(SILENCE_MAX, sent).await {
            Ok(Ok(())) => {
                self.requested += events;
                self.request_bytes = bytes;
                Ok(())
            }
            Ok(Err(error)) => Err(Gone(error.to_string().into())),
            Err(_) => Err("the connection takes nothing".into()),
        }
    }

    /// Waits for what comes next.
    pub(crate) async fn next(&mut self) -> Result<Pulled, Gone> {
        let received = timeout(SILENCE_MAX, async {
            tokio::select! {
                biased;
                received = self.received.next() => received.ok_or("the connection is closed"),
                _ = self.turns.changed() => Err("the connection was interrupted"),
            }
        });
        let message =
            received.await.map_err(|_| Gone::from("nothing comes, not even heartbeats"))??;
        match message.status {
            // A server of 2.11 hands out as it came what looks like its own word.
            _ if message.reply.as_deref().is_some_and(|reply| reply.starts_with(PLACE)) => {
                self.take(message)
            }
            None => self.take(message),
            Some(StatusCode::IDLE_HEARTBEAT) => {
                self.unknown = 0;
                Ok(Pulled::Heartbeat)
            }
            Some(StatusCode::NO_RESPONDERS) if self.unknown < UNKNOWN_MAX => {
                self.unknown += 1;
                self.requested = 0;
                sleep(UNKNOWN_DELAY).await;
                Ok(Pulled::Ended)
            }
            Some(status) => self.ended(status, &message),
        }
    }

    fn take(&mut self, message: Message) -> Result<Pulled, Gone> {
        let place = message.reply.as_deref().and_then(Place::parse);
        let Some(place) = place else { return Err("an event's place cannot be read".into()) };
        if place.delivered != self.delivered + 1 {
            return Err("a delivery got lost".into());
        }
        self.delivered = place.delivered;
        self.unknown = 0;
        self.requested = self.requested.saturating_sub(1);
        self.pending = place.pending;
        Ok(Pulled::Event(Stored {
            subject: message.subject,
            sequence: place.sequence,
            time: place.time,
            headers: message.headers,
            payload: message.payload,
        }))
    }

    /// A request's end is told with how much of it was left over; everything else is this place's
    /// end.
    fn ended(&mut self, status: StatusCode, message: &Message) -> Result<Pulled, Gone> {
        let left_over = |name| message.headers.as_ref().and_then(|headers| number(headers, name));
        let why = message.description.as_deref().unwrap_or("no word why");
        match left_over("Nats-Pending-Messages") {
            Some(_)
                if why == TOO_LARGE
                    && left_over("Nats-Pending-Bytes") >= Some(self.request_bytes) =>
            {
                Err("what comes next is larger than all that is asked for at once".into())
            }
            Some(events) => {
                self.requested = self.requested.saturating_sub(events);
                Ok(Pulled::Ended)
            }
            None => Err(Gone(format!("status {status}: {why}").into())),
        }
    }

    /// Whether it has handed out anything.
    pub(crate) fn has_delivered(&self) -> bool {
        self.delivered > 0
    }

    /// Lets the place go. One that is dropped instead is let go by the server a little later.
    pub(crate) async fn close(self) {
        self.api.delete_consumer(&self.name).await;
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<usize> {
    headers.get(name)?.as_str().parse().ok()
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A moment as JetStream reads it. One beyond the year 9999 is taken for its end.
fn rfc3339(time: UnixMillis) -> String {
    use time::{OffsetDateTime, format_description::well_known::Rfc3339};
    let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(time.0) * 1_000_000).ok();
    moment
        .and_then(|moment| moment.format(&Rfc3339).ok())
        .unwrap_or_else(|| "9999-12-31T23:59:59Z".into())
}

/// The server's word where the bytes that are left of a request are too few for what comes next.
const TOO_LARGE: &str = "Message Size Exceeds MaxBytes";
/// How the subject begins that would acknowledge an event.
const PLACE: &str = "$JS.ACK.";

/// Where an event stands, as the subject says that would acknowledge it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    sequence: Sequence,
    /// The how-manieth it is of this consumer.
    delivered: u64,
    time: UnixMillis,
    /// How many more there were when it was handed out.
    pending: u64,
}

impl Place {
    /// Reads `$JS.ACK.<stream>.<consumer>.<tries>.<sequence>.<delivered>.<nanoseconds>.<pending>`,
    /// or the same with a domain and an account before the stream and more behind (ADR-15).
    fn parse(reply: &str) -> Option<Self> {
        let tokens = reply.strip_prefix(PLACE)?;
        let before = if tokens.split('.').count() < 9 { 3 } else { 5 };
        let mut numbers = tokens.split('.').skip(before).map(str::parse::<u64>);
        let mut next = || numbers.next()?.ok();
        let (sequence, delivered, nanoseconds, pending) = (next()?, next()?, next()?, next()?);
        let (sequence, time) = (Sequence(sequence), UnixMillis(nanoseconds / 1_000_000));
        Some(Self { sequence, delivered, time, pending })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_in_both_of_its_forms() {
        let place = Place {
            sequence: Sequence(7),
            delivered: 5,
            time: UnixMillis(1_700_000_000_123),
            pending: 9,
        };
        for reply in [
            "$JS.ACK.S.C.1.7.5.1700000000123456789.9",
            "$JS.ACK._.hash.S.C.1.7.5.1700000000123456789.9.token",
            "$JS.ACK.domain.hash.S.C.1.7.5.1700000000123456789.9",
        ] {
            assert_eq!(Place::parse(reply), Some(place), "{reply}");
        }
        for reply in ["", "_INBOX.x", "$JS.ACK.S.C.1.7.5.17", "$JS.ACK.S.C.1.x.5.17.9"] {
            assert_eq!(Place::parse(reply), None, "{reply}");
        }
    }

    #[test]
    fn a_moment_is_written_as_jetstream_reads_it() {
        assert_eq!(rfc3339(UnixMillis(1_700_000_000_123)), "2023-11-14T22:13:20.123Z");
        assert_eq!(rfc3339(UnixMillis(0)), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(UnixMillis::NEVER), "9999-12-31T23:59:59Z");
    }
}
