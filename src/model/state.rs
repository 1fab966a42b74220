//! What cannot be observed: release history, lineage and serial, and who holds the lock.

use jiff::Timestamp;

use crate::model::lease::Process;
use crate::model::release::{Actor, Release, ReleaseStatus};
use crate::model::route::Route;
use crate::model::{ContentHash, Digest, EnvironmentName, ProjectName, ReleaseNumber, ServiceName};

/// The version of the state document.
pub const FORMAT: u32 = 1;

/// One environment's state. Everything else is observed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct State {
    /// [`FORMAT`] when it was written.
    pub format: u32,
    /// The project.
    pub project: ProjectName,
    /// The environment.
    pub environment: EnvironmentName,
    /// Names this line of history, so that two states are never mixed up; none before the first run.
    pub lineage: Option<String>,
    /// Counts up with each write.
    pub serial: u64,
    /// Oldest first.
    pub releases: Vec<Release>,
}

impl State {
    /// The state of an environment that nothing was ever done to.
    #[must_use]
    pub const fn empty(project: ProjectName, environment: EnvironmentName) -> Self {
        Self {
            format: FORMAT,
            project,
            environment,
            lineage: None,
            serial: 0,
            releases: Vec::new(),
        }
    }

    /// The release with this number.
    #[must_use]
    pub fn release(&self, number: ReleaseNumber) -> Option<&Release> {
        self.releases
            .iter()
            .find(|release| release.number == number)
    }

    /// The release that has live traffic, as far as the state knows.
    #[must_use]
    pub fn live(&self) -> Option<&Release> {
        self.releases
            .iter()
            .rev()
            .find(|release| release.status == ReleaseStatus::Live)
    }

    /// The release that had live traffic last before `number`: where `rollback` goes.
    #[must_use]
    pub fn previous_good(&self, number: ReleaseNumber) -> Option<&Release> {
        self.releases
            .iter()
            .filter(|release| {
                release.number != number && release.status == ReleaseStatus::Superseded
            })
            .max_by_key(|release| release.live_since)
    }

    /// Where a service of a release was listened for, when that was closed since: as it was then.
    #[must_use]
    pub fn closed(&self, number: ReleaseNumber, service: &ServiceName) -> Option<&Route> {
        let later = self
            .releases
            .iter()
            .filter(|release| release.number >= number);
        let closed = later.filter(|release| release.closed.contains_key(service));
        let first = closed.min_by_key(|release| release.number)?;
        first.closed.get(service)
    }

    /// The images of a service that were made from these inputs, the newest first.
    pub fn made_from<'a>(
        &'a self,
        service: &'a ServiceName,
        inputs: &'a ContentHash,
    ) -> impl Iterator<Item = &'a Digest> {
        let releases = self.releases.iter().rev();
        releases.filter_map(|release| release.made_from(service, inputs))
    }

    /// Every image that the newest `keep` releases use.
    pub fn images(&self, keep: usize) -> impl Iterator<Item = &Digest> {
        self.releases.iter().rev().take(keep).flat_map(|release| {
            release
                .workloads
                .values()
                .filter_map(|workload| workload.image.value())
        })
    }
}

/// Who holds an environment's lock.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LockHolder {
    /// Who, and in which run.
    pub actor: Actor,
    /// The process on its machine.
    pub pid: u32,
    /// That process' start time in clock ticks since boot.
    pub pid_started: u64,
    /// The process, told apart from every other; none in a record of a version that did not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// The command, for a reader: `apply`, `promote green`.
    pub command: String,
    /// When the lock was taken.
    pub since: Timestamp,
    /// When the holder last said that it lives, by its own clock.
    pub heartbeat: Timestamp,
    /// How often it has said so: what a taker sees change.
    #[serde(default)]
    pub beats: u64,
    /// Counts up with each taking: a number below another's has lost.
    pub fence: u64,
}
