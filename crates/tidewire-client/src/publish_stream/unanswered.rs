//! The events that have been handed in and not answered, in order: which to send next, and which
//! to send again.

use std::collections::{BTreeMap, VecDeque};

use tidewire_core::{NewEvent, Receipt};
use tidewire_proto::v1::PublishStreamRequest;
use tokio::{sync::oneshot, time::Instant};

use crate::{publish_error::PublishError, publish_stream::HandedIn, wire};

/// Every unanswered event, by its request id, which is its place in the order.
#[derive(Default)]
pub(super) struct Unanswered {
    slots: BTreeMap<u64, Slot>,
    next_id: u64,
    /// What is to be sent on this connection as soon as there is room.
    unsent: VecDeque<u64>,
    /// What the hub could not store, and when to send it again.
    refused: Vec<(Instant, u64)>,
}

struct Slot {
    event: NewEvent,
    answer: oneshot::Sender<Result<Receipt, PublishError>>,
    /// Whether it was sent on this connection, and has no answer there.
    in_flight: bool,
    refusals: u32,
    refused_since: Option<Instant>,
}

/// How often, and since when, the hub could not store an event.
pub(super) struct Refusals {
    pub(super) count: u32,
    pub(super) since: Instant,
}

impl Unanswered {
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether something is to be sent, now or later.
    pub(super) fn has_unsent(&self) -> bool {
        !(self.unsent.is_empty() && self.refused.is_empty())
    }

    /// How many events are to be sent now.
    pub(super) fn unsent(&self) -> usize {
        self.unsent.len()
    }

    /// Whether the hub owes an answer on this connection.
    pub(super) fn is_any_in_flight(&self) -> bool {
        self.slots.len() > self.unsent.len() + self.refused.len()
    }

    /// Takes an event in, as the last of all.
    pub(super) fn push(&mut self, HandedIn { event, answer }: HandedIn) {
        let slot = Slot { event, answer, in_flight: false, refusals: 0, refused_since: None };
        self.slots.insert(self.next_id, slot);
        self.unsent.push_back(self.next_id);
        self.next_id += 1;
    }

    /// The next event to send now.
    pub(super) fn next_request(&mut self) -> Option<PublishStreamRequest> {
        loop {
            let request_id = self.unsent.pop_front()?;
            // It may have been answered meanwhile, by a hub that answers twice.
            if let Some(slot) = self.slots.get_mut(&request_id) {
                slot.in_flight = true;
                return Some(PublishStreamRequest {
                    request_id,
                    event: Some(wire::event(&slot.event)),
                });
            }
        }
    }

    /// There is a new connection: everything is to be sent again, in order.
    pub(super) fn send_all_again(&mut self) {
        self.refused.clear();
        self.unsent.clear();
        self.unsent.extend(self.slots.keys());
        self.slots.values_mut().for_each(|slot| slot.in_flight = false);
    }

    /// Answers an event for good. False where nobody waits for it.
    pub(super) fn settle(
        &mut self,
        request_id: u64,
        answer: Result<Receipt, PublishError>,
    ) -> bool {
        let Some(slot) = self.slots.remove(&request_id) else { return false };
        if !slot.in_flight {
            self.unsent.retain(|id| *id != request_id);
            self.refused.retain(|(_, id)| *id != request_id);
        }
        // Whoever has dropped their pending receipt does not want to know.
        let _ = slot.answer.send(answer);
        true
    }

    /// Notes that the hub could not store an event. `None` where it was not asked to.
    pub(super) fn note_refusal(&mut self, request_id: u64) -> Option<Refusals> {
        let slot = self.slots.get_mut(&request_id).filter(|slot| slot.in_flight)?;
        slot.refusals += 1;
        let since = *slot.refused_since.get_or_insert_with(Instant::now);
        Some(Refusals { count: slot.refusals, since })
    }

    /// Puts a refused event off until then.
    pub(super) fn send_later(&mut self, request_id: u64, due: Instant) {
        if let Some(slot) = self.slots.get_mut(&request_id) {
            slot.in_flight = false;
            self.refused.push((due, request_id));
        }
    }

    /// Sends, in order, the refused events whose time has come.
    pub(super) fn send_due(&mut self, now: Instant) {
        let mut due: Vec<u64> =
            self.refused.extract_if(.., |(due, _)| *due <= now).map(|(_, id)| id).collect();
        due.sort_unstable();
        self.unsent.extend(due);
    }

    /// Answers every event alike, in order.
    pub(super) fn settle_all(&mut self, error: &PublishError) {
        self.unsent.clear();
        self.refused.clear();
        while let Some((_, slot)) = self.slots.pop_first() {
            let _ = slot.answer.send(Err(error.clone()));
        }
    }
}
