//! What moved since shipit acted last: what was found against what was recorded, applied and
//! configured. The differences are those that the plan of `apply` is made from; here those count
//! that somebody else has made.

use crate::model::desired::Desired;
use crate::model::drift::{DriftReport, Moved, MovedField, Movement};
use crate::model::facts::{Facts, SlotFacts, WorkloadFacts};
use crate::model::object::{Drift, ObjectFacts, ObjectState};
use crate::model::observed::Observed;
use crate::model::plan::Change;
use crate::model::release::{Release, ReleaseStatus};
use crate::model::resource::{Resource, ResourceFacts};
use crate::model::state::State;
use crate::model::{Address, ReleaseNumber, ServiceName, Slot};
use crate::plan::{LastRun, resources, workload_changes};

/// What moved in an environment.
#[must_use]
pub fn drift(
    desired: &Desired,
    observed: &Observed,
    state: &State,
    last_run: LastRun,
) -> DriftReport {
    let facts = &observed.facts;
    let mut report = DriftReport {
        project: desired.project.clone(),
        environment: desired.environment.clone(),
        looked_at: 0,
        moved: Vec::new(),
        notes: Vec::new(),
    };
    if state.lineage.is_none() && facts.lineage.is_none() && facts.slots.is_empty() {
        let note = "nothing was ever applied here: there is nothing that could have moved";
        report.notes.push(note.to_owned());
        return report;
    }

    let mut look = Look {
        facts,
        state,
        report: &mut report,
    };
    look.releases(last_run);
    look.services();
    look.entry_points();
    look.objects(&observed.objects);
    look.resources(&desired.resources, &observed.resources);
    report
}

/// One look at an environment.
struct Look<'a> {
    facts: &'a Facts,
    state: &'a State,
    report: &'a mut DriftReport,
}

impl Look<'_> {
    fn note(&mut self, text: impl Into<String>) {
        self.report.notes.push(text.into());
    }

    /// Counts something that was looked at, and keeps it when it moved.
    fn saw(&mut self, moved: Option<Moved>) {
        self.report.looked_at += 1;
        self.report.moved.extend(moved);
    }

    /// Which release is in which slot, and which slot is live.
    fn releases(&mut self, last_run: LastRun) {
        let (facts, state) = (self.facts, self.state);
        if state.lineage.is_none() {
            return self.note(
                "there is no history here: whether slots and live traffic are as they were left is \
                 not known",
            );
        }
        if let LastRun::CutOff(_) = last_run {
            return self.note(
                "the last run was cut off: slots and live traffic are as it left them, and `shipit \
                 apply` goes on",
            );
        }

        if let (Some(owner), Some(own)) = (&facts.lineage, &state.lineage) {
            let field = self.field("lineage", Some(own.clone()), Some(owner.clone()));
            let moved =
                (owner != own).then(|| changed(&"environment", "another state owns it", field));
            self.saw(moved);
        }
        for slot in Slot::ALL {
            let expected = in_slot(state, slot);
            let found = facts.slots.get(&slot).map(|there| there.label.number);
            if expected.is_none() && found.is_none() {
                continue;
            }
            let is_own = found.is_some_and(|found| {
                expected.is_some_and(|release| release.number == found)
                    || last_run == LastRun::Prepared(found)
                    || (expected.is_none() && state.release(found).is_some())
            });
            let moved = (!is_own).then(|| self.slot(slot, expected, found));
            self.saw(moved);
        }

        let own = state.live().map(|release| release.slot);
        let field = self.field("live", own.map(side), facts.traffic.slot().map(side));
        let moved = changed(&Address::Traffic, "live traffic was switched", field);
        self.saw((own != facts.traffic.slot()).then_some(moved));
    }

    /// Another release than expected is in a slot, or none.
    fn slot(&self, slot: Slot, expected: Option<&Release>, found: Option<ReleaseNumber>) -> Moved {
        let words = |number: ReleaseNumber| format!("release {number}");
        let was = expected.map(|release| words(release.number));
        let field = self.field("release", was, found.map(words));
        match found {
            Some(_) => changed(
                &Address::Slot(slot),
                "this state did not put it there",
                field,
            ),
            None => Moved {
                what: Movement::Gone,
                ..changed(&Address::Slot(slot), "it is empty", field)
            },
        }
    }

    /// A field that is moved by shipit alone: by who acted last.
    fn field(&self, field: &str, was: Option<String>, is: Option<String>) -> MovedField {
        MovedField {
            field: field.to_owned(),
            was,
            is,
            by: self.facts.changed_by.as_ref().map(ToString::to_string),
            at: self.facts.changed_at,
        }
    }

    /// What runs in the slots.
    fn services(&mut self) {
        for (slot, there) in &self.facts.slots {
            let release = self.state.release(there.label.number);
            if let Some(release) = release {
                self.recorded(*slot, there, release);
            }
            for (service, workload) in &there.workloads {
                let of = Address::Workload(*slot, service.clone());
                if self.facts.traffic.reaches(*slot) {
                    self.saw(self.stopped(&of, workload));
                }
                self.saw(on_disk(&of, workload));
                self.saw(files(&of, "its unit", &workload.unit_files));
                for drift in &workload.drift {
                    self.saw(Some(of_object(drift, &of)));
                }
            }
        }
    }

    /// What has live traffic and does not run: a run stopped it and came to no end.
    fn stopped(&self, of: &Address, workload: &WorkloadFacts) -> Option<Moved> {
        let words = |word: &str| Some(word.to_owned());
        let field = self.field("state", words("running"), words("stopped"));
        let about = "it has live traffic: `shipit apply` starts it";
        (!workload.running).then(|| changed(of, about, field))
    }

    /// A slot against the record of the release that it has.
    fn recorded(&mut self, slot: Slot, there: &SlotFacts, release: &Release) {
        let address = |service: &ServiceName| Address::Workload(slot, service.clone());
        for (service, workload) in &release.workloads {
            let Some(found) = there.workloads.get(service) else {
                let about = format!("release {} has it", release.number);
                self.saw(Some(gone(&address(service), about)));
                continue;
            };
            let changes = workload_changes(Some(workload), &found.spec, slot);
            let fields = changes
                .into_iter()
                .map(|change| self.field(&change.field, change.before, change.after));
            let fields: Vec<MovedField> = fields.collect();
            let about = format!("release {} is recorded otherwise", release.number);
            let moved = Moved {
                address: address(service).to_string(),
                what: Movement::Changed,
                about,
                fields,
            };
            self.saw(Some(moved).filter(|moved| !moved.fields.is_empty()));
        }

        let found = there.workloads.keys();
        for service in found.filter(|service| !release.workloads.contains_key(*service)) {
            let about = format!("release {} does not have it", release.number);
            self.saw(Some(Moved {
                what: Movement::Added,
                ..gone(&address(service), about)
            }));
        }
    }

    fn entry_points(&mut self) {
        for service in self.facts.routes.keys() {
            let of = Address::Route(service.clone());
            if let Some(moved) = self.facts.route_files.get(service) {
                self.saw(files(&of, "what stands in front", moved));
            }
            let drift = self.facts.route_drift.get(service);
            match drift.filter(|drift| !drift.is_empty()) {
                None => self.saw(None),
                Some(drift) => drift
                    .iter()
                    .for_each(|drift| self.saw(Some(of_object(drift, &of)))),
            }
        }
    }

    /// The environment's own objects. Of them nothing is recorded but whose the fields are.
    fn objects(&mut self, found: &[ObjectFacts]) {
        let mut configured = 0;
        for object in found {
            let address = Address::Object(object.key.clone());
            let is_moved = |change: &&Change| change.by.is_some();
            let fields: Vec<MovedField> =
                object.changes.iter().filter(is_moved).map(back).collect();
            let moved = match &object.state {
                ObjectState::Same | ObjectState::Done { .. } | ObjectState::Going { .. } => None,
                // Whoever took the definition away took this with it.
                ObjectState::After { .. } => continue,
                ObjectState::Absent => {
                    let about = "it was deleted, or is new in the configuration";
                    Some(gone(&address, about.to_owned()))
                }
                ObjectState::Foreign { manager } => Some(Moved {
                    what: Movement::Added,
                    ..gone(&address, format!("it belongs to {manager}"))
                }),
                ObjectState::Gone | ObjectState::Refused { .. } => {
                    configured += 1;
                    None
                }
                ObjectState::Differs | ObjectState::Replace { .. } => {
                    configured += object.changes.len() - fields.len();
                    (!fields.is_empty()).then(|| Moved {
                        address: address.to_string(),
                        what: Movement::Changed,
                        about: String::new(),
                        fields,
                    })
                }
            };
            self.saw(moved);
        }
        if configured > 0 {
            self.note(format!(
                "{configured} more of the objects' fields, or objects, differ because the \
                 configuration does: `shipit plan` shows them"
            ));
        }
    }

    /// What a provider has. Of its settings nothing is recorded but the configuration.
    fn resources(&mut self, wanted: &[Resource], found: &[ResourceFacts]) {
        for facts in found.iter().filter(|facts| facts.wanted) {
            let resource = wanted.iter().find(|resource| resource.key == facts.key);
            let Some(resource) = resource else { continue };
            let address = Address::Resource(facts.key.clone());
            if facts.settings.is_none() {
                let about = "it was deleted, or is new in the configuration";
                self.saw(Some(gone(&address, about.to_owned())));
                continue;
            }
            let changes = resources::changes(resource, facts);
            self.saw((!changes.is_empty()).then(|| Moved {
                address: address.to_string(),
                what: Movement::Changed,
                about: "who moved it only the provider's own log knows".to_owned(),
                fields: changes.iter().map(back).collect(),
            }));
        }
        let left = found.iter().filter(|facts| !facts.wanted).count();
        if left > 0 {
            self.note(format!(
                "{left} of the provider's resources left the configuration: `shipit plan` shows \
                 them"
            ));
        }
    }
}

/// The release that a state has put into a slot, and that must be there still.
fn in_slot(state: &State, slot: Slot) -> Option<&Release> {
    let mut releases = state.releases.iter().rev();
    releases.find(|release| {
        let is_needed = matches!(release.status, ReleaseStatus::Live | ReleaseStatus::Waiting);
        release.slot == slot && is_needed
    })
}

fn side(slot: Slot) -> String {
    slot.to_string()
}

fn changed(address: &impl ToString, about: &str, field: MovedField) -> Moved {
    Moved {
        address: address.to_string(),
        what: Movement::Changed,
        about: about.to_owned(),
        fields: vec![field],
    }
}

fn gone(address: &Address, about: String) -> Moved {
    Moved {
        address: address.to_string(),
        what: Movement::Gone,
        about,
        fields: Vec::new(),
    }
}

/// How the files that a workload runs from differ from its image.
fn on_disk(address: &Address, workload: &WorkloadFacts) -> Option<Moved> {
    let differs = workload.changed_on_disk.as_ref()?;
    Some(Moved {
        address: address.to_string(),
        what: Movement::Changed,
        about: "the files that it runs from".to_owned(),
        fields: vec![MovedField {
            field: "files".to_owned(),
            was: Some("as in its image".to_owned()),
            is: Some(differs.clone()),
            by: None,
            at: None,
        }],
    })
}

/// Files that are not as they were written.
fn files(address: &Address, about: &str, fields: &[MovedField]) -> Option<Moved> {
    (!fields.is_empty()).then(|| Moved {
        address: address.to_string(),
        what: Movement::Changed,
        about: about.to_owned(),
        fields: fields.to_vec(),
    })
}

/// An object of a slot or of an entry point.
fn of_object(drift: &Drift, of: &Address) -> Moved {
    Moved {
        address: Address::Object(drift.key.clone()).to_string(),
        what: if drift.missing {
            Movement::Gone
        } else {
            Movement::Changed
        },
        about: format!("of {of}"),
        fields: drift.changes.iter().map(back).collect(),
    }
}

/// What applying would bring back is what was there.
fn back(change: &Change) -> MovedField {
    MovedField {
        field: change.field.clone(),
        was: change.after.clone(),
        is: change.before.clone(),
        by: change.by.as_ref().map(|by| by.manager.clone()),
        at: change.by.as_ref().and_then(|by| by.at),
    }
}

#[cfg(test)]
mod tests;
