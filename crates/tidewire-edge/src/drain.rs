//! When the hub ends a stream: at its age, or at its moment of a drain.

use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use rand::{RngExt as _, seq::SliceRandom as _};
use tokio::time::{Instant, timeout_at};
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

use crate::{
    Config,
    metrics::{self, ClosedBecause},
};

/// The share of the maximum age, in percent, by which a connection's own may be longer or shorter:
/// what connected at once does not come back at once.
const AGE_JITTER_PERCENT: u32 = 20;
/// The share of what may end, or come back, in a second for which moments are given. Who is late falls
/// into the second of others.
const PLANNED_SHARE: f64 = 0.95;
/// How many times its window a drain may take where its streams are too many for it.
const STRETCH_MAX: u32 = 2;

/// What a drain will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainPlan {
    /// Streams that were open when it began.
    pub streams: usize,
    /// The time over which they end: the window, or longer so that not too many end in a second.
    pub spread: Duration,
    /// Whether that needs no more ends in a second than the limit allows.
    pub keeps_rate: bool,
}

/// How far a drain has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DrainProgress {
    pub(crate) is_draining: bool,
    /// Streams that are left to end; none before a drain.
    pub(crate) remaining: usize,
    /// When the last one's moment comes, since 1970; zero before a drain.
    pub(crate) deadline: Duration,
}

/// The streams of an edge, and how they leave it.
#[derive(Debug)]
pub(crate) struct Drain {
    window: Duration,
    /// Streams a second.
    rate: f64,
    open: TaskTracker,
    course: Mutex<Option<Course>>,
    /// Cancelled when every stream shall look for its moment. Below `ending`.
    begun: CancellationToken,
    ending: CancellationToken,
}

/// A drain that has begun.
#[derive(Debug)]
struct Course {
    began: Instant,
    plan: DrainPlan,
    /// When it ends, since 1970: for people and machines elsewhere.
    deadline: Duration,
    /// The moments that are left, by number, in no order.
    moments: Vec<u32>,
}

impl Drain {
    pub(crate) fn new(config: &Config, ending: CancellationToken) -> Self {
        Self {
            window: config.drain_window,
            rate: planned_rate(config),
            open: TaskTracker::new(),
            course: Mutex::new(None),
            begun: ending.child_token(),
            ending,
        }
    }

    /// Gives every open stream its moment. Nothing changes where that was done before.
    pub(crate) fn begin(&self) -> DrainPlan {
        let mut course = self.course.lock();
        if let Some(course) = &*course {
            return course.plan;
        }
        self.open.close();
        let plan = self.plan();
        let mut moments: Vec<_> = (0..u32::try_from(plan.streams).unwrap_or(u32::MAX)).collect();
        moments.shuffle(&mut rand::rng());
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let deadline = now + plan.spread;
        *course = Some(Course { began: Instant::now(), plan, deadline, moments });
        drop(course);
        metrics::set_drain(self.progress());
        self.begun.cancel();
        plan
    }

    /// What a drain that began now would do.
    pub(crate) fn plan(&self) -> DrainPlan {
        let streams = self.open.len();
        let at_full_rate = Duration::from_secs_f64(streams as f64 / self.rate);
        let spread = at_full_rate.clamp(self.window, self.time_max());
        DrainPlan { streams, spread, keeps_rate: at_full_rate <= spread }
    }

    /// How far it has come.
    pub(crate) fn progress(&self) -> DrainProgress {
        let course = self.course.lock();
        let of_course = |course: &Course| DrainProgress {
            is_draining: true,
            remaining: self.open.len(),
            deadline: course.deadline,
        };
        let none = DrainProgress { is_draining: false, remaining: 0, deadline: Duration::ZERO };
        course.as_ref().map_or(none, of_course)
    }

    /// How long a drain takes at most.
    pub(crate) fn time_max(&self) -> Duration {
        self.window * STRETCH_MAX
    }

    /// Cancelled when a drain has begun, or everything ends.
    pub(crate) fn begun(&self) -> &CancellationToken {
        &self.begun
    }

    /// Cancelled when every stream shall end.
    pub(crate) fn ending(&self) -> &CancellationToken {
        &self.ending
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.begun.is_cancelled()
    }

    /// Waits until every stream has ended or should have: one whose reader takes nothing is not
    /// waited for. Returns at once before a drain.
    pub(crate) async fn over(&self) {
        let until = self.course.lock().as_ref().map(|course| course.began + course.plan.spread);
        if let Some(until) = until {
            let _late = timeout_at(until, self.open.wait()).await;
        }
    }

    /// One stream's moment: evenly spread over the drain, and at random which is whose.
    fn moment(&self) -> Instant {
        let now = Instant::now();
        let mut course = self.course.lock();
        let Some(course) = course.as_mut().filter(|_| !self.ending.is_cancelled()) else {
            return now;
        };
        let DrainPlan { streams, spread, .. } = course.plan;
        match course.moments.pop() {
            Some(number) => course.began + spread.mul_f64(f64::from(number) / streams as f64),
            // It opened while the drain began.
            None => {
                let left = (course.began + spread).saturating_duration_since(now);
                now + rand::rng().random_range(Duration::ZERO..=left)
            }
        }
    }
}

/// How many streams end in a second, or come back, where as many as may are to.
pub(crate) fn planned_rate(config: &Config) -> f64 {
    f64::from(config.drain_rate_max.max(1)) * PLANNED_SHARE
}

/// An age drawn at random; none where ages have no maximum.
pub(crate) fn age(age_max: Duration) -> Option<Duration> {
    (!age_max.is_zero()).then(|| {
        let percent = 100 - AGE_JITTER_PERCENT..=100 + AGE_JITTER_PERCENT;
        let (least, most) = (percent.start(), percent.end());
        rand::rng().random_range(age_max * *least / 100..=age_max * *most / 100)
    })
}

/// How long one stream stays, if its client does.
#[derive(Debug)]
pub(crate) struct Stay {
    /// None where it may stay for ever.
    until: Option<Instant>,
    because: ClosedBecause,
    /// Cancelled when there is something to [`hear`](Self::hear).
    news: CancellationToken,
    _open: Option<TaskTrackerToken>,
}

impl Stay {
    /// A stay that lasts for an age drawn at random, and the age; as long as the edge's where ages
    /// have no maximum.
    pub(crate) fn begin(age_max: Duration, drain: &Drain) -> (Self, Option<Duration>) {
        let age = age(age_max);
        let stay = Self {
            until: age.map(|age| Instant::now() + age),
            because: ClosedBecause::Age,
            news: drain.begun.clone(),
            _open: Some(drain.open.token()),
        };
        (stay, age)
    }

    /// A stay that no drain counts or ends, such as a poll's: it is short by itself.
    pub(crate) fn until_ending(drain: &Drain) -> Self {
        let (because, news) = (ClosedBecause::Draining, drain.ending.clone());
        Self { until: None, because, news, _open: None }
    }

    /// What to wait for beside everything else, and to [`hear`](Self::hear) then.
    pub(crate) fn news(&self) -> CancellationToken {
        self.news.clone()
    }

    /// Hears that a drain has begun, or that everything ends. A drain's moment takes the place of
    /// an age's, so that no more end in a second than were planned.
    pub(crate) fn hear(&mut self, drain: &Drain) {
        self.because = ClosedBecause::Draining;
        self.until = Some(drain.moment());
        self.news = drain.ending.clone();
    }

    /// When it is over, or this moment where that is earlier.
    pub(crate) fn until_or(&self, moment: Instant) -> Instant {
        self.until.map_or(moment, |until| until.min(moment))
    }

    /// Why the stream shall end now, if it shall.
    pub(crate) fn over(&self) -> Option<ClosedBecause> {
        self.until.is_some_and(|until| Instant::now() >= until).then_some(self.because)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_drain_tells_what_is_left_and_until_when() {
        let config = Config { drain_window: Duration::from_secs(60), ..Config::default() };
        let drain = Drain::new(&config, CancellationToken::new());
        let (first, _) = Stay::begin(Duration::ZERO, &drain);
        let (_second, _) = Stay::begin(Duration::ZERO, &drain);
        let none = DrainProgress { is_draining: false, remaining: 0, deadline: Duration::ZERO };
        assert_eq!(drain.progress(), none, "open streams are not left before a drain");

        let before = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let DrainPlan { spread, .. } = drain.begin();
        let DrainProgress { is_draining, remaining, deadline } = drain.progress();
        assert_eq!((is_draining, remaining), (true, 2));
        let after = deadline - before;
        assert!(after >= spread && after < spread + Duration::from_secs(10), "{after:?}");

        drop(first);
        assert_eq!(drain.progress(), DrainProgress { is_draining, remaining: 1, deadline });
    }
}
