//! Polling: the same subscription, ended as soon as there is something to answer with.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use bytes::Bytes;
use http::HeaderMap;
use tidewire_core::{Invalid, ReadError};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use crate::{
    Coding, Envelope, SubscribeRequest, Subscription,
    frame::{self, Written},
    metrics::{self, PollEnded, PollUnderWay},
    request,
    subscription::{Audience, Shared},
};

/// Events of one answer.
const EVENTS_MAX: usize = 500;
/// Bytes of the events of one answer, unless one alone is longer.
const EVENTS_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of the events of all answers that are held together, from when they are gathered until they
/// have left: clients that ask for much and read slowly are many. Beyond it an answer is cut short
/// behind its first event.
pub(crate) const HELD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Seconds that a client may ask to wait: proxies let go of what is silent for longer.
const TIMEOUT_SECONDS: RangeInclusive<u64> = 0..=30;
/// How long is waited unless the client says otherwise.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(25);
/// How long more is gathered once there is something: what comes together leaves together, and
/// nobody sees the delay.
const GATHERING: Duration = Duration::from_millis(20);
/// How long the log may take to be gone through without anything wanted, at least, whatever the
/// client's timeout: its cursor gets on by that.
const BACKLOG_WAIT_MIN: Duration = Duration::from_secs(10);
/// Longer than any poll: nothing is sent into its silence.
const NO_HEARTBEAT: Duration = Duration::from_secs(60);

/// A poll as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PollRequest {
    /// Of what, and after which cursor.
    pub subscribe: SubscribeRequest,
    /// How long to wait for the first event. Without a cursor nothing is waited for.
    pub timeout: Duration,
}

/// What a poll is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PollAnswer {
    /// Where the next poll, or a stream, goes on.
    pub cursor: String,
    /// The events, each a CloudEvents JSON object.
    pub events: Vec<Bytes>,
    /// Since where of each topic only the newest event comes, as the JSON object of the frame that says
    /// so.
    pub conflated: Option<Bytes>,
    /// What cannot be had before them, as the JSON object of a gap's frame.
    pub gap: Option<Bytes>,
}

/// Why a poll is not answered; the same again a little later may be, here or at another edge.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    /// The log does not answer.
    #[error(transparent)]
    Unavailable(#[from] ReadError),
    /// This edge is leaving.
    #[error("the edge is stopping")]
    Stopping,
}

impl PollRequest {
    /// Reads a request's query and headers: those of a stream, and `cursor` and `timeout`. A cursor
    /// in a header beats one in the query.
    ///
    /// # Errors
    /// [`Invalid`] names the parameter and the reason.
    pub fn parse(query: &str, headers: &HeaderMap) -> Result<Self, Invalid> {
        let mut subscribe = SubscribeRequest::parse(query, headers)?;
        let mut timeout = TIMEOUT_DEFAULT;
        let mut cursor = None;
        for (name, value) in request::pairs(query) {
            match &*name {
                "cursor" => cursor = request::cursor(&request::decode(value)?).or(cursor),
                "timeout" => {
                    timeout =
                        request::seconds("timeout", &request::decode(value)?, TIMEOUT_SECONDS)?;
                }
                _ => {}
            }
        }
        if request::header_cursor(headers).is_none() {
            subscribe.last_event_id = cursor.or(subscribe.last_event_id);
        }
        Ok(Self { subscribe, timeout })
    }
}

/// Answers a poll: with what waits behind its cursor, or else with the first that comes. Beside the
/// answer comes what it may hold of the memory for all answers, to be kept for as long as it is.
pub(crate) async fn poll(
    shared: Arc<Shared>,
    request: PollRequest,
) -> Result<(PollAnswer, Share), PollError> {
    let mut under_way = PollUnderWay::begin();
    let outcome = gather(shared, request).await;
    under_way.ended = match &outcome {
        Ok((answer, _)) => {
            let bytes = answer.events.iter().map(Bytes::len).sum();
            metrics::count_polled(answer.events.len(), bytes);
            match answer {
                PollAnswer { gap: Some(_), .. } => PollEnded::Gap,
                PollAnswer { events, .. } if events.is_empty() => PollEnded::Empty,
                PollAnswer { .. } => PollEnded::Events,
            }
        }
        Err(PollError::Unavailable(_)) => PollEnded::Unavailable,
        Err(PollError::Stopping) => PollEnded::Stopping,
    };
    outcome
}

/// A part of the memory for all answers.
pub(crate) type Share = Option<OwnedSemaphorePermit>;

async fn gather(
    shared: Arc<Shared>,
    request: PollRequest,
) -> Result<(PollAnswer, Share), PollError> {
    let ending = shared.drain.ending().clone();
    if shared.drain.has_begun() {
        return Err(PollError::Stopping);
    }
    let asked_at = Instant::now();
    let SubscribeRequest { last_event_id, .. } = &request.subscribe;
    let timeout = if last_event_id.is_some() { request.timeout } else { Duration::ZERO };
    let live_until = asked_at + timeout;
    let backlog_until = asked_at + timeout.max(BACKLOG_WAIT_MIN);
    let subscribe = SubscribeRequest {
        envelope: Envelope::CloudEvents,
        coding: Coding::Identity,
        control: true,
        heartbeat: Some(NO_HEARTBEAT),
        probe: false,
        ack: None,
        ..request.subscribe
    };
    let mut gathered = Gathered::new(Arc::clone(&shared.answers));
    let (mut subscription, start) =
        Subscription::begin(shared, subscribe, Audience::Poll, asked_at).await?;

    if let Some(opening) = subscription.next().await {
        gathered.take(&opening);
    }
    while !gathered.is_full {
        let until = match gathered.first_at {
            Some(first_at) => first_at + GATHERING,
            None if subscription.is_live() => live_until,
            None => backlog_until,
        };
        let step = timeout_at(until, subscription.step());
        match ending.run_until_cancelled(step).await {
            Some(Ok(Some(coded))) => gathered.take(&coded.bytes),
            Some(Ok(None)) => {}
            Some(Err(_)) => break,
            None if gathered.first_at.is_none() => return Err(PollError::Stopping),
            None => break,
        }
    }
    let reached = subscription.catch_up();
    let is_stuck = !subscription.is_live() && reached == start.place().point();
    if is_stuck && gathered.first_at.is_none() {
        return Err(ReadError::Unavailable("nothing behind the cursor can be read".into()).into());
    }
    Ok(gathered.answer(reached.to_string()))
}

/// What a poll will be answered with.
struct Gathered {
    /// The memory for all answers, and what this one holds of it.
    memory: Arc<Semaphore>,
    share: Share,
    events: Vec<Bytes>,
    bytes: usize,
    gap: Option<Bytes>,
    conflated: Option<Bytes>,
    /// Since when there is something.
    first_at: Option<Instant>,
    /// The id of the last frame taken.
    id: String,
    /// Whether something that came does not belong to this answer: the next one begins before it.
    is_full: bool,
}

impl Gathered {
    fn new(memory: Arc<Semaphore>) -> Self {
        Self {
            memory,
            share: None,
            events: Vec::new(),
            bytes: 0,
            gap: None,
            conflated: None,
            first_at: None,
            id: String::new(),
            is_full: false,
        }
    }

    fn take(&mut self, frames: &Bytes) {
        for Written { event_type, id, data } in frame::written(frames) {
            match event_type {
                frame::HELLO | frame::CURSOR => {}
                // A gap stands before all else of an answer, and word of a conflation before events.
                frame::GAP if self.first_at.is_none() && self.conflated.is_none() => {
                    self.gap = Some(data);
                }
                frame::CONFLATED if self.events.is_empty() && self.conflated.is_none() => {
                    self.conflated = Some(data);
                }
                frame::GAP | frame::CONFLATED => self.is_full = true,
                _ if self.has_room_for(&data) => {
                    self.bytes += data.len();
                    self.events.push(data);
                }
                _ => self.is_full = true,
            }
            if self.is_full {
                return;
            }
            self.id = id.to_owned();
            if self.gap.is_some() || !self.events.is_empty() {
                self.first_at.get_or_insert_with(Instant::now);
            }
        }
    }

    fn has_room_for(&mut self, data: &Bytes) -> bool {
        let fits = self.events.len() < EVENTS_MAX && self.bytes + data.len() <= EVENTS_BYTES_MAX;
        fits && self.has_share_for(data) || self.events.is_empty()
    }

    fn has_share_for(&mut self, data: &Bytes) -> bool {
        let bytes = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let Ok(share) = Arc::clone(&self.memory).try_acquire_many_owned(bytes) else {
            metrics::count_poll_cut_short();
            return false;
        };
        match &mut self.share {
            Some(held) => held.merge(share),
            None => self.share = Some(share),
        }
        true
    }

    /// The answer, where the subscription has got to `reached`.
    fn answer(self, reached: String) -> (PollAnswer, Share) {
        let cursor = if self.is_full { self.id } else { reached };
        let Self { events, conflated, gap, share, .. } = self;
        (PollAnswer { cursor, events, conflated, gap }, share)
    }
}

impl PollAnswer {
    /// The answer as a JSON object.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        // A cursor is digits, a hyphen and perhaps a tilde; the rest is JSON already.
        let mut json = format!("{{\"cursor\":\"{}\",\"events\":[", self.cursor).into_bytes();
        json.extend(self.events.join(&b","[..]));
        json.push(b']');
        for (name, object) in [("gap", &self.gap), ("conflated", &self.conflated)] {
            if let Some(object) = object {
                json.extend(format!(",\"{name}\":").bytes());
                json.extend_from_slice(object);
            }
        }
        json.push(b'}');
        json
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn parse(query: &str, header: Option<&'static str>) -> Result<PollRequest, Invalid> {
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert("last-event-id", HeaderValue::from_static(header));
        }
        PollRequest::parse(query, &headers)
    }

    #[test]
    fn reads_a_cursor_and_a_timeout_beside_what_a_stream_takes() {
        let request = parse("topic=a&on_gap=now&cursor=a-1~&timeout=0", None).unwrap();
        assert_eq!(request.subscribe.last_event_id.as_deref(), Some("a-1~"));
        assert_eq!(request.subscribe.on_gap, crate::OnGap::Now);
        assert_eq!(request.timeout, Duration::ZERO);
        let request = parse("topic=a&cursor=", None).unwrap();
        assert_eq!((request.subscribe.last_event_id, request.timeout), (None, TIMEOUT_DEFAULT));
    }

    #[test]
    fn a_header_beats_the_cursor_which_beats_the_last_event_id() {
        for (query, header, expected) in [
            ("cursor=a-1", Some("a-3"), "a-3"),
            ("cursor=a-1&last_event_id=a-2", None, "a-1"),
            ("last_event_id=a-2&cursor=a-1", None, "a-1"),
            ("last_event_id=a-2&cursor=", None, "a-2"),
            ("last_event_id=a-2&cursor=a-1", Some("a-3"), "a-3"),
            ("cursor=a-1", Some(""), "a-1"),
        ] {
            let request = parse(&format!("topic=a&{query}"), header).unwrap();
            assert_eq!(request.subscribe.last_event_id.as_deref(), Some(expected), "{query}");
        }
    }

    #[test]
    fn refuses_a_timeout_out_of_range() {
        for timeout in ["", "31", "-1", "1.5", "25s"] {
            let refusal = parse(&format!("topic=a&timeout={timeout}"), None).unwrap_err();
            let wanted = "timeout: is not a whole number of seconds from 0 to 30";
            assert_eq!(refusal.to_string(), wanted, "{timeout}");
        }
    }

    #[test]
    fn an_answer_holds_so_many_events_and_bytes_and_one_in_any_case() {
        let frames = |count: usize, length: usize| {
            let data = "x".repeat(length);
            let frames = (1..=count).map(|n| format!("id: 00000001-{n}\ndata: {data}\n\n"));
            Bytes::from(frames.collect::<String>())
        };
        for (count, length, taken) in [
            (499, 10, 499),
            (501, 10, 500),
            (1, 2 * 1024 * 1024, 1),
            (2, 2 * 1024 * 1024, 1),
            (100, 100 * 1024, 10),
        ] {
            let memory = Arc::new(Semaphore::new(HELD_BYTES_MAX));
            let mut gathered = Gathered::new(memory);
            gathered.take(&frames(count, length));
            assert_eq!(gathered.is_full, taken < count);
            let (answer, _) = gathered.answer("end".into());
            assert_eq!(answer.events.len(), taken);
            let reached = if taken < count { format!("00000001-{taken}") } else { "end".into() };
            assert_eq!(answer.cursor, reached, "the next one begins behind the last one taken");
        }
    }

    #[test]
    fn answers_that_are_held_leave_others_one_event_until_they_have_left() {
        let memory = Arc::new(Semaphore::new(100));
        let frames = Bytes::from("id: 00000001-1\ndata: 0123456789\n\n".repeat(7));
        let answer = || {
            let mut gathered = Gathered::new(Arc::clone(&memory));
            gathered.take(&frames);
            gathered.answer("end".into())
        };
        let (first, share) = answer();
        let (second, _) = answer();
        let (third, _) = answer();
        assert_eq!([first, second, third].map(|answer| answer.events.len()), [7, 3, 3]);
        memory.forget_permits(30);
        let (cut, _) = answer();
        assert_eq!((cut.events.len(), &*cut.cursor), (1, "00000001-1"));
        drop(share);
        assert_eq!(answer().0.events.len(), 7);
    }
}
