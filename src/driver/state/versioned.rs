//! A lock that is kept as a document with a version, on a server that lets nobody write over a
//! version that they have not read.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::driver::state::lock::{Lock, LockPlace, Pace};
use crate::model::EnvironmentName;
use crate::model::lease::EXPIRY;
use crate::port::store::StoreError;

/// How often a change is tried that somebody else's came before.
const TRIES: usize = 10;

/// Where such a document is.
pub(in crate::driver) trait LockDocument: Clone + Send + Sync + 'static {
    fn environment(&self) -> &EnvironmentName;

    /// How often a waiting taker looks.
    fn poll(&self) -> Duration;

    /// The lock, and its version; none before it was ever made.
    fn look(&self) -> impl Future<Output = Result<(Lock, Option<String>), StoreError>> + Send;

    /// Writes the lock over this version, or where there is none. Gives the version that it has
    /// since; none when somebody else has written it meanwhile.
    fn write(
        &self,
        lock: &Lock,
        over: Option<&str>,
    ) -> impl Future<Output = Result<Option<String>, StoreError>> + Send;
}

/// The lock in such a document.
#[derive(Clone)]
pub(in crate::driver) struct Versioned<D> {
    pub document: D,
    /// The lock as this process wrote it last, and the version that it has since: what is changed
    /// next begins there, and the version tells whether somebody else has written it meanwhile.
    written: Arc<Mutex<Option<(Lock, String)>>>,
}

impl<D> Versioned<D> {
    pub fn of(document: D) -> Self {
        Self {
            document,
            written: Arc::default(),
        }
    }

    /// The lock as it was written last. It is used once: who does not write it looks again.
    fn known(&self) -> Option<(Lock, String)> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.take()
    }

    fn remember(&self, known: Option<(Lock, String)>) {
        *self.written.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }
}

impl<D: LockDocument> LockPlace for Versioned<D> {
    fn environment(&self) -> &EnvironmentName {
        self.document.environment()
    }

    fn pace(&self) -> Pace {
        Pace {
            beat: Duration::from_secs(4),
            poll: self.document.poll(),
            expiry: EXPIRY,
        }
    }

    async fn read(&self) -> Result<Lock, StoreError> {
        Ok(self.document.look().await?.0)
    }

    async fn change<T: Send + 'static>(
        &self,
        mut change: impl FnMut(&mut Lock) -> Result<Option<T>, StoreError> + Send + 'static,
    ) -> Result<Option<T>, StoreError> {
        let mut sent: Option<(Lock, T)> = None;
        let mut known = self.known();
        for _ in 0..TRIES {
            let is_known = known.is_some();
            let (mut lock, version) = match known.take() {
                Some((lock, version)) => (lock, Some(version)),
                None => self.document.look().await?,
            };
            // A write whose answer was lost is a conflict with itself when it is sent again.
            if let Some((written, result)) = sent
                && written == lock
            {
                return Ok(Some(result));
            }

            let Some(result) = change(&mut lock)? else {
                return Ok(None);
            };
            match self.document.write(&lock, version.as_deref()).await {
                Ok(Some(version)) => {
                    // One that was not told is read.
                    let is_told = !version.is_empty();
                    self.remember(is_told.then_some((lock, version)));
                    return Ok(Some(result));
                }
                // It may be gone altogether since: a look tells.
                Err(StoreError::Absent { .. }) if is_known => {}
                other => {
                    other?;
                }
            }
            sent = Some((lock, result));
        }
        Err(StoreError::Remote {
            what: "writing the lock".to_owned(),
            reason: format!("conflict: others changed it between each of {TRIES} reads and writes"),
            help: "run the command again".to_owned(),
        })
    }
}
