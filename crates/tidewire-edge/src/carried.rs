//! Streams that tasks carry: the few that replay or wait for their socket, and all that hyper writes.

use std::sync::Arc;

use parking_lot::Mutex;
use slab::Slab;
use tidewire_core::{Cursor, UnixMillis};

use crate::{
    SlowState, SlowStream, Subscription, client_address::ClientAddress, fanout::Fanout,
    slow::Whose, status::SLOWEST_MAX, subscription::Shared,
};

/// The streams that are carried so, for whoever asks which are slow.
#[derive(Debug, Default)]
pub(crate) struct Carried(Mutex<Slab<Arc<Course>>>);

/// How one of them is doing.
#[derive(Debug)]
struct Course {
    whose: Whose,
    place: Mutex<Place>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    handed_up_to: Cursor,
    handed_at: UnixMillis,
    /// What keeps it; `None` where it has all there is.
    kept_by: Option<SlowState>,
}

impl Carried {
    /// The streams that are furthest behind.
    pub(crate) fn slowest(&self, fanout: &Fanout) -> Vec<SlowStream> {
        let courses: Vec<_> = self.0.lock().iter().map(|(_, course)| Arc::clone(course)).collect();
        let mut kept: Vec<_> = courses
            .iter()
            .filter_map(|course| {
                let place = *course.place.lock();
                Some((place.kept_by?, place, course))
            })
            .collect();
        kept.sort_unstable_by_key(|(_, place, _)| place.handed_up_to.sequence);
        kept.truncate(SLOWEST_MAX);
        let slow = |(state, place, course): (SlowState, Place, &Arc<Course>)| {
            course.whose.slow(state, place.handed_at, fanout.lag(place.handed_up_to, None))
        };
        kept.into_iter().map(slow).collect()
    }
}

/// A stream's entry. Dropping it takes the stream out.
pub(crate) struct Entered {
    shared: Arc<Shared>,
    key: usize,
    course: Arc<Course>,
}

impl Entered {
    /// Enters a stream that a task carries from now on.
    pub(crate) fn new(subscription: &Subscription, client: Option<ClientAddress>) -> Self {
        let shared = Arc::clone(&subscription.shared);
        let place = Place {
            handed_up_to: subscription.handed_up_to(),
            handed_at: UnixMillis::now(),
            kept_by: None,
        };
        let whose = Whose::of(subscription, client);
        let course = Arc::new(Course { whose, place: Mutex::new(place) });
        let key = shared.carried.0.lock().insert(Arc::clone(&course));
        Self { shared, key, course }
    }

    /// Notes that its client has been handed something, which leaves when its socket has room.
    pub(crate) fn handed(&self, subscription: &Subscription) {
        *self.course.place.lock() = Place {
            handed_up_to: subscription.handed_up_to(),
            handed_at: UnixMillis::now(),
            kept_by: Some(SlowState::Stalled),
        };
    }

    /// Notes that it waits for what comes next, whether from the log or from its feed: nobody can say
    /// which while it does.
    pub(crate) fn waits(&self) {
        self.course.place.lock().kept_by = None;
    }

    /// Notes that all of that has left, and that it goes on.
    pub(crate) fn sent(&self, subscription: &Subscription) {
        let mut place = self.course.place.lock();
        place.handed_up_to = subscription.handed_up_to();
        place.kept_by = subscription.is_replaying().then_some(SlowState::Replaying);
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.shared.carried.0.lock().remove(self.key);
    }
}
