//! The events in flight, by the number under which their acknowledgement comes back.

use std::{collections::VecDeque, time::Duration};

use tidewire_core::{NewEvent, PublishError, Receipt};
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::Instant,
};

use crate::{stored::Outgoing, subject::Subjects};

/// An event, and who waits for its receipt.
#[derive(Debug)]
pub(super) struct Parcel {
    event: NewEvent,
    random: u128,
    /// Made already, for the first time that it is sent.
    made: Option<Outgoing>,
    answer: oneshot::Sender<Result<Receipt, PublishError>>,
    /// When it was handed in.
    pub(super) since: Instant,
    /// When it was last sent, if it was.
    pub(super) sent_at: Option<Instant>,
    _permit: OwnedSemaphorePermit,
}

impl Parcel {
    pub(super) fn new(
        event: NewEvent,
        random: u128,
        made: Outgoing,
        answer: oneshot::Sender<Result<Receipt, PublishError>>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let (made, since) = (Some(made), Instant::now());
        Self { event, random, made, answer, since, sent_at: None, _permit: permit }
    }

    /// What is sent: the same each time.
    pub(super) fn outgoing(&mut self, subjects: &Subjects) -> Outgoing {
        let made = self.made.take();
        made.unwrap_or_else(|| Outgoing::new(&self.event, self.random, subjects))
    }

    /// Whether the id is the publisher's own: only then can a repetition be the publisher's.
    pub(super) fn has_own_id(&self) -> bool {
        self.event.id.is_some()
    }

    /// Whether nobody waits for it any more.
    fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }

    pub(super) fn answer(self, outcome: Result<Receipt, PublishError>) {
        // Who waited may have given up.
        let _given_up = self.answer.send(outcome);
    }
}

/// Parcels in the order in which they were first sent.
#[derive(Debug, Default)]
pub(super) struct Flying {
    /// The number of the first.
    first: u64,
    parcels: VecDeque<Option<Parcel>>,
}

impl Flying {
    /// Takes a parcel; says its number.
    pub(super) fn add(&mut self, parcel: Parcel) -> u64 {
        self.parcels.push_back(Some(parcel));
        self.first + self.parcels.len() as u64 - 1
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Parcel> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.parcels.get_mut(index)?.as_mut()
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Parcel> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let parcel = self.parcels.get_mut(index)?.take();
        while let Some(None) = self.parcels.front() {
            self.parcels.pop_front();
            self.first += 1;
        }
        parcel
    }

    /// When the one that was sent first was sent last; roughly the one that waits longest.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        self.parcels.front()?.as_ref().map(|parcel| parcel.sent_at.unwrap_or(parcel.since))
    }

    /// The numbers of those that were last sent at this moment or before, or never.
    pub(super) fn sent_by(&self, moment: Instant) -> Vec<u64> {
        self.numbers(|parcel| parcel.sent_at.is_none_or(|sent_at| sent_at <= moment))
    }

    /// Takes out what nobody waits for any more, and what has been tried for this long.
    pub(super) fn give_up(&mut self, age_max: Duration) -> Vec<Parcel> {
        let numbers =
            self.numbers(|parcel| parcel.is_abandoned() || parcel.since.elapsed() > age_max);
        numbers.into_iter().filter_map(|number| self.remove(number)).collect()
    }

    fn numbers(&self, is_meant: impl Fn(&Parcel) -> bool) -> Vec<u64> {
        let numbered = (self.first..).zip(&self.parcels);
        let meant = numbered.filter(|(_, parcel)| parcel.as_ref().is_some_and(&is_meant));
        meant.map(|(number, _)| number).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidewire_core::{EventData, Topic};
    use tokio::sync::Semaphore;

    use super::*;
    use crate::config::StreamName;

    type Answered = oneshot::Receiver<Result<Receipt, PublishError>>;

    fn parcel() -> (Parcel, Answered) {
        let (answer, answered) = oneshot::channel();
        let data = EventData::parse("x", 1).unwrap();
        let event = NewEvent::new(Topic::parse("t").unwrap(), data);
        let made = Outgoing::new(&event, 1, &Subjects::of(&StreamName::default()));
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        (Parcel::new(event, 1, made, answer, permit), answered)
    }

    #[tokio::test(start_paused = true)]
    async fn a_number_finds_its_parcel_once_whatever_the_order() {
        let mut flying = Flying::default();
        let mut answered = Vec::new();
        let numbers: Vec<_> = (0..4)
            .map(|_| {
                let (parcel, receiver) = parcel();
                answered.push(receiver);
                flying.add(parcel)
            })
            .collect();
        assert_eq!(numbers, [0, 1, 2, 3]);
        for number in [2, 0, 1] {
            assert!(flying.remove(number).is_some());
            assert!(flying.remove(number).is_none());
        }
        assert_eq!(flying.sent_by(Instant::now()), [3]);
        assert!(flying.get_mut(3).is_some());
        assert!(flying.remove(9).is_none());
        assert_eq!(flying.add(parcel().0), 4, "a number is never used again");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_abandoned_or_too_old_is_given_up() {
        let mut flying = Flying::default();
        let (old, _waits) = parcel();
        flying.add(old);
        tokio::time::advance(Duration::from_secs(10)).await;
        let (abandoned, gone) = parcel();
        drop(gone);
        flying.add(abandoned);
        let (fresh, _waits_too) = parcel();
        let fresh = flying.add(fresh);
        assert_eq!(flying.give_up(Duration::from_secs(9)).len(), 2);
        assert_eq!(flying.sent_by(Instant::now()), [fresh]);
    }
}
