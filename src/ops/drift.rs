//! `drift`: what moved since shipit acted last. Looks, starts no agent, and changes nothing.

use crate::model::drift::DriftReport;
use crate::model::facts::Overview;
use crate::observe::standing;
use crate::ops::{Error, Session, wiring};
use crate::plan;
use crate::port::store::StoreError;

/// Looks at the environment as it stands.
pub async fn drift(session: &Session) -> Result<DriftReport, Error> {
    let (store, environment) = (&session.ports.store, &session.environment);
    // What a run is about to move has not drifted.
    if let Some(holder) = store.holder(environment).await? {
        return Err(StoreError::Locked {
            environment: environment.clone(),
            holder: Box::new(holder),
        }
        .into());
    }

    let state = session.state().await?;
    let desired = session.desired().await?;
    let engine = wiring::looking_engine(session)?;
    let provider = session.ports.provider.as_ref();
    let observed = standing(&desired, engine.as_ref(), provider).await?;

    let journal = store.last_journal(environment).await?;
    let last_run = plan::last_run(journal.as_ref(), &Overview::from(&observed.facts));
    let mut report = plan::drift(&desired, &observed, &state, last_run);
    report.notes.extend(engine.warnings());
    Ok(report)
}
