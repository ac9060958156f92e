//! An interest as subjects that a JetStream consumer takes: none of them may overlap another.
//!
//! Where filters overlap, a wider one takes their place. What it matches beyond them is left out
//! when events are read: the server's filter saves work, it does not decide.

use tidewire_core::Interest;

use crate::subject::Subjects;

/// The subjects, at least one, that cover an interest without overlapping each other.
pub(crate) fn cover(interest: &Interest, subjects: &Subjects) -> Vec<String> {
    let mut patterns: Vec<Pattern<'_>> = Vec::new();
    for filter in interest.filters() {
        let mut pattern: Pattern<'_> = filter.tokens().collect();
        while let Some(overlapping) = patterns.iter().position(|held| overlap(held, &pattern)) {
            pattern = widen(&patterns.swap_remove(overlapping), &pattern);
        }
        patterns.push(pattern);
    }
    patterns.iter().map(|pattern| subjects.of_pattern(pattern.iter().copied())).collect()
}

type Pattern<'f> = Vec<&'f str>;

/// Whether some topic matches both.
fn overlap(a: &[&str], b: &[&str]) -> bool {
    match (a, b) {
        ([], []) => true,
        ([">"], [_, ..]) | ([_, ..], [">"]) => true,
        ([x, a @ ..], [y, b @ ..]) => (x == y || *x == "*" || *y == "*") && overlap(a, b),
        _ => false,
    }
}

/// The narrowest pattern that matches what either matches, token by token.
fn widen<'f>(a: &[&'f str], b: &[&'f str]) -> Pattern<'f> {
    match (a, b) {
        ([], []) => Vec::new(),
        ([x, a @ ..], [y, b @ ..]) if *x != ">" && *y != ">" && !one_ends(a, b) => {
            let mut wider = vec![if x == y { *x } else { "*" }];
            wider.extend(widen(a, b));
            wider
        }
        _ => vec![">"],
    }
}

/// Whether one pattern has no more tokens where the other goes on: `>` wants at least one token,
/// so it has to take the place of the token before.
fn one_ends(a: &[&str], b: &[&str]) -> bool {
    a.is_empty() != b.is_empty()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidewire_core::{Topic, TopicFilter};

    use super::*;
    use crate::config::StreamName;

    fn covered(filters: &[&str]) -> Vec<String> {
        let filters = filters.iter().map(|filter| TopicFilter::parse(filter).unwrap());
        let mut cover =
            cover(&Interest::new(filters).unwrap(), &Subjects::of(&StreamName::default()));
        cover.sort_unstable();
        cover.iter().map(|subject| subject.trim_start_matches("tw.TIDEWIRE.").to_owned()).collect()
    }

    #[test]
    fn what_does_not_overlap_stays_as_it_is() {
        assert_eq!(covered(&["a", "a.b", "b.*"]), ["a", "a.b", "b.*"]);
        assert_eq!(covered(&["a.*.c", "a.b.d"]), ["a.*.c", "a.b.d"]);
    }

    #[test]
    fn what_overlaps_is_widened() {
        assert_eq!(covered(&["a.b", "a.*"]), ["a.*"]);
        assert_eq!(covered(&["a.*", "*.b"]), ["*.*"]);
        assert_eq!(covered(&["a.>", "a.b"]), ["a.>"]);
        assert_eq!(covered(&["a.>", "*.b", "c"]), ["*.>", "c"]);
        assert_eq!(covered(&[">", "a"]), [">"]);
    }

    fn interests() -> impl Strategy<Value = Interest> {
        let filter = (proptest::collection::vec("[abc*]", 0..4), "[abc*>]");
        proptest::collection::vec(filter, 1..6).prop_map(|filters| {
            Interest::new(filters.into_iter().map(|(mut tokens, last)| {
                tokens.push(last);
                TopicFilter::parse(&tokens.join(".")).unwrap()
            }))
            .unwrap()
        })
    }

    proptest! {
        #[test]
        fn a_cover_has_all_that_is_wanted_and_no_overlap(
            interest in interests(),
            topic in proptest::collection::vec("[abc]", 1..6),
        ) {
            let cover = cover(&interest, &Subjects::of(&StreamName::default()));
            let tokens: Vec<Pattern<'_>> = cover.iter().map(|s| s.split('.').skip(2).collect()).collect();
            for (n, a) in tokens.iter().enumerate() {
                prop_assert!(tokens[n + 1..].iter().all(|b| !overlap(a, b)), "{cover:?}");
            }
            let text = topic.join(".");
            if interest.wants(&Topic::parse(&text).unwrap()) {
                let topic: Vec<_> = text.split('.').collect();
                prop_assert!(tokens.iter().any(|pattern| overlap(pattern, &topic)), "{cover:?}");
            }
        }
    }
}
