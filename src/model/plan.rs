//! The plan: a frozen document of what will be done, why, and how to go back.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;

use crate::model::build::BuildSpec;
use crate::model::check::{Check, Stage};
use crate::model::hook::Hook;
use crate::model::image::ImageName;
use crate::model::loss::Loss;
use crate::model::promotion::{Mode, Probe, Strategy};
use crate::model::release::{Label, PromotedFrom};
use crate::model::resource::Resource;
use crate::model::route::Route;
use crate::model::source::Source;
use crate::model::task::{ReleaseTask, Task};
use crate::model::volume::Mount;
use crate::model::workload::Workload;
use crate::model::{
    Address, ContentHash, Digest, EnvironmentName, Fingerprint, LiveTraffic, Manifest, Period,
    ProjectName, ReleaseNumber, ServiceName, Slot, TaskName,
};

/// The version of the plan document. It goes up when a reader of the old one would misread the new
/// one.
pub const FORMAT: u32 = 3;

/// A frozen document: what will be done and in which order, bound to what was observed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Plan {
    /// [`FORMAT`] when it was made.
    pub format: u32,
    /// Which command it carries out.
    pub intent: Intent,
    /// The project.
    pub project: ProjectName,
    /// The environment.
    pub environment: EnvironmentName,
    /// What it is built from.
    pub source: Source,
    /// Where the environment's objects are on a cluster; an object in another namespace is shown
    /// with it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub namespaces: BTreeSet<String>,
    /// The lineage and serial of the state it was made with; apply refuses another serial.
    pub state: StateRef,
    /// How the new release replaces the old one.
    pub strategy: Strategy,
    /// Who switches traffic.
    pub mode: Mode,
    /// What measures that nothing is lost while live traffic is touched.
    pub probe: Probe,
    /// The release that has live traffic now.
    pub active: Option<Placed>,
    /// The release that this plan places or moves; none when nothing is placed.
    pub target: Option<Target>,
    /// The steps.
    pub steps: Vec<Step>,
    /// How to go back, in order: computed before anything was done.
    pub reverse: Vec<Step>,
    /// What was looked at and is as it should be.
    pub unchanged: Vec<Unchanged>,
    /// What the reader should know besides.
    pub notes: Vec<String>,
    /// Why the rollback would not lead anywhere; such a plan is carried out only if that is asked
    /// for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rollback_blockers: Vec<String>,
    /// What each step destroys that deletes or replaces something which can hold data, traffic,
    /// state or things of others. A step with an empty account was looked at, and takes nothing
    /// with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<Loss>,
    /// What is called around its stages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<Hook>,
}

impl Plan {
    /// Whether there is nothing to do.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The step with this id.
    #[must_use]
    pub fn step(&self, id: StepId) -> Option<&Step> {
        self.steps.iter().find(|step| step.id == id)
    }

    /// Hash of the whole document: what an approval is for.
    #[must_use]
    pub fn hash(&self) -> ContentHash {
        ContentHash::of_json(self)
    }

    /// The services that do not answer for a while where they have live traffic: they are stopped
    /// before they start again.
    #[must_use]
    pub fn gaps(&self) -> BTreeSet<&ServiceName> {
        let live = self.active.as_ref().map(|active| active.slot);
        let has_a_gap = |step: &&Step| match &step.action {
            Action::Stop => true,
            Action::Deploy { mode, running, .. } => *mode == DeployMode::Recreate && *running,
            _ => false,
        };
        let steps = self.steps.iter().filter(has_a_gap);
        let gaps = steps.filter_map(|step| match &step.address {
            Address::Workload(slot, service) if live == Some(*slot) => Some(service),
            _ => None,
        });
        gaps.collect()
    }

    /// Whether any step moves live traffic.
    #[must_use]
    pub fn switches(&self) -> bool {
        self.steps
            .iter()
            .any(|step| matches!(step.action, Action::Switch { .. }))
    }
}

/// Which command a plan carries out.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Intent {
    /// Make the environment what the configuration says.
    Apply,
    /// Give live traffic to the release in this slot.
    Promote(Slot),
    /// Deploy the images that are live in another environment.
    PromoteFrom(PromotedFrom),
    /// Give live traffic back to this release.
    Rollback(ReleaseNumber),
    /// Give up the release that waits in the preview slot.
    Abort,
    /// Take everything away.
    Destroy,
    /// Take everything away, and then the infrastructure that was made for it.
    DestroyInfrastructure,
    /// Run this task of the live release.
    Task(TaskName),
    /// Run the tasks of the live release that have come due.
    Settle,
}

impl Intent {
    /// What is promoted from another environment; none where nothing is.
    #[must_use]
    pub const fn promoted_from(&self) -> Option<&PromotedFrom> {
        match self {
            Self::PromoteFrom(from) => Some(from),
            _ => None,
        }
    }

    /// Whether the environment is gone when it is carried out.
    #[must_use]
    pub const fn ends_environment(&self) -> bool {
        match self {
            Self::Destroy | Self::DestroyInfrastructure => true,
            Self::Apply
            | Self::Promote(_)
            | Self::PromoteFrom(_)
            | Self::Rollback(_)
            | Self::Abort
            | Self::Task(_)
            | Self::Settle => false,
        }
    }
}

/// The state that a plan was made with.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StateRef {
    /// Which line of history; none before the first run.
    pub lineage: Option<String>,
    /// How far it had come.
    pub serial: u64,
}

/// A release in a slot.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Placed {
    /// Where.
    pub slot: Slot,
    /// Which release.
    pub release: ReleaseNumber,
    /// Its services that never run beside what the plan places: they are stopped before it starts.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub exclusive: BTreeSet<ServiceName>,
    /// What its services that run have mounted; those without anything are left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mounts: BTreeMap<ServiceName, Vec<Mount>>,
}

/// The release that a plan places or moves.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Target {
    /// Where it goes or is.
    pub slot: Slot,
    /// Its number.
    pub release: ReleaseNumber,
    /// Whether it is a new release, and not one of the history.
    pub new: bool,
    /// What it was or is built from.
    pub source: Source,
    /// What it runs.
    pub workloads: BTreeMap<ServiceName, Workload>,
    /// From which build inputs each image is made, where a run of this project makes it or has made
    /// it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<ServiceName, ContentHash>,
    /// By which name each image was found that the project has not built.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<ServiceName, ImageName>,
    /// The tasks of its configuration; none in a target that the history has already.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tasks: BTreeMap<TaskName, Task>,
}

impl Target {
    /// The image of a service, when it is known and was made from these inputs.
    #[must_use]
    pub fn made_from(&self, service: &ServiceName, inputs: &ContentHash) -> Option<&Digest> {
        let is_it = self.inputs.get(service) == Some(inputs);
        self.workloads.get(service).filter(|_| is_it)?.image.value()
    }
}

/// A step's place in its plan, counted from 1.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct StepId(pub u32);

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One idempotent action on one resource.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Step {
    /// Its place in the plan.
    pub id: StepId,
    /// What it acts on.
    pub address: Address,
    /// What it does.
    pub action: Action,
    /// Why, in one line.
    pub reason: String,
    /// Which fields change, for a reader.
    pub changes: Vec<Change>,
    /// What it expects to find; checked just before it acts. None: it expects that nothing is
    /// there, or changes nothing.
    pub expects: Option<Fingerprint>,
    /// The steps that must be done before.
    pub needs: Vec<StepId>,
    /// In the reverse plan: the step that this one takes back. It runs only if that one was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undoes: Option<StepId>,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Action {
    /// Build an image and push it to the registry.
    Build {
        /// How.
        spec: BuildSpec,
        /// The inputs' hash; checked again before the build.
        inputs: ContentHash,
    },
    /// Bring an image that somebody else has made to where the engine fetches it; for an engine
    /// that fetches it from its own registry, look that it is there.
    Fetch {
        /// What it is named by.
        name: ImageName,
        /// What that is.
        image: Digest,
    },
    /// Make an object what it should be; one that cannot be changed is replaced.
    Apply {
        /// What it should be.
        manifest: Box<Manifest>,
        /// Whether it must be deleted first.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        replace: bool,
    },
    /// Delete an object of a cluster, or a provider's resource.
    Delete,
    /// Leave an object as it is and let go of it: it is not shipit's any more.
    Forget,
    /// Make a provider's resource, or its settings, what they should be; with `replace` what is
    /// there goes first.
    Ensure {
        /// What it should be.
        resource: Box<Resource>,
        /// Whether what is there must go first.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        replace: bool,
    },
    /// Set up a service's listeners, or change them.
    Listen {
        /// The listeners.
        route: Route,
        /// The listeners of other services that change in the same moment: they take over addresses
        /// from each other.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        with: Vec<Route>,
    },
    /// Close a service's listeners.
    StopListening,
    /// Put a workload into a slot and start it.
    Deploy {
        /// What.
        workload: Workload,
        /// How it replaces what runs there.
        mode: DeployMode,
        /// The release that the slot holds from then on, when it is not the plan's target: the one
        /// that stood there before, during the rollback.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        label: Option<Label>,
        /// Whether it runs; a release that is kept for a rollback may be stopped.
        running: bool,
    },
    /// Stop a workload in its slot; it stays there, and can be started again.
    Stop,
    /// Take a workload out of a slot.
    Undeploy,
    /// Take every workload out of a slot that has no live traffic.
    Clear,
    /// Run a task of a release, unless that is done; what a run that died has begun is gone on
    /// with.
    Task(Box<ReleaseTask>),
    /// Wait until every instance in the slot can take traffic.
    WaitUntilReady {
        /// How long it may take.
        within: Period,
    },
    /// Run checks against the slot.
    Check {
        /// When.
        stage: Stage,
        /// What.
        checks: Vec<Check>,
    },
    /// Move live traffic.
    Switch {
        /// Where it goes now.
        from: LiveTraffic,
        /// Where it goes then; off takes the environment off the network.
        to: LiveTraffic,
    },
    /// Retain a slot for a rollback, then stop it.
    Retain {
        /// For how long.
        keep: Period,
    },
    /// Let a slot that is retained go on with the end that it had, during the rollback.
    RetainUntil {
        /// When it is stopped.
        until: Timestamp,
    },
}

impl Action {
    /// Sets up or changes one service's listeners.
    #[must_use]
    pub const fn listen(route: Route) -> Self {
        Self::Listen {
            route,
            with: Vec::new(),
        }
    }

    /// The listeners that it sets up or changes; none for another action.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        let (first, with) = match self {
            Self::Listen { route, with } => (Some(route), with.as_slice()),
            _ => (None, [].as_slice()),
        };
        first.into_iter().chain(with)
    }

    /// What it does: its name as in JSON, and what it does it with.
    #[must_use]
    pub fn title(&self) -> String {
        match self {
            Self::Build { .. } => "build".to_owned(),
            Self::Fetch { .. } => "fetch".to_owned(),
            Self::Apply { replace: true, .. } => "apply (replace)".to_owned(),
            Self::Apply { .. } => "apply".to_owned(),
            Self::Delete => "delete".to_owned(),
            Self::Forget => "forget".to_owned(),
            Self::Ensure { replace: true, .. } => "ensure (replace)".to_owned(),
            Self::Ensure { .. } => "ensure".to_owned(),
            Self::Listen { .. } => "listen".to_owned(),
            Self::StopListening => "stop listening".to_owned(),
            Self::Deploy { running: false, .. } => "deploy (stopped)".to_owned(),
            Self::Deploy { mode, .. } => match mode {
                DeployMode::Fresh => "deploy".to_owned(),
                DeployMode::Rolling => "deploy (rolling)".to_owned(),
                DeployMode::Recreate => "deploy (recreate)".to_owned(),
            },
            Self::Stop => "stop".to_owned(),
            Self::Undeploy => "undeploy".to_owned(),
            Self::Clear => "clear".to_owned(),
            Self::Task(of) => format!("task ({})", of.task.class),
            Self::WaitUntilReady { .. } => "wait until ready".to_owned(),
            Self::Check { stage, checks } => match stage {
                Stage::Before => format!("check before ({})", checks.len()),
                Stage::After => format!("check after ({})", checks.len()),
            },
            Self::Switch { from, to } => format!("switch {from} → {to}"),
            Self::Retain { keep } => format!("retain for {keep}"),
            Self::RetainUntil { until } => format!("retain until {until:.0}"),
        }
    }
}

/// How a workload replaces what runs in its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeployMode {
    /// The slot has no live traffic: stop what is there, start the new.
    Fresh,
    /// The slot is live: instance by instance, each ready before the old one drains.
    Rolling,
    /// The slot is live: stop the old, then start the new.
    Recreate,
}

/// One field's difference.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Change {
    /// Where in the resource: `image`, `env.LOG_LEVEL`.
    pub field: String,
    /// What it is now; none when it is not there.
    pub before: Option<String>,
    /// What it will be; none when it goes away.
    pub after: Option<String>,
    /// Where the difference comes from, when it is not the configuration: who moved it and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Who moved it; none when nobody is known to have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<MovedBy>,
}

/// Who moved a field away from what was applied, as far as the server knows.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MovedBy {
    /// The manager that the server's record names: a program, not a person.
    pub manager: String,
    /// When that wrote last.
    pub at: Option<Timestamp>,
}

/// A resource that is as it should be.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Unchanged {
    /// Which.
    pub address: Address,
    /// How that is known.
    pub reason: String,
}
