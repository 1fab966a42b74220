//! The state machine of a rollout: what may be done next, and what a failure means at this point.
//!
//! Pure: no I/O and no clock. The executor tells a [`Rollout`] what begins and what stops it, and
//! asks it once nothing is under way: it is over, or it is a [`GoingBack`]. Each of the two is
//! consumed by its end, so that an end cannot be overlooked. What matters is one question: may live
//! traffic have been touched? It is answered from the intents, not from the results, because a step
//! that was cut off may have had its effect.

pub mod record;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use crate::model::Address;
use crate::model::check::Stage;
use crate::model::loss::Holding;
use crate::model::plan::{Action, DeployMode, Intent, Plan, Step, StepId};
use crate::model::promotion::Mode;
use crate::model::route::Route;
use crate::model::task::TaskClass;

/// What a step can do to live traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Impact {
    /// Nothing: it builds, waits, asks, or works beside the live release.
    Isolated,
    /// It changes what live traffic sees.
    Live,
}

impl Impact {
    /// The impact of an action.
    #[must_use]
    pub const fn of(action: &Action) -> Self {
        match action {
            Action::Switch { .. }
            | Action::Stop
            | Action::Deploy {
                mode: DeployMode::Rolling | DeployMode::Recreate,
                ..
            }
            | Action::Check {
                stage: Stage::After,
                ..
            } => Self::Live,
            _ => Self::Isolated,
        }
    }

    /// The impact of a plan's step. One that closes where live traffic arrives is known by what
    /// would open it again.
    #[must_use]
    pub fn of_step(plan: &Plan, step: &Step) -> Self {
        if let (Action::Stop, Address::Workload(slot, _)) = (&step.action, &step.address)
            && plan
                .active
                .as_ref()
                .is_none_or(|active| active.slot != *slot)
        {
            return Self::Isolated;
        }
        let back = plan.reverse.iter();
        let back = back.filter(|back| back.undoes == Some(step.id));
        let mut routes = back.flat_map(|back| back.action.routes());
        if plan.active.is_some() && routes.any(|route| closes(&step.action, route)) {
            return Self::Live;
        }
        Self::of(&step.action)
    }
}

/// Whether an action on listeners closes a live one of a route that is there.
fn closes(action: &Action, there: &Route) -> bool {
    let next = action.routes().find(|next| next.service == there.service);
    let is_left = |address| next.is_none_or(|next| !next.live_addresses().contains(address));
    match action {
        Action::StopListening => true,
        Action::Listen { .. } => {
            there.live_addresses().iter().any(is_left) || !there.entries_lost(next).is_empty()
        }
        _ => false,
    }
}

/// Why a rollout does not go on: no step begins any more, those under way may finish, and then it
/// is decided whether to go back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// A step failed.
    Failed(String),
    /// What a step was bound to has moved: somebody else acts here.
    Stale(String),
    /// A rule forbids what comes next: live traffic may not be touched now.
    Refused(String),
    /// A person asked.
    Interrupted,
}

/// What ends a run where it stands: nothing is waited for, and nothing is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CutOff {
    /// The lock went to another run.
    LockLost,
    /// A person asked twice.
    Killed,
}

/// How the rollback went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Back {
    /// The world is as it was.
    Done,
    /// A step of the reverse plan failed too.
    Failed(String),
}

/// How a rollout ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum End {
    /// Every step is done.
    Done,
    /// It failed before live traffic was touched; what was done beside it was taken back.
    Failed(String),
    /// A rule forbade to touch live traffic; what was done beside it was taken back.
    Refused(String),
    /// It failed after live traffic was touched, and traffic was moved back.
    Reverted(String),
    /// It failed, and so did the rollback.
    RollbackFailed {
        /// Why it failed.
        reason: String,
        /// Why the rollback failed.
        back: String,
    },
    /// What the plan saw has moved.
    Stale(String),
    /// A person asked; what stands, stands, or was taken back.
    Interrupted(Traffic),
    /// The lock went to another run; nothing more was done.
    LockLost,
}

/// What became of live traffic when a run was interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// It never moved.
    Untouched,
    /// It had moved, and was moved back.
    MovedBack,
    /// It may have moved; the next run finds out.
    Unknown,
}

/// One rollout on its way forward. What ends it consumes it, so that nobody can go on with one that
/// is over.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Rollout {
    impact: Impact,
    /// The first cause stands.
    stopped: Option<Cause>,
}

/// What to do once no step is under way, and none may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum AtRest {
    /// It is over.
    End(End),
    /// Carry the reverse plan out, as far as its steps were begun.
    GoBack(GoingBack),
}

/// One rollout being rolled back.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct GoingBack {
    impact: Impact,
    cause: Cause,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            impact: Impact::Isolated,
            stopped: None,
        }
    }
}

impl Rollout {
    /// Whether a step may begin.
    #[must_use]
    pub const fn may_begin(&self) -> bool {
        self.stopped.is_none()
    }

    /// A step is about to act: from now on it counts as having had its effect.
    pub fn begins(&mut self, impact: Impact) {
        self.impact = self.impact.max(impact);
    }

    /// Something went wrong, or somebody wants to stop. Begin nothing more; let what is under way
    /// finish or stop.
    pub fn stops(&mut self, cause: Cause) {
        self.stopped.get_or_insert(cause);
    }

    /// No step is under way any more, and none may begin.
    pub fn at_rest(self) -> AtRest {
        match (self.stopped, self.impact) {
            (None, _) => AtRest::End(End::Done),
            // Beside the live release nothing is lost by leaving things as they are: the next run
            // goes on there.
            (Some(Cause::Interrupted), Impact::Isolated) => {
                AtRest::End(End::Interrupted(Traffic::Untouched))
            }
            (Some(Cause::Stale(what)), Impact::Isolated) => AtRest::End(End::Stale(what)),
            (Some(cause), impact) => AtRest::GoBack(GoingBack { impact, cause }),
        }
    }

    /// Somebody ends it where it stands.
    pub fn cut_off(self, by: CutOff) -> End {
        end_where_it_stands(self.impact, by)
    }
}

impl GoingBack {
    /// The reverse plan is done, or could not be done.
    pub fn ended(self, back: Back) -> End {
        let is_refused = matches!(self.cause, Cause::Refused(_));
        let reason = match (self.cause, &back) {
            (Cause::Interrupted, Back::Done) => return End::Interrupted(Traffic::MovedBack),
            (Cause::Interrupted, Back::Failed(_)) => "interrupted".to_owned(),
            (Cause::Failed(reason) | Cause::Stale(reason) | Cause::Refused(reason), _) => reason,
        };
        match (back, self.impact) {
            (Back::Failed(back), _) => End::RollbackFailed { reason, back },
            (Back::Done, Impact::Live) => End::Reverted(reason),
            (Back::Done, Impact::Isolated) if is_refused => End::Refused(reason),
            (Back::Done, Impact::Isolated) => End::Failed(reason),
        }
    }

    /// The reverse plan is done, and yet not all is as it was: steps that were begun have destroyed
    /// something ([`destroyed`]).
    pub fn ended_with_a_loss(self, lost: &str) -> End {
        match self.ended(Back::Done) {
            End::Failed(reason) => End::Failed(format!("{reason}; {lost}")),
            End::Refused(reason) => End::Refused(format!("{reason}; {lost}")),
            End::Reverted(reason) => End::Reverted(format!("{reason}; {lost}")),
            End::Interrupted(_) => End::RollbackFailed {
                reason: "interrupted".to_owned(),
                back: lost.to_owned(),
            },
            other => other,
        }
    }

    /// Somebody ends it where it stands.
    pub fn cut_off(self, by: CutOff) -> End {
        end_where_it_stands(self.impact, by)
    }
}

const fn end_where_it_stands(impact: Impact, by: CutOff) -> End {
    match (by, impact) {
        (CutOff::LockLost, _) => End::LockLost,
        (CutOff::Killed, Impact::Live) => End::Interrupted(Traffic::Unknown),
        (CutOff::Killed, Impact::Isolated) => End::Interrupted(Traffic::Untouched),
    }
}

/// Whether a failed request of the prober moves traffic back: only where nobody is there to decide,
/// and where the strategy promises that none is lost.
#[must_use]
pub const fn probe_failure_reverts(plan: &Plan) -> bool {
    matches!(plan.intent, Intent::Apply | Intent::PromoteFrom(_))
        && matches!(plan.mode, Mode::Auto)
        && !plan.strategy.has_a_gap()
}

/// Whether a step may begin only while live traffic may be touched: it changes what live traffic
/// sees, or what the live release works with.
#[must_use]
pub fn touches_live(plan: &Plan, step: &Step) -> bool {
    let breaks = match &step.action {
        Action::Task(of) => !of.task.class.keeps_rollback(),
        _ => false,
    };
    breaks || Impact::of_step(plan, step) == Impact::Live
}

/// Why what was done is not taken back: once a task has begun after which no earlier release works,
/// live traffic stays where it is; and an environment that was to go does not come back without its
/// data. Before the switch what was done beside the live release is taken back all the same.
#[must_use]
pub fn no_rollback(plan: &Plan, begun: &BTreeSet<StepId>) -> Option<String> {
    if plan.intent.ends_environment()
        && let Some(lost) = destroyed(plan, begun).or_else(|| dismantled(plan, begun))
    {
        return Some(format!("{lost}, so the environment is not put back"));
    }
    let mut steps = plan.steps.iter().filter(|step| begun.contains(&step.id));
    let has_switched = steps.clone().any(|step| {
        let impact = Impact::of_step(plan, step);
        impact == Impact::Live && plan.active.is_some()
    });
    let breaking = steps.find(|step| match &step.action {
        Action::Task(of) => of.task.class == TaskClass::Breaking,
        _ => false,
    });
    let breaking = breaking.filter(|_| has_switched)?;
    Some(format!(
        "{} is `breaking`: no earlier release works once it has begun, so live traffic stays",
        breaking.address
    ))
}

/// The first resource whose deletion has begun: what an environment ran on does not come back.
fn dismantled(plan: &Plan, begun: &BTreeSet<StepId>) -> Option<String> {
    let mut steps = plan.steps.iter().filter(|step| begun.contains(&step.id));
    let first = steps.find(|step| {
        matches!(
            (&step.action, &step.address),
            (Action::Delete, Address::Resource(_))
        )
    })?;
    Some(format!("the deletion of {} has begun", first.address))
}

/// Whether a step only takes away what the live release does not have any more, once traffic is on
/// it: no other kind of step comes behind, and nothing of it comes back by moving traffic.
#[must_use]
pub fn is_left_behind(plan: &Plan, begun: &BTreeSet<StepId>, step: &Step) -> bool {
    let removes = |step: &Step| {
        matches!(
            (&step.action, &step.address),
            (Action::Delete | Action::Forget, Address::Object(_))
        )
    };
    let is_apply = matches!(plan.intent, Intent::Apply | Intent::PromoteFrom(_));
    let mut others = plan.steps.iter();
    let is_needed = others.any(|other| other.needs.contains(&step.id) && !removes(other));
    let mut begun = plan.steps.iter().filter(|other| begun.contains(&other.id));
    let has_switched = begun.any(|other| matches!(other.action, Action::Switch { .. }));
    is_apply && removes(step) && !is_needed && has_switched
}

/// What steps that were begun have destroyed, in words: a rollback puts no data back. None where
/// nothing was lost.
#[must_use]
pub fn destroyed(plan: &Plan, begun: &BTreeSet<StepId>) -> Option<String> {
    let losses = plan.losses.iter().filter(|loss| begun.contains(&loss.step));
    let is_data = |holding: &&Holding| match holding {
        Holding::Data { .. } | Holding::Unknown { .. } => true,
        Holding::Entry { .. }
        | Holding::LiveTraffic { .. }
        | Holding::State { .. }
        | Holding::Own { .. }
        | Holding::Others { .. }
        | Holding::Unseen { .. } => false,
    };
    let lost: Vec<String> = losses
        .filter_map(|loss| {
            let data: Vec<String> = loss
                .holds
                .iter()
                .filter(is_data)
                .map(Holding::to_string)
                .collect();
            (!data.is_empty()).then(|| format!("{} ({})", loss.name, data.join("; ")))
        })
        .collect();
    (!lost.is_empty()).then(|| format!("what was in {} is lost", lost.join(", ")))
}
