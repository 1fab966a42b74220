//! `show`: a plan file, as whoever applies it would have it judged.

use crate::ops::actor::actor;
use crate::ops::plan::known_state;
use crate::ops::plan_file::{self, PlanFile};
use crate::ops::{Error, Session};

/// Whether a plan file is one of this environment's, and in words that it would not be carried out
/// any more, as far as the state tells. Nothing is started for it: what is rendered, built or
/// deployed by now is looked at by `apply`.
///
/// # Errors
/// It was made for another project, environment or line of history.
pub async fn show(session: &Session, file: &PlanFile) -> Result<Option<String>, Error> {
    let state = known_state(session, &actor()).await?;
    plan_file::is_for(session, &file.plan, &state)?;
    let reason = plan_file::overtaken(session, file, &state).await?;
    Ok(reason.map(|reason| format!("the plan is stale: {reason}")))
}
