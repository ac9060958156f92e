//! Questions to JetStream's API: JSON on subjects, one answer each.

use std::time::Duration;

use async_nats::{Message, StatusCode};
use bytes::Bytes;
use futures_util::StreamExt;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tidewire_core::Sequence;
use tokio::time::{Instant, timeout, timeout_at};

use crate::{config::StreamName, connection::Connection, metrics, told::Told};

/// How long one question may wait for its answer. Where a stream or a cluster has no leader there
/// is none, so a long wait would only be a long silence.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// After this long the question is asked again: a leader that goes takes those it was asked with
/// it. None of them does anything twice.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// How long a cluster may take to make a stream.
const CREATE_MAX: Duration = Duration::from_secs(5);

/// Why a question was not answered as hoped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// What was asked about is not there.
    #[error("not found: {0}")]
    NotFound(String),
    /// JetStream said no.
    #[error("{description} (code {code})")]
    Refused {
        /// JetStream's own code of the reason (`err_code`).
        code: u64,
        /// JetStream's words.
        description: String,
    },
    /// No answer, or none that can be read.
    #[error("{0}")]
    Unanswered(String),
}

impl ApiError {
    fn no_answer(what: &str, connection: &Connection) -> Self {
        let why = connection.last_error().map_or_else(String::new, |error| format!(": {error}"));
        Self::Unanswered(format!("{what}{why}"))
    }
}

/// Asks about one stream.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    connection: Connection,
    stream: StreamName,
}

impl Api {
    pub(crate) fn new(connection: Connection, stream: StreamName) -> Self {
        Self { connection, stream }
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The same questions over another connection.
    pub(crate) fn over(&self, connection: Connection) -> Self {
        Self::new(connection, self.stream.clone())
    }

    pub(crate) fn stream(&self) -> &StreamName {
        &self.stream
    }

    /// The stream's settings and state, by its leader. Others may answer, too: they are not heard.
    pub(crate) async fn stream_info(&self) -> Result<StreamInfo, ApiError> {
        let asked = format!("STREAM.INFO.{}", self.stream);
        self.ask_until(&asked, &json!({}), ANSWER_MAX, StreamInfo::is_by_leader).await
    }

    pub(crate) async fn create_stream(&self, config: &Value) -> Result<StreamInfo, ApiError> {
        self.ask(&format!("STREAM.CREATE.{}", self.stream), config, CREATE_MAX).await
    }

    pub(crate) async fn create_consumer(
        &self,
        name: &str,
        config: &Value,
    ) -> Result<ConsumerInfo, ApiError> {
        let question =
            json!({ "stream_name": self.stream.as_str(), "config": config, "action": "create" });
        self.ask(&format!("CONSUMER.CREATE.{}.{name}", self.stream), &question, ANSWER_MAX).await
    }

    /// Lets a consumer go. Where that does not arrive, its inactivity ends it a little later.
    pub(crate) async fn delete_consumer(&self, name: &str) {
        let subject = format!("$JS.API.CONSUMER.DELETE.{}.{name}", self.stream);
        let sending = self.connection.client.publish(subject, Bytes::new());
        let _sent = timeout(ANSWER_MAX, sending).await;
    }

    /// The first message at or behind a place whose subject is one of these, by the stream's
    /// leader; `None` where there is none.
    pub(crate) async fn next(
        &self,
        at: Sequence,
        subjects: &[String],
    ) -> Result<Option<Told>, ApiError> {
        let mut first: Option<Told> = None;
        for subject in subjects {
            let next = self.next_of(at, subject).await?;
            let is_before =
                |next: &Told| first.as_ref().is_none_or(|first| next.sequence() < first.sequence());
            if let Some(next) = next.filter(is_before) {
                first = Some(next);
            }
        }
        Ok(first)
    }

    async fn next_of(&self, at: Sequence, subject: &str) -> Result<Option<Told>, ApiError> {
        #[derive(Deserialize)]
        struct Answer {
            message: Told,
        }
        let question = json!({ "seq": at.0, "next_by_subj": subject });
        let asked = format!("STREAM.MSG.GET.{}", self.stream);
        match self.ask::<Answer>(&asked, &question, ANSWER_MAX).await {
            Ok(answer) => Ok(Some(answer.message)),
            // "no message found" has the stream's own way to say 404.
            Err(ApiError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        what: &str,
        question: &Value,
        time_max: Duration,
    ) -> Result<T, ApiError> {
        self.ask_until(what, question, time_max, |_| true).await
    }

    /// Asks until there is an answer that will do, or a refusal.
    async fn ask_until<T: DeserializeOwned>(
        &self,
        what: &str,
        question: &Value,
        time_max: Duration,
        will_do: impl Fn(&T) -> bool,
    ) -> Result<T, ApiError> {
        metrics::count_question();
        let client = &self.connection.client;
        let unanswered = |why: &str| {
            metrics::count_unanswered();
            ApiError::no_answer(&format!("{} {why}", first_words(what)), &self.connection)
        };
        // An inbox of its own for each: the client's shared one keeps an entry for ever for each
        // question that is never answered.
        let inbox = client.new_inbox();
        let (subject, question) = (format!("$JS.API.{what}"), Bytes::from(question.to_string()));
        let asked = timeout(time_max, async {
            let mut answers = client.subscribe(inbox.clone()).await.map_err(|e| e.to_string())?;
            loop {
                let (subject, inbox) = (subject.clone(), inbox.clone());
                let sent = client.publish_with_reply(subject, inbox, question.clone()).await;
                sent.map_err(|error| error.to_string())?;
                let again_at = Instant::now() + ASK_AGAIN_AFTER;
                while let Ok(answer) = timeout_at(again_at, answers.next()).await {
                    let answer = read(&answer.ok_or("the connection is closed")?);
                    if !answer.as_ref().is_ok_and(|answer| !will_do(answer)) {
                        return Ok::<_, String>(answer);
                    }
                }
                metrics::count_question();
            }
        });
        match asked.await {
            Err(_) => Err(unanswered("is not answered")),
            Ok(Err(error)) => Err(unanswered(&format!("fails: {error}"))),
            Ok(Ok(answer)) => answer,
        }
    }
}

/// `STREAM.INFO` of `STREAM.INFO.TIDEWIRE`.
fn first_words(what: &str) -> String {
    what.split('.')
        .take_while(|word| word.chars().all(char::is_uppercase))
        .take(2)
        .collect::<Vec<_>>()
        .join(".")
}

fn read<T: DeserializeOwned>(answer: &Message) -> Result<T, ApiError> {
    #[derive(Deserialize)]
    struct Refusal {
        error: Option<Reason>,
    }
    #[derive(Deserialize)]
    struct Reason {
        code: u16,
        #[serde(default)]
        err_code: u64,
        #[serde(default)]
        description: String,
    }
    let malformed = |error| ApiError::Unanswered(format!("an answer cannot be read: {error}"));
    if answer.status.is_some_and(|status| status != StatusCode::OK) {
        let description = answer.description.clone();
        return Err(ApiError::Unanswered(
            description.unwrap_or_else(|| "nobody answers: is JetStream switched on?".into()),
        ));
    }
    let refusal: Refusal = serde_json::from_slice(&answer.payload).map_err(malformed)?;
    match refusal.error {
        None => serde_json::from_slice(&answer.payload).map_err(malformed),
        Some(Reason { code: 404, description, .. }) => Err(ApiError::NotFound(description)),
        Some(Reason { err_code, description, .. }) => {
            Err(ApiError::Refused { code: err_code, description })
        }
    }
}

/// What a stream's leader says of it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct StreamInfo {
    /// When it was made, to the nanosecond: the same on every replica and after every restart.
    pub(crate) created: String,
    pub(crate) config: Value,
    pub(crate) state: StreamState,
    /// Who holds it; nothing where a server is alone.
    pub(crate) cluster: Option<Cluster>,
}

impl StreamInfo {
    /// Whether the stream's leader says it. For ten seconds after it was started, the server on which
    /// the stream was made answers too, however far behind the leader it is, and so does one that
    /// knows of no leader (2.15.1). Either names no leader, or names it among the others.
    fn is_by_leader(&self) -> bool {
        let Some(Cluster { leader, replicas }) = &self.cluster else { return true };
        !leader.is_empty() && replicas.iter().flatten().all(|replica| replica.name != *leader)
    }
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Cluster {
    #[serde(default)]
    leader: String,
    /// The others than the one who answers.
    #[serde(default)]
    replicas: Option<Vec<Replica>>,
}

#[derive(Debug, Clone, Deserialize)]
struct Replica {
    name: String,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct StreamState {
    pub(crate) messages: u64,
    pub(crate) first_seq: u64,
    pub(crate) last_seq: u64,
}

/// What is said of a consumer that has just been made.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ConsumerInfo {
    /// What it has to hand out.
    #[serde(default)]
    pub(crate) num_pending: u64,
    pub(crate) delivered: Delivered,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Delivered {
    /// The place in the stream before the first event that it will hand out.
    pub(crate) stream_seq: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_by_leader(cluster: &Value) -> bool {
        let state = json!({ "messages": 0, "first_seq": 0, "last_seq": 0 });
        let mut info = json!({ "created": "", "config": {}, "state": state });
        if !cluster.is_null() {
            info["cluster"] = cluster.clone();
        }
        serde_json::from_value::<StreamInfo>(info).unwrap().is_by_leader()
    }

    /// As servers of 2.15.1 answered while the lead of a young stream was moved.
    #[test]
    fn who_answers_for_a_stream_is_seen_in_the_answer() {
        let others = |names: [&str; 2]| names.map(|name| json!({ "name": name, "lag": 1 }));
        assert!(is_by_leader(&Value::Null), "a server alone");
        assert!(is_by_leader(&json!({ "leader": "n1", "replicas": others(["n0", "n2"]) })));
        assert!(is_by_leader(&json!({ "leader": "n1" })), "one replica");
        assert!(is_by_leader(&json!({ "leader": "n1", "replicas": null })), "the same");
        assert!(!is_by_leader(&json!({ "leader": "n1", "replicas": others(["n0", "n1"]) })));
        assert!(!is_by_leader(&json!({ "replicas": others(["n0", "n1"]) })));
    }
}
