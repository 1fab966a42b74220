//! The hooks of a plan, called between its steps.
//!
//! A stage is a part of the plan's steps. What is before it is called when its first step is about
//! to begin, and nothing else begins meanwhile; what is after it, once its last step is done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use crate::execute::Run;
use crate::execute::log::{self, JournalError};
use crate::model::Period;
use crate::model::event::Event;
use crate::model::hook::{Hook, HookCall, HookFacts, HookPoint, HookSecret, HookStage};
use crate::model::plan::{Action, Intent, Plan, Step, StepId};
use crate::model::secret::SecretValue;
use crate::model::task::OnFailure;
use crate::port::Ports;
use crate::port::hooks::HookFailure;
use crate::rollout::touches_live;

/// How long a hook around a rollback may take at the most.
const BACK: Period = Period::from_secs(10);

/// Which stages have begun, and which steps of each are not done yet.
pub(super) struct Stages {
    of: BTreeMap<StepId, HookStage>,
    open: BTreeMap<HookStage, BTreeSet<StepId>>,
    begun: BTreeSet<HookStage>,
}

impl Stages {
    pub fn of(plan: &Plan) -> Self {
        let of = of_steps(plan);
        let mut open: BTreeMap<HookStage, BTreeSet<StepId>> = BTreeMap::new();
        for (id, stage) in &of {
            open.entry(*stage).or_default().insert(*id);
        }
        Self {
            of,
            open,
            begun: BTreeSet::new(),
        }
    }

    /// The stage that begins with this step; none when it has begun, or it is of none.
    pub fn begins(&mut self, step: StepId) -> Option<HookStage> {
        let stage = *self.of.get(&step)?;
        self.begun.insert(stage).then_some(stage)
    }

    /// The stage that is done with this step.
    pub fn ends(&mut self, step: StepId) -> Option<HookStage> {
        let stage = *self.of.get(&step)?;
        let open = self.open.get_mut(&stage)?;
        open.remove(&step);
        open.is_empty().then_some(stage)
    }
}

/// The stages that a plan has.
#[must_use]
pub fn stages(plan: &Plan) -> BTreeSet<HookStage> {
    of_steps(plan).into_values().collect()
}

/// Whether a step of a stage was begun.
pub(super) fn has_begun(plan: &Plan, begun: &BTreeSet<StepId>, stage: HookStage) -> bool {
    let of = of_steps(plan);
    begun.iter().any(|step| of.get(step) == Some(&stage))
}

/// The stage of each step that is of one. Checks and tasks are of none: they come between them.
fn of_steps(plan: &Plan) -> BTreeMap<StepId, HookStage> {
    let is_switch = |step: &&Step| matches!(step.action, Action::Switch { .. });
    let has_switch = plan.steps.iter().any(|step| is_switch(&step));
    let last = match plan.intent {
        Intent::Rollback(_) => HookStage::Rollback,
        _ => HookStage::Switch,
    };
    let switches: BTreeSet<StepId> = plan
        .steps
        .iter()
        .filter(|step| {
            if has_switch {
                is_switch(step)
            } else {
                touches_live(plan, step)
            }
        })
        .map(|step| step.id)
        .collect();
    let before = needed_by(plan, &switches);
    // What only listens or takes away deploys nothing, and what waits was deployed before.
    let is_deploy = |step: &Step| matches!(step.action, Action::Deploy { .. });
    let deploys = match plan.intent {
        Intent::Abort | Intent::Promote(_) => false,
        _ => has_switch || plan.steps.iter().any(is_deploy),
    };

    let stage = |step: &Step| match &step.action {
        Action::Task(_) | Action::Check { .. } | Action::Fetch { .. } => None,
        Action::Build { .. } => Some(HookStage::Build),
        _ if switches.contains(&step.id) => Some(last),
        _ if plan.intent.ends_environment() || last == HookStage::Rollback || !deploys => None,
        _ if switches.is_empty() || before.contains(&step.id) => Some(HookStage::Deploy),
        _ => None,
    };
    let steps = plan.steps.iter();
    steps
        .filter_map(|step| Some((step.id, stage(step)?)))
        .collect()
}

/// All steps that must be done before one of these.
fn needed_by(plan: &Plan, steps: &BTreeSet<StepId>) -> BTreeSet<StepId> {
    let mut needed = BTreeSet::new();
    let mut next: Vec<StepId> = steps.iter().copied().collect();
    while let Some(step) = next.pop().and_then(|id| plan.step(id)) {
        for need in &step.needs {
            if needed.insert(*need) {
                next.push(*need);
            }
        }
    }
    needed
}

/// Why the hooks of a point stop the run.
pub(super) enum HookError {
    /// One of them has failed.
    Failed(String),
    /// The journal was not written.
    Journal(JournalError),
}

/// Calls the hooks of a point, one after the other, by their names. What an earlier run has called
/// is not called again, and is in this run's journal for the one after it.
pub(super) async fn call(run: &Run, point: HookPoint) -> Result<(), HookError> {
    let hooks = run.plan().hooks.iter();
    for hook in hooks.filter(|hook| hook.point == point) {
        let result = if run.job.called.contains(&hook.name) {
            note(
                run,
                format!("hook {} ({point}): an earlier run has called it", hook.name),
            );
            Ok(())
        } else {
            call_one(run, hook).await
        };
        let failed = result.as_ref().err().map(ToString::to_string);
        let kept = log::hook(run, hook, failed).await;
        kept.map_err(HookError::Journal)?;
        let Err(failure) = result else { continue };

        let what = format!("the hook {} ({point}) has failed: {failure}", hook.name);
        for line in run.job.ports.redactor.lines(failure.detail) {
            note(run, format!("{}: {line}", hook.name));
        }
        match hook.on_failure {
            OnFailure::Stop => return Err(HookError::Failed(what)),
            OnFailure::Note => note(run, what),
        }
    }
    Ok(())
}

async fn call_one(run: &Run, hook: &Hook) -> Result<(), HookFailure> {
    let told = |text| note(run, text);
    call_hook(&run.job.ports, &bounded(hook), &facts(run, hook), &told).await
}

/// Calls a hook with the values of its secrets. `note` is told what is called, and what it says.
///
/// # Errors
/// It has failed, or a value that it wants cannot be read.
pub async fn call_hook(
    ports: &Ports,
    hook: &Hook,
    facts: &HookFacts,
    note: &(dyn Fn(String) + Send + Sync),
) -> Result<(), HookFailure> {
    let secrets = secrets(ports, hook).await?;
    let (name, title) = (&hook.name, hook.call.title());
    note(format!("hook {name} ({}): {title}", hook.point));
    // A value may go on from one line to the next.
    let stream = Mutex::new(ports.redactor.stream());
    let tell = |lines: Vec<String>| {
        for line in lines {
            note(format!("{name}: {line}"));
        }
    };
    let said = |line: &str| {
        let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
        tell(stream.push(line.to_owned()));
    };
    let result = ports.hooks.call(hook, facts, &secrets, &said).await;
    let mut stream = stream.into_inner().unwrap_or_else(PoisonError::into_inner);
    tell(stream.finish());
    result
}

/// The way back is never held up for long.
fn bounded(hook: &Hook) -> Hook {
    let timeout = match hook.point.stage {
        HookStage::Rollback => hook.timeout.min(BACK),
        _ => hook.timeout,
    };
    Hook {
        timeout,
        ..hook.clone()
    }
}

fn note(run: &Run, text: String) {
    run.say(Event::Note { text });
}

async fn secrets(ports: &Ports, hook: &Hook) -> Result<BTreeMap<String, SecretValue>, HookFailure> {
    let named: Vec<&HookSecret> = match &hook.call {
        HookCall::Run { secrets, .. } => secrets.values().collect(),
        HookCall::Http { key, .. } => vec![key],
    };
    let mut values = BTreeMap::new();
    for secret in named {
        let read = ports.secrets.read(&secret.name, &secret.from).await;
        let read = read.map_err(|error| HookFailure {
            reason: error.to_string(),
            detail: vec![error.help],
        })?;
        values.insert(secret.name.clone(), read.value);
    }
    Ok(values)
}

fn facts(run: &Run, hook: &Hook) -> HookFacts {
    let actor = &run.permit().actor;
    let plan = run.plan();
    let workloads = run.target_workloads();
    let images = workloads.iter().filter_map(|(service, workload)| {
        let image = workload.image.value()?;
        Some((service.to_string(), image.to_string()))
    });
    HookFacts {
        images: images.collect(),
        ..HookFacts::of_plan(plan, hook, actor)
    }
}
