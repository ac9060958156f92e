//! Whose turn it is among the streams of one feed, when that has moved: each has one, whoever comes or
//! leaves meanwhile.

use smallvec::SmallVec;

/// Streams in a circle, of which some are still to be looked at.
#[derive(Debug, Default)]
pub(crate) struct Circle {
    /// Most feeds have one or two.
    streams: SmallVec<[usize; 2]>,
    next: usize,
    left: usize,
}

impl Circle {
    pub(crate) fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Whether anybody is still to be looked at.
    pub(crate) fn has_turns(&self) -> bool {
        self.left > 0
    }

    /// Gives everybody a turn, whoever has had one.
    pub(crate) fn begin(&mut self) {
        self.left = self.streams.len();
    }

    /// Whose turn it is.
    pub(crate) fn turn(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        if self.next >= self.streams.len() {
            self.next = 0;
        }
        let stream = *self.streams.get(self.next)?;
        self.next += 1;
        Some(stream)
    }

    /// Takes a stream in, and says where it stands.
    pub(crate) fn add(&mut self, stream: usize) -> usize {
        self.streams.push(stream);
        self.begin_again();
        self.streams.len() - 1
    }

    /// Lets the stream at a place go, and says who stands there now.
    pub(crate) fn remove(&mut self, place: usize) -> Option<usize> {
        self.streams.swap_remove(place);
        self.begin_again();
        self.streams.get(place).copied()
    }

    /// Who stands elsewhere than before may have been passed by. To look at somebody twice costs little.
    fn begin_again(&mut self) {
        if self.has_turns() {
            self.begin();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Begin,
        Turn,
        Add,
        Remove(prop::sample::Index),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            1 => Just(Step::Begin),
            6 => Just(Step::Turn),
            2 => Just(Step::Add),
            1 => any::<prop::sample::Index>().prop_map(Step::Remove),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn nobody_is_passed_by(steps in steps()) {
            let (mut circle, mut places, mut waiting) = (Circle::default(), HashMap::new(), vec![]);
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Begin => {
                        circle.begin();
                        waiting = places.keys().copied().collect();
                    }
                    Step::Turn => {
                        let stream = circle.turn();
                        waiting.retain(|one| Some(*one) != stream);
                    }
                    Step::Add => {
                        places.insert(number, circle.add(number));
                    }
                    Step::Remove(index) if !places.is_empty() => {
                        let mut present: Vec<_> = places.keys().copied().collect();
                        present.sort_unstable();
                        let leaves = present[index.index(present.len())];
                        let place = places.remove(&leaves).unwrap();
                        if let Some(moved) = circle.remove(place) {
                            places.insert(moved, place);
                        }
                        waiting.retain(|one| *one != leaves);
                    }
                    Step::Remove(_) => {}
                }
                prop_assert!(circle.has_turns() || waiting.is_empty(), "{waiting:?} wait for ever");
                prop_assert_eq!(circle.is_empty(), places.is_empty());
            }
            // It comes to an end.
            for _ in 0..=places.len() {
                let stream = circle.turn();
                waiting.retain(|one| Some(*one) != stream);
            }
            prop_assert!(!circle.has_turns() && waiting.is_empty());
        }
    }
}
