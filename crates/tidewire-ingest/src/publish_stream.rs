//! One `PublishStream`: many events in flight, answered as they are stored.
//!
//! A task of its own carries the stream, so that receipts are taken, and bytes given back to the
//! budget, whether or not the client reads its answers.

use std::{
    mem,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::{
    FutureExt as _, StreamExt as _, future::poll_fn, poll, stream::FuturesUnordered,
};
use tidewire_core::{NewEvent, Receipt};
use tidewire_proto::v1::{PublishStreamRequest, PublishStreamResponse};
use tokio::{
    sync::mpsc,
    time::{Instant, Sleep, sleep},
};
use tokio_stream::Stream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Status, Streaming};

use crate::{
    answer::result_of,
    border::Border,
    budget::Permit,
    calls::Method,
    grpc::own_trace,
    ingest::Ingest,
    metrics::Transport::Grpc,
    publishing::Publishing,
    refusal::Refusal,
    status,
    traces::{EventSpan, StreamCall},
};

/// The answers of a stream, in the order in which they came. Dropping it ends the stream's task;
/// what that had in flight may still be stored.
pub(crate) struct Answers {
    answers: mpsc::Receiver<PublishStreamResponse>,
    /// The stream's task, and how the stream ends; `None` once that is told.
    ending: Option<AbortOnDropHandle<Result<(), Status>>>,
}

impl Answers {
    /// Starts publishing what a client sends.
    pub(crate) fn start(
        ingest: Ingest,
        call: StreamCall,
        requests: Streaming<PublishStreamRequest>,
    ) -> Self {
        let (sender, answers) = mpsc::channel(ingest.config().stream_in_flight_max.max(1));
        let carrying = tokio::spawn(async move {
            let _open = ingest.metrics().stream_opened();
            let counted = ingest.metrics().call(Method::PublishStream);
            let border = ingest.border(call.trace());
            let carried = Carrier::new(&ingest, &border, &call, sender).carry(requests).await;
            let code = carried.as_ref().map_or_else(Status::code, |()| Code::Ok);
            counted.ended(code);
            call.answered(code);
            carried
        });
        Self { answers, ending: Some(AbortOnDropHandle::new(carrying)) }
    }
}

impl Stream for Answers {
    type Item = Result<PublishStreamResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(answer) = ready!(self.answers.poll_recv(cx)) {
            return Poll::Ready(Some(Ok(answer)));
        }
        let Some(ending) = &mut self.ending else { return Poll::Ready(None) };
        let ending = ready!(ending.poll_unpin(cx));
        self.ending = None;
        Poll::Ready(match ending {
            Ok(Ok(())) => None,
            Ok(Err(status)) => Some(Err(status)),
            Err(_) => Some(Err(Status::unknown("the stream's task failed"))),
        })
    }
}

/// Carries one stream from its first event to its last answer.
///
/// Answers in flight and in the queue together are never more than the queue holds: an answer
/// always finds room, and what is not read stays in the client's flow-control window.
struct Carrier<'a> {
    ingest: &'a Ingest,
    border: &'a Border,
    call: &'a StreamCall,
    answers: mpsc::Sender<PublishStreamResponse>,
    in_flight: InFlight<'a>,
}

impl<'a> Carrier<'a> {
    fn new(
        ingest: &'a Ingest,
        border: &'a Border,
        call: &'a StreamCall,
        answers: mpsc::Sender<PublishStreamResponse>,
    ) -> Self {
        let in_flight = InFlight::new(ingest.config().publish_timeout);
        Self { ingest, border, call, answers, in_flight }
    }

    /// Publishes until the client has no more, the request cannot be read, or the process stops;
    /// then finishes what is in flight.
    async fn carry(mut self, mut requests: Streaming<PublishStreamRequest>) -> Result<(), Status> {
        let mut stopping = pin!(self.ingest.stopping().cancelled());
        let ending = loop {
            let flying = !self.in_flight.is_empty();
            let room = self.answers.capacity() > self.in_flight.len();
            tokio::select! {
                biased;
                Some(outcome) = self.in_flight.next(), if flying => self.answer(outcome),
                () = &mut stopping => break Err(status::stopping()),
                request = requests.message(), if room => match request {
                    Ok(Some(request)) => self.take(request).await,
                    Ok(None) => break Ok(()),
                    Err(status) => break Err(self.unreadable(status)),
                },
                // Every answer waits for the client to read it, and there is nothing else to do.
                () = self.answers.reserve().map(drop), if !room && !flying => {}
            }
        };
        while let Some(outcome) = self.in_flight.next().await {
            self.answer(outcome);
        }
        ending
    }

    /// Hands an event over; the first poll gives it its place, before the next is read.
    async fn take(&mut self, request: PublishStreamRequest) {
        let request_id = request.request_id;
        let span = self.call.send(request.event.as_ref().and_then(own_trace));
        let checked = match &span {
            Some(span) => self.border.with_trace(span.trace()).check_proto(request.event),
            None => self.border.check_proto(request.event),
        };
        let event = match checked {
            Ok(event) => event,
            Err(refusal) => {
                let outcome = Err(refusal);
                sent(span, &outcome);
                return self.answer((request_id, outcome));
            }
        };
        let permit = self.permit(&event).await;
        let publishing = self.ingest.start(event, permit);
        let mut numbered = Numbered { request_id, publishing, late_after: None, span };
        match poll!(&mut numbered) {
            Poll::Ready(outcome) => self.answer(outcome),
            Poll::Pending => self.in_flight.push(numbered),
        }
    }

    /// Waits for an event's bytes; meanwhile, those of this stream's own receipts come free.
    async fn permit(&mut self, event: &NewEvent) -> Permit {
        if let Some(permit) = self.ingest.budget().try_take(event) {
            return permit;
        }
        let mut taken = pin!(self.ingest.budget().take(event));
        loop {
            let flying = !self.in_flight.is_empty();
            tokio::select! {
                biased;
                Some(outcome) = self.in_flight.next(), if flying => self.answer(outcome),
                permit = &mut taken => return permit,
            }
        }
    }

    fn answer(&self, (request_id, outcome): Outcome) {
        let outcome = self.ingest.answered(Grpc, outcome);
        let result = Some(result_of(outcome));
        // There is room (see above), so this fails only where the client has gone.
        let _ = self.answers.try_send(PublishStreamResponse { request_id, result });
    }

    fn unreadable(&self, status: Status) -> Status {
        match status::unreadable(&status, self.ingest.config().message_bytes_max) {
            Some(refusal) => status::of_refusal(&self.ingest.refused(Grpc, refusal)),
            None => status,
        }
    }
}

/// A request's number, and what became of it.
type Outcome = (u64, Result<Receipt, Refusal>);

/// The events of one stream that wait for their receipts. One timer serves them all.
struct InFlight<'a> {
    events: FuturesUnordered<Numbered<'a>>,
    publish_timeout: Duration,
    /// No event is late before it fires.
    timer: Pin<Box<Sleep>>,
}

impl<'a> InFlight<'a> {
    fn new(publish_timeout: Duration) -> Self {
        let timer = Box::pin(sleep(publish_timeout));
        Self { events: FuturesUnordered::new(), publish_timeout, timer }
    }

    fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    fn len(&self) -> usize {
        self.events.len()
    }

    fn push(&self, event: Numbered<'a>) {
        self.events.push(event);
    }

    /// The next outcome; `None` where nothing is in flight.
    async fn next(&mut self) -> Option<Outcome> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Outcome>> {
        loop {
            // Receipts first: one that is there is never late.
            if let Poll::Ready(outcome) = self.events.poll_next_unpin(cx) {
                return Poll::Ready(outcome);
            }
            ready!(self.timer.as_mut().poll(cx));
            self.mark_late();
        }
    }

    /// Marks what has waited too long, and sets the timer to the next that will have.
    fn mark_late(&mut self) {
        let now = Instant::now();
        let mut next = now + self.publish_timeout;
        // Put in anew, all of them are polled again and see their mark.
        let marked = mem::take(&mut self.events).into_iter().map(|mut event| {
            let deadline = event.publishing.since() + self.publish_timeout;
            if deadline <= now {
                event.late_after = Some(self.publish_timeout);
            } else {
                next = next.min(deadline);
            }
            event
        });
        self.events = marked.collect();
        self.timer.as_mut().reset(next);
    }
}

/// An event on its way, with its request's number.
struct Numbered<'a> {
    request_id: u64,
    publishing: Publishing<'a>,
    /// Set once it has waited this long in vain.
    late_after: Option<Duration>,
    /// There where it is traced.
    span: Option<EventSpan>,
}

impl Future for Numbered<'_> {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let outcome = match (self.publishing.poll_unpin(cx), self.late_after) {
            (Poll::Ready(outcome), _) => outcome,
            (Poll::Pending, Some(waited)) => Err(Refusal::late(waited)),
            (Poll::Pending, None) => return Poll::Pending,
        };
        sent(self.span.take(), &outcome);
        Poll::Ready((self.request_id, outcome))
    }
}

fn sent(span: Option<EventSpan>, outcome: &Result<Receipt, Refusal>) {
    if let Some(span) = span {
        span.sent(outcome);
    }
}
