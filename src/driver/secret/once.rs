//! What is made once, by however many ask for it at once: all of them get the same value, or hear
//! the same failure.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;

use crate::driver::secret::Fault;

/// For how long a failure stands: whoever asks within it is told the same, and nothing is tried.
pub(super) const FAILED: Duration = Duration::from_secs(30);

/// A value that is made once. A failure stands for [`FAILED`]; after it the next who asks tries
/// again.
pub(super) struct Once<T> {
    made: OnceCell<T>,
    /// The last failure. Who holds the lock is making the value.
    failed: tokio::sync::Mutex<Option<(Fault, Instant)>>,
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self {
            made: OnceCell::new(),
            failed: tokio::sync::Mutex::default(),
        }
    }
}

impl<T> Once<T> {
    /// The value, made by this where it is not there yet. Whoever else asks waits for the same
    /// attempt.
    pub async fn get_or_make(
        &self,
        make: impl Future<Output = Result<T, Fault>>,
    ) -> Result<&T, Fault> {
        if let Some(made) = self.made.get() {
            return Ok(made);
        }

        let mut failed = self.failed.lock().await;
        if let Some((fault, at)) = &*failed
            && at.elapsed() < FAILED
        {
            return Err(fault.clone());
        }
        // It may have been made while this waited.
        let result = self.made.get_or_try_init(|| make).await;
        if let Err(fault) = &result {
            *failed = Some((fault.clone(), Instant::now()));
        }
        result
    }

    /// Puts a value there that is known already. One that is there stays.
    pub fn set(&self, value: T) {
        let _ = self.made.set(value);
    }
}

/// Values that are each made once, by their keys.
pub(super) struct OnceMap<K, T>(Mutex<HashMap<K, Arc<Once<T>>>>);

impl<K, T> Default for OnceMap<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// What is in it is never shown.
impl<K, T> fmt::Debug for OnceMap<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnceMap(***)")
    }
}

impl<K: Eq + Hash, T> OnceMap<K, T> {
    /// The value of a key, made or not.
    pub fn of(&self, key: K) -> Arc<Once<T>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(key).or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn a_failure_is_heard_by_all_who_wait_and_stands_for_a_while() {
        let known: OnceMap<&str, u32> = OnceMap::default();
        let tried = Cell::new(0);
        let fail = async || {
            tried.set(tried.get() + 1);
            tokio::task::yield_now().await;
            Err(Fault::new("no key", "find it"))
        };

        let file = known.of("file");
        let (one, other) = tokio::join!(file.get_or_make(fail()), file.get_or_make(fail()));
        assert_eq!(one, Err(Fault::new("no key", "find it")));
        assert_eq!((other, tried.get()), (one, 1));
        let later = known.of("file");
        later.get_or_make(fail()).await.expect_err("as before");
        assert_eq!(tried.get(), 1);
        let another = known.of("another");
        another.get_or_make(fail()).await.expect_err("its own");
        assert_eq!(tried.get(), 2);

        let long_ago = Instant::now()
            .checked_sub(FAILED)
            .expect("the machine is up");
        let failure = (Fault::new("no key", "find it"), long_ago);
        *file.failed.lock().await = Some(failure);
        assert_eq!(later.get_or_make(async { Ok(7) }).await, Ok(&7));
        assert_eq!(file.get_or_make(fail()).await, Ok(&7));
        assert_eq!(tried.get(), 2);
    }

    #[tokio::test]
    async fn an_attempt_that_is_given_up_leaves_the_next_one_free() {
        let once = Once::default();
        let mut first = Box::pin(once.get_or_make(std::future::pending()));
        assert!(futures_util::poll!(&mut first).is_pending());
        drop(first);
        assert_eq!(once.get_or_make(async { Ok(7) }).await, Ok(&7));
    }
}
