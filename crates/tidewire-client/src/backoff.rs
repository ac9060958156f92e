//! How long to wait before another attempt.

use std::time::Duration;

/// A wait of at least `base`, the longer and the more random the more attempts have failed in a
/// row: `base` stretched by a random part of `base × (2^failures − 1)`, at most `longest` (or
/// `base`, where that is more). Without a failure it is exactly `base`, which a server that drains
/// has spread already.
pub(crate) fn delay(base: Duration, failures: u32, longest: Duration) -> Duration {
    let stretch = 2_u32.saturating_pow(failures.min(31)).saturating_sub(1);
    let most = base.saturating_mul(stretch).min(longest.saturating_sub(base));
    base.saturating_add(rand::random_range(Duration::ZERO..=most))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keeps_its_bounds(base in 0_u64..60_000, failures: u32, longest in 0_u64..60_000) {
            let [base, longest] = [base, longest].map(Duration::from_millis);
            let waited = delay(base, failures, longest);
            prop_assert!(waited >= base && waited <= longest.max(base));
        }
    }

    #[test]
    fn a_first_return_keeps_to_what_the_server_said() {
        let said = Duration::from_millis(2_417);
        assert_eq!(delay(said, 0, Duration::from_secs(30)), said);
    }

    #[test]
    fn failures_spread_the_attempts() {
        let base = Duration::from_millis(100);
        let waits: Vec<_> = (0..100).map(|_| delay(base, 5, Duration::from_secs(30))).collect();
        assert!(waits.iter().any(|wait| *wait > 2 * base), "attempts come later");
        assert!(waits.iter().any(|wait| *wait != waits[0]), "and not all at once");
    }
}
