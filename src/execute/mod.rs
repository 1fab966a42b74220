//! Carries a plan out: its graph with bounded concurrency, each step journaled before and after,
//! and the rollout's state machine asked at every turn. Start with [`execute`].
//!
//! Uses `port`, `model`, `plan` and `rollout`; the world is reached through the ports alone.

mod back;
mod bundle;
mod forward;
mod hooks;
mod log;
mod persist;
mod probe;
mod step;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

pub use hooks::{call_hook, stages};
pub use persist::{ending, persist, persist_unrecorded};

use tokio_util::sync::CancellationToken;

use crate::model::approval::Approval;
use crate::model::event::Event;
use crate::model::outcome::ProbeReport;
use crate::model::plan::{Plan, Step, StepId};
use crate::model::release::Label;
use crate::model::task::TaskRecord;
use crate::model::window::OutsideWindow;
use crate::model::workload::{Known, Workload};
use crate::model::{Digest, HookName, ServiceName};
use crate::port::Ports;
use crate::port::engine::{Engine, Permit, Scope};
use crate::port::hold::LockLost;
use crate::redact::LineStream;
use crate::rollout::record::config_hash;
use crate::rollout::{CutOff, End, Traffic};

/// How many steps run side by side.
const WIDTH: usize = 8;

/// Says why live traffic may not be touched now.
pub type Gate = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Where events go as they happen.
pub type Sink = Arc<dyn Fn(Event) + Send + Sync>;

/// What stops a run from outside.
#[derive(Debug, Clone)]
pub struct Stops {
    /// Asked to stop: once by Ctrl-C, SIGTERM or `shipit abort`.
    pub interrupted: CancellationToken,
    /// Asked twice: stop now, and leave the rest to the next run.
    pub killed: CancellationToken,
}

/// One run.
pub struct Job {
    /// What is carried out.
    pub plan: Plan,
    /// Who said that it may be.
    pub approval: Approval,
    /// The world.
    pub ports: Ports,
    /// The right to change the environment.
    pub permit: Permit,
    /// The project's folder.
    pub root: PathBuf,
    /// What stops it from outside.
    pub stops: Stops,
    /// What is asked before the first step that touches live traffic; none where nothing is.
    pub gate: Option<Gate>,
    /// Why live traffic may be touched outside of its windows, where somebody said so.
    pub outside_window: OutsideWindow,
    /// The hooks of the plan that an earlier run has called, which this one goes on with.
    pub called: BTreeSet<HookName>,
    /// Where events go.
    pub sink: Sink,
}

/// A run that is over.
#[derive(Debug, Clone)]
pub struct Finished {
    /// How it ended.
    pub end: End,
    /// What the target runs, every image that was built filled in.
    pub workloads: BTreeMap<ServiceName, Workload>,
    /// What the prober measured.
    pub probe: Option<ProbeReport>,
    /// The tasks that ended in it.
    pub tasks: Vec<TaskRecord>,
}

/// Carries a plan out. Failures are part of the result: they have been dealt with when this
/// returns.
pub async fn execute(job: Job) -> Finished {
    let run = Arc::new(Run::new(job));
    let end = forward::carry_out(&run).await;
    run.soft.cancel();
    run.say_the_rest();
    let probe = match end {
        // Whoever asked twice does not wait for requests that are on their way, and a lost lock
        // ends all.
        End::LockLost | End::Interrupted(Traffic::Unknown) => None,
        _ => run.probe.stop(&run).await,
    };
    Finished {
        end,
        workloads: run.target_workloads(),
        probe,
        tasks: run.tasks(),
    }
}

/// What the steps of one run share.
struct Run {
    job: Job,
    /// The images that were built in this run.
    built: Mutex<BTreeMap<ServiceName, Digest>>,
    /// The tasks that have ended in this run.
    tasks: Mutex<Vec<TaskRecord>>,
    /// What is known of the room for its images.
    room: tokio::sync::Mutex<step::room::Room>,
    /// What each step says, in lines that follow each other.
    said: Mutex<BTreeMap<StepId, LineStream>>,
    /// Is cancelled when what is under way should stop soon: builds, waits, checks.
    soft: CancellationToken,
    /// Is cancelled when what is only to be taken away behind the switch is not waited for any more.
    leaving: CancellationToken,
    probe: probe::Session,
}

impl Run {
    fn new(job: Job) -> Self {
        let soft = CancellationToken::new();
        Self {
            job,
            built: Mutex::default(),
            tasks: Mutex::default(),
            room: tokio::sync::Mutex::default(),
            said: Mutex::default(),
            soft,
            leaving: CancellationToken::new(),
            probe: probe::Session::default(),
        }
    }

    /// The ports for an effect: only as long as the lock is held, which is asked each time. What
    /// only looks at the world needs no lock.
    async fn acting(&self) -> Result<&Ports, LockLost> {
        self.job.permit.hold.confirmed().await?;
        Ok(&self.job.ports)
    }

    /// Waits for what ends the run where it stands.
    async fn cut_off(&self) -> CutOff {
        let lost = self.job.permit.hold.lost();
        tokio::select! {
            biased;
            () = lost.cancelled() => CutOff::LockLost,
            () = self.job.stops.killed.cancelled() => CutOff::Killed,
        }
    }

    fn plan(&self) -> &Plan {
        &self.job.plan
    }

    fn engine(&self) -> &Arc<dyn Engine> {
        &self.job.ports.engine
    }

    fn permit(&self) -> &Permit {
        &self.job.permit
    }

    fn scope(&self) -> &Scope {
        &self.job.permit.scope
    }

    /// Tells the lines of a step.
    fn teller(&self, step: &Step) -> impl Fn(&str) + Send + Sync {
        let step = step.id;
        move |line| {
            let line = line.to_owned();
            self.say(Event::StepSaid { step, line });
        }
    }

    /// Tells what happened, without any secret that was read. What a step says comes before what
    /// comes of it.
    fn say(&self, event: Event) {
        let redactor = &self.job.ports.redactor;
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::StepSaid { step, line } => {
                let stream = said.entry(step).or_insert_with(|| redactor.stream());
                self.lines(step, stream.push(line));
            }
            Event::StepDone { step, .. } | Event::StepFailed { step, .. } => {
                if let Some(mut stream) = said.remove(&step) {
                    self.lines(step, stream.finish());
                }
                (self.job.sink)(redactor.event(event));
            }
            other => (self.job.sink)(redactor.event(other)),
        }
    }

    /// What steps said that were stopped.
    fn say_the_rest(&self) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        for (step, mut stream) in std::mem::take(&mut *said) {
            self.lines(step, stream.finish());
        }
    }

    fn lines(&self, step: StepId, lines: Vec<String>) {
        for line in lines {
            (self.job.sink)(Event::StepSaid { step, line });
        }
    }

    fn remember(&self, service: &ServiceName, digest: Digest) {
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        built.insert(service.clone(), digest);
    }

    fn keep_task(&self, record: TaskRecord) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.push(record);
    }

    fn tasks(&self) -> Vec<TaskRecord> {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.clone()
    }

    /// The workload with its image filled in, if the image is known by now.
    fn known(&self, workload: &Workload) -> Option<Workload> {
        if workload.image.value().is_some() {
            return Some(workload.clone());
        }
        let built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = built.get(&workload.service)?.clone();
        Some(Workload {
            image: Known::Value(digest),
            ..workload.clone()
        })
    }

    fn target_workloads(&self) -> BTreeMap<ServiceName, Workload> {
        let Some(target) = &self.plan().target else {
            return BTreeMap::new();
        };
        let known = |workload: &Workload| self.known(workload).unwrap_or_else(|| workload.clone());
        target
            .workloads
            .iter()
            .map(|(name, workload)| (name.clone(), known(workload)))
            .collect()
    }

    /// What the engine keeps beside the target's workloads. Every image must be known.
    fn target_label(&self) -> Option<Label> {
        let target = self.plan().target.as_ref()?;
        Some(Label {
            number: target.release,
            commit: target.source.commit.clone(),
            branch: target.source.branch.clone(),
            dirty: target.source.dirty,
            config: config_hash(&self.target_workloads()),
            inputs: target.inputs.clone(),
        })
    }
}

/// The steps that were begun: what the reverse plan has to take back.
type Begun = BTreeSet<StepId>;
