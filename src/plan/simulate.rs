//! Carries a plan out on a model of the world: what an engine would say afterwards if every step
//! succeeded.

use jiff::Timestamp;

use crate::model::facts::{Facts, HealthState, Instance, SlotFacts, WorkloadFacts};
use crate::model::plan::{Action, Plan, Step};
use crate::model::release::Label;
use crate::model::workload::{Known, Workload};
use crate::model::{Address, ContentHash, Digest, Slot};

/// The facts after these steps of the plan, in the order given. An image that is still to be built
/// gets the digest that its inputs' hash stands for.
#[must_use]
pub fn simulate(plan: &Plan, steps: &[Step], facts: &Facts, now: Timestamp) -> Facts {
    let mut world = World {
        plan,
        facts: facts.clone(),
        now,
    };
    for step in steps {
        world.carry_out(step);
    }
    world.facts
}

struct World<'a> {
    plan: &'a Plan,
    facts: Facts,
    now: Timestamp,
}

impl World<'_> {
    fn carry_out(&mut self, step: &Step) {
        match (&step.action, &step.address) {
            (action @ Action::Listen { .. }, _) => {
                for route in action.routes() {
                    let service = route.service.clone();
                    self.facts.routes.insert(service, route.clone());
                }
            }
            (Action::StopListening, Address::Route(service)) => {
                self.facts.routes.remove(service);
            }
            (
                Action::Deploy {
                    workload,
                    label,
                    running,
                    ..
                },
                Address::Workload(slot, _),
            ) => {
                let label = label.clone().or_else(|| self.target_label());
                if let Some(label) = label {
                    self.place(*slot, label, workload, *running);
                }
            }
            (Action::Stop, Address::Workload(slot, service)) => {
                let there = self.facts.slots.get_mut(slot);
                let there = there.and_then(|there| there.workloads.get_mut(service));
                if let Some(workload) = there {
                    workload.running = false;
                    workload.instances.clear();
                }
            }
            (Action::Undeploy, Address::Workload(slot, service)) => {
                let emptied = self.facts.slots.get_mut(slot).is_some_and(|there| {
                    there.workloads.remove(service);
                    there.workloads.is_empty()
                });
                if emptied {
                    self.facts.slots.remove(slot);
                }
            }
            (Action::Clear, Address::Slot(slot)) => {
                self.facts.slots.remove(slot);
            }
            (Action::RetainUntil { until }, Address::Slot(slot)) => {
                if let Some(there) = self.facts.slots.get_mut(slot) {
                    there.stops_at = Some(*until);
                }
            }
            (Action::Switch { to, .. }, _) => {
                if let Some(there) = to.slot().and_then(|slot| self.facts.slots.get_mut(&slot)) {
                    there.stops_at = None;
                }
                self.facts.traffic = *to;
                self.facts.switched_at = Some(self.now);
            }
            _ => {}
        }
    }

    fn place(&mut self, slot: Slot, label: Label, workload: &Workload, running: bool) {
        let spec = self.known(workload);
        let now = self.now;
        let there = self.facts.slots.entry(slot).or_insert_with(|| SlotFacts {
            label: label.clone(),
            workloads: std::collections::BTreeMap::new(),
            placed_at: now,
            stops_at: None,
        });
        there.label = label;
        there.stops_at = None;
        let count = if running { spec.replicas } else { 0 };
        let instances = (0..count).map(|index| ready(index, now)).collect();

        there.workloads.insert(
            spec.service.clone(),
            WorkloadFacts {
                spec,
                running,
                instances,
                drift: Vec::new(),
                changed_on_disk: None,
                unit_files: Vec::new(),
                verdict: None,
                held: Vec::new(),
                secrets: std::collections::BTreeMap::new(),
            },
        );
    }

    fn target_label(&self) -> Option<Label> {
        let target = self.plan.target.as_ref()?;
        let workloads: Vec<Workload> = target
            .workloads
            .values()
            .map(|workload| self.known(workload))
            .collect();
        Some(Label {
            number: target.release,
            commit: target.source.commit.clone(),
            branch: target.source.branch.clone(),
            dirty: target.source.dirty,
            config: ContentHash::of_json(&workloads),
            inputs: target.inputs.clone(),
        })
    }

    fn known(&self, workload: &Workload) -> Workload {
        let Known::After(address) = &workload.image else {
            return workload.clone();
        };
        let inputs = self.plan.steps.iter().find_map(|step| match &step.action {
            Action::Build { inputs, .. } if step.address == *address => Some(inputs),
            _ => None,
        });
        let digest = inputs.map_or_else(
            || Digest::of(b""),
            |inputs| Digest::of(inputs.as_str().as_bytes()),
        );
        Workload {
            image: Known::Value(digest),
            ..workload.clone()
        }
    }
}

const fn ready(index: u16, now: Timestamp) -> Instance {
    Instance {
        index,
        pid: Some(1),
        port: None,
        ports: std::collections::BTreeMap::new(),
        health: HealthState::Ready,
        restarts: 0,
        last_exit: None,
        since: now,
    }
}
