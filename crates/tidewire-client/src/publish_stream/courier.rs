//! The one task behind a stream: it takes events in, sends them, settles them, and connects again.

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use tidewire_core::Receipt;
use tidewire_proto::v1::{
    PublishStreamRequest, PublishStreamResponse, ingest_client::IngestClient,
};
use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, transport::Channel};
use tracing::debug;

use crate::{
    backoff,
    publish_error::PublishError,
    publish_stream::{HandedIn, StreamOptions, unanswered::Unanswered},
    wire,
};

/// Requests between this task and the connection: enough that one wake-up fills a frame.
const OUTBOUND_MAX: usize = 128;
/// Events taken in at once.
const TAKEN_IN_MAX: usize = 128;
/// How often the time is looked at: what is put off comes at most this much late.
const WATCH_INTERVAL: Duration = Duration::from_millis(50);
/// The first wait before a lost connection is made again, or a refused event sent again.
const RETRY_WAIT: Duration = Duration::from_millis(50);
/// The longest such wait, unless the hub asks for more.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(3);
/// The longest that a hub's own word is obeyed.
const SERVER_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long the hub may take to end a stream on which everything has been answered.
const FAREWELL_MAX: Duration = Duration::from_secs(1);

/// Brings every event to the hub, however many connections it takes.
pub(super) struct Courier {
    client: IngestClient<Channel>,
    options: StreamOptions,
    handed_in: mpsc::Receiver<HandedIn>,
    /// Whether nothing more will be handed in.
    is_all_in: bool,
    room: Arc<Semaphore>,
    unanswered: Unanswered,
    /// When an event was last settled, or the first one came after none was left.
    last_progress: Instant,
    /// When the hub last answered on this connection, or began to owe an answer.
    last_answer: Instant,
    /// Connections in a row on which no event was settled.
    failures: u32,
    /// What went wrong last: why it gives up, if it does.
    last_trouble: String,
}

/// How one connection ended.
enum End {
    /// Everything has been answered, and nothing more will come.
    Finished,
    /// Something may be left to do.
    Lost(PublishError),
}

impl Courier {
    pub(super) fn new(
        client: IngestClient<Channel>,
        options: StreamOptions,
        handed_in: mpsc::Receiver<HandedIn>,
        room: Arc<Semaphore>,
    ) -> Self {
        Self {
            client,
            options,
            handed_in,
            is_all_in: false,
            room,
            unanswered: Unanswered::default(),
            last_progress: Instant::now(),
            last_answer: Instant::now(),
            failures: 0,
            last_trouble: "the hub does not answer".into(),
        }
    }

    /// Runs until everything has been answered and nothing more can come, or gives up.
    pub(super) async fn run(mut self) -> Result<(), PublishError> {
        while self.wait_for_work().await {
            let error = match self.exchange().await {
                End::Finished => return Ok(()),
                End::Lost(error) => error,
            };
            debug!(%error, "publish stream lost its connection");
            if let Some(error) = self.final_word(error) {
                return Err(self.give_up(error));
            }
            self.failures = self.failures.saturating_add(1);
            self.pause().await;
        }
        Ok(())
    }

    /// Why the stream gives up after this end of a connection; `None` where it does not.
    fn final_word(&mut self, error: PublishError) -> Option<PublishError> {
        let PublishError::Unavailable { reason, .. } = error else { return Some(error) };
        self.last_trouble = reason;
        self.is_out_of_patience().then(|| {
            let patience = self.options.give_up_after.as_secs_f32();
            let trouble = &self.last_trouble;
            PublishError::unavailable(format!("nothing was stored for {patience} s: {trouble}"))
        })
    }

    /// Waits until there is something to send: no connection is made for nothing. False where
    /// nothing will come.
    async fn wait_for_work(&mut self) -> bool {
        if self.unanswered.is_empty() {
            match self.handed_in.recv().await {
                Some(event) => self.take_in(event),
                None => self.is_all_in = true,
            }
        }
        !self.unanswered.is_empty()
    }

    /// The life of one connection.
    async fn exchange(&mut self) -> End {
        let (outbound, requests) = mpsc::channel(OUTBOUND_MAX);
        let mut outbound = Some(outbound);
        let mut answers = pin!(open(self.client.clone(), requests));
        let mut watch = interval(WATCH_INTERVAL);
        watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut taken_in = Vec::with_capacity(TAKEN_IN_MAX);
        self.unanswered.send_all_again();
        self.last_answer = Instant::now();
        loop {
            tokio::select! {
                answer = answers.next() => match answer {
                    Some(Ok(answer)) => self.take_answer(answer),
                    Some(Err(status)) => return self.end(status.into()),
                    None => return self.end(PublishError::unavailable("the hub ended the stream")),
                },
                () = wait_for_room(outbound.as_ref()), if self.unanswered.unsent() > 0 => {
                    self.send(outbound.as_ref());
                }
                _ = self.handed_in.recv_many(&mut taken_in, TAKEN_IN_MAX),
                    if !self.is_all_in && self.unanswered.unsent() < TAKEN_IN_MAX =>
                {
                    self.take_all_in(&mut taken_in);
                }
                // Where nothing is owed, the time does not matter.
                _ = watch.tick(), if self.is_all_in || !self.unanswered.is_empty() => {
                    if let Some(end) = self.look_at_the_time() {
                        return end;
                    }
                }
            }
            if self.is_all_in && !self.unanswered.has_unsent() {
                // Half-close: the hub answers what it has, and ends the stream.
                outbound = None;
            }
        }
    }

    /// Takes in what was handed in; nothing means that nothing more will be.
    fn take_all_in(&mut self, events: &mut Vec<HandedIn>) {
        if events.is_empty() {
            self.is_all_in = true;
            self.last_answer = Instant::now();
        }
        events.drain(..).for_each(|event| self.take_in(event));
    }

    fn take_in(&mut self, event: HandedIn) {
        if self.unanswered.is_empty() {
            self.last_progress = Instant::now();
        }
        self.unanswered.push(event);
    }

    /// Sends as much as the connection takes.
    fn send(&mut self, outbound: Option<&mpsc::Sender<PublishStreamRequest>>) {
        if !self.unanswered.is_any_in_flight() {
            self.last_answer = Instant::now();
        }
        while let Some(Ok(room)) = outbound.map(mpsc::Sender::try_reserve) {
            let Some(request) = self.unanswered.next_request() else { return };
            room.send(request);
        }
    }

    fn take_answer(&mut self, answer: PublishStreamResponse) {
        let PublishStreamResponse { request_id, result } = answer;
        self.last_answer = Instant::now();
        match wire::result(result) {
            Err(PublishError::Unavailable { reason, retry_after }) => {
                self.take_refusal(request_id, reason, retry_after);
            }
            settled => self.settle(request_id, settled),
        }
    }

    /// The hub cannot store an event for now: it is sent again later, unless that has gone on for
    /// too long.
    fn take_refusal(&mut self, request_id: u64, reason: String, retry_after: Option<Duration>) {
        let Some(refusals) = self.unanswered.note_refusal(request_id) else { return };
        if refusals.since.elapsed() >= self.options.give_up_after {
            self.settle(request_id, Err(PublishError::Unavailable { reason, retry_after }));
            return;
        }
        self.last_trouble = reason;
        let asked = retry_after.unwrap_or_default().clamp(RETRY_WAIT, SERVER_WAIT_MAX);
        let wait = backoff::delay(asked, refusals.count, RETRY_WAIT_MAX);
        self.unanswered.send_later(request_id, Instant::now() + wait);
    }

    fn settle(&mut self, request_id: u64, answer: Result<Receipt, PublishError>) {
        if self.unanswered.settle(request_id, answer) {
            self.room.add_permits(1);
            self.last_progress = Instant::now();
            self.failures = 0;
        }
    }

    fn look_at_the_time(&mut self) -> Option<End> {
        let now = Instant::now();
        self.unanswered.send_due(now);
        let silent_for = now - self.last_answer;
        if self.unanswered.is_empty() {
            let is_over = self.is_all_in && silent_for >= FAREWELL_MAX;
            return is_over.then_some(End::Finished);
        }
        if self.is_out_of_patience() {
            return Some(End::Lost(PublishError::unavailable(self.last_trouble.clone())));
        }
        if self.unanswered.is_any_in_flight() && silent_for >= self.options.silence_max {
            let reason = "the hub does not answer";
            return Some(End::Lost(PublishError::unavailable(reason)));
        }
        None
    }

    fn is_out_of_patience(&self) -> bool {
        !self.unanswered.is_empty() && self.last_progress.elapsed() >= self.options.give_up_after
    }

    /// What the end of a connection means: nothing bad, where nothing was left to do.
    fn end(&self, error: PublishError) -> End {
        if self.is_all_in && self.unanswered.is_empty() { End::Finished } else { End::Lost(error) }
    }

    /// Waits before the next connection, at most until patience ends.
    async fn pause(&self) {
        let next = Instant::now() + backoff::delay(RETRY_WAIT, self.failures, RETRY_WAIT_MAX);
        sleep_until(next.min(self.last_progress + self.options.give_up_after)).await;
    }

    /// Ends the stream, and tells everybody who waits.
    fn give_up(&mut self, error: PublishError) -> PublishError {
        self.room.close();
        self.handed_in.close();
        self.unanswered.settle_all(&error);
        while let Ok(HandedIn { answer, .. }) = self.handed_in.try_recv() {
            let _ = answer.send(Err(error.clone()));
        }
        error
    }
}

/// Opens a stream of requests; the answers begin with the failure to do so, if there is one.
fn open(
    mut client: IngestClient<Channel>,
    requests: mpsc::Receiver<PublishStreamRequest>,
) -> impl Stream<Item = Result<PublishStreamResponse, Status>> {
    let opened = async move { client.publish_stream(ReceiverStream::new(requests)).await };
    stream::once(opened).map_ok(tonic::Response::into_inner).try_flatten()
}

/// Waits for room on the connection; for ever, where nothing more can be sent on it. If it is gone,
/// the answers say why.
async fn wait_for_room(outbound: Option<&mpsc::Sender<PublishStreamRequest>>) {
    match outbound {
        Some(outbound) if outbound.reserve().await.is_ok() => {}
        _ => std::future::pending().await,
    }
}
