//! One run of the program in memory: from the lock to what is written down.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::execute::{Gate, Job, Sink, Stops, execute, persist, persist_unrecorded};
use crate::model::approval::Approval;
use crate::model::outcome::Ending;
use crate::model::plan::Plan;
use crate::model::release::Actor;
use crate::model::state::State;
use crate::port::StateStore as _;
use crate::port::engine::Permit;
use crate::port::store::{Lease, StoreError};
use crate::redact::Redactor;
use crate::rollout::record::Ended;
use crate::simulate::fault::Faults;
use crate::simulate::scenario::Scenario;
use crate::simulate::world::{Runner, World};

/// What came of a run.
#[derive(Debug)]
pub enum Came {
    /// It ended by itself.
    Ended(Ending),
    /// It was killed: nothing more is heard of it.
    Killed,
    /// It did not come to its end, for this reason.
    Broke(String),
}

impl Came {
    /// Whether all that was planned is done.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self, Self::Ended(Ending::Done | Ending::NoChanges))
    }
}

/// A run that is over.
#[derive(Debug)]
pub struct Ran {
    /// What it carried out, or was carrying out; none where it made no plan.
    pub plan: Option<Plan>,
    /// What came of it.
    pub came: Came,
}

/// Who acts in a run.
#[must_use]
pub fn actor(run: &str) -> Actor {
    Actor {
        user: "rehearsal".to_owned(),
        host: "memory".to_owned(),
        run: run.to_owned(),
        ci: None,
    }
}

/// A run that has the lock.
pub struct Locked {
    /// How it sees the world.
    pub runner: Runner,
    /// What stops it from outside.
    pub stops: Stops,
    /// What is asked before live traffic is touched.
    pub gate: Option<Gate>,
    lease: Box<dyn Lease>,
}

impl Locked {
    /// Takes the lock for a run.
    ///
    /// # Errors
    /// Another run has it.
    pub async fn take(
        scenario: &Scenario,
        world: &Arc<World>,
        faults: Arc<dyn Faults>,
        run: &str,
    ) -> Result<Self, StoreError> {
        let environment = &scenario.desired.environment;
        let fence = world.engine.facts().fence;
        let actor = actor(run);
        let lease = world
            .store
            .lock(environment, &actor, "apply", fence, Duration::ZERO)
            .await?;
        Ok(Self {
            runner: Runner::new(Arc::clone(world), faults, lease.hold(), actor),
            stops: Stops {
                interrupted: CancellationToken::new(),
                killed: CancellationToken::new(),
            },
            gate: None,
            lease,
        })
    }

    /// Makes a plan and carries it out; or carries out the one that is given. The lock of one that
    /// was killed is still held.
    pub async fn carry_out(self, scenario: &Scenario, given: Option<Plan>) -> Ran {
        let killed = self.runner.killed.clone();
        let (mut plan, mut came) = (None, None);
        let work = async {
            let decided = match given {
                Some(plan) => Ok(plan),
                None => self.decide(scenario).await,
            };
            match decided {
                Ok(decided) => {
                    plan = Some(decided.clone());
                    came = Some(self.under_lock(scenario, &decided).await);
                }
                Err(reason) => came = Some(Came::Broke(reason)),
            }
        };
        let is_killed = tokio::select! {
            biased;
            () = killed.cancelled() => true,
            () = work => false,
        };

        if is_killed {
            return Ran {
                plan,
                came: Came::Killed,
            };
        }
        let _ = self.lease.release().await;
        let came = came.unwrap_or(Came::Killed);
        Ran { plan, came }
    }

    async fn decide(&self, scenario: &Scenario) -> Result<Plan, String> {
        let drawn = scenario.draw(&self.runner.world).await;
        drawn.map_err(|error| error.to_string())
    }

    async fn under_lock(&self, scenario: &Scenario, plan: &Plan) -> Came {
        if plan.is_empty() {
            return Came::Ended(Ending::NoChanges);
        }
        let state = scenario.state(&self.runner.world).await;
        let lineage = state.lineage.clone();
        let state = State {
            lineage: Some(lineage.unwrap_or_else(|| "simulated".to_owned())),
            ..state
        };
        let (lease, facts) = (self.lease.as_ref(), self.runner.world.engine.facts());
        let recorded = persist_unrecorded(&self.runner, lease, state, plan, &facts).await;
        let state = match recorded {
            Ok(state) => state,
            Err(error) => return came_to(&error),
        };
        let finished = execute(self.job(scenario, plan, &state)).await;
        let ended = Ended {
            plan,
            end: &finished.end,
            workloads: &finished.workloads,
            probe: finished.probe.as_ref(),
            actor: &self.runner.actor,
            outside_window: None,
            tasks: &finished.tasks,
            approvals: &[],
            now: Timestamp::now(),
        };
        match persist(&self.runner, self.lease.as_ref(), &state, &ended).await {
            Ok((ending, _)) => Came::Ended(ending),
            Err(error) => came_to(&error),
        }
    }

    fn job(&self, scenario: &Scenario, plan: &Plan, state: &State) -> Job {
        let nobody: Sink = Arc::new(|_| ());
        Job {
            plan: plan.clone(),
            approval: Approval::InAdvance,
            ports: self.runner.ports(Redactor::default()),
            permit: Permit {
                scope: scenario.scope(),
                lineage: state.lineage.clone().unwrap_or_default(),
                fence: self.lease.fence(),
                actor: self.runner.actor.clone(),
                hold: self.runner.hold.clone(),
            },
            root: PathBuf::from("/"),
            stops: self.stops.clone(),
            gate: self.gate.clone(),
            outside_window: None,
            called: std::collections::BTreeSet::new(),
            sink: nobody,
        }
    }
}

/// What it comes to that a store does not take a state.
fn came_to(error: &StoreError) -> Came {
    match error {
        StoreError::Lost { .. } => Came::Ended(Ending::LockLost),
        error => Came::Broke(error.to_string()),
    }
}
