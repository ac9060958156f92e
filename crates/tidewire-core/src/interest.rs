//! A subscriber's whole wish: a set of filters.

use std::sync::{Arc, LazyLock};

use crate::{Invalid, Topic, TopicFilter, limits::FILTERS_MAX};

static EVERYTHING: LazyLock<Interest> = LazyLock::new(|| {
    let filter = TopicFilter::parse(">").unwrap_or_else(|_| unreachable!("`>` is a filter"));
    Interest(Arc::new([filter]))
});

/// A set of 1 to 100 filters; an event is wanted where any of them matches. Two interests with the
/// same filters are equal, in whatever order and however often they were given. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Interest(Arc<[TopicFilter]>);

impl Interest {
    /// An interest in these filters.
    ///
    /// # Errors
    /// [`Invalid`] for none, or for more than 100.
    pub fn new(filters: impl IntoIterator<Item = TopicFilter>) -> Result<Self, Invalid> {
        let mut filters: Vec<_> = filters.into_iter().collect();
        if filters.is_empty() {
            return Err(Invalid::new("topic", "is missing: name at least one filter"));
        }
        if filters.len() > FILTERS_MAX {
            let reason =
                format!("has {} filters; at most {FILTERS_MAX} are allowed", filters.len());
            return Err(Invalid::new("topic", reason));
        }
        filters.sort_unstable();
        filters.dedup();
        Ok(Self(filters.into()))
    }

    /// An interest in everything: the filter `>`.
    pub fn everything() -> Self {
        EVERYTHING.clone()
    }

    /// The filters, sorted, each once.
    pub fn filters(&self) -> &[TopicFilter] {
        &self.0
    }

    /// Whether an event of this topic is wanted: the reference matcher.
    pub fn wants(&self, topic: &Topic) -> bool {
        self.0.iter().any(|filter| filter.matches(topic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::parse(text).unwrap()
    }

    #[test]
    fn is_a_set_whatever_the_order() {
        let one = Interest::new([filter("b"), filter("a.*"), filter("b")]).unwrap();
        let other = Interest::new([filter("a.*"), filter("b")]).unwrap();
        assert_eq!(one, other);
        assert_eq!(one.filters().len(), 2);
    }

    #[test]
    fn refuses_none_and_too_many() {
        assert!(Interest::new([]).unwrap_err().reason.contains("is missing"));
        let many = (0..101).map(|n| filter(&format!("t.{n}")));
        assert!(Interest::new(many).unwrap_err().reason.contains("101 filters"));
    }
}
