//! The one task that sends and takes acknowledgements.
//!
//! It goes through two states in turn. *Flying*: what comes is sent, what is acknowledged is
//! answered. *Recovering*, at the start and after every sign that something was lost: nothing new
//! is sent until the stream answers, and then everything that is in flight is sent again, in its
//! order, before anything new. JetStream knows the ids, so nothing is stored twice.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use async_nats::{Message, Subscriber, client::PublishErrorKind};
use futures_util::{FutureExt, StreamExt};
use tidewire_core::{Cursor, Epoch, PublishError, Receipt, Sequence};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until, timeout},
};
use tracing::{info, warn};

use super::{
    acknowledgement::Acknowledgement,
    flying::{Flying, Parcel},
    unavailable,
};
use crate::{connection::Connection, known::Asker, metrics, subject::Subjects};

/// How long an acknowledgement may take before the event is sent again.
const ACKNOWLEDGEMENT_MAX: Duration = Duration::from_secs(3);
/// How long an event is sent again and again, where its caller waits so long. A cluster elects a
/// new leader within nine seconds.
const TRY_MAX: Duration = Duration::from_secs(30);
/// The shortest time between two recoveries, and between two questions in one.
const RECOVERY_INTERVAL: Duration = Duration::from_millis(200);
/// How long a connection may take nothing before that is looked into.
const STALL_MAX: Duration = Duration::from_secs(5);
/// How long after it was in process an id is sent again.
const IN_PROCESS_DELAY: Duration = Duration::from_millis(20);
/// After this long without an acknowledgement the stream may be another one of the same name: it
/// is looked at before the next event is sent.
const UNSEEN_MAX: Duration = Duration::from_millis(250);
/// Events and acknowledgements that are taken together where they wait together.
const TAKEN_TOGETHER_MAX: usize = 256;

pub(super) struct Courier {
    connection: Connection,
    known: Arc<Asker>,
    subjects: Subjects,
    waiting: mpsc::Receiver<Parcel>,
    turns: watch::Receiver<u64>,
    flying: Flying,
    /// Counts recoveries. It stands in the subject of an acknowledgement, so that a refusal of an
    /// earlier try is not taken for one of this.
    round: u64,
    epoch: Epoch,
    /// The first round of this epoch. An acknowledgement of one before speaks of another stream.
    epoch_began: u64,
    /// When the stream was last seen to be the one of this epoch.
    seen_at: Instant,
    /// How long an event may be sent again: well within the time the stream knows its id.
    try_max: Duration,
    /// The last place at which something new was stored in this round.
    stored_to: Sequence,
    /// Events whose ids were in process when they came, and when to send each again.
    in_process: VecDeque<(Instant, u64)>,
}

/// Why events have to be sent again.
enum Trouble {
    /// Any of them may be lost.
    All(String),
    /// Some have waited for long.
    Overdue,
    /// There is nobody left who publishes.
    Over,
}

impl Courier {
    pub(super) fn new(
        connection: Connection,
        known: Arc<Asker>,
        subjects: Subjects,
        waiting: mpsc::Receiver<Parcel>,
    ) -> Self {
        Self {
            turns: connection.turns(),
            connection,
            known,
            subjects,
            waiting,
            flying: Flying::default(),
            round: 0,
            epoch: Epoch(0),
            epoch_began: 0,
            seen_at: Instant::now(),
            try_max: TRY_MAX,
            stored_to: Sequence::ZERO,
            in_process: VecDeque::new(),
        }
    }

    /// Goes on for as long as somebody may publish.
    pub(super) async fn run(mut self) {
        let inbox = self.connection.client.new_inbox();
        let subscribed = self.connection.client.subscribe(format!("{inbox}.>")).await;
        let mut acknowledgements = match subscribed {
            Ok(subscriber) => subscriber,
            Err(error) => return warn!(%error, "publishing is over: no inbox"),
        };
        let mut trouble = Trouble::All("not connected yet".into());
        loop {
            let sent_by = match &trouble {
                Trouble::All(_) => Instant::now(),
                Trouble::Overdue => Instant::now() - ACKNOWLEDGEMENT_MAX,
                Trouble::Over => return,
            };
            let recovering = Instant::now();
            let (again, why) = self.recover(&inbox, sent_by, trouble).await;
            if again > 0 {
                let milliseconds = recovering.elapsed().as_millis();
                info!(events = again, why, milliseconds, "sent again what had no acknowledgement");
            }
            trouble = self.fly(&inbox, &mut acknowledgements).await;
        }
    }

    /// Waits for the stream, and sends again what was last sent by then. Says how many, and why.
    async fn recover(
        &mut self,
        inbox: &str,
        sent_by: Instant,
        trouble: Trouble,
    ) -> (usize, String) {
        let mut why = match trouble {
            Trouble::All(why) => why,
            _ => "overdue".into(),
        };
        loop {
            sleep(RECOVERY_INTERVAL).await;
            // What comes meanwhile has its turn behind the rest, and its end like the rest.
            while let Ok(parcel) = self.waiting.try_recv() {
                self.flying.add(parcel);
            }
            self.give_up(&why);
            if !self.connection.is_connected() {
                why = "not connected".into();
                continue;
            }
            self.turns.mark_unchanged();
            match self.known.fresh().await {
                Ok(known) => {
                    self.round += 1;
                    if self.epoch != known.bounds.epoch {
                        (self.epoch, self.epoch_began) = (known.bounds.epoch, self.round);
                    }
                    self.try_max = TRY_MAX.min(known.deduplication_window / 2);
                    break;
                }
                Err(error) => why = error.to_string(),
            }
        }
        self.seen_at = Instant::now();
        self.in_process.clear();
        self.stored_to = Sequence::ZERO;
        let mut again = 0;
        for number in self.flying.sent_by(sent_by) {
            again += usize::from(self.flying.get_mut(number).is_some_and(|p| p.sent_at.is_some()));
            self.send(inbox, number).await;
        }
        metrics::count_repeated(again);
        (again, why)
    }

    /// Answers those that are tried for too long.
    fn give_up(&mut self, why: &str) {
        for parcel in self.flying.give_up(self.try_max) {
            let error = self.connection.last_error().unwrap_or_else(|| why.to_owned());
            parcel.answer(Err(unavailable(format!("no acknowledgement: {error}"))));
        }
    }

    /// Sends and answers until something is wrong.
    async fn fly(&mut self, inbox: &str, acknowledgements: &mut Subscriber) -> Trouble {
        let mut parcels = Vec::with_capacity(TAKEN_TOGETHER_MAX);
        loop {
            let patience =
                self.flying.waiting_since().unwrap_or_else(Instant::now) + ACKNOWLEDGEMENT_MAX;
            tokio::select! {
                biased;
                changed = self.turns.changed() => {
                    // The sender lives as long as the connection, which is ours.
                    let _lives = changed;
                    return Trouble::All("the connection was interrupted".into());
                }
                message = acknowledgements.next() => {
                    let Some(message) = message else { return Trouble::Over };
                    if let Err(why) = self.acknowledged(message, acknowledgements) {
                        return Trouble::All(why);
                    }
                }
                taken = self.waiting.recv_many(&mut parcels, TAKEN_TOGETHER_MAX) => {
                    if taken == 0 {
                        return Trouble::Over;
                    }
                    let is_known = self.sees_the_stream().await;
                    for parcel in parcels.drain(..) {
                        let number = self.flying.add(parcel);
                        if is_known {
                            self.send(inbox, number).await;
                        }
                    }
                    if !is_known {
                        return Trouble::All("the stream is out of sight, or another one".into());
                    }
                }
                () = due(self.in_process.front().map(|(at, _)| *at)) => {
                    if let Some((_, number)) = self.in_process.pop_front() {
                        self.send(inbox, number).await;
                    }
                }
                () = sleep_until(patience) => {
                    if self.flying.waiting_since().is_some() {
                        return Trouble::Overdue;
                    }
                }
            }
        }
    }

    /// Whether the stream is still the one of this epoch, as far as can be seen.
    async fn sees_the_stream(&mut self) -> bool {
        if self.known.other_epoch(self.epoch).is_some() {
            return false;
        }
        if self.seen_at.elapsed() > UNSEEN_MAX {
            match self.known.fresh().await {
                Ok(known) if known.bounds.epoch == self.epoch => self.seen_at = Instant::now(),
                _ => return false,
            }
        }
        true
    }

    /// Sends one that is in flight. What cannot be sent is found again by its acknowledgement,
    /// which stays away.
    async fn send(&mut self, inbox: &str, number: u64) {
        let Some(parcel) = self.flying.get_mut(number) else { return };
        parcel.sent_at = Some(Instant::now());
        let outgoing = parcel.outgoing(&self.subjects);
        let reply = format!("{inbox}.{}.{number}", self.round);
        let client = &self.connection.client;
        let (subject, headers) = (outgoing.subject, outgoing.headers);
        let sending =
            client.publish_with_reply_and_headers(subject, reply, headers, outgoing.payload);
        if let Ok(Err(error)) = timeout(STALL_MAX, sending).await {
            let error = match error.kind() {
                PublishErrorKind::MaxPayloadExceeded => self.too_large(),
                _ => unavailable(error.to_string()),
            };
            if let Some(parcel) = self.flying.remove(number) {
                parcel.answer(Err(error));
            }
        }
    }

    /// Takes an acknowledgement, and those that wait behind it.
    fn acknowledged(
        &mut self,
        first: Message,
        acknowledgements: &mut Subscriber,
    ) -> Result<(), String> {
        let mut message = Some(first);
        let mut taken = 0;
        while let Some(next) = message {
            self.take(&next)?;
            taken += 1;
            if taken == TAKEN_TOGETHER_MAX {
                break;
            }
            message = acknowledgements.next().now_or_never().flatten();
        }
        if self.stored_to > Sequence::ZERO {
            self.known.saw(Cursor::new(self.epoch, self.stored_to));
        }
        Ok(())
    }

    fn take(&mut self, message: &Message) -> Result<(), String> {
        let mut numbers = message.subject.rsplit('.').map(str::parse::<u64>);
        let (Some(Ok(number)), Some(Ok(round))) = (numbers.next(), numbers.next()) else {
            return Ok(());
        };
        if self.flying.get_mut(number).is_none() {
            // It was answered by another try's acknowledgement.
            return Ok(());
        }
        match Acknowledgement::parse(message) {
            Acknowledgement::Stored { .. } if round < self.epoch_began => {}
            Acknowledgement::Stored { sequence, is_duplicate } => {
                self.seen_at = Instant::now();
                if !is_duplicate && sequence <= self.stored_to {
                    return Err("the stream counts anew".into());
                }
                if !is_duplicate {
                    self.stored_to = sequence;
                }
                self.answer_stored(number, sequence, is_duplicate);
            }
            Acknowledgement::TryAgain(why) if round == self.round => return Err(why),
            Acknowledgement::Refused(why) if round == self.round => {
                self.answer(number, Err(unavailable(why)));
            }
            Acknowledgement::InProcess if round == self.round => {
                self.in_process.push_back((Instant::now() + IN_PROCESS_DELAY, number));
            }
            Acknowledgement::TooLarge => {
                let too_large = self.too_large();
                self.answer(number, Err(too_large));
            }
            // A refusal of an earlier try: this one's own answer is on its way.
            Acknowledgement::TryAgain(_)
            | Acknowledgement::Refused(_)
            | Acknowledgement::InProcess => {}
        }
        Ok(())
    }

    fn answer_stored(&mut self, number: u64, sequence: Sequence, is_duplicate: bool) {
        let cursor = Cursor::new(self.epoch, sequence);
        if let Some(parcel) = self.flying.remove(number) {
            metrics::count_published(parcel.since.elapsed());
            // A random id that was stored before is this event itself, sent again.
            let duplicate = is_duplicate && parcel.has_own_id();
            parcel.answer(Ok(Receipt { cursor, duplicate }));
        }
    }

    fn answer(&mut self, number: u64, outcome: Result<Receipt, PublishError>) {
        if let Some(parcel) = self.flying.remove(number) {
            parcel.answer(outcome);
        }
    }

    fn too_large(&self) -> PublishError {
        PublishError::TooLarge { bytes_max: self.connection.client.max_payload() }
    }
}

/// Waits for a moment; for ever where there is none.
async fn due(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
