//! What cannot be observed: release history, lineage and serial, and who holds the lock.

use jiff::Timestamp;

use crate::model::facts::Overview;
use crate::model::lease::Process;
use crate::model::release::{Actor, Release, ReleaseStatus, counted};
use crate::model::route::Route;
use crate::model::task::TaskRecord;
use crate::model::{
    ContentHash, Digest, EnvironmentName, LiveTraffic, ProjectName, ReleaseNumber, ServiceName,
    Slot,
};

/// The version of the state document.
pub const FORMAT: u32 = 2;

/// One environment's state. Everything else is observed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct State {
    /// [`FORMAT`] when it was written.
    pub format: u32,
    /// The project.
    pub project: ProjectName,
    /// The environment.
    pub environment: EnvironmentName,
    /// Names this line of history, so that two states are never mixed up; none before the first
    /// run.
    pub lineage: Option<String>,
    /// Counts up with each write.
    #[serde(deserialize_with = "counted")]
    pub serial: u64,
    /// Oldest first.
    pub releases: Vec<Release>,
    /// Where it was migrated to; none while it is in use here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrated_to: Option<Migrated>,
}

/// That a state is in use somewhere else since: what is left behind is not gone on with.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Migrated {
    /// Where, for a reader.
    pub to: String,
    /// Who migrated it.
    pub by: Actor,
    /// When.
    pub at: Timestamp,
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
            migrated_to: None,
        }
    }

    /// A release of another state that this one does not have as it is there; none when it has all
    /// of them.
    #[must_use]
    pub fn lacks<'a>(&self, other: &'a Self) -> Option<&'a Release> {
        let mut others = other.releases.iter();
        others.find(|release| !self.releases.contains(release))
    }

    /// How it is behind what an engine has; none when it has all of that.
    #[must_use]
    pub fn behind(&self, found: &Overview) -> Option<Behind> {
        if let (Some(owner), Some(own)) = (&found.lineage, &self.lineage)
            && owner != own
        {
            let (owner, own) = (owner.clone(), own.clone());
            return Some(Behind::Lineage { owner, own });
        }

        let mut slots = found.labels.iter();
        let unknown = slots.find(|(_, label)| self.release(label.number).is_none());
        if let Some((slot, label)) = unknown {
            let (number, slot) = (label.number, *slot);
            return Some(Behind::Release { number, slot });
        }

        let live = found.traffic.slot().and_then(|slot| found.number(slot));
        let own = self.live().map(|release| release.number);
        (live != own).then_some(Behind::Live { found: live, own })
    }

    /// The release with this number.
    #[must_use]
    pub fn release(&self, number: ReleaseNumber) -> Option<&Release> {
        self.releases
            .iter()
            .find(|release| release.number == number)
    }

    /// Whether a release waits for its promotion.
    #[must_use]
    pub fn waits(&self, number: ReleaseNumber) -> bool {
        self.release(number)
            .is_some_and(|release| release.status == ReleaseStatus::Waiting)
    }

    /// The slot without live traffic whose release waits for its promotion. `number` says what
    /// stands in a slot.
    pub fn waiting_slot(
        &self,
        traffic: LiveTraffic,
        number: impl Fn(Slot) -> Option<ReleaseNumber>,
    ) -> Option<Slot> {
        Slot::ALL
            .into_iter()
            .filter(|slot| !traffic.reaches(*slot))
            .find(|slot| number(*slot).is_some_and(|number| self.waits(number)))
    }

    /// The release that has live traffic, as far as the state knows.
    #[must_use]
    pub fn live(&self) -> Option<&Release> {
        self.releases
            .iter()
            .rev()
            .find(|release| release.status == ReleaseStatus::Live)
    }

    /// The release that had live traffic last before `number`: where `rollback` goes. By the order
    /// of the switches; the time is for records of versions that kept no order. Where a run was
    /// killed behind its switch it is the one that is still recorded as live.
    #[must_use]
    pub fn previous_good(&self, number: ReleaseNumber) -> Option<&Release> {
        self.releases
            .iter()
            .filter(|release| {
                let was_live = matches!(
                    release.status,
                    ReleaseStatus::Live | ReleaseStatus::Superseded
                );
                release.number != number && was_live
            })
            .max_by_key(|release| (release.live_serial, release.live_since))
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

    /// What a task took away is gone, whoever remembers its release: another release keeps it.
    fn inherit<'a>(&mut self, tasks: impl Iterator<Item = &'a TaskRecord>) {
        let Some(heir) = self.releases.last_mut() else {
            return;
        };
        let taken = tasks.filter(|record| !record.class.keeps_rollback());
        heir.tasks.extend(taken.cloned());
    }

    /// The state without a release. Listeners that are kept with it for a rollback go to the newest
    /// older release that has their service.
    #[must_use]
    pub fn without(mut self, number: ReleaseNumber) -> Self {
        let gone = self
            .releases
            .extract_if(.., |release| release.number == number);
        let gone: Vec<Release> = gone.collect();
        self.inherit(gone.iter().flat_map(|release| &release.tasks));
        let closed = gone.into_iter().flat_map(|release| release.closed);
        let closed: Vec<_> = closed.collect();
        for (service, route) in closed {
            let older = self.releases.iter_mut();
            let older = older.filter(|release| {
                release.number < number && release.workloads.contains_key(&service)
            });
            if let Some(heir) = older.max_by_key(|release| release.number) {
                heir.closed.entry(service).or_insert(route);
            }
        }
        self
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

/// How a state is behind what an engine has: somebody has acted since, with a state of their own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Behind {
    /// The environment was replaced, with another state.
    #[error("the environment belongs to the lineage {owner}, and this state is of {own}")]
    Lineage {
        /// Whose it is.
        owner: String,
        /// This state's.
        own: String,
    },
    /// A slot has a release that the state does not know.
    #[error("release {number} is in {slot}, and this state does not have it")]
    Release {
        /// Which release.
        number: ReleaseNumber,
        /// Where.
        slot: Slot,
    },
    /// Live traffic is elsewhere than the state says.
    #[error("{} has live traffic, and this state says {}", live_words(*.found), live_words(*.own))]
    Live {
        /// What has it.
        found: Option<ReleaseNumber>,
        /// What has it by the state.
        own: Option<ReleaseNumber>,
    },
}

fn live_words(release: Option<ReleaseNumber>) -> String {
    release.map_or_else(|| "none".to_owned(), |number| format!("release {number}"))
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

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::release::Label;
    use crate::model::source::Source;

    pub fn release(number: u64, slot: Slot, status: ReleaseStatus) -> Release {
        Release {
            number: ReleaseNumber(number),
            source: Source::default(),
            config: ContentHash::of(b""),
            workloads: BTreeMap::new(),
            inputs: BTreeMap::new(),
            names: BTreeMap::new(),
            promoted_from: None,
            created_at: Timestamp::UNIX_EPOCH,
            created_by: Actor {
                user: "kim".to_owned(),
                host: String::new(),
                run: String::new(),
                ci: None,
            },
            slot,
            status,
            live_since: None,
            live_serial: None,
            closed: BTreeMap::new(),
            outside_window: None,
            approvals: Vec::new(),
            probe: None,
            declared: None,
            tasks: Vec::new(),
        }
    }

    /// What counts on from a document has room, whoever wrote it.
    #[test]
    fn a_number_that_has_come_to_its_end_is_refused() {
        let state = serde_json::json!({"format": FORMAT, "project": "shop", "environment": "staging",
            "lineage": "l", "serial": 7, "releases": []});
        let with = |serial: u64| {
            let mut state = state.clone();
            state["serial"] = serial.into();
            serde_json::from_value::<State>(state).map_err(|error| error.to_string())
        };
        assert_eq!(with(1 << 52).map(|state| state.serial), Ok(1 << 52));
        let refused = with(u64::MAX).expect_err("no room");
        assert!(refused.contains("counts up no further"), "{refused}");
        let number = serde_json::from_str::<ReleaseNumber>("18446744073709551615");
        number.expect_err("no room");
    }

    /// A state of this lineage in which release 1 was live and release 2 is.
    fn state() -> State {
        let project = "shop".parse().expect("a name");
        let empty = State::empty(project, "staging".parse().expect("a name"));
        State {
            lineage: Some("ours".to_owned()),
            releases: vec![
                release(1, Slot::Blue, ReleaseStatus::Superseded),
                release(2, Slot::Green, ReleaseStatus::Live),
            ],
            ..empty
        }
    }

    /// An engine with these releases in blue and green, of which this slot is live.
    fn found(blue: u64, green: u64, live: Option<Slot>) -> Overview {
        let label = |number| Label {
            number: ReleaseNumber(number),
            commit: None,
            branch: None,
            dirty: false,
            config: ContentHash::of(b""),
            inputs: BTreeMap::new(),
        };
        Overview {
            lineage: Some("ours".to_owned()),
            traffic: live.into(),
            labels: BTreeMap::from([(Slot::Blue, label(blue)), (Slot::Green, label(green))]),
            ..Overview::default()
        }
    }

    fn said(found: &Overview) -> Option<String> {
        state().behind(found).map(|behind| behind.to_string())
    }

    #[test]
    fn the_order_of_the_switches_says_which_release_was_live_before_and_no_clock() {
        let at = |second| Timestamp::from_second(second).ok();
        let live = |number, serial, second| Release {
            live_serial: serial,
            live_since: at(second),
            ..release(number, Slot::Blue, ReleaseStatus::Superseded)
        };
        let previous = |releases: [Release; 2]| {
            let state = State {
                releases: releases.into(),
                ..state()
            };
            state.previous_good(ReleaseNumber(9)).map(|r| r.number.0)
        };

        let stepped_back = [live(1, Some(1), 7200), live(2, Some(2), 3600)];
        assert_eq!(previous(stepped_back), Some(2));
        let went_back = [live(1, Some(5), 3600), live(2, Some(2), 7200)];
        assert_eq!(previous(went_back), Some(1));

        let of_an_older_version = [live(1, None, 7200), live(2, Some(2), 3600)];
        assert_eq!(previous(of_an_older_version), Some(2));
        let both_of_it = [live(1, None, 7200), live(2, None, 3600)];
        assert_eq!(previous(both_of_it), Some(1));
    }

    #[test]
    fn a_state_with_all_that_the_engine_has_is_not_behind() {
        assert_eq!(said(&found(1, 2, Some(Slot::Green))), None);
        let never = State {
            releases: Vec::new(),
            ..state()
        };
        assert_eq!(never.behind(&Overview::default()), None);
    }

    #[test]
    fn a_state_is_behind_a_release_a_switch_or_an_owner_that_it_does_not_know() {
        let cases = [
            (
                found(3, 2, Some(Slot::Blue)),
                "release 3 is in blue, and this state does not have it",
            ),
            (
                found(3, 2, Some(Slot::Green)),
                "release 3 is in blue, and this state does not have it",
            ),
            (
                found(1, 2, Some(Slot::Blue)),
                "release 1 has live traffic, and this state says release 2",
            ),
            (
                Overview::default(),
                "none has live traffic, and this state says release 2",
            ),
            (
                Overview {
                    lineage: Some("theirs".to_owned()),
                    ..found(1, 2, Some(Slot::Green))
                },
                "the environment belongs to the lineage theirs, and this state is of ours",
            ),
        ];
        for (found, words) in cases {
            assert_eq!(said(&found).as_deref(), Some(words));
        }
    }
}
