//! The lock as an object: written only over the version that was read.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::driver::state::lock::{Lock, LockPlace, Pace};
use crate::driver::state::s3::objects::{Guard, Objects, Written};
use crate::model::EnvironmentName;
use crate::model::lease::EXPIRY;
use crate::port::store::StoreError;

/// How often a change is tried that somebody else's came before.
const TRIES: usize = 10;

/// Where the lock of an environment is.
#[derive(Clone)]
pub(super) struct LockObject {
    objects: Objects,
    key: String,
    environment: EnvironmentName,
    /// The lock as this process wrote it last, with its version: what is changed next begins there.
    written: Arc<Mutex<Option<(Lock, String)>>>,
}

impl LockObject {
    pub fn new(objects: Objects, key: String, environment: EnvironmentName) -> Self {
        Self {
            objects,
            key,
            environment,
            written: Arc::default(),
        }
    }

    /// Whether it was never taken.
    pub async fn is_new(&self) -> Result<bool, StoreError> {
        Ok(self.objects.get(&self.key).await?.is_none())
    }

    /// The lock, and its version; none before it was ever made.
    async fn look(&self) -> Result<(Lock, Option<String>), StoreError> {
        let Some(found) = self.objects.get(&self.key).await? else {
            return Ok((Lock::default(), None));
        };
        // A holder that cannot be read is not taken for none.
        let lock = serde_json::from_slice(&found.bytes).map_err(|error| StoreError::Damaged {
            path: self.key.clone(),
            reason: format!("it does not say who holds the lock: {error}"),
            help: "make sure that no shipit runs for this environment, then delete the object"
                .to_owned(),
        })?;
        Ok((lock, Some(found.version)))
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

impl LockPlace for LockObject {
    fn environment(&self) -> &EnvironmentName {
        &self.environment
    }

    fn pace(&self) -> Pace {
        Pace {
            beat: Duration::from_secs(4),
            poll: Duration::from_millis(500),
            expiry: EXPIRY,
        }
    }

    async fn read(&self) -> Result<Lock, StoreError> {
        Ok(self.look().await?.0)
    }

    async fn change<T: Send + 'static>(
        &self,
        mut change: impl FnMut(&mut Lock) -> Result<Option<T>, StoreError> + Send + 'static,
    ) -> Result<Option<T>, StoreError> {
        let mut sent: Option<(Lock, T)> = None;
        let mut known = self.known();
        for _ in 0..TRIES {
            let (mut lock, version) = match known.take() {
                Some((lock, version)) => (lock, Some(version)),
                None => self.look().await?,
            };
            // A write whose answer was lost is in its own way when it is sent again.
            if let Some((written, result)) = sent
                && written == lock
            {
                return Ok(Some(result));
            }

            let Some(result) = change(&mut lock)? else {
                return Ok(None);
            };
            let guard = version.as_deref().map_or(Guard::Absent, Guard::Is);
            let bytes = serde_json::to_vec(&lock).unwrap_or_default();
            match self.objects.put(&self.key, bytes, guard).await? {
                Written::As(version) => {
                    self.remember(Some((lock, version)));
                    return Ok(Some(result));
                }
                Written::Moved => sent = Some((lock, result)),
            }
        }
        Err(StoreError::Remote {
            what: "writing the lock".to_owned(),
            reason: format!("others changed it between each of {TRIES} reads and writes"),
            help: "run the command again".to_owned(),
        })
    }
}
