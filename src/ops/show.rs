//! `show`: a plan file, as whoever applies it would have it judged.

use crate::model::verdict::Verdict;
use crate::ops::actor::actor;
use crate::ops::plan::known_state;
use crate::ops::plan_file::{self, PlanFile};
use crate::ops::policy::approvals;
use crate::ops::{Error, Session};

/// How a plan file stands.
pub struct Shown {
    /// In words that it would not be carried out any more, as far as the state tells.
    pub stale: Option<String>,
    /// What is said of its approvals; nothing where none are wanted.
    pub verdicts: Vec<Verdict>,
}

/// Whether a plan file is one of this environment's, and how it stands. Nothing is started for it:
/// what is rendered, built or deployed by now is looked at by `apply`.
///
/// # Errors
/// It was made for another project, environment or line of history.
pub async fn show(session: &Session, file: &PlanFile) -> Result<Shown, Error> {
    let state = known_state(session, &actor()).await?;
    plan_file::is_for(session, &file.plan, &state)?;
    let reason = plan_file::overtaken(session, file, &state).await?;
    Ok(Shown {
        stale: reason.map(|reason| format!("the plan is stale: {reason}")),
        verdicts: approvals::of_file(session, file, &state).await?,
    })
}
