//! Pauses that differ, so that many who wait for the same thing do not come back all at once.

use std::time::Duration;

/// A pause somewhere between these two, the longer one left out.
#[must_use]
pub fn between(least: Duration, most: Duration) -> Duration {
    let random = u32::from(uuid::Uuid::new_v4().as_bytes()[0]);
    least + most.saturating_sub(least) * random / 256
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_within_its_bounds_and_not_always_the_same() {
        let (least, most) = (Duration::from_millis(500), Duration::from_secs(1));
        let pauses: std::collections::BTreeSet<Duration> =
            (0..200).map(|_| between(least, most)).collect();
        assert!(
            pauses.iter().all(|pause| (least..most).contains(pause)),
            "{pauses:?}"
        );
        assert!(pauses.len() > 10, "{pauses:?}");
        assert_eq!(between(least, least), least);
    }
}
