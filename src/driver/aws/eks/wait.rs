//! Waiting for Amazon: for what it is still at, and for its being ready to take the next change.

use std::time::Duration;

use aws_sdk_eks::error::{ProvideErrorMetadata, SdkError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::driver::aws::eks::{Eks, Seen, addon, refused};
use crate::driver::aws::{code, failed};
use crate::model::resource::{ResourceKey, ResourceKind};
use crate::port::hold::Hold;
use crate::port::provider::ProviderError;
use crate::port::{Progress, pause};

/// How long Amazon may take for one thing.
const PATIENCE: Duration = Duration::from_mins(40);
/// How often it is asked how far it is; more often in the beginning.
const POLL: Duration = Duration::from_secs(10);
/// How often what is refused because something else is under way is tried again.
const BUSY: usize = 60;

/// How somebody waits: what they say, and when they stop.
#[derive(Clone, Copy)]
pub(in crate::driver::aws) struct Waiting<'a> {
    pub progress: Progress<'a>,
    pub cancel: &'a CancellationToken,
    pub hold: &'a Hold,
}

impl Waiting<'_> {
    /// What comes after a pause may change something: the lock must be held then, too.
    async fn pause(&self, about: Duration) -> Result<(), ProviderError> {
        tokio::select! {
            () = tokio::time::sleep(pause::between(about * 3 / 4, about * 5 / 4)) => {}
            () = self.cancel.cancelled() => return Err(ProviderError::Cancelled),
        }
        Ok(self.hold.confirmed().await?)
    }

    /// Sends a change until Amazon is not at another one any more: it takes one of a cluster at a
    /// time.
    pub(super) async fn while_busy<T, F: Future<Output = Result<T, Refused>>>(
        &self,
        what: &str,
        send: impl Fn() -> F,
    ) -> Result<T, ProviderError> {
        for _ in 0..BUSY {
            match send().await {
                Err(refused) if refused.code == "ResourceInUseException" => {
                    (self.progress)("another change of the cluster is under way; waiting for it");
                    self.pause(POLL).await?;
                }
                other => return other.map_err(|refused| refused.error),
            }
        }
        Err(ProviderError::Timeout {
            what: what.to_owned(),
            minutes: POLL.as_secs() * BUSY as u64 / 60,
        })
    }
}

const fn patience(kind: ResourceKind) -> Duration {
    if matches!(kind, ResourceKind::Addon) {
        addon::PATIENCE
    } else {
        PATIENCE
    }
}

/// A request that Amazon refused, by its code.
pub(super) struct Refused {
    pub code: String,
    pub error: ProviderError,
}

/// Keeps the code of what is refused: `action` is the permission that it needs.
pub(super) fn sent<T, E>(
    action: &str,
    what: &str,
    answer: Result<T, SdkError<E>>,
) -> Result<T, Refused>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    answer.map_err(|error| Refused {
        code: code(&error).to_owned(),
        error: failed(action, what, &error),
    })
}

impl Eks<'_> {
    /// The resource once nothing is under way with it.
    pub(super) async fn settled(
        &self,
        key: &ResourceKey,
        waiting: Waiting<'_>,
    ) -> Result<Option<Seen>, ProviderError> {
        let begun = Instant::now();
        loop {
            let seen = self.see(key).await?;
            match seen.as_ref().map(|seen| seen.status.as_str()) {
                Some("CREATING" | "UPDATING" | "DELETING" | "PENDING") => {}
                _ => return Ok(seen),
            }
            Self::wait(key, &begun, seen.as_ref(), waiting).await?;
        }
    }

    async fn wait(
        key: &ResourceKey,
        begun: &Instant,
        seen: Option<&Seen>,
        waiting: Waiting<'_>,
    ) -> Result<(), ProviderError> {
        let (limit, status) = (
            patience(key.kind),
            seen.map_or_else(|| "not there".to_owned(), Seen::words),
        );
        if begun.elapsed() > limit {
            let what = format!("{key}, which is {status},");
            return Err(ProviderError::Timeout {
                what,
                minutes: limit.as_secs() / 60,
            });
        }

        (waiting.progress)(&format!(
            "{key} is {status} ({} s)",
            begun.elapsed().as_secs()
        ));
        waiting
            .pause((begun.elapsed() / 2).clamp(Duration::from_secs(1), POLL))
            .await
    }

    pub(super) async fn until_there(
        &self,
        key: &ResourceKey,
        waiting: Waiting<'_>,
    ) -> Result<Seen, ProviderError> {
        let begun = Instant::now();
        loop {
            match self.settled(key, waiting).await? {
                Some(seen) if seen.status == "ACTIVE" => return Ok(seen),
                // An addon whose pods find no place yet.
                Some(seen) if seen.status == "DEGRADED" => {
                    Self::wait(key, &begun, Some(&seen), waiting).await?;
                }
                seen => {
                    let status = seen
                        .as_ref()
                        .map_or_else(|| "not there".to_owned(), Seen::words);
                    let help = "look at it in Amazon's console: it says why";
                    return Err(refused(key.to_string(), format!("it is {status}"), help));
                }
            }
        }
    }

    pub(super) async fn until_gone(
        &self,
        key: &ResourceKey,
        waiting: Waiting<'_>,
    ) -> Result<(), ProviderError> {
        let begun = Instant::now();
        while let Some(seen) = self.see(key).await? {
            if seen.status.ends_with("FAILED") {
                let help = "look at it in Amazon's console";
                return Err(refused(
                    key.to_string(),
                    format!("it is {}", seen.words()),
                    help,
                ));
            }
            Self::wait(key, &begun, Some(&seen), waiting).await?;
        }
        Ok(())
    }
}
