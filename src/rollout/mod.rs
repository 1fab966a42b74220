//! The state machine of a rollout: what may be done next, and what a failure means at this point.
//!
//! Pure: events in, decisions out; no I/O and no clock. The executor feeds it each step's beginning and end
//! and obeys its decisions. What matters is one question: may live traffic have been touched? It is answered
//! from the intents, not from the results, because a step that was cut off may have had its effect.

pub mod record;
#[cfg(test)]
mod tests;

use crate::model::check::Stage;
use crate::model::plan::{Action, Intent, PlaceMode, Plan};
use crate::model::promotion::{Mode, Strategy};

/// What a step can do to live traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reach {
    /// Nothing: it builds, waits, asks, or works beside the live release.
    Beside,
    /// It changes what live traffic sees.
    Live,
}

impl Reach {
    /// The reach of an action.
    #[must_use]
    pub const fn of(action: &Action) -> Self {
        match action {
            Action::Switch { .. }
            | Action::Place {
                mode: PlaceMode::Rolling | PlaceMode::Recreate,
                ..
            }
            | Action::Check {
                stage: Stage::After,
                ..
            } => Self::Live,
            _ => Self::Beside,
        }
    }
}

/// Where a rollout stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// Steps are being carried out.
    Forward,
    /// No step begins any more; those under way may finish. Then the decision is due.
    Draining(Cause),
    /// The reverse plan is being carried out.
    Back(Cause),
    /// Nothing is done any more.
    Over,
}

/// Why a rollout does not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// A step failed.
    Failed(String),
    /// What a step was bound to has moved: somebody else acts here.
    Stale(String),
    /// A person asked.
    Interrupted,
    /// The lock went to another run.
    LockLost,
    /// A person asked twice.
    Killed,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A step is about to act.
    Begins(Reach),
    /// Something went wrong, or somebody wants to stop.
    Stops(Cause),
    /// No step is under way any more.
    Idle,
    /// The reverse plan is done, or could not be done.
    WentBack(Back),
}

/// How the way back went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Back {
    /// The world is as it was.
    Done,
    /// A step of the reverse plan failed too.
    Failed(String),
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Go on.
    GoOn,
    /// Begin nothing more; let what is under way finish or stop, then say [`Event::Idle`].
    Drain,
    /// Carry the reverse plan out, as far as its steps were begun.
    GoBack,
    /// Do nothing more at all, not even going back.
    Halt,
    /// It is over.
    End(End),
}

/// How a rollout ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Every step is done.
    Done,
    /// It failed before live traffic was touched; what was done beside it was taken back.
    Failed(String),
    /// It failed after live traffic was touched, and traffic was moved back.
    Reverted(String),
    /// It failed, and so did the way back.
    Stuck {
        /// Why it failed.
        reason: String,
        /// Why the way back failed.
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

/// One rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    phase: Phase,
    reach: Reach,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            phase: Phase::Forward,
            reach: Reach::Beside,
        }
    }
}

impl Rollout {
    /// Whether a step may begin.
    #[must_use]
    pub fn may_begin(&self) -> bool {
        self.phase == Phase::Forward
    }

    /// Whether live traffic may have been touched.
    #[must_use]
    pub fn touched_live(&self) -> bool {
        self.reach == Reach::Live
    }

    /// What to do about an event.
    pub fn on(&mut self, event: Event) -> Decision {
        match (self.phase.clone(), event) {
            (Phase::Forward, Event::Begins(reach)) => {
                self.reach = self.reach.max(reach);
                Decision::GoOn
            }
            (Phase::Forward, Event::Idle) => self.end(End::Done),
            (Phase::Over, _) => Decision::Halt,
            (_, Event::Stops(Cause::Killed)) => {
                self.end(End::Interrupted(if self.touched_live() {
                    Traffic::Unknown
                } else {
                    Traffic::Untouched
                }))
            }
            (_, Event::Stops(Cause::LockLost)) => self.end(End::LockLost),
            (Phase::Forward, Event::Stops(cause)) => {
                self.phase = Phase::Draining(cause);
                Decision::Drain
            }
            (Phase::Draining(cause), Event::Idle) => self.after_draining(cause),
            (Phase::Back(cause), Event::WentBack(back)) => {
                let end = self.after_going_back(cause, back);
                self.end(end)
            }
            // The first cause stands; a step that begins now is a fault of the executor and is not let go on.
            (Phase::Draining(_) | Phase::Back(_), _) => Decision::Drain,
            (Phase::Forward, Event::WentBack(_)) => Decision::GoOn,
        }
    }

    fn end(&mut self, end: End) -> Decision {
        self.phase = Phase::Over;
        Decision::End(end)
    }

    fn after_draining(&mut self, cause: Cause) -> Decision {
        match (&cause, self.reach) {
            // Beside the live release nothing is lost by leaving things as they are: the next run goes on there.
            (Cause::Interrupted, Reach::Beside) => self.end(End::Interrupted(Traffic::Untouched)),
            (Cause::Stale(what), Reach::Beside) => self.end(End::Stale(what.clone())),
            _ => {
                self.phase = Phase::Back(cause);
                Decision::GoBack
            }
        }
    }

    fn after_going_back(&self, cause: Cause, back: Back) -> End {
        let reason = match cause {
            Cause::Failed(reason) | Cause::Stale(reason) => reason,
            Cause::Interrupted | Cause::Killed | Cause::LockLost => "interrupted".to_owned(),
        };
        match (back, self.reach) {
            (Back::Failed(back), _) => End::Stuck { reason, back },
            (Back::Done, _) if reason == "interrupted" => End::Interrupted(Traffic::MovedBack),
            (Back::Done, Reach::Live) => End::Reverted(reason),
            (Back::Done, Reach::Beside) => End::Failed(reason),
        }
    }
}

/// Whether a failed request of the prober moves traffic back: only where nobody is there to decide, and where
/// the strategy promises that none is lost.
#[must_use]
pub const fn probe_failure_reverts(plan: &Plan) -> bool {
    matches!(plan.intent, Intent::Apply | Intent::Carry(_))
        && matches!(plan.mode, Mode::Auto)
        && !matches!(plan.strategy, Strategy::Recreate)
}
