//! `drift`: what moved since shipit acted last. Looks, starts no agent, and changes nothing.

use crate::model::drift::DriftReport;
use crate::model::facts::Overview;
use crate::model::state::State;
use crate::observe::standing;
use crate::ops::{Error, Session, wiring};
use crate::plan;
use crate::port::StateStore;
use crate::port::engine::{EngineError, Scope};
use crate::port::store::StoreError;

/// How often it is looked where somebody changes the state meanwhile.
const LOOKS: usize = 3;

/// Looks at the environment as it stands.
pub async fn drift(session: &Session) -> Result<DriftReport, Error> {
    let (store, scope) = (session.ports.store.as_ref(), session.scope());
    let desired = session.desired().await?;
    let engine = wiring::looking_engine(session)?;
    let provider = session.ports.provider.as_ref();
    let mut report = undisturbed(store, &scope, async |state| {
        let observed = standing(&desired, engine.as_ref(), provider).await?;
        if !observed.facts.unseen.is_empty() {
            return Err(unseen(&observed.facts.unseen));
        }
        // `restart`, `settle` and `import` act, and write no state.
        let after = engine.overview(&scope).await?;
        if after.changed_at != observed.facts.changed_at {
            return Ok(None);
        }
        let journal = store.last_journal(&scope.environment).await?;
        let last_run = plan::last_run(journal.as_ref(), &Overview::from(&observed.facts));
        Ok(Some(plan::drift(&desired, &observed, state, last_run)))
    })
    .await?;
    report.notes.extend(engine.warnings());
    Ok(report)
}

/// Nothing is said of drift for want of a look.
fn unseen(what: &[String]) -> Error {
    EngineError::Failed {
        what: "looking at what stands in front of the services".to_owned(),
        reason: what.join("; "),
    }
    .into()
}

/// Looks while no run is under way: what a run is about to move has not drifted. Where one began or
/// ended meanwhile, what was seen is of two moments, and it is looked again, as well when `look`
/// says so by giving none.
async fn undisturbed<T>(
    store: &dyn StateStore,
    scope: &Scope,
    look: impl AsyncFn(&State) -> Result<Option<T>, Error>,
) -> Result<T, Error> {
    let mut state = unlocked(store, scope).await?;
    let mut looks = 1;
    loop {
        let seen = look(&state).await?;
        let after = unlocked(store, scope).await?;
        if let Some(seen) = seen.filter(|_| after.serial == state.serial) {
            return Ok(seen);
        }
        if looks == LOOKS {
            return Err(StoreError::Moved {
                environment: scope.environment.clone(),
                expected: state.serial,
                found: after.serial,
            }
            .into());
        }
        (state, looks) = (after, looks + 1);
    }
}

/// The state, while nobody has the lock.
async fn unlocked(store: &dyn StateStore, scope: &Scope) -> Result<State, Error> {
    if let Some(holder) = store.holder(&scope.environment).await? {
        return Err(StoreError::Locked {
            environment: scope.environment.clone(),
            holder: Box::new(holder),
        }
        .into());
    }
    let state = store.load(&scope.environment).await?;
    Ok(state.unwrap_or_else(|| State::empty(scope.project.clone(), scope.environment.clone())))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;
    use crate::ops::actor::actor;
    use crate::ops::wiring::LocalStore;

    fn scope() -> Scope {
        Scope {
            project: "shop".parse().expect("a name"),
            environment: "staging".parse().expect("a name"),
        }
    }

    /// A run of somebody else, from its lock to its end.
    async fn run(store: &LocalStore, serial: u64) {
        let scope = scope();
        let (actor, wait) = (actor(), Duration::ZERO);
        let lease = store.lock(&scope.environment, &actor, "apply", 0, wait);
        let lease = lease.await.expect("the lock");
        let state = State {
            serial,
            ..State::empty(scope.project, scope.environment)
        };
        store.save(lease.as_ref(), &state).await.expect("saved");
        lease.release().await.expect("released");
    }

    /// What is seen when somebody else ends a run during each of the first looks, and how often it
    /// was looked.
    async fn seen(runs: u64) -> (Result<u64, Error>, u64) {
        let folder = tempfile::tempdir().expect("a folder");
        let (store, scope) = (LocalStore::new(folder.path().to_owned()), scope());
        let looks = Cell::new(0);
        let seen = undisturbed(&store, &scope, async |state| {
            looks.set(looks.get() + 1);
            if looks.get() <= runs {
                run(&store, looks.get()).await;
            }
            Ok(Some(state.serial))
        });
        (seen.await, looks.get())
    }

    #[tokio::test]
    async fn what_a_run_has_changed_meanwhile_is_looked_at_again() {
        for runs in 0..3 {
            let (serial, looks) = seen(runs).await;
            assert_eq!((serial.expect("seen"), looks), (runs, runs + 1));
        }
        let (error, looks) = seen(3).await;
        let error = error.expect_err("it never stands still");
        assert!(error.to_string().contains("is at serial 3"), "{error}");
        assert_eq!(looks, 3);
    }

    #[tokio::test]
    async fn what_a_run_is_about_to_change_is_not_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = LocalStore::new(folder.path().to_owned());
        let scope = scope();
        let lock = async || {
            let (actor, wait) = (actor(), Duration::ZERO);
            let lease = store.lock(&scope.environment, &actor, "apply", 0, wait);
            lease.await.expect("the lock")
        };

        let began = Cell::new(None);
        let during = undisturbed(&store, &scope, async |_| {
            began.set(Some(lock().await));
            Ok(Some(()))
        });
        let error = during.await.expect_err("a run began");
        assert!(error.to_string().contains("is locked by"), "{error}");
        let before = undisturbed(&store, &scope, async |_| Ok(Some(())));
        let error = before.await.expect_err("it goes on");
        assert!(error.to_string().contains("is locked by"), "{error}");
    }
}
