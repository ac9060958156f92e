//! Quantiles of what a histogram has observed between two moments.

/// A histogram's buckets: upper bounds, and how many observations are not above each.
pub(crate) type Buckets = Vec<(f64, f64)>;

/// What was observed between two looks at a histogram.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Observed(Buckets);

impl Observed {
    /// What came between `then` and `now`. Where the buckets are others, all there is now.
    pub(crate) fn between(then: &Buckets, now: &Buckets) -> Self {
        let same = then.len() == now.len() && then.iter().zip(now).all(|(a, b)| a.0 == b.0);
        if !same {
            return Self(now.clone());
        }
        let difference =
            |((bound, now), (_, then)): (&(f64, f64), &(f64, f64))| (*bound, (now - then).max(0.0));
        Self(now.iter().zip(then).map(difference).collect())
    }

    /// How many observations there were.
    pub(crate) fn count(&self) -> f64 {
        self.0.last().map_or(0.0, |(_, count)| *count)
    }

    /// The value that this share of the observations is not above: within its bucket as if they were
    /// spread evenly. Above the last bound it is that bound. `None` where nothing was observed.
    pub(crate) fn quantile(&self, share: f64) -> Option<f64> {
        let rank = share * self.count();
        if self.count() <= 0.0 {
            return None;
        }
        let (mut lower, mut below) = (0.0, 0.0);
        for (upper, not_above) in &self.0 {
            if *not_above >= rank && *not_above > below {
                let share_of_bucket = (rank - below) / (not_above - below);
                let within = lower + (upper - lower) * share_of_bucket;
                return Some(if upper.is_finite() { within } else { lower });
            }
            (lower, below) = (*upper, *not_above);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_BOUND: f64 = f64::INFINITY;

    fn observed(now: &[(f64, f64)]) -> Observed {
        Observed::between(&Vec::new(), &now.to_vec())
    }

    #[test]
    fn a_quantile_lies_within_its_bucket_as_far_as_its_rank() {
        let observed = observed(&[(0.1, 50.0), (0.2, 90.0), (1.0, 100.0), (NO_BOUND, 100.0)]);
        for (share, wanted) in [(0.25, 0.05), (0.5, 0.1), (0.7, 0.15), (0.95, 0.6), (1.0, 1.0)] {
            let found = observed.quantile(share).unwrap();
            assert!((found - wanted).abs() < 1e-9, "{share}: {found}, not {wanted}");
        }
    }

    #[test]
    fn only_what_came_between_two_looks_counts() {
        let then = vec![(0.1, 1_000.0), (0.2, 1_000.0), (NO_BOUND, 1_000.0)];
        let now = vec![(0.1, 1_000.0), (0.2, 1_010.0), (NO_BOUND, 1_010.0)];
        let observed = Observed::between(&then, &now);
        assert_eq!(observed.count(), 10.0);
        assert!((observed.quantile(0.5).unwrap() - 0.15).abs() < 1e-9);
        assert_eq!(Observed::between(&now, &now).quantile(0.5), None);
    }

    #[test]
    fn what_is_above_every_bound_is_at_least_the_last() {
        assert_eq!(
            observed(&[(1.0, 0.0), (10.0, 0.0), (NO_BOUND, 3.0)]).quantile(0.99),
            Some(10.0)
        );
        assert_eq!(observed(&[]).quantile(0.5), None);
    }

    #[test]
    fn buckets_in_which_nothing_lies_are_passed_over() {
        let observed = observed(&[(0.1, 0.0), (0.2, 0.0), (0.4, 4.0), (NO_BOUND, 4.0)]);
        assert!((observed.quantile(0.5).unwrap() - 0.3).abs() < 1e-9);
        assert!((observed.quantile(0.0).unwrap() - 0.2).abs() < 1e-9);
    }
}
