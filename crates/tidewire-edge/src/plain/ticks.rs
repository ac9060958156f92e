//! When each of many streams is due: a wheel of coarse ticks, in which each stands once.

use std::time::Duration;

use tokio::time::Instant;

/// How late something may be, at most: heartbeats and ends are not more exact.
const TICK: Duration = Duration::from_millis(50);
/// What is due beyond this many ticks is looked at again after them.
const TICKS: usize = 1_024;

/// A tick by its number since the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(u64);

/// What is due, by tick.
#[derive(Debug)]
pub(crate) struct Ticks {
    began: Instant,
    next: Tick,
    slots: Vec<Vec<usize>>,
    entries: usize,
}

impl Ticks {
    pub(crate) fn new(now: Instant) -> Self {
        Self { began: now, next: Tick(0), slots: vec![Vec::new(); TICKS], entries: 0 }
    }

    /// Notes that `key` is due at a moment, and says at which tick it is looked at. Who is put down
    /// again for another tick knows by that which of both counts.
    pub(crate) fn put(&mut self, key: usize, due: Instant) -> Tick {
        let since = due.saturating_duration_since(self.began);
        let tick = u64::try_from(since.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(u64::MAX);
        let last = self.next.0 + TICKS as u64 - 1;
        let tick = Tick(tick.clamp(self.next.0, last));
        self.slot(tick).push(key);
        self.entries += 1;
        tick
    }

    /// Takes the keys of one tick that has come; `None` where none has.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(Tick, Vec<usize>)> {
        let passed = u64::try_from((now - self.began).as_nanos() / TICK.as_nanos()).ok()?;
        while self.next.0 <= passed && self.entries > 0 {
            let tick = self.next;
            self.next = Tick(tick.0 + 1);
            let keys = std::mem::take(self.slot(tick));
            if !keys.is_empty() {
                self.entries -= keys.len();
                return Some((tick, keys));
            }
        }
        // Nothing stands anywhere, or all of it later.
        self.next = self.next.max(Tick(if self.entries == 0 { passed + 1 } else { 0 }));
        None
    }

    /// When the next tick comes at which something stands.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        if self.entries == 0 {
            return None;
        }
        let ticks = (0..TICKS as u64).map(|ahead| self.next.0 + ahead);
        let mut standing = ticks.filter(|tick| !self.slots[index(Tick(*tick))].is_empty());
        let tick = u32::try_from(standing.next()?).unwrap_or(u32::MAX);
        Some(self.began + TICK * tick)
    }

    fn slot(&mut self, tick: Tick) -> &mut Vec<usize> {
        &mut self.slots[index(tick)]
    }
}

fn index(tick: Tick) -> usize {
    usize::try_from(tick.0 % TICKS as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All keys that come up to a moment.
    fn popped(ticks: &mut Ticks, now: Instant) -> Vec<usize> {
        std::iter::from_fn(|| ticks.pop(now)).flat_map(|(_, keys)| keys).collect()
    }

    proptest! {
        #[test]
        fn each_comes_once_never_early_and_a_tick_late_at_most(
            dues in proptest::collection::vec(0_u64..50_000, 1..100),
            steps in proptest::collection::vec(1_u64..5_000, 1..60),
        ) {
            let began = Instant::now();
            let after = |milliseconds| began + Duration::from_millis(milliseconds);
            let mut ticks = Ticks::new(began);
            for (key, due) in dues.iter().enumerate() {
                ticks.put(key, after(*due));
            }
            let (mut now, mut came) = (0, vec![false; dues.len()]);
            for step in steps {
                now += step;
                for key in popped(&mut ticks, after(now)) {
                    prop_assert!(!came[key] && dues[key] <= now);
                    came[key] = true;
                }
                let next = ticks.wake_at();
                for (key, due) in dues.iter().enumerate() {
                    prop_assert!(came[key] || due + 50 > now, "{key} is late");
                    prop_assert!(came[key] || next <= Some(after(due + 50)));
                }
            }
        }
    }

    #[test]
    fn what_is_due_beyond_the_wheel_is_looked_at_again() {
        let began = Instant::now();
        let mut ticks = Ticks::new(began);
        let due = began + Duration::from_secs(3_600);
        ticks.put(7, due);
        let mut looks = 0;
        while let Some(at) = ticks.wake_at() {
            looks += 1;
            let keys = popped(&mut ticks, at);
            assert_eq!(keys, [7]);
            if at < due {
                ticks.put(7, due);
            }
        }
        assert_eq!(looks, 71, "once in 51 s");
    }
}
