//! What an engine is given, and what it answers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::Timestamp;

use crate::model::facts::SlotFacts;
use crate::model::loss::Holding;
use crate::model::object::ObjectFault;
use crate::model::plan::DeployMode;
use crate::model::release::{Actor, Label};
use crate::model::secret::SecretValue;
use crate::model::workload::Workload;
use crate::model::{
    EnvironmentName, Fingerprint, Manifest, ObjectKey, ProjectName, ReleaseNumber, ServiceName,
    Slot,
};
use crate::port::engine::EngineError;
use crate::port::hold::Hold;

/// Which environment of which project.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Scope {
    /// The project.
    pub project: ProjectName,
    /// The environment.
    pub environment: EnvironmentName,
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.project, self.environment)
    }
}

/// The right to change one environment.
#[derive(Debug, Clone)]
pub struct Permit {
    /// Which environment.
    pub scope: Scope,
    /// The lineage of the state that the run works with. The first one to come owns the
    /// environment.
    pub lineage: String,
    /// The lock's fencing number.
    pub fence: u64,
    /// Who.
    pub actor: Actor,
    /// Whether the lock is still held. An engine without a guard of its own that sees fencing
    /// numbers asks before each request that changes something.
    pub hold: Hold,
}

/// What a plan has said that goes with what a step deletes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Foreseen<'a> {
    /// What it said that the object holds.
    pub holds: &'a [Holding],
    /// Whether the whole environment goes, and with it every place that traffic arrives at.
    pub ends_environment: bool,
}

impl Foreseen<'_> {
    /// Whether what is found is all foreseen. Less than that is no surprise: an earlier step of the
    /// same plan may have taken it. What is the environment's own goes or stays by its own steps.
    #[must_use]
    pub fn covers(&self, found: &[Holding]) -> bool {
        let is_foreseen = |holding: &Holding| match holding {
            Holding::Own { .. } => true,
            Holding::Entry { .. } if self.ends_environment => true,
            other => self.holds.contains(other),
        };
        found.iter().all(is_foreseen)
    }
}

impl Permit {
    /// Whether it may act on an environment of this lineage, where a run with this fencing number
    /// was the last to act. An environment with nothing in it is nobody's: then there is no
    /// lineage.
    ///
    /// # Errors
    /// It is another state's, or another run has it.
    pub fn enters(
        &self,
        lineage: Option<&String>,
        seen: u64,
        by: Option<&Actor>,
    ) -> Result<(), EngineError> {
        if let Some(owner) = lineage.filter(|owner| **owner != self.lineage) {
            return Err(EngineError::Foreign {
                scope: self.scope.clone(),
                owner: owner.clone(),
                lineage: self.lineage.clone(),
            });
        }
        self.stands(seen, by)
    }

    /// Whether it is still good where a run with this fencing number was the last to act. Two locks
    /// in two places may give the same number: the first run to act with it has it.
    ///
    /// # Errors
    /// The other run has the environment.
    fn stands(&self, seen: u64, by: Option<&Actor>) -> Result<(), EngineError> {
        let is_others = by.is_some_and(|actor| actor.run != self.actor.run);
        if self.fence < seen || (self.fence == seen && is_others) {
            let (scope, fence) = (self.scope.clone(), self.fence);
            return Err(EngineError::Fenced { scope, fence, seen });
        }
        Ok(())
    }
}

/// Where an engine fetches an image's bytes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pull {
    /// From an OCI image layout folder on the engine's machine, by absolute path.
    Layout(PathBuf),
    /// From a registry, by the repository's reference without tag and digest.
    Repository(String),
}

/// What is known about a failure, gathered before anything is reverted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// The likely cause, in one line.
    pub cause: String,
    /// What supports it: file name → text. No secret's value is in them.
    pub files: BTreeMap<String, String>,
}

/// A permission or a property that an engine needs, and whether it has it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct CheckResult {
    /// What was looked at: `create deployments.apps in shop-staging`.
    pub what: String,
    /// Why it is failing; none when it is ok.
    pub fault: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
}

/// A workload whose image will be needed.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Incoming {
    /// What will run; its image is known.
    pub workload: Workload,
    /// Where the image comes from.
    pub pull: Pull,
}

/// A workload on its way into a slot.
#[derive(Debug, Clone)]
pub struct Placement {
    /// The slot.
    pub slot: Slot,
    /// The release that the slot holds from now on. A fresh placement of another release empties
    /// the slot first.
    pub label: Label,
    /// What to run; its image is known.
    pub workload: Workload,
    /// How it replaces what runs there.
    pub mode: DeployMode,
    /// Whether to run it, or only to have it there.
    pub running: bool,
    /// Where the image comes from.
    pub pull: Pull,
    /// The values of the secrets that the workload names, by name.
    pub secrets: BTreeMap<String, SecretValue>,
    /// What must be there now ([`crate::model::facts::Facts::workload_fingerprint`]); none:
    /// nothing.
    pub expects: Option<Fingerprint>,
}

/// Instances of a service that are to be started anew, as they are.
#[derive(Debug, Clone)]
pub struct Restart {
    /// In which slot.
    pub slot: Slot,
    /// Of which service.
    pub service: ServiceName,
    /// How new ones take the place of the old ones: `Rolling` or `Recreate`.
    pub mode: DeployMode,
    /// The values of the secrets that the workload names, by name, as far as they could be read.
    /// One that is not what the service was given is not used: it would be a release.
    pub secrets: BTreeMap<String, SecretValue>,
}

/// A workload that a plan would put into a slot.
#[derive(Debug, Clone)]
pub struct Rehearsal<'a> {
    /// The slot.
    pub slot: Slot,
    /// The release that it belongs to.
    pub release: ReleaseNumber,
    /// What would run; its image may not be known yet.
    pub workload: &'a Workload,
    /// How it would replace what runs there.
    pub mode: DeployMode,
    /// Where the image will come from.
    pub pull: Pull,
    /// What is in the slot now.
    pub current: Option<&'a SlotFacts>,
    /// The environment's own objects: they are made before.
    pub objects: &'a [Manifest],
    /// Those of them that the plan changes before.
    pub changing: &'a BTreeSet<ObjectKey>,
}

/// What an engine says about a workload that it was asked about beforehand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rehearsed {
    /// What it would not take of which object, and why.
    pub refused: Vec<(ObjectKey, ObjectFault)>,
    /// What it would delete and make again, and what says of itself that this must never be.
    pub protected: Vec<ObjectKey>,
    /// Why some of it could not be asked about.
    pub unchecked: Vec<String>,
}

/// What a reader wants of the logs.
#[derive(Debug, Clone, Default)]
pub struct LogQuery {
    /// Only this slot.
    pub slot: Option<Slot>,
    /// Only this service.
    pub service: Option<ServiceName>,
    /// How many of the last lines of each instance; all that are kept without it.
    pub tail: Option<usize>,
    /// Only what was written since. Where an engine does not know it to the line, it gives what may
    /// have been.
    pub since: Option<Timestamp>,
    /// Whether to go on with what comes.
    pub follow: bool,
}

/// One line that an instance wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// The slot.
    pub slot: Slot,
    /// The service.
    pub service: ServiceName,
    /// Which of its instances.
    pub instance: u16,
    /// The line, without its end.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_than_was_foreseen_is_no_surprise_and_more_is() {
        let data = |what: &str| Holding::Data {
            what: what.to_owned(),
            size: None,
            policy: None,
        };
        let entry = Holding::Entry {
            what: "Service/web".to_owned(),
        };
        let own = Holding::Own {
            what: "claim c".to_owned(),
        };
        let told = [data("claim a"), data("claim b")];
        let foreseen = Foreseen {
            holds: &told,
            ends_environment: false,
        };
        assert!(foreseen.covers(&told));
        assert!(foreseen.covers(&[data("claim b")]));
        assert!(foreseen.covers(&[own]));
        assert!(foreseen.covers(&[]));
        assert!(!foreseen.covers(&[data("claim b"), data("claim c")]));

        assert!(!foreseen.covers(std::slice::from_ref(&entry)));
        let at_the_end = Foreseen {
            ends_environment: true,
            ..foreseen
        };
        assert!(at_the_end.covers(&[entry]));
        assert!(!at_the_end.covers(&[data("claim c")]));
    }
}
